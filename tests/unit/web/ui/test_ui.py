"""HTML pages: words for every part of a policy, safe rendering of any text, and the timeline. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from assay.evidence import (
    PUBLISH_PREDICATE_TYPE,
    Evidence,
    Forged,
    Unattested,
)
from assay.policy.language.document import load_policy
from assay.policy.language.model import Showing
from assay.policy.verdict import Approved, ReasonCode, Withheld, approve, state_reason
from assay.publishers.base import PublisherKind
from assay.publishers.registry import PUBLISHER_KINDS
from assay.simple.model import Distribution, File, Kind, NormalizedName, ProjectStatus, Sha256
from assay.web.ui.markup import element, escape_text, is_safe_web_url, join_markup, link_if_safe
from assay.web.ui.policy import render_policy_page
from assay.web.ui.project import ProjectFacts, Selection, render_project_page
from assay.web.ui.timeline import collect_marks, find_publisher_changes, render_timeline
from tests.browser.scene import IMAGE, SCRIPT
from tests.world.clients.html_reader import HtmlReader, read_harmless_page
from tests.world.sigstore.made_evidence import make_attested

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_every_key_of_a_rule_and_every_kind_of_revocation_has_words() -> None:
    policy = load_policy(
        """
        version = 1
        mode = "audit"
        [defaults]
        min-age = "1 day"
        [[rules]]
        projects = ["a"]
        mode = "enforce"
        publishers = "any"
        predicates = ["publish"]
        builder = ["https://github.com/acme/ci/**"]
        min-age-attested = "2 hours"
        uploaded-before = 2026-11-20
        ratchet = "warn"
        late-files = "7 days"
        indexes = ["pypi"]
        trust = ["sigstore"]
        project-status = ["active"]
        yanked = "deny"
        metadata = "wheel"
        release = "whole"
        pins = ["0000000000000000000000000000000000000000000000000000000000000000"]
        pinned-only = true
        [[revocations]]
        publishers = [{ kind = "GitHub", repository = "victim/project" }]
        signed-from = 2026-11-01T00:00:00Z
        reason = "stolen"
        [[revocations]]
        log-index-from = 5
        log-index-until = 9
        log = "https://rekor.sigstore.dev/"
        reason = "range"
        [[revocations]]
        certificates = ["1111111111111111111111111111111111111111111111111111111111111111"]
        reason = "certificate"
        """,
        "policy.toml",
    )
    found = read_harmless_page(render_policy_page(policy, policy.withheld, NOW))
    for said in (
        "Audit mode",
        "This rule is in enforce mode",
        "is attested by any Trusted Publisher",
        f"has attestations of the predicate type {PUBLISH_PREDICATE_TYPE}",
        "was built by https://github.com/acme/ci/**",
        "is at least 1 day old",
        "or is at least 2 hours old, if an established publisher signed it",
        "was uploaded before 2026-11-21 00:00 UTC",
        "approved with a note",
        "was added at most 7 days after",
        "comes from pypi",
        "has an attestation verified with the trust root sigstore",
        "belongs to a project whose status is active",
        "is not yanked",
        "only from the verified wheel",
        "whose version has a withheld wheel",
        "is the file pinned by digest; no other file is approved",
        "signed by GitHub victim/project from 2026-11-01 00:00 UTC",
        "entries of the log rekor.sigstore.dev from index 5 to before index 9",
        "certificates listed by SHA-256: 1",
    ):
        assert said in found.text, said
    nothing = read_harmless_page(render_policy_page(load_policy("version = 1", "policy.toml"), Showing.STOP, NOW))
    assert "nothing is approved" in nothing.text


@pytest.mark.parametrize(
    ("top", "said"),
    [
        ("", "A malware advisory withholds the files that it covers, in every mode. Other advisories are shown"),
        (
            'malware = "note"\nadvisories = "off"',
            "is only shown, and withholds nothing. Other advisories are not",
        ),
    ],
)
def test_the_policy_page_says_what_advisories_do(top: str, said: str) -> None:
    ignored = '[[ignored-advisories]]\nid = "MAL-2026-1"\nreason = "about another project"\nexpires = 2020-01-01'
    policy = load_policy(f"version = 1\n{top}\n{ignored}", "policy.toml")
    text = read_harmless_page(render_policy_page(policy, policy.withheld, NOW)).text
    for part in (said, "MAL-2026-1", "✗ expired 2020-01-02 00:00 UTC", "about another project"):
        assert part in text
    nothing = read_harmless_page(render_policy_page(load_policy("version = 1", "policy.toml"), Showing.STOP, NOW))
    assert "The policy ignores no advisories." in nothing.text


def test_a_rule_says_first_who_must_have_signed_and_last_what_the_ratchet_does() -> None:
    policy = load_policy(
        """
        version = 1
        [[rules]]
        projects = ["a"]
        indexes = ["pypi"]
        trust = ["sigstore"]
        publishers = [
            { kind = "GitHub", repository = "octo/a" },
            { kind = "GitHub", repository = "octo/b" },
        ]
        min-age = "1 day"
        late-files = "7 days"
        types = ["wheel", "sdist"]
        yanked = "deny"
        project-status = ["active"]
        metadata = "wheel"
        release = "whole"
        """,
        "policy.toml",
    )
    text = read_harmless_page(render_policy_page(policy, policy.withheld, NOW)).text
    phrases = (
        "is attested by one of",
        "GitHub octo/a",
        "GitHub octo/b",
        "is at least 1 day old",
        "was added at most 7 days after the first file of its version",
        "comes from pypi",
        "has an attestation verified with the trust root sigstore",
        "has the file type wheel or sdist",
        "belongs to a project whose status is active",
        "is not yanked",
        "has its metadata served only from the verified wheel",
        "is not a source archive whose version has a withheld wheel",
        "is attested by an established publisher, if the project has one",
    )
    assert sorted(map(text.index, phrases)) == [text.index(each) for each in phrases]


def a_file(filename: str = "foo-1.0.tar.gz", version: str = "1.0", **changes: object) -> File:
    distribution = Distribution(project=NormalizedName("foo"), version=Version(version), kind=Kind.SDIST)
    file = File(
        filename=filename,
        url="https://files.example/foo",
        location="files.example/foo",
        route="files.example/foo",
        distribution=distribution,
        sha256=Sha256("0" * 64),
        upload_time=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return replace(file, **changes)  # type: ignore[arg-type] # fields by name


def good(evidence: Evidence | None = None, **changes: object) -> Approved:
    return approve(a_file(**changes), rule="all", evidence=evidence)  # type: ignore[arg-type] # fields by name


def shown(*verdicts: Approved | Withheld, status: ProjectStatus | None = None) -> HtmlReader:
    facts = ProjectFacts(name="foo", index="pypi", files=verdicts, status=status)
    return read_harmless_page(render_project_page(facts, Selection(), NOW))


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "//evil.example/acme/foo",
        "/acme/foo",
        "https:evil.example",
        "https://",
        "https://github.com@evil.example/",
        "https:\\\\evil.example",
        "https://github.com\\@evil.example",
        "https://evil.example/\nx",
        "https://evil.example/ x",
        "https://gïthub.com/acme",
        "https://github.com/\u202ecba",
        "ftp://github.com/acme",
        "https://[/",
        "https://github.com/" + "a" * 3000,
    ],
)
def test_only_plain_web_addresses_of_verified_claims_become_links(address: str) -> None:
    assert not is_safe_web_url(address)
    found = shown(good(make_attested(repository_uri=address, run_url=address, digest="ab" * 20)))
    assert [link for link in found.links if "evil" in link or "github" in link or "alert" in link] == []
    assert is_safe_web_url("https://github.com/acme/foo")
    honest = shown(good(make_attested(repository_uri="https://github.com/acme/foo", digest="ab" * 20)))
    assert "https://github.com/acme/foo" in honest.links
    assert f"https://github.com/acme/foo/commit/{'ab' * 20}" in honest.links


@pytest.mark.parametrize("kind", PUBLISHER_KINDS, ids=lambda kind: kind.name)
def test_a_commit_is_linked_where_the_kind_of_publisher_has_addresses_of_commits(kind: PublisherKind) -> None:
    found = shown(
        good(make_attested(kind=kind.name, repository_uri="https://host.example/acme/foo/", digest="ab" * 20))
    )
    commits = [link for link in found.links if link.endswith("ab" * 20)]
    assert commits == ([f"https://host.example/acme/foo{kind.commit_path}{'ab' * 20}"] if kind.commit_path else [])


def test_a_commit_that_is_none_makes_no_link() -> None:
    found = shown(good(make_attested(repository_uri="https://github.com/acme/foo", digest="../../evil/x")))
    assert found.links.count("https://github.com/acme/foo") == 1
    assert not [link for link in found.links if "evil" in link]


ANY = st.text(max_size=40) | st.sampled_from([SCRIPT, IMAGE, "</style>", "<!--", '"><svg onload=x>', "]]>", "&#60;"])


@given(ANY, ANY, ANY, ANY, ANY)
def test_whatever_is_written_a_page_has_the_same_elements(a: str, b: str, c: str, d: str, e: str) -> None:
    def made(a: str, b: str, c: str, d: str, e: str) -> HtmlReader:
        reason = state_reason(ReasonCode.PUBLISHER, a or "x", b or "x", expected=c or "x", found=d or "x")
        return shown(
            good(
                make_attested(repository=a or "x", workflow=b or "x", san=c, run_url=f"x{d}"),
                filename=e,
                yanked=f"x{a}",
            ),
            Withheld(
                file=a_file(filename=f"{d}-2", version="2.0", requires_python=f"x{b}"),
                reasons=(reason,),
                enforced=True,
                rule=c or "x",
                evidence=Forged(step=f"x{a}", expected=f"x{b}", found=f"x{e}"),
            ),
            status=ProjectStatus(status=f"x{c}", reason=f"x{d}"),
        )

    plain, hostile = made("x", "x", "x", "x", "x"), made(a, b, c, d, e)
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    assert [set(attributes) for _, attributes in hostile.elements] == [set(each) for _, each in plain.elements]


@given(ANY)
def test_text_comes_back_as_it_went_in_but_for_what_cannot_be_seen(content: str) -> None:
    read = HtmlReader(str(element("p", content, title=content)).encode())
    seen = HtmlReader(str(escape_text(content)).encode()).text
    assert read.text == seen
    assert read.elements == [("p", {"title": seen})]
    if content.isprintable():
        assert seen == content
    assert str(join_markup((content,))) == str(escape_text(content)) if content else True
    assert HtmlReader(str(link_if_safe(content, f"javascript:{content}")).encode()).elements == []


def test_the_timeline_tells_losses_changes_and_returns_apart() -> None:
    def at(month: int, evidence: Evidence | None) -> Approved:
        when = datetime(2026, month, 1, tzinfo=UTC)
        return good(evidence, filename=f"foo-{month}.tar.gz", version=str(month), upload_time=when)

    def by(month: int, repository: str) -> Approved:
        return at(month, make_attested(datetime(2026, month, 1, tzinfo=UTC), repository=repository))

    def said(*verdicts: Approved) -> list[str]:
        return [what for _, what in find_publisher_changes(collect_marks(verdicts))]

    assert said(by(1, "a/b"), by(2, "a/b"), at(3, None), by(4, "a/b")) == []
    assert said(at(1, Unattested()), by(2, "a/b")) == ["attested from 2 on, by a/b"]
    assert said(by(1, "a/b"), at(2, Unattested()), at(3, Unattested()), by(4, "a/b")) == [
        "provenance lost in 2: no attestation",
        "attested again from 4 on, by a/b",
    ]
    assert said(by(1, "a/b"), by(2, "c/d"), at(3, Unattested()), by(4, "a/b"))[1:] == [
        "provenance lost in 3: no attestation",
        "back to an earlier publisher from 4 on: a/b",
    ]
    assert said(by(1, "a/b"), by(2, "c/d")) == ["another publisher from 2 on: c/d"]
    assert said(by(2, "c/d"), by(1, "a/b")) == ["another publisher from 2 on: c/d"], "in order of time, not of listing"


def test_a_project_of_a_thousand_publishers_and_releases_is_a_picture_of_bounded_size() -> None:
    marks = collect_marks(
        good(
            make_attested(
                datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number), repository=f"r{number}/" + "x" * 500
            ),
            filename=f"foo-{number}.tar.gz",
            version=str(number),
        )
        for number in range(1500)
    )
    drawn = str(render_timeline(marks))
    assert len(drawn) < 1_000_000
    assert HtmlReader(drawn.encode()).elements
    assert str(render_timeline([])) == ""
