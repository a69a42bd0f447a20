"""Property test of policy reload under load: each response follows a single policy, and never one that was replaced.

The model of a policy is the set of files that it pins and the name of its rule. Clients request the page and files
while the policy changes at random times. Each response must follow one policy that was in force during the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from assay.policy_reload import PolicyWatch
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import RunningProxy, run_test_proxy

COUNT = 6
CLIENTS = 4
SUBSETS = st.lists(st.frozensets(st.integers(0, COUNT - 1)), min_size=2, max_size=6)
PAUSES = st.lists(st.integers(0, 3 * CLIENTS), min_size=6, max_size=6)
"""Number of responses to wait for between two reloads."""


@dataclass
class Model:
    """Model of the policies: the files that each lists, and the policies that were in force."""

    files: Sequence[ListedFile]
    policies: Sequence[frozenset[int]]
    newest: int = 0
    """Newest policy that may be in force already."""
    oldest: int = 0
    """Oldest policy that a new request may follow."""
    answers: int = 0
    wrong: list[str] = field(default_factory=list)

    async def answered(self, count: int) -> None:
        """Wait for a number of further responses."""
        wanted = self.answers + count
        while self.answers < wanted:  # noqa: ASYNC110 - an event for each response would add load
            await asyncio.sleep(0)

    def text(self, number: int) -> str:
        rule = f'version = 1\n[[rules]]\nname = "policy {number}"\nprojects = ["*"]\n'
        chosen = sorted(self.policies[number])
        if not chosen:
            return f'{rule}deny = "nothing"\n'
        return f"{rule}pinned-only = true\npins = {[self.files[each].built.sha256 for each in chosen]!r}\n"

    def check(self, since: int, listed: set[str], rules: set[str], told: str) -> None:
        """Record an error unless one policy in force since the policy `since` gives exactly this page."""
        self.answers += 1
        for number in range(since, self.newest + 1):
            expected = {self.files[each].built.filename for each in self.policies[number]}
            if listed == expected and rules <= {f"policy {number}"}:
                return
        self.wrong.append(f"{told}: {sorted(listed)} by {sorted(rules)}, policies {since} to {self.newest}")


async def ask_for_pages(proxy: RunningProxy, model: Model, over: asyncio.Event) -> None:
    while not over.is_set():
        since = model.oldest
        page = await proxy.fetch_page("foo")
        listed = {entry["filename"] for entry in page["files"] if not entry["url"].endswith("?withheld")}
        rules = {reason["rule"] for entry in page.get("_withheld", []) for reason in entry["reasons"]}
        model.check(since, listed, rules, "page")


async def ask_for_files(proxy: RunningProxy, model: Model, over: asyncio.Event) -> None:
    number = 0
    while not over.is_set():
        number = (number + 1) % COUNT
        since, listed = model.oldest, model.files[number]
        answer = await proxy.get(proxy.files_path(listed))
        model.answers += 1
        possible = range(since, model.newest + 1)
        if answer.status == 200:
            good = answer.body == listed.built.content and any(number in model.policies[each] for each in possible)
        else:
            rules = {reason["rule"] for reason in answer.json()["reasons"]}
            good = any(number not in model.policies[each] and rules == {f"policy {each}"} for each in possible)
        if not good:
            model.wrong.append(f"file {number}: {answer.status} {answer.reason}, policies {possible}")


async def play(policies: Sequence[frozenset[int]], pauses: Sequence[int], directory: Path) -> Model:
    async with Index() as index:
        model = Model([index.add(wheel("foo", f"1.{number}")) for number in range(COUNT)], policies)
        path = directory / "policy.toml"
        path.write_text(model.text(0))
        async with run_test_proxy(index, directory, policy=model.text(0)) as proxy:
            watch = PolicyWatch(path, proxy.assembly.gate, settle_seconds=0)
            over = asyncio.Event()
            async with asyncio.TaskGroup() as clients:
                for _ in range(CLIENTS):
                    clients.create_task(ask_for_pages(proxy, model, over))
                    clients.create_task(ask_for_files(proxy, model, over))
                for number, pause in zip(range(1, len(policies)), pauses, strict=False):
                    path.write_text(model.text(number))
                    model.newest = number
                    await watch.reload_if_changed()
                    model.oldest = number
                    await model.answered(pause)
                await model.answered(8 * CLIENTS)  # by then most clients have begun another request
                over.set()
    return model


@settings(max_examples=6)
@given(SUBSETS, PAUSES)
def test_under_load_every_answer_is_wholly_by_one_policy_that_was_in_force(
    policies: Sequence[frozenset[int]], pauses: Sequence[int]
) -> None:
    with TemporaryDirectory(prefix="assay-reload-") as directory:
        model = asyncio.run(play(policies, pauses, Path(directory)))
    assert not model.wrong
