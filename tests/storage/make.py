"""Write the storage directory that is kept: ``python -m tests.storage.make``, with the product as it was at the commit.

``python -m tests.storage.make answers`` leaves the directory as it is, and only writes down anew what is answered over
it: for a change of what pages or refusals say, made on purpose. Any product can do that.
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
    """The directory itself, its trust root, its policy: what was answered while it was written."""
    written = await write(KEPT, ManualClock(WRITTEN))
    renew()
    for name in ("spool", "blobs/unfinished"):
        (KEPT / "storage" / name).rmdir()
    (KEPT / "storage" / "lock").unlink()
    with tempfile.TemporaryDirectory() as temporary:
        # Of a copy: even who only reads a SQLite database leaves files beside it.
        (KEPT / "ledger.txt").write_text(await exported(copied(Path(temporary) / "kept") / "storage"), "utf-8")
    return written


def renew() -> None:
    """A trust root as TUF renewed it, after its repository had changed its keys; by this run's own, random keys."""
    content = (KEPT / "trusted_root.json").read_bytes()
    tuf = TufRepository(content)
    tuf.rotate_root()
    tuf.publish(content)
    (refresher,) = create_tuf_refreshers([RENEWED], KEPT / "storage", fetch=tuf.fetch)
    replace(refresher, url=TUF, anchor=tuf.anchor).refresh(TrustRoot(name=RENEWED, content=content))
    (KEPT / "tuf_root.json").write_bytes(tuf.anchor)


async def answer(asked: list[str], sigstore: str) -> dict[str, Told]:
    """Write down what is answered over a copy, and what the index is asked for."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = copied(Path(temporary) / "kept")
        async with FarIndex() as nothing, over(nothing, directory, ManualClock(SOON)) as proxy:
            found = await answers(proxy, asked)
            content = {"sigstore": sigstore, "asked": nothing.asked, "answers": found}
    (KEPT / "answers.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    return found


async def main(what: str) -> None:
    """See the module's docstring."""
    if what == "answers":
        await answer(list(told()["answers"]), told()["sigstore"])
        return
    changed = subprocess.run(["git", "-C", str(ROOT), "diff", "--quiet", COMMIT, "--", PACKAGE], check=False)  # noqa: ASYNC221 - nothing else runs here
    if changed.returncode:
        raise SystemExit(f"the product is not the one of {COMMIT}: README.md says which commit to check out")
    shutil.rmtree(KEPT / "storage", ignore_errors=True)
    written = await storage()
    if await answer(list(written), version("sigstore")) != written:
        raise SystemExit("what was written does not answer as what wrote it did")


if __name__ == "__main__":
    asyncio.run(main("".join(sys.argv[1:])))
