"""Benchmark of a mixed load: 200 clients that request warm pages, warm files and cold attested projects.

80 % of the requests are for warm pages of 100 files, 15 % for warm files of 100 KB, and 5 % for attested projects that
no client has requested before. Each cold project has 20 files in five releases. Each release has its own certificate,
and its documents must be fetched and verified before the page is answered. The proxy runs as in an organisation:
each client has a token, the audit trail is on, and two worker processes verify.

The clients together send 400 requests per second: 320 pages, 60 files and 20 cold projects, with 400 documents. Each
client pauses 0.5 seconds on average. This uses about half of two cores: the event loop and verification about one core,
the load generator less than a tenth of a core. A row shows how long responses wait for other work of the proxy, and not
how a saturated machine schedules processes. Each round uses a new proxy with empty storage and takes four times
``--seconds``.

`mixed_clients.py` generates the load in a separate process, and checks status and length of each response. Its own
delay, by which it resumes clients too late, is part of all durations; the note of the last row has its p99.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from benchmarks import attested, servers
from benchmarks.content import JSON, Tree
from benchmarks.load import fetch
from benchmarks.mixed_clients import Plan, Result
from benchmarks.report import Table, percentile
from benchmarks.settings import SECURED
from benchmarks.warm import routed
from tests.world.sigstore.private_sigstore import GitHub, PrivateSigstore

CLIENTS, PAUSE_SECONDS = 200, 0.5
SHARES = {"page": 0.8, "file": 0.15, "cold": 0.05}
_PAGES, _FILES, _PAGE_FILES, _FILE_BYTES = 20, 20, 100, 100_000
_RELEASES, _RELEASE_FILES = 5, 4
_LENGTHENED = 4
"""Duration of a round in units of ``--seconds``, so that a p99 comes from enough responses."""
_TIMEOUT_SECONDS = 30.0
_PAGE_BAR_MS, _FILE_BAR_MS, _COLD_BAR_SECONDS = 25, 40, 10


def run(table: Table, root: Path, *, rounds: int, seconds: int) -> None:
    """Measure the mixed load and add the rows to `table`."""
    duration = float(seconds * _LENGTHENED)
    port = servers.free_port()
    tree = Tree(root / "tree", f"http://127.0.0.1:{port}")
    sigstore = PrivateSigstore(seed=1)
    (root / "trusted_root.json").write_bytes(sigstore.trusted_root())
    # A half more than expected, because the classes are random; at least 20.
    cold = 20 + int(CLIENTS / PAUSE_SECONDS * SHARES["cold"] * duration * 1.5)
    files = _publish(tree, sigstore, cold)
    (root / "tokens").write_text(
        "".join(f"client-{number}:{hashlib.sha256(_token(number).encode()).hexdigest()}\n" for number in range(CLIENTS))
    )
    results, busy = [], []
    with servers.nginx(root / "nginx", tree.root, port) as upstream:
        paths = {
            "page": [f"/simple/page-{number:02}/" for number in range(_PAGES)],
            "file": [routed(upstream, path) for path in files],
            "cold": [f"/simple/cold-{number:05}/" for number in range(1, cold)],
        }
        for number in range(rounds):
            with servers.assay(
                root / f"assay{number}",
                upstream,
                workers=2,
                trust=root / "trusted_root.json",
                ready="/readyz",
                settings=SECURED.format(root=root),
            ) as assay:
                plan = Plan(
                    port=assay.port,
                    seconds=duration,
                    pause=PAUSE_SECONDS,
                    timeout=_TIMEOUT_SECONDS,
                    accept=JSON,
                    authorizations=[_authorization(number) for number in range(CLIENTS)],
                    shares=SHARES,
                    paths=paths,
                    lengths=_warm_up(assay, paths),
                    seed=number,
                )
                before = assay.cpu()
                results.append(_generate(plan))
                busy.append((assay.cpu() - before) / results[-1].elapsed)
    _tell(table, results, busy)


def _publish(tree: Tree, sigstore: PrivateSigstore, cold: int) -> list[str]:
    """Publish warm pages, warm files and cold projects; return the paths of the files.

    All names of a class have the same length, so all responses of a class do too.
    """
    for number in range(_PAGES):
        tree.page_of(f"page-{number:02}", _PAGE_FILES)
    files = [tree.file(f"file-{number:02}", "1.0", _FILE_BYTES) for number in range(_FILES)]
    for project in range(cold):
        name = f"cold-{project:05}"
        signer = GitHub(repository=f"octo/{name}")
        for release in range(_RELEASES):
            when = attested.SIGNED + timedelta(days=release)
            for number in range(_RELEASE_FILES):
                attested.attest(tree, sigstore, name, f"{release}.0", number=number, when=when, signer=signer)
    tree.write()
    return files


def _token(number: int) -> str:
    return f"token-of-client-{number:03}"


def _authorization(number: int) -> str:
    return f"Basic {base64.b64encode(f'__token__:{_token(number)}'.encode()).decode()}"


def _warm_up(assay: servers.Server, paths: dict[str, list[str]]) -> dict[str, int]:
    """Request all warm paths and one cold project, which no client requests; return the lengths by class."""
    signed_in = {"Authorization": _authorization(0), "Accept": JSON}
    if (status := fetch(f"{assay.origin}{paths['page'][0]}", {"Accept": JSON}).status) != 401:
        raise SystemExit(f"a request without a token is answered {status}")
    lengths = {}
    for kind in ("page", "file"):
        for _ in range(3):  # the proxy caches a small file in memory only if it is requested repeatedly
            answers = [fetch(f"{assay.origin}{path}", signed_in) for path in paths[kind]]
        found = {(answer.status, answer.size) for answer in answers}
        if len(found) != 1 or answers[0].status != 200:
            raise SystemExit(f"status and length of the warm responses ({kind}): {sorted(found)}")
        lengths[kind] = answers[0].size
    cold = fetch(f"{assay.origin}/simple/cold-00000/", signed_in, keep=True)
    count = cold.body.count(b'"filename"')
    if cold.status != 200 or count != _RELEASES * _RELEASE_FILES or b'"reasons"' in cold.body:
        raise SystemExit(f"a cold page is {cold.status} with {count} files: {cold.body[:500]!r}")
    lengths["cold"] = cold.size
    time.sleep(2)  # until both workers are ready
    return lengths


def _generate(plan: Plan) -> Result:
    """Run the load generator in a process that imports nothing but the standard library."""
    command = [sys.executable, "-I", "-S", str(servers.HERE / "mixed_clients.py")]
    done = subprocess.run(command, check=False, input=json.dumps(asdict(plan)), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the load generator ended with {done.returncode}: {done.stderr[-2000:]}")
    return Result(**json.loads(done.stdout))


def _tell(table: Table, results: Sequence[Result], busy: Sequence[float]) -> None:
    elapsed = sum(result.elapsed for result in results)
    rate = sum(sum(map(len, result.seconds.values())) + result.errors for result in results) / elapsed
    for kind, name, bar in (("page", "warm pages", _PAGE_BAR_MS), ("file", "warm files, 100 KB", _FILE_BAR_MS)):
        p99 = [percentile(result.seconds[kind], 0.99) * 1e3 for result in results]
        every = [seconds for result in results for seconds in result.seconds[kind]]
        note = f"of {len(every):,}, the slowest {max(every) * 1e3:.0f} ms"
        table.add(f"mixed load, {CLIENTS} clients: p99 of {name}", p99, unit=" ms", most=bar, note=note)
    p99 = [percentile(result.seconds["cold"], 0.99) for result in results]
    every = [seconds for result in results for seconds in result.seconds["cold"]]
    note = f"of {len(every):,}, the median {percentile(every, 0.5) * 1e3:.0f} ms"
    table.add("mixed load: p99 of cold attested pages", p99, unit=" s", note=note)
    table.add("mixed load: slowest cold attested page", [max(every)], unit=" s", most=_COLD_BAR_SECONDS)
    late = max(percentile(result.late, 0.99) for result in results) * 1e3
    generator = sum(result.cpu for result in results) / elapsed
    note = f"{rate:.0f}/s; cores: proxy {sum(busy) / len(busy):.2f}, clients {generator:.2f}; late by {late:.1f} ms"
    table.add("mixed load: errors", [sum(result.errors for result in results)], most=0, note=note)
    for example in (example for result in results for example in result.examples):
        print(f"    {example}", file=sys.stderr)
