"""Tests of one proxy, run again with three replicas behind a load balancer: their results are the same."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from assay.policy_reload import PolicyWatch
from tests.faults import test_matrix as matrix
from tests.scale.engines import SharedEngines
from tests.scale.replicas import LOCAL, ReplicaStorage
from tests.scale.same_process import ReplicatedProxy, run_test_replicas
from tests.service.gate import test_stories as stories
from tests.world.index.fake_index import Index
from tests.world.sigstore.private_sigstore import PrivateSigstore

MATRIX_SAMPLE = ["hang", "reset", "truncated", "wrong digest", "gone", "503"]


def list_cases(module: ModuleType) -> list[Any]:
    """Return each test of a module with each value of its parameter, as values of a parameter of another test."""
    found = []
    for name, test in inspect.getmembers(module, inspect.iscoroutinefunction):
        if name.startswith("test_"):
            found += [pytest.param(case, id=f"{name}-{n}") for n, case in enumerate(_list_calls(test))]
    return found


def _list_calls(test: Callable[..., Any]) -> list[Callable[..., Any]]:
    calls = [test]
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            names, values = mark.args
            assert isinstance(names, str), "one parameter"
            calls = [partial(call, **{names: value}) for call in calls for value in values]
    return calls


class _PolicyWatches:
    """Watches of the policy file of all replicas."""

    def __init__(self, path: Path, proxy: ReplicatedProxy) -> None:
        self._watches = [PolicyWatch(path, replica.assembly.gate, settle_seconds=0) for replica in proxy.replicas]

    async def reload_if_changed(self) -> bool:
        return all([await watch.reload_if_changed() for watch in self._watches])


def make_world(storage: ReplicaStorage, replicas: int) -> Callable[..., Any]:
    @asynccontextmanager
    async def world(tmp_path: Path, policy: str) -> AsyncIterator[stories.World]:
        sigstore = PrivateSigstore()
        path = tmp_path / "policy.toml"
        path.write_text(policy)
        async with (
            Index() as index,
            run_test_replicas(
                index, tmp_path, storage=storage, replicas=replicas, policy=policy, sigstore=sigstore
            ) as proxy,
        ):
            watches: Any = _PolicyWatches(path, proxy)
            yield stories.World(index, sigstore, proxy, path, watches)

    return world


STORIES = pytest.mark.parametrize("story", list_cases(stories))


@STORIES
async def test_a_story_ends_the_same_with_three_replicas(
    tmp_path: Path, shared: SharedEngines, story: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stories, "world", make_world(shared, 3))
    await story(tmp_path)


@STORIES
async def test_a_story_ends_the_same_behind_the_load_balancer(
    tmp_path: Path, story: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stories, "world", make_world(LOCAL, 1))
    await story(tmp_path)


@pytest.mark.parametrize("fault", MATRIX_SAMPLE)
async def test_a_failing_index_has_the_same_results_with_three_replicas(
    tmp_path: Path, shared: SharedEngines, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "run_test_proxy", partial(run_test_replicas, storage=shared))
    monkeypatch.setattr(matrix, "forget_retry_after", ReplicatedProxy.forget_retry_after)
    await matrix.test_everything_fails_at_once(tmp_path, fault)


@pytest.mark.parametrize("fault", MATRIX_SAMPLE)
async def test_a_failing_index_has_the_same_results_behind_the_load_balancer(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "run_test_proxy", partial(run_test_replicas, storage=LOCAL, replicas=1))
    monkeypatch.setattr(matrix, "forget_retry_after", ReplicatedProxy.forget_retry_after)
    await matrix.test_everything_fails_at_once(tmp_path, fault)
