"""Memory of the proxy's processes with PyPI's largest pages: proportional set size from /proc/*/smaps_rollup.

    python benchmarks/memory.py STORAGE [PROJECT …]

The first run with a STORAGE directory fetches each project and the provenance of its files from PyPI. Later runs use
the records in the directory, so that two versions of the program can be compared. Linux only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LARGE = (
    "grpcio",
    "grpcio-tools",
    "boto3",
    "botocore",
    "awscli",
    "numpy",
    "pandas",
    "scipy",
    "torch",
    "cryptography",
    "aiohttp",
    "pyarrow",
)
FORMS = (
    ("application/vnd.pypi.simple.v1+json", "gzip"),  # uv, pip
    ("application/vnd.pypi.simple.v1+html", "gzip"),  # older pip
    ("text/html", "identity"),  # curl
)
ROUNDS = 3


def tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in tree(int(child)))]


def measured(pid: int) -> tuple[dict[str, float], list[float]]:
    """Return the memory of all processes by kind, and the anonymous memory of each process, in megabytes."""
    total, each = {"Pss": 0.0, "Pss_Anon": 0.0, "Pss_File": 0.0}, []
    for process in tree(pid):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
        found = {key: int(rest.split()[0]) * 1024 / 1e6 for key, _, rest in (line.partition(":") for line in lines)}
        for key in total:
            total[key] += found[key]
        each.append(found["Pss_Anon"])
    return total, each


def ask(url: str, accept: str, coding: str) -> int:
    request = urllib.request.Request(url, headers={"Accept": accept, "Accept-Encoding": coding})  # noqa: S310 - URL of the started proxy
    while True:
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310
                return len(answer.read())
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(5)


def main(storage: Path, projects: list[str]) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(storage),
        "ASSAY_SERVER__PORT": "0",
        "ASSAY_STORAGE__DIRECTORY": str(storage),
        "ASSAY_VERIFICATION__WORKERS": "1",
        "ASSAY_FRESHNESS__PAGE": "7 days",
        "ASSAY_TRUST__REFRESH": "false",
    } | {name: value for name, value in os.environ.items() if name.startswith(("MALLOC_", "SSL_", "HTTP", "PYTHON"))}
    command = [sys.executable, "-m", "assay", "serve", "--log", "json"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as proxy:
        if proxy.stderr is None:
            raise RuntimeError("Popen without the pipe that was asked for")
        url = ""
        while not url:
            event = json.loads(proxy.stderr.readline())
            url = event.get("index", "") if event["event"] == "listening" else ""
        drain = subprocess.Popen(["cat"], stdin=proxy.stderr, stdout=subprocess.DEVNULL)
        time.sleep(3)
        print("started", shown(proxy.pid))
        for turn in range(ROUNDS):
            for project in projects:
                sizes = [ask(f"{url}{project}/", accept, coding) for accept, coding in FORMS]
                if not turn:
                    print(f"{project:14}", shown(proxy.pid), "answers", sizes)
            print("round", turn + 1, shown(proxy.pid))
        time.sleep(5)
        print("at rest", shown(proxy.pid))
        with ThreadPoolExecutor(len(projects)) as clients:
            for _ in range(ROUNDS):
                list(clients.map(lambda project: ask(f"{url}{project}/", *FORMS[0]), projects))
        print("all at once", shown(proxy.pid), f"peak of the main process {peak(proxy.pid):.0f} MB")
        proxy.send_signal(signal.SIGTERM)
    drain.wait()


def peak(pid: int) -> float:
    """Return the maximum resident memory in megabytes, with mapped files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def shown(pid: int) -> str:
    total, each = measured(pid)
    kinds = " ".join(f"{key} {value:.0f}" for key, value in total.items())
    return f"{kinds} MB; anonymous by process {[round(one) for one in each]}"


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2:] or LARGE)
