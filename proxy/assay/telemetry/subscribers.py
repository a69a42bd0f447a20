"""Event subscribers: a bounded list of functions. Each event is counted and logged, and then passed to them.

The code that emits an event never gets a subscriber's exception. The first exception of each subscriber is reported,
and the subscriber stays subscribed. If a subscriber emits an event, the event is not passed to subscribers. This
prevents endless loops.
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
    """Log event in the form that subscribers get."""

    name: str
    level: Level
    fields: Mapping[str, object]
    """Logged fields, including the id and the view of the request."""


Subscriber: TypeAlias = Callable[[Event], None]
"""Function that is called with each event, on the thread that emits the event. This may be the event loop's thread, so
the function must not block. Strings in the fields may come from clients and indexes, so they are untrusted."""


@dataclass(slots=True, eq=False)
class _Subscription:
    subscriber: Subscriber
    has_failed: bool = False


class SubscriberList:
    """Bounded list of subscribers, in the order in which they subscribed.

    Args:
        report_failure: called with the first exception of each subscriber.
        max_subscribers: maximum number of subscribers.

    Attributes:
        is_empty: True if there are no subscribers. Code that runs for each request then creates no `Event`.
    """

    def __init__(self, report_failure: Callable[[Exception], None], max_subscribers: int = MAX_SUBSCRIBERS) -> None:
        self._report_failure = report_failure
        self._max_subscribers = max_subscribers
        # An immutable tuple, replaced as a whole: events are published on several threads.
        self._subscriptions: tuple[_Subscription, ...] = ()
        self.is_empty = True

    def add(self, subscriber: Subscriber) -> Callable[[], None]:
        """Add a subscriber. Return a function that removes it; further calls of the function do nothing.

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
        """Call each subscriber with an event. Report exceptions of subscribers, but do not raise them."""
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
    except Exception as error:  # noqa: BLE001 - a failing subscriber must not affect the others
        if not subscription.has_failed:
            subscription.has_failed = True
            report_failure(error)
