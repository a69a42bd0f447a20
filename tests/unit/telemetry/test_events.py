"""Log events: one line for each, whatever its fields contain, and a count by name."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay import telemetry
from assay.telemetry.lines import RequestEvent
from assay.telemetry.metrics import REGISTRY


def logged(say: Callable[[], None], *, as_json: bool) -> str:
    stream = io.StringIO()
    telemetry.configure_logging(stream, as_json=as_json)
    say()
    return stream.getvalue()


@pytest.mark.parametrize(
    ("say", "level"),
    [
        (telemetry.event, "info"),
        (telemetry.warning, "warning"),
        (telemetry.security, "security"),
        (lambda name, **fields: telemetry.failure(name, ValueError("why"), **fields), "error"),
    ],
)
def test_each_kind_of_event_has_its_level_its_fields_and_its_count(say: Callable[..., None], level: str) -> None:
    labels = {"event": "something-happened", "level": level}
    before = REGISTRY.get_sample_value("assay_events_total", labels) or 0
    line = json.loads(logged(lambda: say("something-happened", filename="foo.whl"), as_json=True))
    assert (line["event"], line["level"], line["filename"]) == ("something-happened", level, "foo.whl")
    assert line["time"].endswith("+00:00")
    assert ("traceback" in line) == (level == "error")
    assert REGISTRY.get_sample_value("assay_events_total", labels) == before + 1


def test_a_request_is_counted_once_among_the_events_however_often_it_is_collected() -> None:
    labels = {"event": "request", "level": "info"}
    before = REGISTRY.get_sample_value("assay_events_total", labels) or 0
    for _ in range(3):
        telemetry.log_request(RequestEvent("1", None, "GET", "/", 200, 0.1, None, None))
    found = [REGISTRY.get_sample_value("assay_events_total", labels) for _ in range(2)]
    assert found == [before + 3, before + 3]


def test_only_security_events_are_counted_as_such() -> None:
    telemetry.warning("only-a-warning")
    telemetry.security("a-contradiction")
    assert REGISTRY.get_sample_value("assay_security_events_total", {"event": "a-contradiction"}) == 1
    assert REGISTRY.get_sample_value("assay_security_events_total", {"event": "only-a-warning"}) is None


def test_a_line_carries_the_request_it_belongs_to_and_none_outside_of_one() -> None:
    token = telemetry.current_request.set(("abc123", None))
    try:
        within = logged(lambda: telemetry.event("x"), as_json=True)
    finally:
        telemetry.current_request.reset(token)
    assert json.loads(within)["request"] == "abc123"
    assert "request" not in json.loads(logged(lambda: telemetry.event("x"), as_json=True))


@given(st.text(max_size=50))
def test_nothing_that_others_write_makes_a_line_of_its_own(content: str) -> None:
    for as_json in (True, False):
        said = logged(lambda: telemetry.warning("file-refused", filename=content), as_json=as_json)
        assert said.endswith("\n")
        assert len(said.splitlines()) == 1
        assert said[:-1].isprintable()
        if as_json:
            assert json.loads(said)["filename"] == content


def test_text_is_for_a_terminal_and_json_for_everything_else() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, file = Terminal(), io.StringIO()
    telemetry.configure_logging(terminal)
    telemetry.security("forged", filename="a b.whl")
    telemetry.configure_logging(file)
    telemetry.security("forged", filename="a b.whl")
    assert 'SECURITY forged filename="a b.whl"' in terminal.getvalue()
    assert json.loads(file.getvalue())["level"] == "security"
