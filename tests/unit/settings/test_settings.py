from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from assay.errors import ConfigurationError
from assay.settings import Settings, find_close_match, format_key_path, make_key_error, parse_toml, validate_table
from assay.units import Duration, Size


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Round(Settings):
    kind: Literal["round"]
    outer_width: int


class Square(Settings):
    kind: Literal["square"]
    side: Annotated[int, Field(ge=1)]


class Basket(Settings):
    name: str = "basket"
    max_stale: Duration | None = None
    size: Size = 0
    colour: Colour = Colour.RED
    shapes: tuple[Annotated[Round | Square, Field(discriminator="kind")], ...] = ()
    token: int = 0

    @model_validator(mode="after")
    def _green_is_small(self) -> Self:
        if self.colour is Colour.GREEN and self.size:
            raise make_key_error("size", expected="0 beside green", found=self.size)
        return self


class Shop(Settings):
    version: Literal[1]
    baskets: tuple[Basket, ...] = ()
    default: Basket = Basket()


def load(text: str) -> Shop:
    return validate_table(Shop, parse_toml(text, "shop.toml"), source="shop.toml", text=text)


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    return str(caught.value)


def test_a_good_document_becomes_its_model() -> None:
    shop = load('version = 1\n[[baskets]]\nmax-stale = "1 day"\nshapes = [{ kind = "square", side = 2 }]\n')
    assert shop.baskets[0].shapes == (Square(kind="square", side=2),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version = 2", "shop.toml:1: version: expected 1, found 2"),
        ("", "shop.toml: version: expected a value, found nothing: this key is required"),
        (
            'version = 1\n\n[default]\nmax-stael = "1 day"',
            'shop.toml:4: default.max-stael: expected a known key, found "max-stael"; did you mean "max-stale"?',
        ),
        (
            "version = 1\ndefault.zzz = 1",
            (
                "shop.toml:2: default.zzz: expected one of the keys colour, max-stale, name, shapes, size, token; "
                'found "zzz"'
            ),
        ),
        (
            "version = 1\n[[baskets]]\n[[baskets]]\nmax-stale = 3",
            'shop.toml:4: baskets[1].max-stale: expected a duration such as "3 days", "12 hours" or "P3D", found 3',
        ),
        (
            'version = 1\n[[baskets]]\ncolour = "gren"',
            "shop.toml:3: baskets[0].colour: expected 'red' or 'green', found \"gren\"; did you mean \"green\"?",
        ),
        (
            'version = 1\n[[baskets]]\nshapes = [\n  { kind = "square", side = 1 },\n  { kind = "sqare" },\n]',
            (
                "shop.toml:5: baskets[0].shapes[1].kind: expected one of 'round', 'square', found \"sqare\"; "
                'did you mean "square"?'
            ),
        ),
        (
            "version = 1\n[[baskets]]\nshapes = [{ side = 1 }]",
            "shop.toml:3: baskets[0].shapes[0].kind: expected a value, found nothing: this key is required",
        ),
        (
            'version = 1\n[[baskets]]\nshapes = [{ kind = "round", outer-widht = 1 }]',
            (
                "shop.toml:3: baskets[0].shapes[0].outer-width: expected a value, found nothing: this key is required\n"
                'shop.toml:3: baskets[0].shapes[0].outer-widht: expected a known key, found "outer-widht"; '
                'did you mean "outer-width"?'
            ),
        ),
        (
            'version = 1\n[[baskets]]\nshapes = [{ kind = "square", side = 0 }]',
            "shop.toml:3: baskets[0].shapes[0].side: expected at least 1, found 0",
        ),
        (
            'version = 1\n[default]\ncolour = "green"\nsize = 7',
            "shop.toml:4: default.size: expected 0 beside green, found 7",
        ),
        ("version = 1\nbaskets = 3", "shop.toml:2: baskets: expected an array, found 3"),
        ("version = 1\ndefault = []", "shop.toml:2: default: expected a table, found an array"),
        ("version = 1\n[default]\nname = 2026-11-20", "shop.toml:3: default.name: expected a string, found 2026-11-20"),
    ],
)
def test_a_wrong_key_type_or_value_is_told_in_one_line_with_its_place(text: str, expected: str) -> None:
    assert refusal(text) == expected


def test_every_problem_has_its_line_in_the_order_of_the_document() -> None:
    lines = refusal('version = 2\n[[baskets]]\nname = 1\n[default]\nsize = "x"\n').splitlines()
    assert [line.split(": ")[0] for line in lines] == ["shop.toml:1", "shop.toml:3", "shop.toml:5"]


def test_the_python_spelling_of_a_key_is_no_key() -> None:
    assert 'did you mean "max-stale"?' in refusal('version = 1\n[default]\nmax_stale = "1 day"')


def test_what_is_not_in_the_text_is_told_without_a_line() -> None:
    with pytest.raises(ConfigurationError, match=r"^ASSAY_DEFAULT__SIZE: default.size: expected a number of bytes"):
        validate_table(Shop, {"version": 1, "default": {"size": "big"}}, source="ASSAY_DEFAULT__SIZE")


def test_a_secret_is_never_quoted() -> None:
    assert "hunter2" not in refusal('version = 1\n[default]\ntoken = "hunter2"')


def test_control_characters_and_length_do_not_reach_the_terminal() -> None:
    message = refusal(f'version = 1\n[default]\ncolour = "\\u001b[31m{"x" * 500}"')
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2", "=", 'x = "\n"', "a = [1", "\x00"])
def test_what_is_not_toml_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^shop.toml:\d+: expected valid TOML, found a syntax error: "):
        parse_toml(text, "shop.toml")


def test_a_document_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        parse_toml("a = " + "[" * 100_000, "shop.toml")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("rules", 1, "publishers", 0, "repository"), "rules[1].publishers[0].repository"),
        (("indexes", 1, "file-hosts", 0), "indexes[1].file-hosts[0]"),
        (("a b", "c"), '"a b".c'),
    ],
)
def test_a_key_path_is_spelled_as_in_toml(path: tuple[str | int, ...], expected: str) -> None:
    assert format_key_path(path) == expected


def test_the_nearest_word_is_the_one_that_was_meant() -> None:
    assert find_close_match("min-agee", ["min-age", "mode"]) == "min-age"
    assert find_close_match("xyz", ["min-age", "mode"]) is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version = 1\n# [default]\n[default] # size = 1\nsize = 'x'", 4),
        ('version = 1\n[default]\nname = """\nsize = 1\n"""\nsize = "x"', 6),
        ("version = 1\n[default]\nname = '''\n]]\n'''\nsize = 'x'", 6),
        ('version = 1\n[default]\nname = "\\" # ["\nsize = "x"', 4),
        ("version = 1\ndefault.size = 'x'", 2),
        ("version = 1\ndefault = { name = 'a', size = 'x' }", 2),
        ("version = 1\n[ 'default' ]\n'size' = 'x'", 3),
        ('version = 1\n["default"]\n"size" = 1.5', 3),
        ("version = 1\r\n[default]\r\nsize = 'x'\r\n", 3),
    ],
)
def test_the_line_is_found_whatever_stands_before_it(text: str, line: int) -> None:
    assert refusal(text).startswith(f"shop.toml:{line}: default.size: expected a number of bytes, or a size")


@given(st.text(alphabet="ab=[]{}.,#\"'\n 1-_\\", max_size=60))
def test_any_text_is_read_or_refused_and_never_anything_else(text: str) -> None:
    try:
        table = parse_toml(text, "shop.toml")
    except ConfigurationError:
        return
    with pytest.raises(ConfigurationError):
        validate_table(Shop, {**table, "version": 2}, source="shop.toml", text=text)
