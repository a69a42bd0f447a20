"""PyPI's six words: each with its neighbour that gets another word, and laws that hold for any history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from assay.evidence import Attested, Evidence, Forged, Unattested, Unstated, Unverifiable
from assay.publishers.release_provenance import (
    ALARMING_WORDS,
    ProvenanceWord,
    ReleaseFile,
    classify_releases,
    get_publication_time,
)
from tests.unit.policy.factories import attested

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
GENUINE = attested(repository="acme/widget", repository_id="1", workflow=".github/workflows/release.yml")
RENAMED = attested(repository="acme/gadget", repository_id="1", workflow=".github/workflows/release.yml")
OTHER_WORKFLOW = attested(repository="acme/widget", repository_id="1", workflow=".github/workflows/other.yml")
STRANGER = attested(repository="mallory/widget", repository_id="2", workflow=".github/workflows/release.yml")
BARE, FORGED = Unattested(), Forged(step="signature", expected="valid", found="invalid")
UNREADABLE, UNSTATED = Unverifiable(reason="an unknown log"), Unstated(index="mirror")
UNKNOWN: list[Evidence | None] = [UNREADABLE, UNSTATED, None]
ALL: list[Evidence | None] = [GENUINE, RENAMED, OTHER_WORKFLOW, STRANGER, BARE, FORGED, *UNKNOWN]


def classify(*releases: Sequence[Evidence | None]) -> list[str]:
    """Return the words of releases 1, 2, 3 …, given the evidence of the files of each, one day after the other."""
    files = [
        ReleaseFile(version=Version(str(number)), time=BEGIN + timedelta(days=number), evidence=evidence)
        for number, release in enumerate(releases, start=1)
        for evidence in release
    ]
    found = classify_releases(files)
    return [found[Version(str(number))].text for number, release in enumerate(releases, start=1) if release]


@pytest.mark.parametrize(
    ("releases", "words"),
    [
        ([[BARE, BARE]], ["no"]),
        ([[FORGED]], ["no"]),
        ([[GENUINE, GENUINE]], ["full"]),
        ([[GENUINE, BARE]], ["partial"]),
        ([[GENUINE, FORGED]], ["partial"]),
        ([[GENUINE, STRANGER]], ["full, inconsistent"]),
        ([[GENUINE, OTHER_WORKFLOW]], ["full, inconsistent"]),
        ([[GENUINE, RENAMED]], ["full"]),
        ([[GENUINE, STRANGER, BARE]], ["partial, inconsistent"]),
        ([[GENUINE], [BARE]], ["full", "no, lost"]),
        ([[GENUINE], [BARE], [BARE]], ["full", "no, lost", "no, lost"]),
        ([[BARE], [GENUINE]], ["no", "full"]),
        ([[GENUINE], [STRANGER]], ["full", "full, changed"]),
        ([[GENUINE], [OTHER_WORKFLOW]], ["full", "full, changed"]),
        ([[GENUINE], [RENAMED]], ["full", "full"]),
        ([[GENUINE], [BARE], [STRANGER]], ["full", "no, lost", "full, changed"]),
        ([[GENUINE], [BARE], [GENUINE]], ["full", "no, lost", "full"]),
        ([[GENUINE], [GENUINE, STRANGER]], ["full", "full, inconsistent, changed"]),
        ([[GENUINE, BARE], [GENUINE]], ["partial", "full"]),
    ],
)
def test_words_of_releases(releases: list[list[Evidence | None]], words: list[str]) -> None:
    assert classify(*releases) == words


@pytest.mark.parametrize("unknown", UNKNOWN, ids=["unverifiable", "unstated", "not examined"])
def test_what_is_unknown_never_makes_a_release_worse_or_better(unknown: Evidence | None) -> None:
    assert classify([unknown]) == ["unknown"]
    assert classify([GENUINE, unknown]) == ["unknown"], "neither full nor partial"
    assert classify([BARE, unknown]) == ["unknown"], "neither no nor partial"
    assert classify([GENUINE, BARE, unknown]) == ["partial"]
    assert classify([GENUINE], [unknown]) == ["full", "unknown"], "not lost"
    assert classify([GENUINE], [BARE, unknown]) == ["full", "unknown"], "not lost"
    assert classify([GENUINE, STRANGER], [GENUINE, unknown])[1] == "unknown", "the stranger may have signed this, too"
    assert classify([GENUINE, unknown], [GENUINE, STRANGER])[1] == "full, inconsistent"
    assert classify([GENUINE], [STRANGER, unknown])[1] == "changed", "proven in any case"


def test_releases_are_compared_in_the_order_of_time_and_not_of_versions() -> None:
    files = [
        ReleaseFile(version=Version("2.0"), time=BEGIN, evidence=GENUINE),
        ReleaseFile(version=Version("1.9"), time=BEGIN + timedelta(days=1), evidence=BARE),
        ReleaseFile(version=Version("1.8"), time=BEGIN - timedelta(days=1), evidence=BARE),
        ReleaseFile(version=Version("1.7"), time=None, evidence=BARE),
    ]
    found = {str(version): each.text for version, each in classify_releases(files).items()}
    assert found == {"1.8": "no", "2.0": "full", "1.9": "no, lost", "1.7": "no"}


def test_counts_and_publishers() -> None:
    files = [ReleaseFile(version=Version("1"), time=BEGIN, evidence=each) for each in ALL]
    (found,) = classify_releases(files).values()
    assert (found.attested, found.unattested, found.unknown) == (4, 2, 3)
    assert set(found.publishers) == {"acme/gadget", "acme/widget", "mallory/widget"}


def test_the_time_of_an_attested_file_is_its_log_time() -> None:
    logged, stated = BEGIN + timedelta(days=3), BEGIN
    assert get_publication_time(attested(logged), stated) == logged
    assert get_publication_time(BARE, stated) == stated
    assert get_publication_time(None, None) is None


evidences = st.sampled_from(ALL)
histories = st.lists(st.lists(evidences, min_size=1, max_size=4), min_size=1, max_size=6)


@given(histories)
def test_a_release_has_one_base_word_and_alarms_only_with_proof(history: list[list[Evidence | None]]) -> None:
    words = [set(each.split(", ")) for each in classify(*history)]
    for number, (release, found) in enumerate(zip(history, words, strict=True)):
        proven = [each for each in release if isinstance(each, Attested)]
        known = [each for each in release if isinstance(each, Attested | Unattested | Forged)]
        earlier = [each for before in history[:number] for each in before if isinstance(each, Attested)]
        assert len(found & {"no", "full", "partial", "unknown"}) <= 1
        assert ("no" in found) == (not proven and len(known) == len(release))
        assert ("full" in found) == (len(proven) == len(release))
        assert ("partial" in found) == bool(proven and len(known) > len(proven))
        assert ("lost" in found) == ("no" in found and bool(earlier))
        assert "changed" not in found or (proven and earlier)


@given(histories, st.randoms())
def test_the_order_of_files_is_irrelevant(history: list[list[Evidence | None]], random: object) -> None:
    shuffled = [sorted(release, key=lambda _: random.random()) for release in history]  # type: ignore[attr-defined]
    assert classify(*shuffled) == classify(*history)


@given(histories, st.data())
def test_losing_sight_of_a_file_adds_no_alarm_to_its_own_release(
    history: list[list[Evidence | None]], data: st.DataObject
) -> None:
    last = len(history) - 1
    place = data.draw(st.integers(0, len(history[last]) - 1))
    blind = [*history[:last], [*history[last][:place], None, *history[last][place + 1 :]]]
    before, after = set(classify(*history)[-1].split(", ")), set(classify(*blind)[-1].split(", "))
    assert after & {str(each) for each in ALARMING_WORDS} <= before
    assert ProvenanceWord.FULL not in after
