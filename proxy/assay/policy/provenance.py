"""Chain of attestation checks, which finds the attestations that count under a rule; and the sources to ask. Pure.

A file passes if one bundle of attestations matches a publisher, has all `predicates` and meets all other requirements.
Only attestations that prove who published or built the file take part: PyPI Publish and SLSA provenance. Each check
passes the matching attestations on to the next check. If no attestation matches, the check fails and passes
all attestations on. The next check is then still made, so a waiver of the failed requirement lifts no other
requirement.

The questions to other sources than the index come from the rule and from the settings of the source: a source is asked
only about repositories that one of them names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from assay.evidence import (
    Attestation,
    Attested,
    Evidence,
    Forged,
    Unverifiable,
    make_question,
)
from assay.policy.candidate import SourceFacts
from assay.policy.requirements.base import AttestationCheck
from assay.policy.verdict import Reason
from assay.publishers.base import PublisherTable
from assay.publishers.globs import compile_glob, lower_ascii
from assay.publishers.registry import get_table_kind
from assay.simple.model import NormalizedName

Selection: TypeAlias = tuple[tuple[Attestation, ...], tuple[Reason, ...]]
"""Attestations that count, and the reasons of the attestation checks that fail."""

_NOTHING: Selection = ((), ())
MAX_QUESTIONS: Final = 20
"""Maximum number of repositories that one source is asked about for one project. Further ones are not asked."""


def select_attestations(
    evidence: Evidence | None, links: tuple[AttestationCheck, ...], sources: frozenset[str] | None = None
) -> Selection:
    """Return the attestations that pass all `links` of the chain, and the reasons of the links that fail.

    A link fails if no attestation passes it. A file whose attestations all have other predicate types, or come from
    other sources, is checked like one without attestations. If the evidence is unknown or forged, return no
    attestations and no reasons.

    Args:
        evidence: evidence of the file; None if unknown.
        links: checks of the rule.
        sources: names of the sources whose attestations count under the rule; None: those of all sources.
    """
    if isinstance(evidence, Attested):
        counted = evidence.provenance
        if sources is not None:
            counted = tuple(each for each in counted if each.source in sources)
        if counted:
            return _run_chain(counted, links)
    if evidence is None or isinstance(evidence, Forged):
        return _NOTHING
    found: tuple[Reason, ...] = ()
    for link in links:
        if (absence := link.check_absence(evidence)) is not None:
            found += (absence,)
    return ((), found) if found else _NOTHING


def _run_chain(attestations: tuple[Attestation, ...], links: tuple[AttestationCheck, ...]) -> Selection:
    failures: tuple[Reason, ...] = ()
    for link in links:
        attestations, failure = link.narrow(attestations)
        if failure is not None:
            failures += (failure,)
    return attestations, failures


def find_questions(
    publishers: tuple[PublisherTable, ...] | None,
    counted: frozenset[str] | None,
    sources: Iterable[SourceFacts],
    project: NormalizedName,
) -> frozenset[str]:
    """Return the questions to sources beside the index whose answers the rule of a project would count.

    A source is asked about each repository that the rule names without wildcards, and about the repository in its
    settings if the rule permits it. It is asked only about publishers of its issuer.

    Args:
        publishers: publishers that the rule names; None if it permits any publisher.
        counted: names of the sources that count under the rule; None: all.
        sources: the configured sources.
        project: the project.
    """
    found: list[str] = []
    for source in sources:
        if counted is not None and source.name not in counted:
            continue
        if source.publisher_kind is None:
            found.append(source.name)
        else:
            names = dict.fromkeys(_list_repositories(publishers, source, project))
            found += [make_question(source.name, each) for each in list(names)[:MAX_QUESTIONS]]
    return frozenset(found)


def _list_repositories(
    publishers: tuple[PublisherTable, ...] | None, source: SourceFacts, project: NormalizedName
) -> Iterator[str]:
    configured = source.repositories.get(project)
    if publishers is None:
        if configured is not None:
            yield configured
        return
    for each in publishers:
        kind = get_table_kind(each)
        if kind.name != source.publisher_kind or each.issuer.rstrip("/") != source.issuer:
            continue
        name: str | None = getattr(each, kind.name_key)
        if name is not None and not {"*", "?"} & set(name):
            yield lower_ascii(name)
        elif configured is not None and (name is None or compile_glob(name, ignore_case=True)(configured)):
            yield configured


def collect_provenance_notes(
    evidence: Evidence, attestations: tuple[Attestation, ...], links: tuple[AttestationCheck, ...]
) -> tuple[str, ...]:
    """Return notes on the attestations that count. If evidence could not be verified, return a note on it.

    Notes do not affect the verdict.
    """
    if attestations:
        notes: tuple[str, ...] = ()
        for link in links:
            if found := link.note(attestations):
                notes += found
        return notes
    if isinstance(evidence, Unverifiable):
        return (f"the file's attestation is ignored, because Assay cannot verify it: {evidence.reason}",)
    return ()
