"""Event subscribers: each gets every event, none can break the code that emits it, and their number is limited."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from assay import telemetry
from assay.telemetry.lines import RequestEvent
from assay.telemetry.subscribers import MAX_SUBSCRIBERS

Subscribe = Callable[[telemetry.Subscriber], Callable[[], None]]


@pytest.fixture
def subscribe() -> Iterator[Subscribe]:
    """Return `telemetry.subscribe`; its subscriptions are removed after the test."""
    with ExitStack() as stack:

        def subscribed(subscriber: telemetry.Subscriber) -> Callable[[], None]:
            unsubscribe = telemetry.subscribe(subscriber)
            stack.callback(unsubscribe)
            return unsubscribe

        yield subscribed


@pytest.mark.parametrize(
    ("emit", "level"),
    [
        (telemetry.event, "info"),
        (telemetry.warning, "warning"),
        (telemetry.security, "security"),
        (lambda name, **fields: telemetry.failure(name, ValueError("why"), **fields), "error"),
    ],
)
def test_a_subscriber_gets_each_event_as_it_is_logged_until_it_unsubscribes(
    subscribe: Subscribe, emit: Callable[..., None], level: str
) -> None:
    told: list[telemetry.Event] = []
    unsubscribe = subscribe(told.append)
    token = telemetry.current_request.set(("abc123", None))
    emit("something-happened", filename="foo.whl")
    telemetry.current_request.reset(token)
    unsubscribe()
    unsubscribe()
    emit("something-happened", filename="bar.whl")
    (event,) = told
    assert (event.name, event.level, event.fields) == (
        "something-happened",
        level,
        {"request": "abc123", "filename": "foo.whl"},
    )


def test_requests_are_events_too(subscribe: Subscribe) -> None:
    told: list[telemetry.Event] = []
    subscribe(told.append)
    request = RequestEvent("id", None, "GET", "/", 200, 0.1, None, "alice")
    telemetry.log_request(request)
    assert [(each.name, each.level, each.fields) for each in told] == [("request", "info", request.to_fields())]


def test_a_subscriber_that_fails_is_told_of_once_and_hinders_nobody(
    subscribe: Subscribe, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def fail(_event: telemetry.Event) -> None:
        raise ValueError("broken")

    subscribe(fail)
    subscribe(lambda event: told.append(event.name))
    for name in ("one", "two"):
        telemetry.warning(name)
    assert told == ["one", "two"]
    assert caplog.messages == ["one", "subscriber-failed", "two"]
    (failed,) = [record for record in caplog.records if record.message == "subscriber-failed"]
    assert failed.exc_info is not None
    assert str(failed.exc_info[1]) == "broken"


def test_what_a_subscriber_emits_is_logged_and_not_published(
    subscribe: Subscribe, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def echo(event: telemetry.Event) -> None:
        told.append(event.name)
        telemetry.warning("echo")

    subscribe(echo)
    telemetry.warning("one")
    telemetry.warning("two")
    assert told == ["one", "two"]
    assert caplog.messages == ["one", "echo", "two", "echo"]


def test_there_are_at_most_so_many_and_a_place_that_is_left_is_free(subscribe: Subscribe) -> None:
    first, *_ = [subscribe(lambda _: None) for _ in range(MAX_SUBSCRIBERS)]
    with pytest.raises(RuntimeError, match="more than 16 event subscribers"):
        subscribe(lambda _: None)
    first()
    subscribe(lambda _: None)
