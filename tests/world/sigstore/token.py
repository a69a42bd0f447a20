"""Token with a key (PKCS#11), by Debian's softhsm2, and the command in a process that uses it.

The library of the token reads its configuration once for each process, so a test needs a separate process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.world.clients.installers import ClientResult, run_client

PIN = "1234"
_LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")


def find_library() -> str | None:
    """Return the path of the token's library; None if softhsm2 is not installed."""
    if shutil.which("softhsm2-util") is None:
        return None
    return next((path for path in _LIBRARIES if Path(path).exists()), None)


def make_token(directory: Path, label: str, key: Path, key_id: int) -> dict[str, str]:
    """Make a token with a copy of a key file, and return the environment variables for its use, without the PIN."""
    library = find_library()
    assert library is not None
    tokens = directory / "tokens"
    tokens.mkdir()
    configuration = directory / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    environ = {"SOFTHSM2_CONF": str(configuration)}
    for arguments in (
        ["--init-token", "--free", "--label", label, "--so-pin", PIN],
        ["--import", str(key), "--token", label, "--label", "key", "--id", f"{key_id:02x}"],
    ):
        subprocess.run(
            ["softhsm2-util", *arguments, "--pin", PIN],
            env=os.environ | environ,
            check=True,
            capture_output=True,
            timeout=60,
        )
    return environ | {"PYKCS11LIB": library}


async def run_assay(*arguments: object, environ: Mapping[str, str], directory: Path) -> ClientResult:
    """Run a command of Assay in a separate process."""
    assigned = [f"{name}={value}" for name, value in environ.items()]
    command = ["env", *assigned, sys.executable, "-m", "assay", *map(str, arguments)]
    return await run_client(*command, home=directory, cwd=directory)
