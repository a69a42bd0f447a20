"""Benchmark of the first view of 1,000 attested files, of other clients meanwhile, and of a view after a restart."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import servers
from benchmarks.checkout import HERE, Checkout
from benchmarks.content import JSON, Tree
from benchmarks.load import Rate, fetch, wrk
from benchmarks.report import Table, ratios
from tests.world.sigstore.private_sigstore import PrivateSigstore, Signer

RELEASES, FILES = 25, 40
SIGNED = datetime(2026, 1, 1, 12, tzinfo=UTC)


def run(table: Table, root: Path, *, rounds: int) -> None:
    """Measure with two verification workers and add the rows to `table`."""
    tree, port, trust = published(root)
    first, reference, delays, disturbed = [], [], [], []
    with servers.nginx(root / "nginx", tree.root, port) as upstream:
        for number in range(rounds):
            storage = root / f"assay{number}"
            with attesting(storage, upstream, trust) as assay:
                first.append(seconds(assay))
            reference.append(_by_reference(root / "documents", trust))
            # Once more with other clients, which use one core.
            with attesting(root / f"busy{number}", upstream, trust) as assay:
                took, warm = view(assay)
                disturbed.append(took)
                delays.append(warm.p99)
            asked = upstream.asked("/integrity/")
            with attesting(storage, upstream, trust, settle=False) as assay:
                again = seconds(assay)
                evidence = fetch(f"{assay.origin}/metrics", keep=True).body.decode()
            more = upstream.asked("/integrity/") - asked
    table.add("first view of 1,000 attested files", first, unit=" s", most=2.5)
    table.add("… speed relative to the reference, which verifies sequentially", ratios(reference, first), least=3)
    note = f"the first view then takes {min(disturbed):.1f} to {max(disturbed):.1f} s"
    table.add("warm requests during the first view: p99", delays, unit=" ms", most=25, note=note)
    verified = "assay_verified_documents_total{" in evidence
    note = f"{again:.2f} s; {'files were verified again' if verified else 'nothing was verified'}"
    table.add("first view after a restart: provenance requests", [more], most=0, note=note)


def published(root: Path) -> tuple[Tree, int, Path]:
    """Write the trust root and an index with one attested and one unattested project; return the port in its URLs."""
    port = servers.free_port()
    tree = Tree(root / "tree", f"http://127.0.0.1:{port}")
    sigstore = PrivateSigstore(seed=1)
    trust = root / "trusted_root.json"
    trust.parent.mkdir(parents=True, exist_ok=True)
    trust.write_bytes(sigstore.trusted_root())
    _publish(tree, sigstore, root / "documents")
    tree.page_of("hundred", 100)
    tree.write()
    return tree, port, trust


@contextmanager
def attesting(
    storage: Path, upstream: servers.Server, trust: Path, *, settle: bool = True, checkout: Checkout = HERE
) -> Iterator[servers.Server]:
    """Start Assay with two workers; if `settle`, wait until the workers are ready."""
    with servers.assay(storage, upstream, workers=2, trust=trust, ready="/readyz", checkout=checkout) as assay:
        if settle:
            fetch(f"{assay.origin}/simple/hundred/", {"Accept": JSON})
            time.sleep(2)
        yield assay


def _publish(tree: Tree, sigstore: PrivateSigstore, documents: Path) -> None:
    """Publish releases whose files share a signing certificate, like files of one publish job."""
    documents.mkdir(parents=True)
    for release in range(RELEASES):
        for number in range(FILES):
            when = SIGNED + timedelta(minutes=release)
            name, digest, document = attest(tree, sigstore, "attested", f"{release}.0", number=number, when=when)
            (documents / f"{name}.{digest}.json").write_bytes(document)


def attest(
    tree: Tree,
    sigstore: PrivateSigstore,
    project: str,
    version: str,
    *,
    number: int,
    when: datetime,
    signer: Signer | None = None,
) -> tuple[str, str, bytes]:
    """Publish an attested file, signed at `when`; return its name, its SHA-256 and its provenance document.

    Files with the same signer and `when` share a certificate. The file itself does not exist, only its document.
    """
    name = f"{project.replace('-', '_')}-{version}-cp3{number}-cp3{number}-manylinux_2_17_x86_64.whl"
    digest = hashlib.sha256(name.encode()).hexdigest()
    path = f"/integrity/{project}/{version}/{name}/provenance"
    document = sigstore.provenance(name, digest, signer, when=when)
    where = tree.root / path.lstrip("/")
    where.parent.mkdir(parents=True)
    where.write_bytes(document)
    tree.list(project, name, digest, 100_000, url=f"/files/{project}/{name}", provenance=path)
    # On PyPI, the upload time is shortly after the time in the log.
    tree.pages[project][-1]["upload-time"] = (when + timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%S.0Z")
    return name, digest, document


def view(assay: servers.Server) -> tuple[float, Rate]:
    """Return the seconds of the first view, and the rate of requests for another page during that time."""
    seen: list[float] = []
    looking = threading.Thread(target=lambda: seen.append(seconds(assay)))
    looking.start()
    warm = wrk(f"{assay.origin}/simple/hundred/", {"Accept": JSON}, seconds=1, connections=1)
    looking.join()
    return seen[0], warm


def seconds(assay: servers.Server) -> float:
    """Return the seconds to fetch the attested page; exit if a file is not approved."""
    started = time.perf_counter()
    answer = fetch(f"{assay.origin}/simple/attested/", {"Accept": JSON}, keep=True)
    took = time.perf_counter() - started
    count = answer.body.count(b'"filename"')
    if answer.status != 200 or count != RELEASES * FILES or b'"reasons"' in answer.body:
        raise SystemExit(f"the attested page is {answer.status} with {count} files: {answer.body[:500]!r}")
    return took


def _by_reference(documents: Path, trust: Path) -> float:
    command = [sys.executable, str(servers.HERE / "reference.py"), str(documents), str(trust)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
