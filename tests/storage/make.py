"""Command that writes the stored storage directory: ``python -m tests.storage.make``. It needs the code of the commit.

``python -m tests.storage.make answers`` keeps the directory and only writes ``answers.json`` again, after a deliberate
change of pages or refusals. It works with any version of the code.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from assay.attestation.renewal.tuf import create_tuf_refreshers
from assay.attestation.trust_roots import TrustRoot
from tests.paths import ROOT
from tests.storage.before import COMMIT, PACKAGE
from tests.storage.kept import KEPT, RENEWED, SOON, TUF, WRITTEN, copied, exported, told
from tests.storage.world import FarIndex, Told, answers, over, write
from tests.world.proxy.running_proxy import ManualClock
from tests.world.sigstore.tuf_repository import TufRepository


async def storage() -> dict[str, Told]:
    """Write the directory, its trust root and its policy; return the responses of the proxy that wrote it."""
    written = await write(KEPT, ManualClock(WRITTEN))
    renew()
    for name in ("spool", "blobs/unfinished"):
        (KEPT / "storage" / name).rmdir()
    (KEPT / "storage" / "lock").unlink()
    with tempfile.TemporaryDirectory() as temporary:
        # A copy, because SQLite creates files next to a database even if it only reads it.
        (KEPT / "ledger.txt").write_text(await exported(copied(Path(temporary) / "kept") / "storage"), "utf-8")
    return written


def renew() -> None:
    """Write a trust root that was renewed by TUF after a change of keys; the keys are random in each run."""
    content = (KEPT / "trusted_root.json").read_bytes()
    tuf = TufRepository(content)
    tuf.rotate_root()
    tuf.publish(content)
    (refresher,) = create_tuf_refreshers([RENEWED], KEPT / "storage", fetch=tuf.fetch)
    replace(refresher, url=TUF, anchor=tuf.anchor).refresh(TrustRoot(name=RENEWED, content=content))
    (KEPT / "tuf_root.json").write_bytes(tuf.anchor)


async def answer(asked: list[str], sigstore: str) -> dict[str, Told]:
    """Write the responses from a copy of the directory, and the requests to the index, to ``answers.json``."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = copied(Path(temporary) / "kept")
        async with FarIndex() as nothing, over(nothing, directory, ManualClock(SOON)) as proxy:
            found = await answers(proxy, asked)
            content = {"sigstore": sigstore, "asked": nothing.asked, "answers": found}
    (KEPT / "answers.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    return found


async def main(what: str) -> None:
    """Run the command with its argument, ``answers`` or nothing."""
    if what == "answers":
        await answer(list(told()["answers"]), told()["sigstore"])
        return
    changed = subprocess.run(["git", "-C", str(ROOT), "diff", "--quiet", COMMIT, "--", PACKAGE], check=False)  # noqa: ASYNC221 - no other task runs
    if changed.returncode:
        raise SystemExit(f"the code is not that of {COMMIT}; README.md names the commit to check out")
    shutil.rmtree(KEPT / "storage", ignore_errors=True)
    written = await storage()
    if await answer(list(written), version("sigstore")) != written:
        raise SystemExit("the written directory gives other responses than the proxy that wrote it")


if __name__ == "__main__":
    asyncio.run(main("".join(sys.argv[1:])))
