"""Watch for blocking calls in tests/conftest.py: a blocking call by `assay` fails a test, any other call does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockingError

import assay
from assay.units import parse_size

INSIDE = Path(assay.__file__).with_name("planted.py")
SLEEP = "import time\n\n\ndef block():\n    time.sleep(0)\n"


class SleepyText(str):
    """Text whose `strip` blocks."""

    __slots__ = ()

    def strip(self, chars: str | None = None, /) -> str:
        time.sleep(0)
        return super().strip(chars)


def compile_block(filename: Path) -> Callable[[], None]:
    """Return a function that sleeps, compiled as part of the file `filename`."""
    names: dict[str, Any] = {}
    exec(compile(SLEEP, str(filename), "exec"), names)  # noqa: S102 - a planted failure
    block: Callable[[], None] = names["block"]
    return block


async def test_a_blocking_call_in_a_file_of_the_package_fails() -> None:
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        compile_block(INSIDE)()


async def test_the_twin_the_same_call_outside_the_package_is_accepted(tmp_path: Path) -> None:
    compile_block(tmp_path / "planted.py")()
    compile_block(INSIDE.parents[1] / "other" / "planted.py")()


async def test_a_blocking_call_that_the_packages_own_code_makes_fails() -> None:
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        parse_size(SleepyText("1 B"))


async def test_the_twin_the_same_call_by_the_test_is_accepted() -> None:
    assert parse_size(SleepyText("1 B").strip()) == 1


def test_outside_a_running_loop_nothing_is_refused() -> None:
    compile_block(INSIDE)()
    assert parse_size(SleepyText("1 B")) == 1
