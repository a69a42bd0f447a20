"""S3 servers on loopback: SeaweedFS, and rclone, which ignores the conditions of requests."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from tests.paths import TOOLS
from tests.world.engines.processes import EngineProcess, get_free_port

_PROGRAMS = TOOLS / "engines" / "bin"
HAS_OBJECT_STORAGE = (_PROGRAMS / "weed").exists()
MISSING_OBJECT_STORAGE = "SeaweedFS and rclone are not on this machine: tests/install-engines.sh installs them"
ACCESS_KEY, SECRET_KEY = "testkey", "testsecret"
S3_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": "us-east-1"}
"""Credentials, as each cloud's libraries read them from the environment."""
_BUCKET_SECONDS = 60


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - a loopback URL
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


class S3Server:
    """SeaweedFS with one bucket, `assay`. Use it as a context manager; its data are removed at the end."""

    bucket = "assay"

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="assay-s3-"))
        self.port = get_free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        ports = {name: get_free_port() for name in ("master", "volume", "filer")}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        config = {"identities": [{"name": "test", "credentials": [keys], "actions": actions}]}
        (self._directory / "s3.json").write_text(json.dumps(config))
        (self._directory / "data").mkdir()
        # Otherwise, the port of gRPC is that of HTTP plus 10,000.
        grpc = {name: get_free_port() for name in ports}
        self._shell = [
            f"-master=127.0.0.1:{ports['master']}.{grpc['master']}",
            f"-filer=127.0.0.1:{ports['filer']}.{grpc['filer']}",
        ]
        command = [
            str(_PROGRAMS / "weed"),
            f"-logdir={self._directory}",
            "-alsologtostderr=false",
            "server",
            f"-dir={self._directory / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-volume.max=30",
            "-volume.preStopSeconds=1",
            "-master.volumeSizeLimitMB=128",
            "-master.volumePreallocate=false",
            *(f"-{name}.port={port}" for name, port in ports.items()),
            *(f"-{name}.port.grpc={port}" for name, port in grpc.items()),
            "-filer",
            "-s3",
            f"-s3.port={self.port}",
            f"-s3.port.grpc={get_free_port()}",
            f"-s3.config={self._directory / 's3.json'}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.localSocket={self._directory / 's3.sock'}",
        ]
        self.process = EngineProcess(command, self._directory / "log")

    def start(self) -> None:
        """Start the server, also again after `kill`, and create the bucket if it does not exist."""
        self.process.start(lambda: _answers(f"{self.endpoint}/status"))
        deadline = time.monotonic() + _BUCKET_SECONDS
        while True:
            done = subprocess.run(
                [str(_PROGRAMS / "weed"), "shell", *self._shell],
                check=False,
                input=f"s3.bucket.create -name {self.bucket}\ns3.bucket.list\n",
                capture_output=True,
                text=True,
                timeout=_BUCKET_SECONDS,
                cwd=self._directory,
            )
            if f"{self.bucket}\t" in done.stdout or f"  {self.bucket} " in done.stdout:
                return
            assert time.monotonic() < deadline, f"no bucket: {done.stdout}{done.stderr}"
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill the server."""
        self.process.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)


class ConditionBlindServer:
    """S3 server of rclone, which overwrites an object in spite of `If-None-Match: *`. Use it as a context manager."""

    bucket = "assay"

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="assay-rclone-"))
        self.port = get_free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        (self._directory / "data" / self.bucket).mkdir(parents=True)
        keys = f"{ACCESS_KEY},{SECRET_KEY}"
        where = ["--addr", f"127.0.0.1:{self.port}", "--auth-key", keys, "--config", "/dev/null"]
        command = [str(_PROGRAMS / "rclone"), "serve", "s3", *where, str(self._directory / "data")]
        self.process = EngineProcess(command, self._directory / "log")

    def __enter__(self) -> Self:
        self.process.start(lambda: _answers(self.endpoint))
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        shutil.rmtree(self._directory, ignore_errors=True)
