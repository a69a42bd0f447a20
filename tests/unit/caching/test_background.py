"""Tests of background tasks: they end with their owner, and each error is reported once."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from assay.caching.background import BackgroundTasks, cancel_and_wait, gather_or_cancel


class Job:
    """Work that records how it ended."""

    def __init__(self) -> None:
        self.started, self.release = asyncio.Event(), asyncio.Event()
        self.ended: str | None = None

    async def run(self) -> None:
        try:
            self.started.set()
            await self.release.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # the cleanup takes one turn of the loop
            self.ended = "cancelled"
            raise
        self.ended = "done"


async def fail(error: BaseException) -> None:
    raise error


async def test_close_cancels_all_tasks_and_waits_until_they_have_ended() -> None:
    jobs, group = [Job(), Job()], BackgroundTasks()
    for job in jobs:
        group.spawn(job.run(), name="a job")
        await job.started.wait()
    assert [task.get_name() for task in asyncio.all_tasks()].count("a job") == len(group) == 2
    await group.close()
    assert ([job.ended for job in jobs], len(group)) == (["cancelled", "cancelled"], 0)
    await group.close()


async def test_the_end_of_the_block_closes_the_group_also_after_an_error() -> None:
    job = Job()

    async def run_block() -> None:
        async with BackgroundTasks() as group:
            group.spawn(job.run(), name="a job")
            await job.started.wait()
            raise KeyError("of the block")

    with pytest.raises(KeyError):
        await run_block()
    assert job.ended == "cancelled"


async def test_a_task_that_ends_by_itself_leaves_the_group() -> None:
    job = Job()
    async with BackgroundTasks() as group:
        group.spawn(job.run(), name="a job")
        job.release.set()
        await group.wait_until_idle()
        assert (job.ended, len(group)) == ("done", 0)


async def test_a_closed_group_starts_nothing() -> None:
    group = BackgroundTasks()
    await group.close()
    job = Job()
    with pytest.raises(RuntimeError, match="a late job"):
        group.spawn(job.run(), name="a late job")
    await asyncio.sleep(0)
    assert not job.started.is_set()


async def test_idle_waits_for_tasks_that_start_others() -> None:
    group, ended = BackgroundTasks(), list[int]()

    async def step(number: int) -> None:
        await asyncio.sleep(0)
        if number:
            group.spawn(step(number - 1), name="the next step")
        ended.append(number)

    group.spawn(step(3), name="the first step")
    await group.wait_until_idle()
    assert ended == [3, 2, 1, 0]


async def test_an_error_is_reported_once_with_the_name_of_its_task_and_a_cancellation_is_not() -> None:
    reported = list[tuple[str, BaseException]]()
    error, job = ValueError("broken"), Job()
    async with BackgroundTasks(report=lambda name, failed: reported.append((name, failed))) as group:
        group.spawn(fail(error), name="a bad job")
        group.spawn(job.run(), name="a good job")
        await job.started.wait()
        await asyncio.sleep(0)
    assert (reported, job.ended) == ([("a bad job", error)], "cancelled")


async def test_without_a_report_an_error_goes_to_the_event_loop() -> None:
    heard = list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    group, error = BackgroundTasks(), ValueError("broken")
    group.spawn(fail(error), name="a bad job")
    await group.wait_until_idle()
    gc.collect()
    assert [context["exception"] for context in heard] == [error]


async def test_cancel_and_wait_takes_tasks_that_failed_ended_or_go_on() -> None:
    job = Job()
    tasks = [
        asyncio.create_task(job.run()),
        asyncio.create_task(fail(ValueError("broken"))),
        asyncio.create_task(asyncio.sleep(0)),
    ]
    await job.started.wait()
    await cancel_and_wait(tasks)
    assert (all(task.done() for task in tasks), job.ended) == (True, "cancelled")
    await cancel_and_wait([])


async def test_a_failure_before_the_cancellation_does_not_go_to_the_event_loop() -> None:
    heard = list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    failed = [asyncio.create_task(fail(ValueError("broken"))) for _ in range(2)]
    await asyncio.wait(failed)
    await cancel_and_wait(failed[:1])
    del failed
    gc.collect()
    await asyncio.sleep(0)
    assert len(heard) == 1  # the exception of the other task


async def test_gathered_results_are_in_the_order_of_the_jobs() -> None:
    async def give(number: int, turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return number

    assert await gather_or_cancel(give(number, 3 - number) for number in range(3)) == [0, 1, 2]
    assert await gather_or_cancel([]) == []


async def test_the_first_failure_is_raised_once_the_other_jobs_have_ended() -> None:
    job, error = Job(), ValueError("broken")

    async def fail_later() -> None:
        await job.started.wait()
        raise error

    with pytest.raises(ValueError, match="broken") as caught:
        await gather_or_cancel([job.run(), fail_later()])
    assert (caught.value, job.ended) == (error, "cancelled")
