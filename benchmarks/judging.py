"""Benchmark of judging a parsed page: 4,000 files must take less than 30 ms, and growth to 40,000 must be linear.

Run ``.venv/bin/python benchmarks/judging.py``; it takes a minute. The exit status is 1 if a limit is exceeded.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from packaging.utils import canonicalize_name
from packaging.version import Version

from assay.evidence import PUBLISH_PREDICATE_TYPE, Attestation, Attested, Claims, Evidence, Unattested
from assay.policy.judge import IndexFacts, judge_page
from assay.policy.language.document import BUILT_IN_POLICY, load_policy
from assay.policy.language.model import Policy
from assay.policy.verdict import Verdict
from assay.ports import ProjectHistory, SeenFile
from assay.simple.model import Distribution, File, Kind, Project, Sha256

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
COUNTS = {400: 50, 4_000: 25, 40_000: 3}
"""Number of repetitions by number of files."""
EVIDENCE = ("none yet", "unattested", "attested")
BAR = (4_000, 30.0)
"""Number of files, and the limit for judging them in milliseconds."""
KEPT_BAR = 400
"""Limit on the memory of a verdict in bytes."""
LINEAR = 2.0
"""Maximum ratio of the cost of a file at 40,000 files to that at 4,000.

A quadratic cost would give 10. A ratio above 1 is expected: 100 MB of files and evidence do not fit into the CPU cache,
and the garbage collector visits them.
"""
INDEX = IndexFacts(name="pypi", hosts=frozenset({"files.example"}))
RULE = '[[rules]]\nname = "all"\nprojects = ["*"]\n'
POLICIES = {
    "built-in": BUILT_IN_POLICY,
    "enforcing ratchet, 3 days": load_policy(f'version = 1\n{RULE}min-age = "3 days"\n', "benchmark"),
    "publisher required": load_policy(
        f'version = 1\n{RULE}publishers = [{{ kind = "GitHub", repository = "octo/*", workflow = "release.yml" }}]\n',
        "benchmark",
    ),
    "everything too young": load_policy(f'version = 1\n{RULE}min-age = "9000 days"\n', "benchmark"),
    "several publishers": load_policy(
        f"version = 1\n{RULE}publishers = [\n"
        + "".join(f'{{ kind = "GitHub", repository = "other-{number}/*" }},\n' for number in range(4))
        + '{ kind = "GitHub", repository = "octo/*", workflow = "release.yml" },\n]\n',
        "benchmark",
    ),
    "another publisher": load_policy(
        f'version = 1\n{RULE}publishers = [{{ kind = "GitHub", repository = "other/*" }}]\n', "benchmark"
    ),
    "waivers": load_policy(
        f'version = 1\n{RULE}min-age = "9000 days"\n'
        '[[waivers]]\nprojects = ["other"]\nuploaded-before = 2030-01-01\nlifts = ["min-age"]\n'
        'expires = 2030-01-01\nreason = "x"\n'
        '[[waivers]]\nprojects = ["*"]\nversions = "<1000"\nuploaded-before = 2030-01-01\nlifts = ["min-age"]\n'
        'expires = 2030-01-01\nreason = "x"\n',
        "benchmark",
    ),
    "revocations": load_policy(
        f"version = 1\n{RULE}"
        '[[revocations]]\nprojects = ["widget"]\nversions = "==3.14.*"\nreason = "x"\n'
        '[[revocations]]\npublishers = [{ kind = "GitHub", repository = "victim/*" }]\nreason = "x"\n'
        f'[[revocations]]\nsha256 = ["{"0" * 64}"]\nreason = "x"\n',
        "benchmark",
    ),
    "late-files": load_policy(f'version = 1\n{RULE}late-files = "5 hours"\n', "benchmark"),
}


def a_page(count: int) -> Project:
    """Return a project with ten files per release, uploaded an hour apart."""
    files = []
    text, parsed = "", Version("0")
    for number in range(count):
        version = f"{number // 1000}.{number // 10 % 100}.0"
        if version != text:
            text, parsed = version, Version(version)  # one object for each release, as in a parsed page
        filename = f"widget-{version}-cp3{number % 10}-none-any.whl"
        location = f"files.example/packages/{filename}"
        files.append(
            File(
                filename=filename,
                url=f"https://{location}",
                location=location,
                route=location,
                distribution=Distribution(project=canonicalize_name("widget"), version=parsed, kind=Kind.WHEEL),
                sha256=Sha256(f"{number:064x}"),
                upload_time=NOW - timedelta(hours=count - number),
                provenance=f"https://files.example/integrity/{filename}",
            )
        )
    return Project(name=canonicalize_name("widget"), files=tuple(files), api_version=(1, 4))


def evidence_for(project: Project, kind: str) -> dict[tuple[str, Sha256], Evidence]:
    found: dict[tuple[str, Sha256], Evidence] = {}
    for number, file in enumerate(project.files if kind != "none yet" else ()):
        logged = file.upload_time or NOW
        claims = Claims(
            kind="GitHub",
            issuer=fresh("https://token.actions.githubusercontent.com"),
            san=fresh("https://github.com/octo/widget/.github/workflows/release.yml@refs/tags/v1"),
            repository=fresh("octo/widget"),
            repository_id=fresh("1001"),
            workflow=fresh(".github/workflows/release.yml"),
            trigger=fresh("release"),
        )
        one = Attestation(
            trust_root="sigstore",
            bundle=0,
            predicate_type=PUBLISH_PREDICATE_TYPE,
            claims=claims,
            integrated_time=logged,
            log_index=number,
            certificate="00" * 32,
            not_before=logged,
            not_after=logged,
        )
        if file.sha256 is not None:
            found[file.filename, file.sha256] = Attested(attestations=(one,)) if kind == "attested" else Unattested()
    return found


def fresh(text: str) -> str:
    """Return a new equal string without a cached hash, as in each parsed document."""
    return text.encode().decode()


def judged(
    policy: Policy, project: Project, evidence: dict[tuple[str, Sha256], Evidence], history: ProjectHistory
) -> tuple[Verdict, ...]:
    return judge_page(policy, project, index=INDEX, history=history, evidence=evidence, now=NOW)


def fastest(
    policy: Policy,
    project: Project,
    evidence: dict[tuple[str, Sha256], Evidence],
    history: ProjectHistory,
    rounds: int = 10,
) -> float:
    """Return the CPU time of this thread in milliseconds, the minimum of several runs."""
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        judged(policy, project, evidence, history)
        times.append(time.thread_time() - start)
    return min(times) * 1000


@dataclass(frozen=True)
class Cost:
    milliseconds: float
    microseconds: float
    """Time for each file."""
    kept: float
    """Memory of the verdicts, in bytes per file."""
    peak: float
    """Maximum memory during the judgement, in bytes per file."""


def measured(count: int) -> dict[tuple[str, str], Cost]:
    """Return the cost by policy and kind of evidence."""
    project = a_page(count)
    history = ProjectHistory(
        known=True,
        files={
            file.filename: SeenFile(sha256=file.sha256, first_seen=NOW, late=False)
            for file in project.files
            if file.sha256
        },
    )
    found = {}
    for kind in EVIDENCE:
        evidence = evidence_for(project, kind)
        for name, policy in POLICIES.items():
            spent = fastest(policy, project, evidence, history, COUNTS[count])
            tracemalloc.start()
            verdicts = judged(policy, project, evidence, history)
            kept, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert len(verdicts) == count  # noqa: S101 - also keeps the verdicts alive until here
            found[name, kind] = Cost(spent, spent * 1000 / count, kept / count, peak / count)
    return found


def main() -> int:
    costs = {count: measured(count) for count in COUNTS}
    print(f"{'policy':<27}{'evidence':<11}{'files':>6}{'ms':>8}{'µs/file':>9}{'B/file':>8}{'B/file at peak':>16}")
    failed = 0
    for case in ((policy, kind) for policy in POLICIES for kind in EVIDENCE):
        for count in COUNTS:
            cost = costs[count][case]
            print(f"{case[0]:<27}{case[1]:<11}{count:>6}{cost.milliseconds:>8.1f}", end="")
            print(f"{cost.microseconds:>9.2f}{cost.kept:>8.0f}{cost.peak:>16.0f}")
        usual, large = costs[BAR[0]][case], costs[max(COUNTS)][case]
        slower, fatter = large.microseconds / usual.microseconds, large.peak / usual.peak
        passes, linear = usual.milliseconds < BAR[1] and usual.kept < KEPT_BAR, max(slower, fatter) < LINEAR
        failed += not (passes and linear)
        print(f"    {'pass' if passes else 'FAIL'}: {usual.milliseconds:.1f} ms, the bar is {BAR[1]:.0f}; ", end="")
        print(f"{usual.kept:.0f} bytes a file, the bar is {KEPT_BAR}; ", end="")
        print(f"linear: {'yes' if linear else 'NO'}, a file costs {slower:.2f} times the time, {fatter:.2f} the memory")
    print(f"{failed} of {len(costs[BAR[0]])} fail" if failed else "all pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
