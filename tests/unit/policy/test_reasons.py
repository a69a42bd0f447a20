"""Output forms of reasons: JSON, reason phrase, nearest version."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.policy.reasons import (
    MAX_SUMMARY_BYTES,
    escape_controls,
    reasons_to_json,
    summarize_withheld,
)
from assay.policy.verdict import ReasonCode, Verdict, Withheld, state_reason
from assay.simple.model import Kind
from tests.unit.policy.factories import (
    FORGED,
    a_file,
    a_policy,
    ago,
    one,
    page,
)

YOUNG = a_policy('min-age = "3 days"')


def withheld(verdict: Verdict) -> Withheld:
    assert isinstance(verdict, Withheld)
    return verdict


def made(**changes: Any) -> Withheld:
    """Return a `Withheld` for one reason with these fields."""
    fields: dict[str, Any] = {"code": ReasonCode.DENIED, "rule": "all", "message": "denied by the policy: no"}
    return Withheld(file=a_file(), reasons=(state_reason(**fields | changes),), enforced=True)


def test_the_json_is_that_of_the_contract() -> None:
    verdict = withheld(page(YOUNG, a_file(uploaded=ago(10)), a_file("2.0", uploaded=ago(1)))[1])
    assert reasons_to_json(verdict) == [
        {
            "code": "too-young",
            "rule": "all",
            "message": "the file is 24 hours old, but the rule requires 3 days; allowed from 2026-11-23 12:00 UTC; "
            "nearest approved version: 1.0",
            "expected": "at least 3 days old",
            "found": "24 hours old",
            "until": "2026-11-23T12:00:00Z",
        }
    ]


def test_until_stands_only_where_time_heals() -> None:
    (reason,) = reasons_to_json(withheld(one(a_policy('deny = "no"'), a_file())))
    assert reason == {
        "code": "denied",
        "rule": "all",
        "message": "denied by the policy: no",
        "expected": None,
        "found": "no",
    }


def test_every_reason_is_told() -> None:
    verdict = withheld(one(a_policy('yanked = "deny"\ntypes = ["sdist"]'), a_file(yanked="bad"), FORGED))
    assert [each["code"] for each in reasons_to_json(verdict)] == ["forged", "file-type", "yanked"]


HOSTILE = 'a\r\nSet-Cookie: x\x1b[31m\x00\u202e\ud800é"\\'


def test_control_characters_are_escaped_everywhere() -> None:
    verdict = made(rule=HOSTILE, message=HOSTILE, expected=HOSTILE, found=HOSTILE)
    text = json.dumps(reasons_to_json(verdict), ensure_ascii=False)
    assert text.isprintable()
    assert text.encode()
    told = reasons_to_json(verdict)[0]["message"]
    assert told == 'a\\r\\nSet-Cookie: x\\x1b[31m\\x00\\u202e\\ud800é"\\'


def test_what_is_too_long_is_cut() -> None:
    assert len(reasons_to_json(made(found="x" * 100_000))[0]["found"] or "") == 2000


@given(st.text(max_size=400), st.text(max_size=400), st.none() | st.text(max_size=100))
def test_a_sentence_is_one_line_of_printable_ascii_within_its_bytes(
    message: str, rule: str, nearest: str | None
) -> None:
    verdict = made(message=message, rule=rule)
    line = summarize_withheld(Withheld(file=verdict.file, reasons=verdict.reasons, enforced=True, nearest=nearest))
    assert line.isascii()
    assert line.isprintable()
    assert len(line) <= MAX_SUMMARY_BYTES


@given(st.text())
def test_what_is_printable_needs_no_escaping_twice(text: str) -> None:
    assert escape_controls(text).isprintable()
    assert escape_controls(escape_controls(text)) == escape_controls(text)


def test_a_sentence_that_is_too_long_keeps_what_to_do() -> None:
    verdict = made(message=f'the file is signed by {"x" * 500}; ask for a waiver of "publishers"')
    assert summarize_withheld(verdict).startswith("withheld, denied: the file is signed by xxx")
    assert summarize_withheld(verdict).endswith('ask for a waiver of "publishers" (rule: all)')


def test_a_sentence_says_code_rule_and_what_to_do() -> None:
    verdict = page(YOUNG, a_file(uploaded=ago(10)), a_file("2.0", uploaded=ago(1)))[1]
    assert summarize_withheld(withheld(verdict)) == (
        "withheld, too-young: the file is 24 hours old, but the rule requires 3 days; "
        "allowed from 2026-11-23 12:00 UTC (rule: all); nearest approved version: 1.0"
    )


@pytest.mark.parametrize(
    ("approved", "withheld_version", "expected"),
    [
        (["1.0", "1.5", "3.0"], "2.0", "1.5"),
        (["3.0", "2.5"], "2.0", "2.5"),
        (["1.0", "2.0rc1"], "2.0", "1.0"),
        (["2.0rc1"], "2.0", "2.0rc1"),
        (["1.0", "2.0rc1"], "2.0rc2", "2.0rc1"),
        ([], "2.0", None),
    ],
)
def test_the_nearest_approved_version_is_the_next_lower_else_the_next_higher(
    approved: list[str], withheld_version: str, expected: str | None
) -> None:
    files = [a_file(version, uploaded=ago(10)) for version in approved]
    assert withheld(page(YOUNG, *files, a_file(withheld_version, uploaded=ago(1)))[-1]).nearest == expected


def test_a_version_that_can_be_had_otherwise_needs_no_other() -> None:
    verdicts = page(YOUNG, a_file(uploaded=ago(10)), a_file(kind=Kind.SDIST, uploaded=ago(1)))
    assert withheld(verdicts[1]).nearest is None
