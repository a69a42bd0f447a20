"""A changed byte of the ledger is an error of `assay serve` that names the project, not a verdict on a good file."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import run_test_proxy


async def test_a_flipped_byte_of_a_digest_stops_the_start_and_without_it_the_file_is_served(tmp_path: Path) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo", "1.0"))
        async with run_test_proxy(index, tmp_path) as proxy:
            assert await proxy.fetch_listed("foo") == {listed.built.filename}
        ledger, config = tmp_path / "assay" / "ledger" / "ledger.db", tmp_path / "proxy.toml"
        await asyncio.to_thread(
            config.write_text, f'[storage]\ndirectory = "{tmp_path / "assay"}"\n[server]\nport = 0\n'
        )
        whole = await asyncio.to_thread(ledger.read_bytes)
        stored = bytes.fromhex(listed.built.sha256)
        assert whole.count(stored) == 1
        changed = whole.replace(stored, bytes([stored[0] ^ 1]) + stored[1:])
        await asyncio.to_thread(ledger.write_bytes, changed)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "assay", "serve", "--config", str(config)), stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        assert process.returncode == 3
        assert (
            f"assay: the ledger {ledger} is damaged: facts about foo on the index test (table files) do not match their"
            " digests; restore the file from a backup, or move it away and import an export with: assay ledger import"
            " FILE --new-ledger"
        ) in said.decode()
        await asyncio.to_thread(ledger.write_bytes, whole)
        async with run_test_proxy(index, tmp_path) as proxy:
            assert (await proxy.get(proxy.files_path(listed))).body == listed.built.content
