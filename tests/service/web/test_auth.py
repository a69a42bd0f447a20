"""Authentication by password, token and front proxy; all other requests get 401."""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from functools import partial
from io import StringIO
from pathlib import Path

import aiohttp
import pytest

from assay.cli import run
from assay.config import ServerSettings
from assay.errors import ConfigurationError
from assay.web.auth import Authenticator, format_password_entry
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.auth_proxy import (
    PASSWORD,
    TOKEN,
    make_basic_header,
    make_bearer_header,
    run_auth_proxy,
    write_credentials,
)
from tests.world.proxy.running_proxy import make_configuration, run_test_proxy


async def identify(access: Authenticator, headers: dict[str, str]) -> tuple[str, str] | None:
    """Return the name and method of the user that the headers authenticate, or None."""
    found = access.identify(headers, None)
    user = await found() if isinstance(found, partial) else found
    return None if user is None else (user.name, user.how)


WRONG = [
    {},
    make_bearer_header("wrong"),
    make_bearer_header(""),
    make_basic_header("alice", "wrong"),
    make_basic_header("bob", PASSWORD),
    make_basic_header("__token__", "wrong"),
    make_basic_header("alice", TOKEN),
    {"Authorization": "Basic !!!"},
    {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:x").decode()},
    {"Authorization": "Basic"},
    {"Authorization": f"Digest {TOKEN}"},
    {"Authorization": "Bearer " + "x" * 5000},
    {"X-Forwarded-User": "alice"},
]


@pytest.mark.parametrize("headers", WRONG, ids=[str(number) for number in range(len(WRONG))])
async def test_without_the_right_word_every_route_is_401_and_no_index_is_asked(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with run_auth_proxy(tmp_path) as there:
        assert await there.collect_statuses(headers) == {401}
        assert there.index.requests == []
        answer = await there.proxy.get("/simple/widget/", headers)
        assert answer.headers.getall("WWW-Authenticate") == [
            'Basic realm="assay", charset="UTF-8"',
            'Bearer realm="assay"',
        ]
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.json()["type"] == "urn:assay:problem:unauthenticated"
        assert b"widget" not in answer.body


RIGHT = [make_bearer_header(TOKEN), make_basic_header("__token__", TOKEN), make_basic_header("alice", PASSWORD)]


@pytest.mark.parametrize("headers", RIGHT, ids=["bearer", "token as password", "password"])
async def test_with_it_everything_is_as_without_authentication(tmp_path: Path, headers: dict[str, str]) -> None:
    async with run_auth_proxy(tmp_path) as there:
        assert (await there.proxy.get("/simple/widget/", headers)).status == 200
        answer = await there.proxy.get(there.proxy.files_path(there.listed), headers)
        assert (answer.status, answer.body) == (200, there.listed.built.content)
        assert 401 not in await there.collect_statuses(headers)


@pytest.mark.parametrize(
    ("headers", "user"), [(make_basic_header("alice", PASSWORD), "alice"), (make_bearer_header(TOKEN), "ci")]
)
async def test_log_and_trail_say_who_asked_and_never_by_what(
    tmp_path: Path, headers: dict[str, str], user: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "assay")
    async with Index() as index:
        listed = index.add(wheel("widget", "1.0"))
        configuration = make_configuration(
            index,
            tmp_path / "assay",
            server={"port": 0, "auth": write_credentials(tmp_path)},
            audit={"path": str(tmp_path / "audit.jsonl")},
        )
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            assert (await proxy.get(proxy.files_path(listed), headers)).status == 200
            assert (await proxy.get(proxy.files_path(listed))).status == 401
    logged = [getattr(record, "fields", {}) for record in caplog.records if record.message == "request"]
    assert [(fields["status"], fields.get("user")) for fields in logged] == [(200, user), (401, None)]
    trail = await asyncio.to_thread((tmp_path / "audit.jsonl").read_text, "utf-8")
    assert trail.count('"event":"served"') == trail.count(f'"user":"{user}"') == 1
    assert all(word not in trail + str(logged) for word in (PASSWORD, TOKEN, headers["Authorization"]))


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_need_no_name(tmp_path: Path, path: str) -> None:
    async with run_auth_proxy(tmp_path) as there:
        assert (await there.proxy.get(path)).status == 200


async def test_without_the_table_everybody_may_ask(tmp_path: Path) -> None:
    async with run_auth_proxy(tmp_path, host="127.0.0.1") as there:
        assert (await there.proxy.get("/simple/widget/")).status == 200


@pytest.mark.parametrize(("proxies", "status"), [(["127.0.0.0/8"], 200), (["10.0.0.0/8"], 401), ([], 401)])
async def test_a_front_proxys_word_counts_from_trusted_proxies_alone(
    tmp_path: Path, proxies: list[str], status: int
) -> None:
    auth = {"user-header": "X-Forwarded-User"}
    async with run_auth_proxy(tmp_path, auth=auth, **{"trusted-proxies": proxies}) as there:
        assert (await there.proxy.get("/simple/widget/", {"X-Forwarded-User": "alice"})).status == status
        assert (await there.proxy.get("/simple/widget/", {"X-Forwarded-User": " "})).status == 401
        assert (await there.proxy.get("/simple/widget/")).status == 401


async def test_a_user_who_is_taken_out_is_out_and_a_file_that_is_none_changes_nothing(tmp_path: Path) -> None:
    files = write_credentials(tmp_path)
    settings = ServerSettings.model_validate({"auth": files})
    assert settings.auth is not None
    access = Authenticator(settings, settings.auth)
    await access.watch.reload_if_changed()
    assert await identify(access, make_basic_header("alice", PASSWORD)) == ("alice", "password")
    assert await identify(access, make_bearer_header(TOKEN)) == ("ci", "token")
    (tmp_path / "passwords").write_text("alice:plain text\n", "utf-8")
    with pytest.raises(ConfigurationError, match=r"passwords, line 1: expected a name, a colon and a hash") as refused:
        await access.watch.reload_if_changed()
    assert "plain" not in str(refused.value)
    assert await identify(access, make_basic_header("alice", PASSWORD)) == ("alice", "password")
    (tmp_path / "passwords").write_text(f"{format_password_entry('bob', PASSWORD)}\n", "utf-8")
    assert await access.watch.reload_if_changed()
    assert await identify(access, make_basic_header("alice", PASSWORD)) is None
    assert await identify(access, make_basic_header("bob", PASSWORD)) == ("bob", "password")
    assert not await access.watch.reload_if_changed()


def test_a_hash_is_salted_and_says_nothing_of_the_password() -> None:
    one, other = format_password_entry("alice", PASSWORD), format_password_entry("alice", PASSWORD)
    assert one != other
    assert PASSWORD not in one
    with pytest.raises(ConfigurationError, match="without colons"):
        format_password_entry("a:b", PASSWORD)


def test_the_command_writes_a_line_that_lets_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO(f"{PASSWORD}\n"))
    assert run(["hash-password", "alice"]) == 0
    (tmp_path / "passwords").write_text(capsys.readouterr().out, "utf-8")
    settings = ServerSettings.model_validate({"auth": {"passwords": str(tmp_path / "passwords")}})
    assert settings.auth is not None
    access = Authenticator(settings, settings.auth)
    access.load()
    assert asyncio.run(identify(access, make_basic_header("alice", PASSWORD))) == ("alice", "password")
    assert asyncio.run(identify(access, make_basic_header("alice", "wrong"))) is None


@pytest.mark.parametrize("name", ["passwords", "tokens"])
async def test_a_file_that_is_not_there_is_a_reason_not_to_start(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"server\.auth\.{name}: .* cannot be read"):
        async with run_auth_proxy(tmp_path, auth={name: str(tmp_path / "absent")}):
            pass


async def test_guessers_of_passwords_do_not_delay_the_first_login_of_a_user_elsewhere(tmp_path: Path) -> None:
    async with run_auth_proxy(tmp_path) as world:
        url = f"{world.proxy.origin}/policy"
        elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0), limit=0)

        delays = []

        async def guess(session: aiohttp.ClientSession, number: int) -> tuple[int, str | None]:
            headers, started = make_basic_header("alice", f"guess {number}"), time.monotonic()
            async with session.get(url, headers=headers) as answer:
                if answer.status == 429:
                    delays.append(time.monotonic() - started)
                return answer.status, answer.headers.get("Retry-After")

        async with aiohttp.ClientSession(connector=elsewhere) as session:
            guesses = [asyncio.create_task(guess(session, number)) for number in range(120)]
            await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
            answer = await world.proxy.get("/policy", make_basic_header("alice", PASSWORD))
            waited_for = sum(not task.done() for task in guesses)
            statuses = await asyncio.gather(*guesses)
        assert answer.status == 200
        assert set(statuses) == {(401, None), (429, "1")}
        assert statuses.count((401, None)) < 60, "most are refused without a check"
        assert waited_for < 120
        assert min(delays) >= 1, "a client that ignores Retry-After is slowed"
        assert (await world.proxy.get("/policy", make_basic_header("alice", "wrong"))).status == 401
