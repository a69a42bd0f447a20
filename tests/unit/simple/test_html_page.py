"""Pages in HTML, and the content types that distinguish HTML from JSON."""

from __future__ import annotations

import tracemalloc

import pytest

from assay.errors import InvalidResponseError
from assay.simple.model import CoreMetadata
from assay.simple.parse import is_json_type, parse_project, parse_sha256
from tests.unit.simple.factories import FILE, FOO, HASH, JSON, OTHER, PAGE_URL, PROVENANCE, a_page, html_page, the_link


def test_html_and_json_of_the_same_page_are_the_same_project() -> None:
    text = f"""<!DOCTYPE html>
<html><head>
<meta name="pypi:repository-version" content="1.4">
<meta name="pypi:project-status" content="archived"><meta name="pypi:project-status-reason" content="moved">
<title>Links for foo</title></head><body><h1>Links for foo</h1>
<a href="{FILE["url"]}#sha256={HASH}" data-requires-python="&gt;=3.9"
 data-dist-info-metadata="sha256={OTHER}" data-core-metadata="sha256={OTHER}" data-provenance="{PROVENANCE}"
 data-size="4662" data-upload-time="2024-11-06T22:37:08.938180Z">foo-1.0-py3-none-any.whl</a><br />
</body></html>
<!--SERIAL 25862117-->"""
    entry = {key: value for key, value in FILE.items() if key != "x-file"}
    status = {"status": "archived", "reason": "moved"}
    meta = {"_last-serial": 25862117, "api-version": "1.4"}
    assert html_page(text) == a_page({"files": [entry], "meta": meta, "name": "foo", "project-status": status})


def test_a_legacy_page_without_doctype_or_attributes_is_read() -> None:
    page = html_page("<h1>Links for Foo</h1><a href='../../packages/foo-1.0.tar.gz#md5=abc'>foo-1.0.tar.gz</a>")
    assert page.api_version == (1, 0)
    assert [(file.url, file.hashes, file.sha256) for file in page.files] == [
        ("https://index.example/packages/foo-1.0.tar.gz", (("md5", "abc"),), None)
    ]


@pytest.mark.parametrize(
    ("fragment", "hashes", "sha256"),
    [
        (f"#sha256={HASH}", (("sha256", HASH),), HASH),
        (f"#egg=foo&sha256={HASH.upper()}&subdirectory=x", (("sha256", HASH.upper()),), HASH),
        (f"#sha256%3D{HASH}", (("sha256", HASH),), HASH),
        (f"#egg=foo%26SHA256%3d{HASH}", (("sha256", HASH),), HASH),
        (f"#sha256-{HASH}", (("sha256", HASH),), HASH),
        (f"#sha256:{HASH}", (("sha256", HASH),), HASH),
        (f"#SHA256={HASH}", (("sha256", HASH),), HASH),
        (f"#sha256%253D{HASH}", (), None),
        (f"#sha256_{HASH}", (), None),
        (f"#sha256={HASH}%00", (), None),
        ("#sha256=abc", (("sha256", "abc"),), None),
        ("#md5=0", (("md5", "0"),), None),
        ("#egg=foo", (), None),
        ("", (), None),
    ],
)
def test_the_hash_stands_in_the_fragment(fragment: str, hashes: object, sha256: str | None) -> None:
    file = the_link(fragment=fragment)
    assert (file.hashes, file.sha256, file.url) == (hashes, sha256, "https://files.example/foo-1.0.tar.gz")


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("", None),
        ('data-core-metadata="true"', CoreMetadata(sha256=None)),
        (f'data-core-metadata="sha256={OTHER}"', CoreMetadata(sha256=parse_sha256(OTHER))),
        (f'data-dist-info-metadata="sha256={OTHER}"', CoreMetadata(sha256=parse_sha256(OTHER))),
        (f'data-core-metadata="false" data-dist-info-metadata="sha256={OTHER}"', None),
        (f'data-core-metadata="sha256%3D{OTHER}"', CoreMetadata(sha256=parse_sha256(OTHER))),
        (f'data-core-metadata="sha256-{OTHER}"', CoreMetadata(sha256=parse_sha256(OTHER))),
        (f'data-core-metadata="sha256:{OTHER}"', CoreMetadata(sha256=parse_sha256(OTHER))),
        ('data-core-metadata="sha256=abc"', None),
        ('data-core-metadata="sha256-abc"', None),
        ('data-core-metadata="md5=abc"', CoreMetadata(sha256=None)),
    ],
)
def test_metadata_attributes_mean_what_the_json_keys_do(attribute: str, expected: CoreMetadata | None) -> None:
    assert the_link(attribute).core_metadata == expected


def test_other_attributes_are_read_or_kept() -> None:
    file = the_link("data-yanked data-gpg-sig='true' data-size=x data-url=evil data-filename=evil class=y")
    assert (file.yanked, file.size, file.extra) == ("", None, (("gpg-sig", '"true"'),))
    assert the_link('data-yanked="a &quot;b&quot;"').yanked == 'a "b"'
    assert the_link().yanked is None


def test_links_start_at_the_first_base() -> None:
    page = html_page('<base target="_top"><base href="/a/"><base href="/b/"><a href="foo-1.0.tar.gz">x</a>')
    assert page.files[0].url == "https://index.example/a/foo-1.0.tar.gz"


def test_a_base_is_too_short_to_be_multiplied() -> None:
    (file,) = html_page(f'<base href="/{"a" * 510}/"><a href="foo-1.0.tar.gz">x</a>').files
    assert len(file.url) > 512
    with pytest.raises(InvalidResponseError, match="a <base> longer than 512 characters"):
        html_page(f'<base href="/{"a" * 511}/"><a href="foo-1.0.tar.gz">x</a>')


def test_directory_listings_are_pages() -> None:
    page = html_page(
        '<a href="?C=N;O=D">Name</a><a href="../">Parent</a><a name="x">y</a><a href="#top">top</a>'
        '<a href="foo-1.0.0.0-py3-none-any.whl">foo-1.0.0.0-py3-no..&gt;</a>'
    )
    assert [file.filename for file in page.files] == ["foo-1.0.0.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    "href",
    [
        "mailto:admin@index.example",
        "MAILTO:admin@index.example?subject=foo-1.0.tar.gz",
        "javascript:void(0)/foo-1.0.tar.gz",
        "tel:+1234",
        "index.html",
        "https://index.example/about/index.html#top",
        "../robots.txt",
        "foo-1.0.tar.gz.asc",
        "foo-1.0-py3-none-any.whl.metadata",
        "SHA256SUMS",
    ],
)
def test_a_link_that_is_no_file_is_ignored_and_a_file_beside_it_is_listed(href: str) -> None:
    page = html_page(f'<a href="{href}">x</a><a href="foo-1.0.tar.gz">y</a>')
    assert [file.filename for file in page.files] == ["foo-1.0.tar.gz"]


@pytest.mark.parametrize(
    "href",
    [
        f"foo-1.0.lzma#sha256={HASH}",
        f"index.html#sha256={HASH}",
        "ftp://index.example/foo-1.0.tar.gz",
        "http:foo-1.0.tar.gz",
        "foo-1.0.deb",
        "not-a-version.zip",
    ],
)
def test_a_link_with_a_hash_or_the_ending_of_a_distribution_is_listed_to_be_judged(href: str) -> None:
    assert len(html_page(f'<a href="{href}">x</a>').files) == 1


def test_a_page_that_was_cut_off_is_nonsense() -> None:
    with pytest.raises(InvalidResponseError, match="truncated"):
        html_page('<a href="foo-1.0.tar.gz">x</a><a hre')


def test_a_login_form_is_no_empty_project() -> None:
    assert html_page("<h1>Links for foo</h1><form><input type=text></form>").files == ()
    with pytest.raises(InvalidResponseError, match="asks for a password"):
        html_page("<form><input name=p type=Password></form>")


NO_MARK = "expected links to files, or PyPI's marks of an empty page, found neither"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "<!DOCTYPE html><html><body></body></html>",
        "<html><head><title>Links for foo</title></head><body><h1>Welcome</h1></body></html>",
        "<h1>Links for bar</h1>",
        "<h1>Links for</h1>",
        "<h1>Service unavailable</h1><a href='index.html'>home</a><a href='mailto:x@y.example'>us</a>",
        '<meta name="api-version" value="2"/>',
    ],
)
@pytest.mark.parametrize("had_files", [True, False])
def test_a_page_without_files_and_without_a_mark_is_no_empty_project(text: str, *, had_files: bool) -> None:
    with pytest.raises(InvalidResponseError, match=NO_MARK):
        html_page(text, had_files=had_files)
    assert len(html_page(f'{text}<a href="foo-1.0.tar.gz">x</a>', had_files=had_files).files) == 1


@pytest.mark.parametrize(
    "text",
    [
        '<html><head><meta name="pypi:repository-version" content="1.0"></head></html>',
        '<meta name="pypi:project-status" content="quarantined">',
        "<html></html><!--SERIAL 25862117-->",
    ],
)
@pytest.mark.parametrize("had_files", [True, False])
def test_a_page_without_files_and_with_pypis_mark_is_an_empty_project(text: str, *, had_files: bool) -> None:
    assert html_page(text, had_files=had_files).files == ()


@pytest.mark.parametrize(
    "text", ["<h1>Links for foo</h1>", "<h2>links for Foo </h2>", "<h1>acme/prod: links for foo</h1>"]
)
def test_the_heading_of_other_servers_marks_an_empty_project_that_never_had_files(text: str) -> None:
    assert html_page(text).files == ()
    with pytest.raises(InvalidResponseError, match=NO_MARK):
        html_page(text, had_files=True)


def test_another_major_version_is_refused_in_html_too() -> None:
    with pytest.raises(InvalidResponseError, match=r"repository-version: expected an API version"):
        html_page('<meta name="pypi:repository-version" content="2.0">')


# Content types


@pytest.mark.parametrize(
    ("content_type", "json_page"),
    [
        (JSON, True),
        ("Application/JSON; charset=utf-8", True),
        ("application/vnd.pypi.simple.latest+json", True),
        ("text/html", False),
        ("text/html; charset=UTF-8", False),
        ("application/vnd.pypi.simple.v1+html", False),
    ],
)
def test_the_content_types_of_the_simple_api_are_known(content_type: str, *, json_page: bool) -> None:
    assert is_json_type(content_type) is json_page


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/vnd.pypi.simple.v2+json", "image/png", "json"])
def test_other_content_types_are_nonsense(content_type: str) -> None:
    with pytest.raises(InvalidResponseError, match="expected a content type of the Simple API"):
        parse_project(b'{"files": []}', content_type, PAGE_URL, FOO)


def test_html_has_few_encodings() -> None:
    link = '<a href="foo-1.0.tar.gz" data-yanked="é">x</a>'
    page = parse_project(link.encode("latin-1"), "text/html; charset=ISO-8859-1", PAGE_URL, FOO)
    assert page.files[0].yanked == "é"
    assert parse_project(link.encode("latin-1"), "text/html", PAGE_URL, FOO).files[0].yanked == "\ufffd"
    with pytest.raises(InvalidResponseError, match="charset 'utf-7'"):
        parse_project(link.encode(), 'text/html; charset="utf-7"', PAGE_URL, FOO)


MEBIBYTE = 2**20


def measure_peak(body: bytes) -> int:
    """Return the largest number of bytes that parsing a page allocates, and require that the page is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidResponseError, match="longer than"):
            parse_project(body, "text/html", PAGE_URL, FOO)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", ["<a data-x='{}'>", "<a {}>", "<!--{}-->", '<a href="{}">', "<p>é</p><a title='{}'>"])
def test_one_enormous_attribute_is_refused_and_takes_no_memory(text: str) -> None:
    assert measure_peak(text.format("x" * (16 * MEBIBYTE)).encode()) < 4 * MEBIBYTE


@pytest.mark.parametrize("size", [0, 1, 255, 256 * 1024 - 3, 256 * 1024 + 1, 600_000])
def test_a_page_is_the_same_wherever_its_pieces_are_divided(size: int) -> None:
    page = html_page(
        f"<p>{'é' * (size // 2)}{'x' * (size % 2)}</p><a href='foo-1.0.tar.gz' data-requires-python='é'>f</a>"
    )
    assert [(file.filename, file.requires_python) for file in page.files] == [("foo-1.0.tar.gz", "é")]


@pytest.mark.parametrize(
    ("version", "attribute", "expected"),
    [("", "", False), ("1.0", "", False), ("1.2", "", False), ("1.3", "", True), ("1.0", 'data-provenance="u"', True)],
)
def test_a_page_says_which_files_have_provenance_by_its_version_or_an_attribute(
    version: str, attribute: str, expected: bool
) -> None:
    meta = f'<meta name="pypi:repository-version" content="{version}">' if version else ""
    page = html_page(f'{meta}<a href="foo-1.0.tar.gz#sha256={HASH}" {attribute}>foo-1.0.tar.gz</a>')
    assert page.states_provenance == expected
    assert html_page(f"{meta}<h1>Links for foo</h1>").states_provenance, "a page without files"
