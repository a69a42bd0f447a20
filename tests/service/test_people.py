"""The pages for people: what they say is what the other routes obey, and whatever others write shows as text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from proxy.config import Configuration
from proxy.evidence import PUBLISH, Attestation, Attested, Claims, Evidence, Forged, PublisherKind, Unattested
from proxy.policy.document import load_policy
from proxy.policy.verdict import Approved, Code, Reason, Withheld, approve
from proxy.simple.model import Distribution, File, Kind, NormalizedName, ProjectStatus, Sha256
from proxy.web.people.markup import element, is_web_address, joined, linked, text
from proxy.web.people.policy import policy_page
from proxy.web.people.project import VERSIONS, project_page
from proxy.web.people.timeline import changes, marks_of, timeline
from tests.browser.scene import BAD, IMAGE, RULE, SCRIPT, scene
from tests.world.distributions import wheel
from tests.world.index import Index
from tests.world.proxy import Running, configured, running

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
OURS = """
html head meta title style body header nav main footer section form label input button a p h1 h2 h3 pre code div span
strong ul ol li dl dt dd table thead tbody tr th td details summary svg desc line text polyline circle path
"""
ADDRESSES = frozenset({"href", "src", "action", "srcset", "data", "poster", "xlink:href", "formaction", "content"})


class Read(HTMLParser):
    """What a page consists of."""

    def __init__(self, body: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._style = False
        self.feed(body.decode())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attributes}))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = self._style and tag != "style"

    def handle_data(self, data: str) -> None:
        self.text += "" if self._style else data

    @property
    def links(self) -> list[str]:
        return [attributes["href"] for tag, attributes in self.elements if "href" in attributes]


def harmless(body: bytes) -> Read:
    """The page, read, once it has nothing but what we put there."""
    found = Read(body)
    for tag, attributes in found.elements:
        assert tag in OURS.split(), tag
        assert not [name for name in attributes if name.startswith("on") or name == "style"], attributes
        for name in ADDRESSES & set(attributes):
            value = attributes[name]
            assert tag == "meta" or ":" not in value or value.startswith("https://"), (tag, name, value)
    assert all(character.isprintable() or character == "\n" for character in found.text)
    return found


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Running]:
    async with scene(tmp_path) as running_proxy:
        yield running_proxy


@pytest.mark.parametrize("path", ["/", "/project/widget", "/project/denied", "/policy", "/search?name=%3Cscript%3E"])
async def test_hostile_names_reasons_yanks_and_statuses_show_as_text_under_a_strict_policy(
    proxy: Running, path: str
) -> None:
    answer = await proxy.get(path)
    found = harmless(answer.body)
    assert SCRIPT in found.text or path == "/search?name=%3Cscript%3E"
    security = answer.headers["Content-Security-Policy"]
    assert security.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in security
    assert "frame-ancestors 'none'" in security
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_project_page_says_of_every_file_what_the_index_page_does(proxy: Running) -> None:
    found = harmless((await proxy.get("/project/widget")).body)
    listed, withheld = await proxy.listed("widget"), await proxy.withheld("widget")
    assert f"{len(listed)} files approved, {len(withheld)} withheld" in found.text
    for filename, codes in withheld.items():
        assert f"✗ withheld {filename}" in found.text
        for code in codes:
            assert f"{code}: " in found.text
    for filename in listed:
        assert f"✓ approved {filename}" in found.text
    assert BAD in found.text
    assert RULE in found.text
    assert f"archived: gone {IMAGE}" in found.text
    assert "\\u202etxt.exe\\u202c \\x1b[31mred" in found.text, "what turns text around or colours it is made visible"


async def test_a_publisher_is_linked_by_what_its_certificate_proves(proxy: Running) -> None:
    found = harmless((await proxy.get("/project/widget")).body)
    page = await proxy.assembly.gate.page(NormalizedName("widget"))
    attested = [verdict.evidence for verdict in page.verdicts if isinstance(verdict.evidence, Attested)]
    assert len(attested) == 8
    for evidence in attested:
        one = evidence.attestations[0]
        assert one.claims.repository_uri in found.links
        assert one.claims.run_url in found.links
        assert f"{one.claims.repository_uri}/commit/{one.claims.digest}" in found.links
        assert f"entry {one.log_index} of the log" in found.text
        assert one.certificate in found.text


async def test_the_timeline_says_where_the_publisher_changed_and_provenance_was_lost(proxy: Running) -> None:
    found = harmless((await proxy.get("/project/widget")).body)
    for said in (
        "2026-04-10: provenance lost with 1.3: no attestation",
        "2026-05-10: another publisher from 1.4 on: mallory/widget",
        "2026-06-01: provenance lost with 1.5: forged",
    ):
        assert said in found.text
    marks = [attributes["class"] for tag, attributes in found.elements if tag in {"circle", "path"}]
    assert (marks.count("mark approved"), marks.count("mark withheld")) == (3, 4)


async def test_the_first_page_says_how_to_point_every_installer_at_this_very_proxy(proxy: Running) -> None:
    found = harmless((await proxy.get("/")).body)
    assert f"pip config set global.index-url {proxy.url}" in found.text
    for line in (f'url = "{proxy.url}"\ndefault = true', 'priority = "primary"', "[[tool.pdm.source]]"):
        assert line in found.text
    assert found.text.count(proxy.url) == 4


@pytest.mark.parametrize("host", ['evil.example"><script>', "evil.example", "127.0.0.1:1@evil.example"])
async def test_an_address_that_is_not_ours_is_never_shown(proxy: Running, host: str) -> None:
    found = harmless((await proxy.get("/", {"Host": host})).body)
    assert "evil" not in found.text
    assert "http://ADDRESS/simple/" in found.text


async def test_a_public_url_is_what_people_are_told(tmp_path: Path) -> None:
    async with Index() as index:
        server = Configuration.model_validate(
            {"server": {"port": 0, "public-url": "https://pypi.acme.example/"}}
        ).server
        chosen = configured(index, tmp_path / "assay").model_copy(update={"server": server})
        async with running(index, tmp_path, configuration=chosen) as proxy:
            found = harmless((await proxy.get("/")).body)
    assert "pip config set global.index-url https://pypi.acme.example/simple/" in found.text


async def test_the_first_page_counts_and_lists_refusals_without_who_asked(proxy: Running) -> None:
    found = harmless((await proxy.get("/")).body)
    assert "denied-1.0-py3-none-any.whl" in found.text
    assert f"denied: denied by the policy: we use {SCRIPT} another library" in found.text
    assert "project/denied" in found.links
    assert "requests refused2" in found.text
    assert "127.0.0.1" not in found.text.replace(proxy.url, "")


async def test_the_policy_page_says_rules_waivers_and_revocations_in_words(proxy: Running) -> None:
    found = harmless((await proxy.get("/policy")).body)
    for said in (
        "1. not this one",
        "GitHub pyca/cryptography (workflow pypi-publish.yml)",
        f"3. {RULE}",
        "is at least 3 days old",
        "is one of wheel or sdist",
        "✗ expired 2026-06-09 00:00 UTC",
        "! soon: 2026-07-09 00:00 UTC",
        f"{SCRIPT} (security@acme.example)",
        "stolen >=2",
        "INC-1234",
        proxy.assembly.gate.policy.digest,
    ):
        assert said in found.text, said


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
        reason = "range"
        [[revocations]]
        certificates = ["1111111111111111111111111111111111111111111111111111111111111111"]
        reason = "certificate"
        """,
        "policy.toml",
    )
    found = harmless(policy_page(policy, NOW))
    for said in (
        "audit mode",
        "This rule is in enforce mode",
        "is attested by any Trusted Publisher",
        f"carries {PUBLISH}",
        "was built by https://github.com/acme/ci/**",
        "is at least 1 day old",
        "or 2 hours where an established publisher signed it",
        "was uploaded before 2026-11-21 00:00 UTC",
        "without a note",
        "came within 7 days",
        "comes from pypi",
        "is vouched for by sigstore",
        "is of a project whose status is active",
        "is not yanked",
        "from the verified wheel alone",
        "all of whose files are approved",
        "is the file pinned by digest; nothing else is approved",
        "signed by GitHub victim/project from 2026-11-01 00:00 UTC",
        "log entries from 5 until 9",
        "1 certificates",
    ):
        assert said in found.text, said
    nothing = harmless(policy_page(load_policy("version = 1", "policy.toml"), NOW))
    assert "nothing is approved" in nothing.text


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/search?name=Foo_Bar", 303, "project/foo-bar"),
        ("/search?name=+widget+", 303, "project/widget"),
        ("/search?name=..%2F..%2Fevil", 400, None),
        ("/search?name=//evil.example", 400, None),
        ("/search", 400, None),
        ("/project/Foo_Bar", 301, "foo-bar"),
        ("/project/widget/", 301, "../widget"),
        ("/project/%2e%2e", 404, None),
        ("/project/unknown", 404, None),
    ],
)
async def test_search_and_names_lead_to_a_project_and_nowhere_else(
    proxy: Running, path: str, status: int, location: str | None
) -> None:
    answer = await proxy.get(path)
    assert (answer.status, answer.headers.get("Location")) == (status, location)


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_a_refusal_in_a_browser_says_why_and_leads_to_the_project(proxy: Running) -> None:
    page = harmless((await proxy.get("/")).body)
    refused = next(link for link in page.links if link == "project/denied")
    path = next(iter((await proxy.assembly.gate.page(NormalizedName("denied"))).by_location))
    answer = await proxy.get(f"/files/{path}", BROWSER)
    found = harmless(answer.body)
    assert answer.status == 403
    assert f"denied: denied by the policy: we use {SCRIPT} another library" in found.text
    assert "The rule that governs it: not this one." in found.text
    up = "../" * path.count("/") + "../"
    assert f"{up}{refused}" in found.links
    assert (await proxy.get(f"/{refused}")).status == 200


async def test_an_unknown_project_in_a_browser_can_be_searched_again(proxy: Running) -> None:
    answer = await proxy.get("/project/unknown", BROWSER)
    found = harmless(answer.body)
    assert answer.status == 404
    assert "No such project" in found.text
    assert [each["action"] for tag, each in found.elements if tag == "form"] == ["../search"]


async def test_a_page_of_many_versions_comes_in_pieces_that_hold_them_all(tmp_path: Path) -> None:
    async with Index() as index, running(index, tmp_path) as proxy:
        for minor in range(VERSIONS * 2 + 5):
            index.add(wheel("big", f"1.{minor}"))
        shown = [harmless((await proxy.get(f"/project/big?page={number}")).body) for number in (1, 2, 3)]
        for number, page in enumerate(shown, start=1):
            assert f"page {number} of 3" in page.text
        for minor in range(VERSIONS * 2 + 5):
            named = [f"big-1.{minor}-py3" in page.text for page in shown]
            assert named.count(True) == 1
        assert "big-1.64-py3" in shown[0].text, "the newest first"
        beyond = harmless((await proxy.get("/project/big?page=999999")).body)
        assert "page 3 of 3" in beyond.text


async def test_a_stale_page_says_so(tmp_path: Path) -> None:
    async with Index() as index, running(index, tmp_path) as proxy:
        index.add(wheel("foo", "1.0"))
        fresh = harmless((await proxy.get("/project/foo")).body)
        await index.down()
        proxy.clock.now += timedelta(hours=2)
        stale = harmless((await proxy.get("/project/foo")).body)
    assert "cannot be asked" not in fresh.text
    assert "The index cannot be asked now; this is as of 2026-07-01 12:00 UTC" in stale.text


# Pure: whatever anybody writes.


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


def attested(when: datetime = datetime(2026, 1, 1, tzinfo=UTC), **claims: str) -> Attested:
    stated = {"issuer": "https://issuer.example", "san": "https://san.example", "repository": "acme/foo", **claims}
    one = Attestation(
        trust_root="sigstore",
        bundle=0,
        predicate_type=PUBLISH,
        claims=Claims(kind=PublisherKind.GITHUB, **stated),
        integrated_time=when,
        log_index=7,
        certificate="ab" * 32,
        not_before=when,
        not_after=when,
    )
    return Attested(attestations=(one,))


def good(evidence: Evidence | None = None, **changes: object) -> Approved:
    return approve(a_file(**changes), rule="all", evidence=evidence)  # type: ignore[arg-type] # fields by name


def shown(*verdicts: Approved | Withheld, status: ProjectStatus | None = None) -> Read:
    return harmless(project_page("foo", verdicts, index="pypi", status=status, stale_since=None, number=1, now=NOW))


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
    assert not is_web_address(address)
    found = shown(good(attested(repository_uri=address, run_url=address, digest="ab" * 20)))
    assert [link for link in found.links if "evil" in link or "github" in link or "alert" in link] == []
    assert is_web_address("https://github.com/acme/foo")
    honest = shown(good(attested(repository_uri="https://github.com/acme/foo", digest="ab" * 20)))
    assert "https://github.com/acme/foo" in honest.links
    assert f"https://github.com/acme/foo/commit/{'ab' * 20}" in honest.links


def test_a_commit_that_is_none_makes_no_link() -> None:
    found = shown(good(attested(repository_uri="https://github.com/acme/foo", digest="../../evil/x")))
    assert found.links.count("https://github.com/acme/foo") == 1
    assert not [link for link in found.links if "evil" in link]


ANY = st.text(max_size=40) | st.sampled_from([SCRIPT, IMAGE, "</style>", "<!--", '"><svg onload=x>', "]]>", "&#60;"])


@given(ANY, ANY, ANY, ANY, ANY)
def test_whatever_is_written_a_page_has_the_same_elements(a: str, b: str, c: str, d: str, e: str) -> None:
    def made(a: str, b: str, c: str, d: str, e: str) -> Read:
        reason = Reason(code=Code.PUBLISHER, rule=a or "x", message=b or "x", expected=c or "x", found=d or "x")
        return shown(
            good(attested(repository=a or "x", workflow=b or "x", san=c, run_url=f"x{d}"), filename=e, yanked=f"x{a}"),
            Withheld(
                file=a_file(filename=d, version="2.0", requires_python=f"x{b}"),
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
    read = Read(str(element("p", content, title=content)).encode())
    seen = Read(str(text(content)).encode()).text
    assert read.text == seen
    assert read.elements == [("p", {"title": seen})]
    if content.isprintable():
        assert seen == content
    assert str(joined((content,))) == str(text(content)) if content else True
    assert Read(str(linked(content, f"javascript:{content}")).encode()).elements == []


def test_the_timeline_tells_losses_changes_and_returns_apart() -> None:
    def at(month: int, evidence: Evidence | None) -> Approved:
        when = datetime(2026, month, 1, tzinfo=UTC)
        return good(evidence, filename=f"foo-{month}.tar.gz", version=str(month), upload_time=when)

    def by(month: int, repository: str) -> Approved:
        return at(month, attested(datetime(2026, month, 1, tzinfo=UTC), repository=repository))

    def said(*verdicts: Approved) -> list[str]:
        return [what for _, what in changes(marks_of(verdicts))]

    assert said(by(1, "a/b"), by(2, "a/b"), at(3, None), by(4, "a/b")) == []
    assert said(at(1, Unattested()), by(2, "a/b")) == ["attested from 2 on, by a/b"]
    assert said(by(1, "a/b"), at(2, Unattested()), at(3, Unattested()), by(4, "a/b")) == [
        "provenance lost with 2: no attestation",
        "attested again from 4 on, by a/b",
    ]
    assert said(by(1, "a/b"), by(2, "c/d"), at(3, Unattested()), by(4, "a/b"))[1:] == [
        "provenance lost with 3: no attestation",
        "back from 4 on: a/b",
    ]
    assert said(by(1, "a/b"), by(2, "c/d")) == ["another publisher from 2 on: c/d"]
    assert said(by(2, "c/d"), by(1, "a/b")) == ["another publisher from 2 on: c/d"], "in order of time, not of listing"


def test_a_project_of_a_thousand_publishers_and_releases_is_a_picture_of_bounded_size() -> None:
    marks = marks_of(
        good(
            attested(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number), repository=f"r{number}/" + "x" * 500),
            filename=f"foo-{number}.tar.gz",
            version=str(number),
        )
        for number in range(1500)
    )
    drawn = str(timeline(marks))
    assert len(drawn) < 1_000_000
    assert Read(drawn.encode()).elements
    assert str(timeline([])) == ""
