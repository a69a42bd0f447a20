"""Pages, files and evidence made by hand: genuine in every respect, so that a test changes the one that it is about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from packaging.utils import canonicalize_name
from packaging.version import Version

from assay.evidence import (
    PUBLISH_PREDICATE_TYPE,
    Attestation,
    Attested,
    Claims,
    Evidence,
    Forged,
    PublisherIdentity,
    Unattested,
)
from assay.policy.judge import IndexFacts, judge_page
from assay.policy.language.document import load_policy
from assay.policy.language.model import Policy
from assay.policy.verdict import Approved, ReasonCode, Verdict, Withheld
from assay.ports import EstablishedIdentity, ProjectHistory, SeenFile
from assay.simple.model import Distribution, File, Kind, Project, Sha256

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOST = "files.example"
INDEX = IndexFacts(name="pypi", hosts=frozenset({HOST, "index.example"}))
GITHUB = "https://token.actions.githubusercontent.com"
UNATTESTED = Unattested()
FORGED = Forged(step="subject digest", expected="aa", found="bb")


def days(count: float) -> timedelta:
    return timedelta(days=count)


def ago(count: float) -> datetime:
    """So many days before `NOW`."""
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
    """A good file of `project`, uploaded a year ago unless `uploaded` says when."""
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
    """What a GitHub certificate of octo/widget says."""
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
    """A publish attestation by octo/widget; claims may be changed by their names, or all given as `claims`."""
    when = logged or ago(365)
    fields = {"trust_root", "bundle", "predicate_type", "log_index", "certificate", "not_before", "not_after", "slsa"}
    own = {key: changes.pop(key) for key in list(changes) if key in fields}
    said = changes.pop("claims", None) or claims(**changes)
    genuine = Attestation(
        trust_root="sigstore",
        bundle=0,
        predicate_type=PUBLISH_PREDICATE_TYPE,
        claims=said,
        integrated_time=when,
        log_index=1_000_000,
        certificate="ab" * 32,
        not_before=when - timedelta(minutes=1),
        not_after=when + timedelta(minutes=9),
    )
    return replace(genuine, **own)


def attested(logged: datetime | None = None, **changes: Any) -> Attested:
    return Attested(attestations=(attestation(logged, **changes),))


def signed(file: File, **changes: Any) -> Attested:
    """Evidence that fits a file: logged when it was uploaded."""
    return attested(file.upload_time, **changes)


def a_policy(rule: str = "", *, top: str = "", more: str = "") -> Policy:
    """A policy with one rule for all names, whose further keys are `rule`; `top` stands before it, `more` after it."""
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
    **project: Any,
) -> tuple[Verdict, ...]:
    """Judge a page; evidence that isn't given is `default`, None for not known."""
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
    )


def one(policy: Policy, file: File, evidence: Evidence | None = UNATTESTED, **more: Any) -> Verdict:
    """Judge a page of one file."""
    return page(policy, file, default=evidence, **more)[0]


def codes(verdict: Verdict) -> list[ReasonCode]:
    """Why a file is withheld; empty for an approved one.

    Raises:
        AssertionError: undecided.
    """
    assert isinstance(verdict, Approved | Withheld), verdict
    return [reason.code for reason in verdict.reasons] if isinstance(verdict, Withheld) else []


def seen(
    *files: File, at: datetime = NOW, late: bool = False, established: tuple[EstablishedIdentity, ...] = ()
) -> ProjectHistory:
    """A ledger that knows these files."""
    known = {
        file.filename: SeenFile(sha256=file.sha256, first_seen=at, late=late)
        for file in files
        if file.sha256 is not None
    }
    return ProjectHistory(files=known, known=True, established=established)


ENFORCE = a_policy()


def old(*ages: float) -> dict[File, Evidence]:
    """Attested releases by the genuine publisher, so many days old."""
    files = [a_file(f"{number}.0", uploaded=ago(age)) for number, age in enumerate(ages, start=1)]
    return {file: signed(file) for file in files}


def latest(
    evidence: dict[File, Evidence], file: File, found: Evidence | None, policy: Policy = ENFORCE, **more: Any
) -> Verdict:
    """The verdict on `file`, listed beside the files of `evidence`."""
    known = evidence | ({file: found} if found is not None else {})
    return page(policy, *evidence, file, evidence=known, default=None, **more)[-1]


STRANGER: dict[str, Any] = {"repository": "evil/widget", "repository_id": "666"}

# facts of the ledger, and evidence that is not known yet


def fact(file: File, logged: float, identity: str = "repository-id:1001") -> EstablishedIdentity:
    return EstablishedIdentity(
        identity=PublisherIdentity(trust_root="sigstore", issuer=GITHUB, subject=identity),
        filename=file.filename,
        sha256=digest(file.filename),
        logged=ago(logged),
    )
