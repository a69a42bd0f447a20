"""The thread that runs blocking calls in order: order, results, failures, cancellation and a new start."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from assay.caching.call_thread import CallThread


async def test_calls_run_in_order_in_one_other_thread() -> None:
    thread, ran = CallThread("calls"), list[tuple[int, threading.Thread]]()
    await asyncio.gather(
        *(thread.run(partial(lambda n: ran.append((n, threading.current_thread())), n)) for n in range(9))
    )
    assert [number for number, _ in ran] == list(range(9))
    assert {each.name for _, each in ran} == {"calls"}
    assert threading.current_thread() not in {each for _, each in ran}
    thread.stop()


async def test_a_failure_reaches_its_caller_and_the_next_call_runs() -> None:
    thread = CallThread("calls")

    def fail() -> int:
        raise ValueError("broken")

    failed, right = await asyncio.gather(thread.run(fail), thread.run(lambda: 7), return_exceptions=True)
    assert isinstance(failed, ValueError)
    assert right == 7
    thread.stop()


async def test_a_cancelled_call_runs_to_its_end_before_the_next_one() -> None:
    thread, may_end, ended = CallThread("calls"), threading.Event(), list[str]()

    def wait() -> None:
        may_end.wait()
        ended.append("first")

    first = asyncio.create_task(thread.run(wait))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(thread.run(lambda: ended.append("second")))
    await asyncio.sleep(0)
    may_end.set()
    await second
    assert ended == ["first", "second"]
    thread.stop()


async def test_a_stopped_thread_ends_and_a_later_call_starts_another_one() -> None:
    thread = CallThread("calls")
    first = await thread.run(threading.current_thread)
    thread.stop()
    await asyncio.to_thread(first.join, 10)
    assert not first.is_alive()
    second = await thread.run(threading.current_thread)
    assert second is not first
    assert second.is_alive()
    thread.stop()


def test_a_result_after_the_end_of_the_loop_is_dropped() -> None:
    thread, may_end = CallThread("calls"), threading.Event()
    found, has_begun = list[threading.Thread](), threading.Event()

    def wait() -> None:
        found.append(threading.current_thread())
        has_begun.set()
        may_end.wait()

    async def begin() -> None:
        call = asyncio.create_task(thread.run(wait))
        await asyncio.sleep(0)
        call.cancel()

    asyncio.run(begin())
    assert has_begun.wait(10)
    may_end.set()
    thread.stop()
    found[0].join(10)
    assert not found[0].is_alive()
