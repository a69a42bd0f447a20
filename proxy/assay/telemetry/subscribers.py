"""The event subscribers: a bounded list of callables that get each event after it was counted and logged.

Owns their isolation: a subscriber that fails is reported once and keeps its place, no exception of a subscriber reaches
the code that emits an event, and events that a subscriber emits itself are not published, so that none loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Level: TypeAlias = Literal["info", "warning", "security", "error"]

MAX_SUBSCRIBERS: Final = 16

_is_publishing: Final[ContextVar[bool]] = ContextVar("is_publishing", default=False)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    name: str
    level: Level
    fields: Mapping[str, object]
    """As they are logged, with the id and view of the request."""


Subscriber: TypeAlias = Callable[[Event], None]
"""Called on the thread of the event, which may be the event loop's: it must not block. Strings in the fields may come
from clients and indexes."""


@dataclass(slots=True, eq=False)
class _Subscription:
    subscriber: Subscriber
    has_failed: bool = False


class SubscriberList:
    """Subscribers, in the order of their subscription.

    Args:
        report_failure: told of each subscriber's first exception.
        max_subscribers: limit on their number.

    Attributes:
        is_empty: whether an event need not be made at all, for the code that answers each request.
    """

    def __init__(self, report_failure: Callable[[Exception], None], max_subscribers: int = MAX_SUBSCRIBERS) -> None:
        self._report_failure = report_failure
        self._max_subscribers = max_subscribers
        # Replaced as a whole: events come from several threads.
        self._subscriptions: tuple[_Subscription, ...] = ()
        self.is_empty = True

    def add(self, subscriber: Subscriber) -> Callable[[], None]:
        """Add a subscriber; return a function that removes it, and does nothing when called again.

        Raises:
            RuntimeError: the list is full.
        """
        if len(self._subscriptions) >= self._max_subscribers:
            raise RuntimeError(f"more than {self._max_subscribers} event subscribers")
        subscription = _Subscription(subscriber)
        self._replace((*self._subscriptions, subscription))

        def unsubscribe() -> None:
            self._replace(tuple(each for each in self._subscriptions if each is not subscription))

        return unsubscribe

    def _replace(self, subscriptions: tuple[_Subscription, ...]) -> None:
        self._subscriptions = subscriptions
        self.is_empty = not subscriptions

    def publish(self, event: Event) -> None:
        """Call each subscriber with an event; never raise."""
        subscriptions = self._subscriptions
        if not subscriptions or _is_publishing.get():
            return
        token = _is_publishing.set(True)
        try:
            for each in subscriptions:
                _call(each, event, self._report_failure)
        finally:
            _is_publishing.reset(token)


def _call(subscription: _Subscription, event: Event, report_failure: Callable[[Exception], None]) -> None:
    try:
        subscription.subscriber(event)
    except Exception as error:  # noqa: BLE001 - a fault of one subscriber is nobody else's
        if not subscription.has_failed:
            subscription.has_failed = True
            report_failure(error)
