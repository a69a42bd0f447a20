from __future__ import annotations

import pytest

from assay.errors import InvalidResponseError
from assay.simple.markup import MAX_ELEMENT_CHARACTERS, Comment, HtmlScanner, Tag, Token, parse_attributes


def _tokens(*pieces: str) -> list[Token]:
    scanner = HtmlScanner()
    return [token for piece in pieces for token in scanner.feed(piece)]


def _names(text: str) -> list[str]:
    return [token.name if isinstance(token, Tag) else f"!{token.text}" for token in _tokens(text)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("<a href=x>y</A>", ["a", "a"]),
        ("a < b <3 <> <a>", ["a"]),
        ('<a title="1 > 0" href=x><b>', ["a", "b"]),
        ("<a href = '>' ><b>", ["a", "b"]),
        ('<a href=x" ><b>', ["a", "b"]),
        ("<!-- <a> --><b>", ["! <a> ", "b"]),
        ("<!--><b>", ["!", "b"]),
        ("<!---><b>", ["!", "b"]),
        ("<!-- x --!><b>", ["! x ", "b"]),
        ("<!DOCTYPE html><?xml ?></3><b>", ["b"]),
        ("<script>if (a<b) '<a>'</script><b>", ["script", "script", "b"]),
        ("<title><a></title ><b>", ["title", "title", "b"]),
        ("<script></scripty></script><b>", ["script", "script", "b"]),
        ("<br/><a\nhref=x\n>", ["br", "a"]),
    ],
)
def test_tags_and_comments_are_found_where_browsers_find_them(text: str, names: list[str]) -> None:
    assert _names(text) == names
    # The result does not depend on the chunks.
    assert [t.name for t in _tokens(*text) if isinstance(t, Tag)] == [n for n in names if not n.startswith("!")]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (' href="a&amp;b" data-yanked', {"href": "a&b", "data-yanked": ""}),
        (" HREF=a href=b", {"href": "a"}),
        (" a = 'x y' b=\"'\"", {"a": "x y", "b": "'"}),
        (" href=?a=1&region=2&copy=3&amp=4", {"href": "?a=1&region=2&copy=3&amp=4"}),
        (" a='&lt;&#60;&#x3C;&lt' b='&copy;=' c='&nosuch;'", {"a": "<<<<", "b": "\xa9=", "c": "&nosuch;"}),
        (" a='&#99999999999999999999;'", {"a": "\ufffd"}),
        (" / a/b ", {"a": "", "b": ""}),
    ],
)
def test_attributes_are_read_as_browsers_read_them(source: str, found: dict[str, str]) -> None:
    assert parse_attributes(source) == found


def test_a_link_comes_with_the_text_before_its_end() -> None:
    assert _tokens("x<a href=y>Foo &amp; Bar</a>")[1] == Tag("a", closing=True, source="", text="Foo &amp; Bar")


@pytest.mark.parametrize("text", ["<", "<a", "<a href='", "<!-- x", "<!", "</", "<script>x", "<title>", "<?x"])
def test_text_that_ends_inside_an_element_is_unfinished(text: str) -> None:
    scanner = HtmlScanner()
    list(scanner.feed(text))
    assert scanner.is_unfinished


@pytest.mark.parametrize("text", ["", "x", "<a>", "<!-- x -->", "<script>x</script>", "a < b"])
def test_text_that_ends_outside_is_finished(text: str) -> None:
    scanner = HtmlScanner()
    list(scanner.feed(text))
    assert not scanner.is_unfinished


@pytest.mark.parametrize("start", ["<a ", "<!--", "<!x", "<a b='"])
def test_an_element_that_never_ends_is_not_waited_for(start: str) -> None:
    scanner = HtmlScanner()
    list(scanner.feed(start))
    with pytest.raises(InvalidResponseError, match="longer than"):
        list(scanner.feed("x" * MAX_ELEMENT_CHARACTERS))


@pytest.mark.parametrize(
    ("start", "end"), [("<a b='", "'>"), ("<a ", ">"), ("<!--", "-->"), ("<!x", ">"), ("</3", ">"), ("</a ", ">")]
)
def test_an_element_has_a_limit_whether_it_ends_or_not(start: str, end: str) -> None:
    longest = start + "x" * (MAX_ELEMENT_CHARACTERS - len(start) - len(end)) + end
    _tokens(f"{longest}<b>")
    with pytest.raises(InvalidResponseError, match="longer than"):
        _tokens(f"{longest[: -len(end)]}x{end}<b>")


def test_a_long_script_is_passed_over_without_being_held() -> None:
    scanner = HtmlScanner()
    pieces = ["<script>", *(["x" * 10_000] * 20), "</scr", "ipt><b>"]
    assert [token for piece in pieces for token in scanner.feed(piece)][-1] == Tag("b", False, "", "")


@pytest.mark.parametrize("bomb", ["<!--", "<a ", '<a "', '<a x="', "<", "</", "<!", "<script>", "<a = ", "&"])
def test_no_text_is_looked_at_again_and_again(bomb: str) -> None:
    # An algorithm with quadratic time would take minutes for these inputs.
    scanner = HtmlScanner()
    try:
        count = sum(1 for _ in scanner.feed(bomb * 200_000))
    except InvalidResponseError:
        count = 0
    assert count <= 1


def test_comments_are_tokens() -> None:
    assert _tokens("<!--SERIAL 7-->") == [Comment("SERIAL 7")]
