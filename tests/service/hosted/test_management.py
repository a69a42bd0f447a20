from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from packaging.utils import NormalizedName

from assay.store.hosted.directory import HostedDirectory
from tests.world.index.distributions import sdist, wheel
from tests.world.proxy.hosting_proxy import run_hosting_proxy

WHEEL, SOURCE = wheel("acme-app", "1.0"), sdist("acme-app", "1.0")


async def test_a_manager_yanks_a_version_and_undoes_it(tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        for built in (WHEEL, SOURCE):
            assert (await world.upload(built)).status == 200

        async def fetch_yanks() -> dict[str, Any]:
            return {each["filename"]: each["yanked"] for each in (await world.fetch_page("acme-app"))["files"]}

        answer = await world.manage("acme-app", "yank", {"version": "1.0.0", "reason": "broken"})
        assert (answer.status, set(answer.json()["filenames"])) == (200, {WHEEL.filename, SOURCE.filename})
        assert await fetch_yanks() == {WHEEL.filename: "broken", SOURCE.filename: "broken"}

        await world.manage("acme-app", "unyank", {"version": "1.0", "filename": SOURCE.filename})
        assert await fetch_yanks() == {WHEEL.filename: "broken", SOURCE.filename: False}

        # A yanked file keeps its name.
        other = wheel("acme-app", "1.0", files={"acme_app/other.py": b""})
        assert (await world.upload(other)).status == 400


async def test_a_project_status_is_shown_and_applied(tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        assert (await world.upload(WHEEL)).status == 200

        await world.manage("acme-app", "status", {"status": "archived", "reason": "use acme-tools"})

        page = await world.fetch_page("acme-app")
        assert page["project-status"] == {"status": "archived", "reason": "use acme-tools"}
        refused = await world.upload(wheel("acme-app", "1.1"))
        assert (refused.status, "is archived and takes no uploads" in refused.reason) == (400, True)
        await world.manage("acme-app", "status", {"status": "active"})
        assert (await world.upload(wheel("acme-app", "1.1"))).status == 200


async def test_changes_survive_a_restart(tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        await world.upload(WHEEL)
        await world.manage("acme-app", "yank", {"version": "1.0", "reason": "broken"})
        await world.manage("acme-app", "status", {"status": "deprecated"})
    async with run_hosting_proxy(tmp_path) as world:
        [entry] = (await world.get("/hosted/internal/", "alice")).json()["projects"]
        assert (entry["name"], entry["status"]) == ("acme-app", "deprecated")
        assert [(each["filename"], each["yanked"]) for each in entry["files"]] == [(WHEEL.filename, "broken")]


async def test_only_managers_manage(tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        await world.upload(WHEEL)
        for user, status in (("bot", 403), ("unknown", 401)):
            assert (await world.manage("acme-app", "yank", {"version": "1.0"}, user)).status == status
        assert (await world.get("/hosted/internal/", "bot")).status == 403
        assert (await world.fetch_page("acme-app"))["files"][0]["yanked"] is False


@pytest.mark.parametrize(
    ("action", "content", "status", "reason"),
    [
        ("yank", {"version": "2.0"}, 400, "has no file"),
        ("yank", {"version": "x y"}, 400, "invalid version"),
        ("yank", [], 400, "expected a JSON object"),
        ("yank", {"version": "1.0", "reason": "a\nb"}, 400, "not a printable text"),
        ("yank", {"version": "1.0", "why": "x"}, 400, "expected a JSON object"),
        ("status", {"status": "gone"}, 400, "invalid status"),
        ("delete", {}, 405, ""),
    ],
)
async def test_an_invalid_change_is_refused(
    action: str, content: Any, status: int, reason: str, tmp_path: Path
) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        await world.upload(WHEEL)
        answer = await world.manage("acme-app", action, content)
        assert (answer.status, reason in answer.reason) == (status, True), answer.reason
        assert (await world.manage("acme-none", "yank", {"version": "1.0"})).status == 404


async def test_a_project_that_is_archived_during_an_upload_does_not_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = HostedDirectory.publish
    async with run_hosting_proxy(tmp_path) as world:
        assert (await world.upload(wheel("acme-app", "1.0"))).status == 200

        async def archive_and_publish(storage: HostedDirectory, *arguments: Any, **named: Any) -> bool:
            await storage.set_status("internal", NormalizedName("acme-app"), "archived", None)
            return await publish(storage, *arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(HostedDirectory, "publish", archive_and_publish)
            answer = await world.upload(wheel("acme-app", "1.1"))
        assert (answer.status, "is archived and takes no uploads" in answer.reason) == (400, True), answer.reason
        assert (await world.manage("acme-app", "status", {"status": "active"})).status == 200
        assert (await world.upload(wheel("acme-app", "1.1"))).status == 200


async def test_an_upload_to_a_project_that_changes_all_the_time_gets_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def change(*_: object, **__: object) -> bool:
        return False

    async with run_hosting_proxy(tmp_path) as world:
        with monkeypatch.context() as patch:
            patch.setattr(HostedDirectory, "publish", change)
            answer = await world.upload(wheel("acme-app", "1.0"))
        assert (answer.status, "changes all the time" in answer.reason) == (503, True), answer.reason
        assert (await world.upload(wheel("acme-app", "1.0"))).status == 200
