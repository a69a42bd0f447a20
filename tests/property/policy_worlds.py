"""Random input for judgements: pages of files, evidence, ledgers, rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from hypothesis import strategies as st

from assay.advisories.model import Advisory
from assay.evidence import (
    PUBLISH_PREDICATE_TYPE,
    SLSA_PREDICATE_TYPE,
    Attestation,
    Attested,
    Evidence,
    Unattested,
    Unstated,
    Unverifiable,
)
from assay.policy.judge import IndexFacts, derive_ledger_changes, judge_page, judge_page_in_mode
from assay.policy.language import document
from assay.policy.language.model import Policy
from assay.policy.requirements.registry import REQUIREMENTS
from assay.policy.verdict import ReasonCode, Verdict, Withheld
from assay.ports import ProjectHistory, SeenFile
from assay.simple.model import File, Kind, Project, ProjectStatus, Sha256
from tests.unit.policy.factories import (
    FORGED,
    INDEX,
    NOW,
    a_file,
    a_project,
    an_advisory,
    attestation,
    claims,
    days,
    digest,
)

GENERATED: dict[str, tuple[str, ...]] = {
    "indexes": ('indexes = ["pypi"]', 'indexes = ["internal"]'),
    "trust": ('trust = ["sigstore"]', 'trust = ["internal"]'),
    "attestations": (
        'attestations = "required"\npublishers = "any"',
        'attestations = "if-present"',
        'attestations = "required"\npublishers = "any"\nevidence = ["index"]',
    ),
    "publishers": ('publishers = [{ kind = "GitHub", repository = "octo/*" }]',),
    "predicates": ('predicates = ["publish", "slsa"]\npublishers = "any"',),
    "builder": ('builder = ["https://github.com/octo/**"]\npublishers = "any"',),
    "countersigned": ('countersigned = [{ key = "security", predicate = "https://acme.example/review/v1" }]',),
    "min-age": ('min-age = "3 days"', 'min-age-attested = "1 day"'),
    "uploaded-before": ("uploaded-before = 2026-11-15",),
    "ratchet": (
        'ratchet = "warn"',
        'ratchet = "off"',
        'ratchet-settle = "2 days"',
        'ratchet-except = "<2"',
        'ratchet-scope = "line"',
    ),
    "late-files": ('late-files = "5 days"',),
    "types": ('types = ["wheel"]',),
    "yanked": ('yanked = "deny"',),
    "project-status": ('project-status = ["active"]',),
    "metadata": ('metadata = "wheel"',),
    "release": ('release = "whole"',),
}
"""Keys of rules by the word that lifts them; a test compares it with the registry. Worlds have files that fail each."""
RULE_KEYS = tuple(key for each in REQUIREMENTS for key in GENERATED.get(each.lift, ()))
EVERYTHING = ", ".join(f'"{each.lift}"' for each in REQUIREMENTS)
REVOCATIONS = (
    'publishers = [{ kind = "GitHub", repository = "evil/widget" }]',
    'publishers = [{ kind = "GitHub", repository = "octo/*" }]\nsigned-from = 2026-11-10\nsigned-until = 2026-11-12',
    'projects = ["widget"]\nversions = "==2"',
)


ADVISORIES = (
    an_advisory("MAL-2026-1", versions=["2.0"]),
    an_advisory("MAL-2026-2", introduced="3.0"),
    an_advisory("PYSEC-2026-3"),
)
IGNORED = ("2026-11-20", "2026-11-22", "2026-12-31")
"""Ends of exceptions for MAL-2026-1: one has expired at `NOW`."""


@lru_cache(maxsize=512)
def load_policy(text: str) -> Policy:
    """Parse a policy; cached, because parsing is not under test here."""
    return document.load_policy(text, "policy.toml")


@dataclass(frozen=True)
class World:
    """Input of a judgement."""

    rule: str
    more: str
    project: Project
    evidence: dict[Any, Evidence]
    history: ProjectHistory
    now: datetime = NOW
    index: IndexFacts = INDEX
    mismatched: frozenset[Sha256] = frozenset()
    """Digests of wheels whose own METADATA differs from the metadata of the index."""
    advisories: tuple[Advisory, ...] = ()
    top: str = ""
    """Keys of the policy that precede its tables."""

    def policy(self, *, rule: str = "", before: str = "", more: str = "", top: str = "") -> Policy:
        head = f"version = 1\n{self.top}\n{top}\n{before}\n"
        text = f'[[rules]]\nname = "all"\nprojects = ["*"]\n{self.rule}\n{rule}\n'
        return load_policy(f"{head}{text}{self.more}\n{more}\n")

    def judge(self, policy: Policy | None = None, **changes: Any) -> tuple[Verdict, ...]:
        given_: dict[str, Any] = {"history": self.history, "evidence": self.evidence, "now": self.now} | changes
        project = given_.pop("project", self.project)
        return judge_page(
            policy or self.policy(),
            project,
            index=self.index,
            mismatched_wheels=self.mismatched,
            advisories=self.advisories,
            **given_,
        )


def kinds(verdicts: tuple[Verdict, ...]) -> list[str]:
    return [type(each).__name__ for each in verdicts]


def codes(verdict: Verdict) -> list[ReasonCode]:
    return [reason.code for reason in verdict.reasons] if isinstance(verdict, Withheld) else []


ARCHIVED = ProjectStatus(status="archived", reason="gone")
UNSTATED = Unstated(index="test")
OTHERWISE = (None, None, None, Unattested(), Unattested(), FORGED, Unverifiable(reason="an unknown log"), UNSTATED)
MISMATCHED = st.sampled_from([False] * 9 + [True])
AGES = st.sampled_from([0.1, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60])


@st.composite
def files(draw: st.DrawFn) -> File:
    kind = draw(st.sampled_from([Kind.WHEEL, Kind.WHEEL, Kind.SDIST]))
    uploaded = NOW - days(draw(AGES))
    file = a_file(draw(st.sampled_from(["1.0", "2.0", "3.0", "4.0", "5.0"])), kind=kind, uploaded=uploaded)
    changes: list[dict[str, Any]] = [{}] * 6 + [
        {"upload_time": None},
        {"yanked": "bad"},
        {"url": f"https://evil.example/{file.filename}"},
        {"sha256": None},
        {"upload_time": NOW + days(1)},
        {"sha256": digest("other")},
    ]
    return replace(file, **draw(st.sampled_from(changes)))


@st.composite
def attestations(draw: st.DrawFn, file: File) -> Attested:
    made: list[Attestation] = []
    for bundle in range(draw(st.integers(min_value=1, max_value=2))):
        said = draw(
            st.sampled_from(
                [
                    claims(),
                    claims(),
                    claims(repository="evil/widget", repository_id="666"),
                    claims(kind=None, repository=None, repository_id=None, email="me@example.org"),
                    claims(kind="GitLab", issuer="https://gitlab.com", repository_id="5"),
                ]
            )
        )
        logged = (file.upload_time or NOW - days(draw(AGES))) + timedelta(minutes=draw(st.sampled_from([-5, 5, 90])))
        made.extend(
            attestation(logged, claims=said, bundle=bundle, predicate_type=predicate)
            for predicate in draw(
                st.sampled_from(
                    [(PUBLISH_PREDICATE_TYPE,), (PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE), (SLSA_PREDICATE_TYPE,)]
                )
            )
        )
    return Attested(attestations=tuple(made))


@st.composite
def worlds(draw: st.DrawFn, *, revocations: bool = True) -> World:
    """Draw a world; without `revocations`, neither revocations nor advisories cover its files."""
    stated: dict[str, str] = {}
    for keys in draw(st.lists(st.sampled_from(RULE_KEYS), max_size=6)):
        for line in keys.splitlines():
            stated.setdefault(line.partition(" ")[0], line)
    if 'attestations = "if-present"' in stated.values() and stated.keys() & {"publishers", "predicates", "builder"}:
        del stated["attestations"]  # a contradiction
    revoked = draw(st.lists(st.sampled_from(REVOCATIONS), max_size=1)) if revocations else []
    advisories = draw(st.lists(st.sampled_from(ADVISORIES), max_size=2, unique=True)) if revocations else []
    ignored = draw(st.lists(st.sampled_from(IGNORED), max_size=2)) if advisories else []
    listed = draw(st.lists(files(), max_size=6))
    evidence: dict[Any, Evidence] = {}
    for file in listed:
        genuine = draw(attestations(file))
        other = draw(
            st.sampled_from(
                [None, None, None, Unattested(), Unattested(), FORGED, Unverifiable(reason="log"), UNSTATED]
            )
        )
        evidence[file.filename, file.sha256] = other or genuine
    known = draw(st.booleans())
    ledger = {
        file.filename: SeenFile(
            sha256=digest(file.filename), first_seen=NOW - days(draw(AGES)), late=draw(st.booleans())
        )
        for file in listed
        if known and draw(st.booleans())
    }
    return World(
        rule="\n".join(stated.values()),
        more="\n".join(
            (
                *(f'[[revocations]]\n{each}\nreason = "stolen"' for each in revoked),
                *(f'[[ignored-advisories]]\nid = "MAL-2026-1"\nreason = "x"\nexpires = {each}' for each in ignored),
            )
        ),
        top=draw(st.sampled_from(("", "", "", 'malware = "note"'))),
        advisories=tuple(advisories),
        project=a_project(*listed, status=draw(st.sampled_from([None, ARCHIVED]))),
        evidence=evidence,
        history=ProjectHistory(known=known, files=ledger),
        mismatched=frozenset(file.sha256 for file in listed if file.sha256 and draw(MISMATCHED)),
    )


def waiver(expires: str) -> str:
    return (
        f'[[waivers]]\nprojects = ["*"]\nuploaded-before = 2030-01-01\nexpires = {expires}\nreason = "x"\n'
        f"lifts = [{EVERYTHING}]"
    )


def decide(world: World, policy: Policy, evidence: dict[Any, Evidence]) -> tuple[Verdict, ...]:
    return judge_page_in_mode(
        policy,
        world.project,
        index=world.index,
        history=world.history,
        evidence=evidence,
        now=world.now,
        mismatched_wheels=world.mismatched,
        advisories=world.advisories,
    )


def learned(world: World, policy: Policy | None = None) -> ProjectHistory:
    """Return the history of the ledger after this page was judged."""
    chosen = policy or world.policy()
    added = derive_ledger_changes(
        chosen,
        world.project,
        index=world.index,
        history=world.history,
        verdicts=world.judge(chosen),
        evidence=world.evidence,
        now=world.now,
        mismatched_wheels=world.mismatched,
        advisories=world.advisories,
    )
    return ProjectHistory(
        known=True,
        files={**added.files, **world.history.files},
        signers=(*world.history.signers, *added.signers),
        publishers=(*world.history.publishers, *added.publishers),
    )
