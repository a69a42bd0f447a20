"""Project page: the answer first, one row for each version, groups of equal verdicts, and a bounded size."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from assay.evidence import Attested, Claims, Evidence, Forged, Rejection, Unattested, Unstated, Unverifiable
from assay.policy.verdict import Approved, ReasonCode, Withheld, approve, state_reason
from assay.simple.model import File, NormalizedName
from assay.simple.namespaces import Namespace
from assay.web.ui.project import VERSIONS_PER_PAGE, ProjectFacts, Selection, render_project_page
from assay.web.ui.releases import FileVerdict, UndecidedFile, build_file_url, build_version_url
from tests.browser.scene import SCRIPT
from tests.world.clients.html_reader import HtmlReader, read_harmless_page
from tests.world.proxy.made_verdicts import UNATTESTED, make_file, make_withheld_files
from tests.world.sigstore.made_evidence import make_attested

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
FOO = NormalizedName("foo")
YOUNG = state_reason(ReasonCode.TOO_YOUNG, "cool down", "the file is 1 day old", until=NOW + timedelta(days=2))


def a_file(version: str | None, tag: str = "py3", **changes: object) -> File:
    return replace(make_file(f"foo-{version}-{tag}-none-any.whl", version), **changes)  # type: ignore[arg-type]  # fields by name


def good(version: str, tag: str = "py3", evidence: Evidence | None = None, **changes: object) -> Approved:
    return approve(a_file(version, tag, **changes), rule="all", evidence=evidence or Unattested())


def bad(version: str | None, tag: str = "py3", reason: object = UNATTESTED, nearest: str | None = None) -> Withheld:
    return Withheld(
        file=a_file(version, tag),
        reasons=(reason,),  # type: ignore[arg-type]  # a reason
        enforced=False,
        rule="attested",
        evidence=Unattested(),
        nearest=nearest,
    )


def waiting(version: str, problem: str | None = None) -> UndecidedFile:
    return UndecidedFile(file=a_file(version), problem=problem)


def rendered(*files: FileVerdict, absence_reason: str | None = None, **selected: object) -> bytes:
    facts = ProjectFacts(name="foo", index="pypi", files=files, absence_reason=absence_reason)
    return render_project_page(facts, Selection(**selected), NOW)  # type: ignore[arg-type]  # fields by name


def shown(*files: FileVerdict, absence_reason: str | None = None, **selected: object) -> HtmlReader:
    return read_harmless_page(rendered(*files, absence_reason=absence_reason, **selected))


def rows(page: HtmlReader) -> list[str]:
    return [each["id"] for tag, each in page.elements if each.get("class", "").startswith("row ") and tag == "details"]


def files(page: HtmlReader) -> list[str]:
    ids = (each.get("id", "") for tag, each in page.elements if tag == "details")
    return [each.removeprefix("file-") for each in ids if each.startswith("file-")]


def groups(body: bytes) -> list[str]:
    return [HtmlReader(f'<div class="{part}'.encode()).text for part in body.decode().split('<div class="group ')[1:]]


@pytest.mark.parametrize(
    ("verdicts", "answer"),
    [
        ([good("1.0"), good("2.0")], "Newest approved: 2.0"),
        ([good("1.0"), good("2.0rc1")], "Newest approved: 1.0"),
        ([good("2.0rc1")], "Newest approved: 2.0rc1"),
        ([good("1.0"), good("2.0", yanked="broken")], "Newest approved: 1.0"),
        ([good("1.0"), bad("2.0")], "Newest approved: 1.0A newer version is not approved: 2.0 (unattested)."),
        (
            [good("1.0"), *(bad(f"{each}.0") for each in range(2, 7))],
            "5 newer versions are not approved: 6.0 (unattested), 5.0 (unattested), 4.0 (unattested), 2 more.",
        ),
        ([good("1.0"), waiting("2.0")], "A newer version is not approved: 2.0 (undecided)."),
        ([bad("1.0")], "The only file is withheld: unattested"),
        ([bad("1.0"), bad("2.0")], "All 2 files are withheld: unattested"),
        (
            [bad("1.0"), bad("2.0"), bad("3.0", reason=YOUNG)],
            "All 3 files are withheld: unattested (2), too-young (1)",
        ),
        ([bad("1.0"), waiting("2.0")], "No version is approved yet: 1 file undecided; 1 file withheld: unattested"),
        ([], "The index lists no files of this project."),
    ],
)
def test_the_first_sentence_is_the_answer(verdicts: list[FileVerdict], answer: str) -> None:
    text = shown(*verdicts).text
    assert answer in text
    assert verdicts == [] or text.index(answer) < text.index("Versions")


@pytest.mark.parametrize("newer", [bad("2.0rc1"), bad("0.9")])
def test_a_pre_release_and_an_older_version_do_not_count_as_newer(newer: Withheld) -> None:
    assert "not approved" not in shown(good("1.0"), newer).text
    assert "not approved" not in shown(good("1.0"), good("2.0"), bad("2.0", "cp311")).text, "in part"


def test_an_absent_project_says_why() -> None:
    assert shown(absence_reason="index acme has no such project").text.count("index acme has no such project") == 1


def test_the_namespaces_of_the_index_are_shown() -> None:
    granted = (Namespace(name="acme<b>", is_owned=True), Namespace(name="acme-tools", is_owned=False))
    facts = ProjectFacts(name="acme-tools-x", index="pypi", files=(), namespaces=granted)
    page = read_harmless_page(render_project_page(facts, Selection(), NOW))
    assert "Namespaces according to the index: acme<b> (owned), acme-tools (not owned)." in page.text
    assert "Namespaces" not in shown().text


def test_the_reasons_are_counted_under_the_answer_with_an_example_if_their_words_differ() -> None:
    older = state_reason(ReasonCode.TOO_YOUNG, "cool down", "the file is 2 days old")
    text = shown(bad("1.0"), bad("1.1"), bad("2.0", reason=YOUNG), bad("2.1", reason=older), bad("2.2")).text
    assert "✗ 3 files unattested (rule: attested): the file has no attestation✗ 2 files too-young" in text
    assert "(rule: cool down): for example, foo-2.0-py3-none-any.whl: the file is 1 day old" in text
    many = [bad(f"{each}.0", reason=replace(YOUNG, rule=f"rule {each}")) for each in range(9)]
    assert "4 files for other reasons" in shown(*many).text


def test_each_version_has_one_folded_row_the_newest_first() -> None:
    page = shown(good("1.0"), good("1.10"), bad("1.9"), bad("1.9", "cp311"), bad(None), waiting("1.2"))
    assert rows(page) == ["version-1.10", "version-1.9", "version-1.2", "version-1.0", "version-none"]
    assert not [each for _, each in page.elements if "open" in each]
    assert "1.9 ✗ 2 withheld unattested · 2026-01-01" in page.text
    assert "1.10 ✓ 1 approved no attestation · 2026-01-01" in page.text
    assert "1.2 … 1 undecided" in page.text
    assert "2.0 ✓ 1 approved yanked · no attestation · 2026-01-01" in shown(good("2.0", yanked="")).text
    states = [each["class"] for tag, each in page.elements if tag == "details" and each.get("id") in rows(page)]
    assert states == ["row approved", "row withheld", "row undecided", "row approved", "row withheld"]
    (mixed,) = rows(both := shown(good("1.0"), bad("1.0", "cp311")))
    assert mixed == "version-1.0"
    assert "1.0 ✗ 1 withheld ✓ 1 approved" in both.text
    assert "row lifted" in [each.get("class") for _, each in both.elements]


def test_files_of_equal_verdict_rule_and_reason_are_one_group() -> None:
    signer = make_attested(datetime(2026, 1, 1, tzinfo=UTC))
    other = make_attested(datetime(2026, 1, 1, tzinfo=UTC), run_url="https://github.com/acme/foo/actions/runs/2")
    body = rendered(
        good("1.0", "cp310", signer),
        bad("1.0", "cp311"),
        good("1.0", "cp312", other),
        bad("1.0", "cp313"),
        good("1.0", "cp314", signer),
        bad("1.0", "cp315", YOUNG),
        bad("1.0", "cp316", nearest="0.9"),
        waiting("1.0", "the index answered 500"),
    )
    found = groups(body)
    assert [each.partition(" · ")[0].partition("the index")[0] for each in found] == [
        "✗ 2 files withheld",
        "✗ 1 file withheld",
        "✗ 1 file withheld",
        "… 1 file undecided",
        "✓ 2 files approved",
        "✓ 1 file approved",
    ]
    assert found[0].count("the file has no attestation") == 1
    assert "foo-1.0-cp311-none-any.whl" in found[0]
    assert "foo-1.0-cp313-none-any.whl" in found[0]
    assert "withheld until2026-07-03 12:00 UTC" in found[1]
    assert "nearest approved version: 0.9" in found[2]
    assert found[4].count("published by") == 1
    assert found[4].count("entry 7 of the log") == 2


def test_a_selected_version_is_above_the_rows_with_all_its_files() -> None:
    verdicts = [bad(f"1.{minor}", f"cp{tag}") for minor in range(60) for tag in range(10, 40)]
    plain, page = shown(*verdicts), shown(*verdicts, version="1.7.0")
    assert len(files(plain)) == 60, "of the newest two versions"
    assert files(page) == [f"foo-1.7-cp{tag}-none-any.whl" for tag in range(10, 40)]
    assert page.text.index("Version 1.7") < page.text.index("Versions")
    ids = [each["id"] for _, each in page.elements if "id" in each]
    assert len(ids) == len(set(ids))
    assert "version-1.7" not in rows(page)
    assert "#version-1.7" in page.links
    assert "page 2 of 2" in page.text
    assert {f"?version=1.{minor}#version-1.{minor}" for minor in range(7)} <= set(page.links)


def test_the_files_without_a_version_can_be_selected() -> None:
    strange = replace(bad(None), file=a_file(None, filename="foo.whl"))
    assert files(shown(*(bad(f"{each}.0") for each in range(70)), strange, version="none")) == ["foo.whl"]
    assert build_file_url("../", FOO, strange.file) == "../project/foo?version=none#file-foo.whl"
    assert build_version_url("", FOO, "1.0+cpu") == "project/foo?version=1.0%2Bcpu#version-1.0+cpu"


def test_only_withheld_files_are_shown_on_request() -> None:
    verdicts: list[FileVerdict] = [good("1.0"), bad("2.0"), good("2.0", "cp311"), good("3.0")]
    everything, page = shown(*verdicts), shown(*verdicts, only_withheld=True)
    assert rows(everything) == ["version-3.0", "version-2.0", "version-1.0"]
    assert rows(page) == ["version-2.0"]
    assert files(page) == ["foo-2.0-py3-none-any.whl"]
    assert "3 versions: 3 files approved, 1 withheld." in page.text, "the counts are of all files"
    current = [each["href"] for _, each in page.elements if each.get("aria-current") == "true"]
    assert current == ["?only=withheld"]
    assert [each["href"] for _, each in everything.elements if each.get("aria-current") == "true"] == ["foo"]
    assert "The index lists no version 3 with withheld files." in shown(*verdicts, only_withheld=True, version="3").text
    many = shown(*(bad(f"{each}.0") for each in range(VERSIONS_PER_PAGE + 1)), only_withheld=True)
    assert "?page=2&only=withheld" in many.links
    assert [each["value"] for tag, each in many.elements if each.get("name") == "only"] == ["withheld"]


def test_the_field_for_a_version_suggests_the_versions() -> None:
    page = shown(*(good(f"{each}.0") for each in range(VERSIONS_PER_PAGE + 3)))
    options = [each["value"] for tag, each in page.elements if tag == "option"]
    assert options == [f"{each}.0" for each in reversed(range(VERSIONS_PER_PAGE + 3))]
    forms = [each for tag, each in page.elements if tag == "form" and each["action"] == "foo"]
    assert [each["method"] for each in forms] == ["get"]


def test_the_picture_of_publishers_is_shown_if_one_is_known() -> None:
    assert "No file has an attestation, so no publisher is known." in shown(bad("1.0")).text
    page = shown(bad("1.0"), good("2.0", "py3", make_attested(NOW)))
    assert "svg" in [tag for tag, _ in page.elements]


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (Forged(step="signature", expected="a valid one", found=SCRIPT), f"expecteda valid onefound{SCRIPT}"),
        (Unverifiable(reason="an unknown log"), "not verifiablean unknown log"),
        (Unstated(index="pypi"), "It is unknown if the files have attestations: index pypi carries no provenance"),
        (Unattested(), "No attestation."),
        (None, "The provenance was not examined, because it could not change the verdict."),
    ],
)
def test_a_group_says_what_its_evidence_is(evidence: Evidence | None, words: str) -> None:
    (group,) = groups(rendered(approve(a_file("1.0"), rule="all", evidence=evidence)))
    assert words in group


def test_an_exception_is_said_with_what_it_lifts() -> None:
    lifted = approve(
        a_file("1.0"), rule="all", evidence=Unattested(), lifted_reasons=(UNATTESTED,), notes=("waiver x",)
    )
    (group,) = groups(rendered(lifted))
    assert "✓ 1 file approved by exception · rule: all" in group
    assert "approved despite unattested: the file has no attestationwaiver x" in group
    assert "1.0 ✓ 1 approved by exception" in shown(lifted).text


def test_publishers_without_a_time_make_no_picture() -> None:
    forged = Forged(step="signature", expected="x", found="y")
    page = shown(approve(a_file("1.0", upload_time=None), rule="all", evidence=forged))
    assert "No file of this project has a publication time." in page.text
    assert "svg" not in [tag for tag, _ in page.elements]


def test_a_page_of_thousands_of_withheld_files_is_small() -> None:
    verdicts = make_withheld_files(160, 24)
    assert len(verdicts) == 3840
    for selected in ({}, {"version": "9.0.3"}, {"page": 4}, {"only_withheld": True}):
        assert len(rendered(*verdicts, **selected)) < 150_000, selected


def test_a_hostile_page_of_long_names_and_different_reasons_is_bounded() -> None:
    long = "x" * 3000
    verdicts = [
        Withheld(
            file=a_file(f"1.{number % 300}", filename=f"{number}{long}"),
            reasons=(state_reason(ReasonCode.BAD_ENTRY, None, f"{number}{long}"),),
            enforced=True,
        )
        for number in range(6000)
    ]
    assert len(rendered(*verdicts)) < 1_000_000
    assert len(rendered(*verdicts, version="1.7")) < 1_000_000


def test_attestations_of_one_file_share_what_their_claims_say() -> None:
    evidence = make_attested(NOW)
    twice = Attested(attestations=(evidence.attestations[0], replace(evidence.attestations[0], log_index=8)))
    text = shown(good("1.0", "py3", twice)).text
    assert text.count("published by") == 1
    assert "entry 7 of the log" in text
    assert "entry 8 of the log" in text
    claims: Claims = replace(evidence.attestations[0].claims, repository="acme/other")
    two = Attested(attestations=(evidence.attestations[0], replace(evidence.attestations[0], claims=claims)))
    assert shown(good("1.0", "py3", two)).text.count("published by") == 2


def test_a_statement_that_is_no_provenance_names_no_publisher_and_a_rejected_bundle_is_shown() -> None:
    (one,) = make_attested(NOW).attestations
    scan = replace(one, predicate_type="https://acme.example/scan/v1", source="bundles")
    rejection = Rejection(step="signature", expected="a valid signature", found=SCRIPT, source="bundles")
    text = shown(good("1.0", "py3", Attested(attestations=(one, scan), rejected=(rejection,)))).text
    assert text.count("published by") == text.count("other statement by") == 1
    assert text.count("evidence frombundles") == 1
    assert f"rejected bundleof bundles; failed check: signatureexpecteda valid signaturefound{SCRIPT}" in text
    plain = rendered(good("1.0", "a"), good("1.0", "b", Unattested(rejected=(rejection,))))
    assert len(groups(plain)) == 1
