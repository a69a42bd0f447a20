"""nginx in front of replicas, with the configuration of config/examples/replicas/nginx.conf."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.paths import ROOT
from tests.world.engines.processes import EngineProcess, accepts_connections, get_free_port

EXAMPLE = ROOT / "config" / "examples" / "replicas" / "nginx.conf"
HAS_NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin") is not None
MISSING_NGINX = "nginx is not on this machine: tests/install-upstreams.sh installs it"
_EXAMPLE_ADDRESSES = ("127.0.0.1:8080", "127.0.0.2:8080", "127.0.0.3:8080")
_TEMPORARY_FILES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class LoadBalancer:
    """nginx on loopback. Use it as a context manager.

    Args:
        directory: directory for its configuration, logs and temporary files.
        addresses: `host:port` of each replica, at most three.
    """

    def __init__(self, directory: Path, addresses: Sequence[str]) -> None:
        self.port = get_free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        content = EXAMPLE.read_text("utf-8").replace("listen 127.0.0.1:8000;", f"listen 127.0.0.1:{self.port};")
        for number, example in enumerate(_EXAMPLE_ADDRESSES):
            if number < len(addresses):
                content = content.replace(example, addresses[number])
            else:
                lines = (line for line in content.splitlines(keepends=True) if example not in line)
                content = "".join(lines)
        directory.mkdir(parents=True, exist_ok=True)
        paths = "".join(f"{kind}_temp_path {directory}/{kind}; " for kind in _TEMPORARY_FILES)
        content = content.replace("http {", f"http {{ {paths}", 1)
        configuration = directory / "nginx.conf"
        configuration.write_text(
            f"daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;\n{content}"
        )
        command = ["/usr/sbin/nginx", "-p", str(directory), "-c", str(configuration)]
        self._process = EngineProcess(command, directory / "log")

    def __enter__(self) -> Self:
        self._process.start(lambda: accepts_connections("127.0.0.1", self.port))
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
