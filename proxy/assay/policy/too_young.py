"""The reason that a whole page may have, file by file: too young. Its words are found when they are read. Pure.

No two files of a page need be of one age, so that each has words of its own, and most are never shown to anybody.
Finding them while judging would take as long as all the rest: 2 µs a file, and two thirds of the memory.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, NoReturn, TypeAlias, final

from assay.policy.language.times import format_instant
from assay.policy.verdict import Reason, ReasonCode, make_reason
from assay.units import format_duration

_PAIR: Final = 2
"""From two on a larger unit says enough."""
_Told: TypeAlias = tuple[ReasonCode, str | None, str, str | None, str | None, datetime | None]


@final
class TooYoung(Reason):
    """Equal to the `Reason` that has its words; frozen, and copied and pickled as that. Made by `too_young`."""

    __slots__ = ("_age", "_wanted")
    _age: timedelta
    _wanted: timedelta

    @property
    def message(self) -> str:
        """How old it is, how old it has to be, and when it will be."""
        until = format_instant(self.until) if self.until is not None else "no instant"
        return (
            f"it is {format_elapsed(self._age)} old, the rule asks for {_asked(self._wanted)[0]}: allowed from {until}"
        )

    @property
    def expected(self) -> str:
        """``at least 3 days old``."""
        return _asked(self._wanted)[1]

    @property
    def found(self) -> str:
        """``26 hours old``."""
        return f"{format_elapsed(self._age)} old"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reason) and _told(self) == _told(other)

    def __hash__(self) -> int:
        return hash(make_reason(*_told(self)))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __reduce__(self) -> tuple[object, ...]:
        return make_reason, _told(self)


# The slots themselves, past `__setattr__`: as `verdict`'s drafts, for a class that has a base.
_set_code, _set_rule, _set_until, _set_age, _set_wanted = (
    getattr(TooYoung, name).__set__ for name in ("code", "rule", "until", "_age", "_wanted")
)


def too_young(rule: str | None, age: timedelta, min_age: timedelta, until: datetime) -> TooYoung:
    """Why a file of this age is withheld until it is as old as `rule` wants."""
    made = object.__new__(TooYoung)
    _set_code(made, ReasonCode.TOO_YOUNG)
    _set_rule(made, rule)
    _set_until(made, until)
    _set_age(made, age)
    _set_wanted(made, min_age)
    return made


def format_elapsed(duration: timedelta) -> str:
    """``2 days``, ``5 hours``, ``0 minutes``: whole units, rounded down."""
    if duration.days >= _PAIR:
        return f"{duration.days} days"
    minutes = max(0, duration.days * 1440 + duration.seconds // 60)
    if minutes >= _PAIR * 60:
        return f"{minutes // 60} hours"
    return f"{minutes} minute{'' if minutes == 1 else 's'}"


@lru_cache(maxsize=64)
def _asked(min_age: timedelta) -> tuple[str, str]:
    asked = format_duration(min_age)
    return asked, f"at least {asked} old"


def _told(reason: Reason) -> _Told:
    return reason.code, reason.rule, reason.message, reason.expected, reason.found, reason.until
