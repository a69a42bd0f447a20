"""Factories of pages, files and evidence that are valid by default, so that a test changes only the relevant part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from packaging.utils import canonicalize_name
from packaging.version import Version

from assay.advisories.model import Advisory
from assay.advisories.record import parse_record
from assay.evidence import (
    PUBLISH_PREDICATE_TYPE,
    Attestation,
    Attested,
    Claims,
    Evidence,
    Forged,
    LogIdentity,
    PublisherIdentity,
    Unattested,
)
from assay.policy.judge import IndexFacts, judge_page
from assay.policy.language.document import load_policy
from assay.policy.language.model import Policy
from assay.policy.verdict import Approved, ReasonCode, Verdict, Withheld
from assay.ports import EstablishedPublisher, FileSigner, ProjectHistory, SeenFile
from assay.simple.model import Distribution, File, Kind, Project, Sha256
from tests.world.advisories.records import make_affected, make_range, make_record

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOST = "files.example"
INDEX = IndexFacts(name="pypi", hosts=frozenset({HOST, "index.example"}))
GITHUB = "https://token.actions.githubusercontent.com"
LOG = LogIdentity(id="c0" * 32, url="https://rekor.sigstore.example")
UNATTESTED = Unattested()
FORGED = Forged(step="subject digest", expected="aa", found="bb")


def days(count: float) -> timedelta:
    return timedelta(days=count)


def ago(count: float) -> datetime:
    """Return the instant `NOW` minus a number of days."""
    return NOW - timedelta(days=count)


def digest(text: str) -> Sha256:
    return Sha256(hashlib.sha256(text.encode()).hexdigest())


def a_file(
    version: str = "1.0",
    *,
    project: str = "widget",
    kind: Kind = Kind.WHEEL,
    uploaded: datetime | None = None,
    **changes: Any,
) -> File:
    """Return a valid file of `project`, uploaded a year ago or at `uploaded`."""
    name = project.replace("-", "_")
    ending = "-py3-none-any.whl" if kind is Kind.WHEEL else ".tar.gz"
    filename = changes.pop("filename", f"{name}-{version}{ending}")
    location = f"{HOST}/packages/{filename}"
    file = File(
        filename=filename,
        url=f"https://{HOST}/packages/{quote(filename)}",
        location=location,
        route=quote(location),
        distribution=Distribution(project=canonicalize_name(project), version=Version(version), kind=kind),
        sha256=digest(filename),
        upload_time=uploaded or ago(365),
    )
    return replace(file, **changes)


def a_project(*files: File, name: str = "widget", **changes: Any) -> Project:
    return Project(name=canonicalize_name(name), files=files, api_version=(1, 4), **changes)


def claims(**changes: Any) -> Claims:
    """Return the claims of a GitHub certificate for octo/widget."""
    repository = changes.get("repository", "octo/widget")
    genuine = Claims(
        kind="GitHub",
        issuer=GITHUB,
        san=f"https://github.com/{repository}/.github/workflows/release.yml@refs/tags/v1",
        repository="octo/widget",
        repository_id="1001",
        owner="octo",
        owner_id="77",
        workflow=".github/workflows/release.yml",
        ref="refs/tags/v1",
        trigger="release",
        runner="github-hosted",
        visibility="public",
        builder=f"https://github.com/{repository}/.github/workflows/release.yml@refs/tags/v1",
    )
    return replace(genuine, **changes)


def attestation(logged: datetime | None = None, **changes: Any) -> Attestation:
    """Return a publish attestation by octo/widget; keywords change single claims, `claims` replaces all."""
    when = logged or ago(365)
    fields = {
        "trust_root",
        "bundle",
        "predicate_type",
        "log_index",
        "certificate",
        "not_before",
        "not_after",
        "slsa",
        "log",
    }
    own = {key: changes.pop(key) for key in list(changes) if key in fields}
    said = changes.pop("claims", None) or claims(**changes)
    genuine = Attestation(
        trust_root="sigstore",
        bundle=0,
        predicate_type=PUBLISH_PREDICATE_TYPE,
        claims=said,
        integrated_time=when,
        log_index=1_000_000,
        log=LOG,
        certificate="ab" * 32,
        not_before=when - timedelta(minutes=1),
        not_after=when + timedelta(minutes=9),
    )
    return replace(genuine, **own)


def attested(logged: datetime | None = None, **changes: Any) -> Attested:
    return Attested(attestations=(attestation(logged, **changes),))


def signed(file: File, **changes: Any) -> Attested:
    """Return evidence for a file, logged at its upload-time."""
    return attested(file.upload_time, **changes)


def an_advisory(
    name: str = "MAL-2026-1", *, versions: Iterable[str] = (), introduced: str | None = None, **changes: Any
) -> Advisory:
    """Return a record about widget: these versions, or from `introduced` on; all versions without both."""
    ranges = [] if introduced is None else [make_range(("introduced", introduced))]
    affected = make_affected("widget", versions=list(versions), ranges=ranges)
    advisory = parse_record(make_record(name, affected))
    assert advisory is not None
    return replace(advisory, **changes)


def a_policy(rule: str = "", *, top: str = "", more: str = "") -> Policy:
    """Return a policy with one rule for all names; `rule` has its other keys, `top` precedes it, `more` follows it."""
    text = f'version = 1\n{top}\n[[rules]]\nname = "all"\nprojects = ["*"]\n{rule}\n{more}\n'
    return load_policy(text, "policy.toml")


PERMISSIVE = a_policy('ratchet = "off"')


def page(
    policy: Policy,
    *files: File,
    evidence: Mapping[File, Evidence] | None = None,
    default: Evidence | None = UNATTESTED,
    now: datetime = NOW,
    history: ProjectHistory | None = None,
    index: IndexFacts = INDEX,
    mismatched: Iterable[Sha256] = (),
    advisories: Iterable[Advisory] = (),
    **project: Any,
) -> tuple[Verdict, ...]:
    """Judge a page; files without given evidence have the evidence `default`, None for unknown."""
    known = {(each.filename, each.sha256): default for each in files if each.sha256 and default is not None}
    known |= {(each.filename, each.sha256): found for each, found in (evidence or {}).items() if each.sha256}
    return judge_page(
        policy,
        a_project(*files, **project),
        index=index,
        history=history or ProjectHistory(),
        evidence=known,
        now=now,
        mismatched_wheels=frozenset(mismatched),
        advisories=tuple(advisories),
    )


def one(policy: Policy, file: File, evidence: Evidence | None = UNATTESTED, **more: Any) -> Verdict:
    """Judge a page of one file."""
    return page(policy, file, default=evidence, **more)[0]


def codes(verdict: Verdict) -> list[ReasonCode]:
    """Return the reason codes of a withheld file; empty for an approved file.

    Raises:
        AssertionError: the file is undecided.
    """
    assert isinstance(verdict, Approved | Withheld), verdict
    return [reason.code for reason in verdict.reasons] if isinstance(verdict, Withheld) else []


def seen(
    *files: File,
    at: datetime = NOW,
    late: bool = False,
    signers: tuple[FileSigner, ...] = (),
    publishers: tuple[EstablishedPublisher, ...] = (),
) -> ProjectHistory:
    """Return a ledger history with these files."""
    known = {
        file.filename: SeenFile(sha256=file.sha256, first_seen=at, late=late)
        for file in files
        if file.sha256 is not None
    }
    return ProjectHistory(files=known, known=True, signers=signers, publishers=publishers)


ENFORCE = a_policy()


def old(*ages: float) -> dict[File, Evidence]:
    """Return attested releases by the default publisher with these ages in days."""
    files = [a_file(f"{number}.0", uploaded=ago(age)) for number, age in enumerate(ages, start=1)]
    return {file: signed(file) for file in files}


def latest(
    evidence: dict[File, Evidence], file: File, found: Evidence | None, policy: Policy = ENFORCE, **more: Any
) -> Verdict:
    """Return the verdict on `file` on a page with the files of `evidence`."""
    known = evidence | ({file: found} if found is not None else {})
    return page(policy, *evidence, file, evidence=known, default=None, **more)[-1]


STRANGER: dict[str, Any] = {"repository": "evil/widget", "repository_id": "666"}

# facts of the ledger, and evidence that is not known yet


def established(age: float, identity: str = "repository-id:1001") -> EstablishedPublisher:
    """Return the fact that a publisher was established by a file of this age in days, logged at its upload-time."""
    return EstablishedPublisher(
        identity=PublisherIdentity(trust_root="sigstore", issuer=GITHUB, subject=identity),
        logged=ago(age),
        existed=ago(age),
    )


def fact(file: File, logged: float, identity: str = "repository-id:1001") -> FileSigner:
    return FileSigner(
        identity=PublisherIdentity(trust_root="sigstore", issuer=GITHUB, subject=identity),
        filename=file.filename,
        sha256=digest(file.filename),
        logged=ago(logged),
    )
