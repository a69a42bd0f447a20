"""Log lines: the fast encoding of requests equals the general one, and lines keep the order of their events."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay import telemetry
from assay.telemetry.lines import JsonFormatter, RequestEvent

NAMES = st.none() | st.text(max_size=20)


FIELDS = {
    "request": st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    "view": NAMES,
    "method": st.text(max_size=8),
    "path": st.text(max_size=60),
    "status": st.integers(100, 599) | st.sampled_from(["left", "aborted"]),
    "ms": st.floats(0, 1e6).map(lambda value: round(value, 1)),
    "client": NAMES,
    "user": NAMES,
}


@given(created=st.floats(0, 4e9), said=st.fixed_dictionaries(FIELDS))
def test_a_request_s_line_says_what_the_general_form_would(created: float, said: dict[str, Any]) -> None:
    line = RequestEvent(**said).to_json_line(created)
    always = {name: said[name] for name in ("method", "path", "status", "ms", "client")}
    fields = always | {name: value for name, value in said.items() if value is not None}
    record = logging.LogRecord("assay", logging.INFO, "", 0, "request", None, None)
    record.created = created
    record.__dict__["fields"] = fields
    general, ours = json.loads(JsonFormatter().format(record)), json.loads(line)
    # One rounds the time and the other truncates it, so they differ by a millisecond at most.
    assert ours.pop("time")[:-10] in {general["time"][:-10], ours_second(created)}
    general.pop("time")
    assert ours == general
    assert "\n" not in line


def ours_second(created: float) -> str:
    record = logging.LogRecord("assay", logging.INFO, "", 0, "x", None, None)
    record.created = float(int(created))
    return str(json.loads(JsonFormatter().format(record))["time"])[:-10]


def say(path: str) -> None:
    telemetry.log_request(RequestEvent("id", None, "GET", path, 200, 0.1, None, None))


def paths(stream: io.StringIO) -> list[str]:
    return [json.loads(line).get("path", json.loads(line)["event"]) for line in stream.getvalue().splitlines()]


async def test_requests_are_written_together_in_a_moment_and_before_whatever_comes_after() -> None:
    stream = io.StringIO()
    telemetry.configure_logging(stream, as_json=True)
    say("/a")
    say("/b")
    assert stream.getvalue() == ""
    telemetry.warning("afterwards")
    assert paths(stream) == ["/a", "/b", "afterwards"]
    say("/c")
    await asyncio.sleep(0.4)
    assert paths(stream) == ["/a", "/b", "afterwards", "/c"]


async def test_what_is_gathered_has_a_limit_and_is_written_at_the_end() -> None:
    stream = io.StringIO()
    telemetry.configure_logging(stream, as_json=True)
    for _ in range(300):
        say("/" + "x" * 300)
    assert len(paths(stream)) > 100
    logging.root.handlers[0].flush()
    assert len(paths(stream)) == 300


async def test_on_a_terminal_and_beside_another_listener_each_is_written_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = io.StringIO()
    telemetry.configure_logging(stream, as_json=False)
    say("/a")
    assert "/a" in stream.getvalue()
    telemetry.configure_logging(stream, as_json=True)
    logging.root.addHandler(caplog.handler)
    say("/b")
    assert "/b" in stream.getvalue()
    assert [record.__dict__["fields"]["path"] for record in caplog.records if record.message == "request"] == ["/b"]
