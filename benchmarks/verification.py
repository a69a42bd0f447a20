"""Cost of verification compared with the reference, speed with several workers, and effect on the event loop.

    python benchmarks/verification.py [--files 100] [--rounds 5]

The last comparison is of Sigstore bundles with provenance documents, both verified by Assay.

Both implementations are measured alternately in one run, so that other load affects both. The figures are CPU time on
one core (median of the rounds) and wall time with workers (minimum). The reference is the unchanged
`pypi_attestations.Attestation.verify(offline=True)`. It trusts the trusted_root.json in the user's cache directory, so
the benchmark uses a temporary cache directory with the test's trust root.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parents[1]))

from pypi_attestations import Distribution, Provenance

from assay.attestation.config import VerificationSettings
from assay.attestation.pool.pool import VerifierPool
from assay.attestation.trust_roots import TrustRoot, TrustRoots
from assay.attestation.verification.keys import load_keys
from assay.attestation.verification.verify import verify, verify_bundles
from assay.evidence import Attested
from assay.ports import VerificationJob
from tests.world.sigstore.attacks import FILE_SHA256, make_listed_file
from tests.world.sigstore.bundles import build_bundle_list, make_bundle
from tests.world.sigstore.private_sigstore import SIGNING_TIME, PrivateSigstore

SIGSTORE = PrivateSigstore(seed=1)
ROOT = TrustRoot(name="default", content=SIGSTORE.trusted_root())
ROOTS = TrustRoots(default="default", by_name={"default": ROOT})


@dataclass(frozen=True)
class Case:
    filename: str
    raw: bytes


def release(files: int, *, leaves: int) -> list[Case]:
    """Return files of one release, signed with `leaves` different certificates."""
    names = [f"widget-1.0-{number}-py3-none-any.whl" for number in range(files)]
    return [
        Case(name, SIGSTORE.provenance(name, FILE_SHA256, when=SIGNING_TIME + timedelta(seconds=number % leaves)))
        for number, name in enumerate(names)
    ]


def by_reference(cases: Sequence[Case]) -> None:
    for case in cases:
        bundle = Provenance.model_validate_json(case.raw).attestation_bundles[0]
        distribution = Distribution(name=case.filename, digest=FILE_SHA256)
        bundle.attestations[0].verify(bundle.publisher, distribution, offline=True)


def prepare_cache(home: Path, root: bytes = ROOT.content) -> None:
    """Make `home` the home directory, with `root` in sigstore's cache, which the reference trusts when offline."""
    os.environ.update(HOME=str(home), XDG_CACHE_HOME=str(home / "cache"), XDG_DATA_HOME=str(home / "share"))
    cache = home / "cache" / "sigstore-python" / "tuf" / quote("https://tuf-repo-cdn.sigstore.dev", safe="")
    cache.mkdir(parents=True)
    (cache / "trusted_root.json").write_bytes(root)
    logging.getLogger("sigstore").setLevel(logging.ERROR)


def by_assay(cases: Sequence[Case]) -> None:
    # Clear the cache, so that each round starts like a new release.
    load_keys(ROOT.content)._verified_chains.clear()  # noqa: SLF001 - so that the first file verifies the chain
    for case in cases:
        evidence = verify(case.raw, make_listed_file(case.filename), [ROOT])
        if type(evidence) is not Attested:
            raise RuntimeError(case.filename)


def bundles_by_assay(cases: Sequence[Case]) -> None:
    load_keys(ROOT.content)._verified_chains.clear()  # noqa: SLF001 - as above
    for case in cases:
        evidence = verify_bundles(case.raw, make_listed_file(case.filename), [ROOT])
        if type(evidence) is not Attested:
            raise RuntimeError(case.filename)


def compare_bundles(cases: Sequence[Case], rounds: int) -> bool:
    """Print the cost of a bundle relative to a provenance document with the same signed parts."""
    lists = [
        Case(
            case.filename,
            build_bundle_list(make_bundle(json.loads(case.raw)["attestation_bundles"][0]["attestations"][0])),
        )
        for case in cases
    ]
    documents, bundles = [], []
    by_assay(cases)
    bundles_by_assay(lists)
    for _ in range(rounds):
        documents.append(cpu(lambda: by_assay(cases)))
        bundles.append(cpu(lambda: bundles_by_assay(lists)))
    one, other = (statistics.median(times) / len(cases) * 1e6 for times in (documents, bundles))
    title = f"{len(cases)} bundles and as many documents"
    print(f"{title:<44} document {one:7.0f} µs   bundle {other:5.0f} µs   {other / one:5.2f}x   (at most 1.3x)")
    return other / one <= 1.3


def cpu(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(title: str, cases: Sequence[Case], rounds: int, required: float) -> bool:
    theirs, ours = [], []
    by_assay(cases)
    by_reference(cases[:5])
    for _ in range(rounds):
        theirs.append(cpu(lambda: by_reference(cases)))
        ours.append(cpu(lambda: by_assay(cases)))
    one, other = (statistics.median(times) / len(cases) * 1e6 for times in (theirs, ours))
    ratio = one / other
    print(f"{title:<44} reference {one:6.0f} µs   assay {other:6.0f} µs   {ratio:5.2f}x   (at least {required}x)")
    return ratio >= required


async def wall(verifier: VerifierPool, jobs: Sequence[VerificationJob]) -> float:
    start = time.perf_counter()
    found = await verifier.verify(jobs)
    if not all(isinstance(one.evidence, Attested) for one in found):
        raise AssertionError("not attested")
    return time.perf_counter() - start


async def compare_workers(jobs: Sequence[VerificationJob], rounds: int) -> bool:
    verifiers = {count: VerifierPool(ROOTS, VerificationSettings(workers=count)) for count in (0, 1, 2)}
    best = dict.fromkeys(verifiers, float("inf"))
    for verifier in verifiers.values():
        await verifier.start()
        await verifier.verify(jobs[:80])
    for _ in range(rounds):
        for count, verifier in verifiers.items():
            best[count] = min(best[count], await wall(verifier, jobs))
    for verifier in verifiers.values():
        await verifier.close()
    for count, name in ((0, "a thread"), (1, "one worker"), (2, "two workers")):
        print(f"{name:<44} {len(jobs) / best[count]:6.0f} documents a second")
    ratio = best[1] / best[2]
    print(f"{'two workers relative to one':<44} {ratio:5.2f}x   (at least 1.6x)")
    return ratio >= 1.6


async def measure_delay(jobs: Sequence[VerificationJob], workers: int) -> bool:
    """Print the delays of a timer of one millisecond while `jobs` are verified; return whether p99 is below 10 ms."""
    verifier = VerifierPool(ROOTS, VerificationSettings(workers=workers))
    await verifier.start()
    await verifier.verify(jobs[:40])
    late: list[float] = []

    async def sample() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.001
            await asyncio.sleep(0.001)
            late.append(loop.time() - due)

    sampling = asyncio.create_task(sample())
    for _ in range(3):
        await verifier.verify(jobs)
    sampling.cancel()
    await verifier.close()
    p50, p99 = (statistics.quantiles(late, n=100)[cut] * 1e3 for cut in (49, 98))
    name = f"event-loop delay, {len(jobs)} documents, {workers or 'no'} worker"
    print(f"{name:<44} p50 {p50:5.2f} ms   p99 {p99:5.2f} ms   max {max(late) * 1e3:5.2f} ms   (p99 under 10 ms)")
    return p99 < 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        prepare_cache(Path(directory))
        good = [
            compare("a release whose files share a certificate", release(chosen.files, leaves=1), chosen.rounds, 3),
            compare(
                "as many files with a certificate each", release(chosen.files, leaves=chosen.files), chosen.rounds, 1.3
            ),
        ]
    case, *_ = cases = release(1000, leaves=20)
    good.append(compare_bundles(cases, chosen.rounds))
    job = VerificationJob(filename=case.filename, sha256=FILE_SHA256, provenance=case.raw)
    jobs = [replace(job, filename=one.filename, provenance=one.raw) for one in cases]
    good.append(asyncio.run(compare_workers(jobs, chosen.rounds)))
    good.append(asyncio.run(measure_delay(jobs, 1)))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
