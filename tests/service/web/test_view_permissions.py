"""Permission to use a view: all clients, or the named users; others get 403 and learn nothing about its contents."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from assay.web.auth import format_password_entry
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import ReadResponse, RunningProxy, make_configuration, run_test_proxy
from tests.world.proxy.views_world import CLOSED_POLICY, OPEN_POLICY

TOKEN, PASSWORD = "a-token-of-ci", "alice's own"
PREFIXES = {"default": "", "strict": "/strict", "dev": "/teams/dev"}
WHO: Mapping[str, dict[str, str]] = {
    "nobody": {},
    "alice": {"Authorization": "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode()},
    "ci": {"Authorization": f"Bearer {TOKEN}"},
    "ci by pip": {"Authorization": "Basic " + base64.b64encode(f"__token__:{TOKEN}".encode()).decode()},
    "carol": {"X-Forwarded-User": "carol"},
    "dave": {"X-Forwarded-User": "dave"},
}


@dataclass(frozen=True)
class Guarded:
    proxy: RunningProxy
    index: Index
    listed: ListedFile

    def routes(self, view: str) -> list[str]:
        """Return URLs of every kind of a view, for existing and missing resources."""
        file, prefix = self.proxy.files_path(self.listed), PREFIXES[view]
        own = ["/", "/simple/", "/simple", "/simple/widget/", "/simple/Widget/", "/simple/none/", "/project/widget"]
        own += [
            "/project/none",
            "/policy",
            "/search?name=widget",
            "/overview",
            "/refusals",
            file,
            f"{file}.metadata",
            "/files/h/none-1.0.tar.gz",
            f"/attestations/{self.listed.built.sha256}",
            f"/attestations/{self.listed.built.sha256}?project=widget",
        ]
        own += ["/overview", "/refusals", self.listed.provenance_path, "/integrity/none/1/f/provenance", "/nowhere"]
        return [prefix + each for each in own] + ([prefix] if prefix else [])


@asynccontextmanager
async def guarded(tmp_path: Path, **users: list[str]) -> AsyncIterator[Guarded]:
    """Run a proxy with the views of `PREFIXES`; alice has a password, ci a token, other users come by a front proxy."""
    (tmp_path / "passwords").write_text(format_password_entry("alice", PASSWORD) + "\n")
    (tmp_path / "tokens").write_text(f"ci:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    auth = {"passwords": str(tmp_path / "passwords"), "tokens": str(tmp_path / "tokens")}
    server = {"port": 0, "auth": {**auth, "user-header": "X-Forwarded-User"}, "trusted-proxies": ["127.0.0.0/8"]}
    tables = [
        {"name": name, "path": f"{prefix}/", **({"users": users[name]} if name in users else {})}
        for name, prefix in PREFIXES.items()
    ]
    async with Index() as index:
        listed = index.add(wheel("widget", "1.0"))
        configuration = make_configuration(index, tmp_path / "assay", server=server, views=tables)
        policies = {"default": OPEN_POLICY, "strict": CLOSED_POLICY, "dev": OPEN_POLICY}
        async with run_test_proxy(index, tmp_path, policies=policies, configuration=configuration) as proxy:
            yield Guarded(proxy, index, listed)


@pytest.mark.parametrize(
    ("who", "strict", "dev"),
    [
        ("nobody", False, False),
        ("alice", True, False),
        ("ci", False, True),
        ("ci by pip", False, True),
        ("carol", True, True),
        ("dave", False, False),
    ],
)
async def test_each_view_is_open_to_whom_it_names_by_password_token_or_a_front_proxys_word(
    tmp_path: Path, who: str, strict: bool, dev: bool
) -> None:
    async with guarded(tmp_path, strict=["alice", "carol"], dev=["ci", "carol"]) as there:
        refusal = 401 if who == "nobody" else 403
        allowed = {"default": who != "nobody", "strict": strict, "dev": dev}
        for view, is_open in allowed.items():
            if not is_open:
                for route in there.routes(view):
                    for method in ("GET", "HEAD", "POST"):
                        answer = await there.proxy.request(method, route, WHO[who])
                        assert answer.status == refusal, (method, route)
                assert there.index.requests == [], "no index was contacted"
        for view, is_open in allowed.items():
            if is_open:
                page = await there.proxy.get(f"{PREFIXES[view]}/simple/widget/", WHO[who])
                assert (page.status, b"widget-1.0" in page.body) == (200, True)
                file = await there.proxy.get(PREFIXES[view] + there.proxy.files_path(there.listed), WHO[who])
                assert file.status == (403 if view == "strict" else 200)


async def test_a_refusal_is_the_same_for_what_there_is_and_what_there_is_not(tmp_path: Path) -> None:
    async with guarded(tmp_path, strict=["alice"]) as there:
        answers = [await there.proxy.get(route, WHO["ci"]) for route in there.routes("strict")]

        def told(answer: ReadResponse) -> tuple[object, ...]:
            own = {
                name: value for name, value in answer.headers.items() if name.lower() not in {"x-request-id", "date"}
            }
            return answer.status, answer.reason, answer.body, tuple(own.items())

        assert len({told(answer) for answer in answers}) == 1
        assert answers[0].reason == "you may not use the view strict of this proxy"
        assert answers[0].json()["type"] == "urn:assay:problem:not-your-view"
        assert answers[0].headers["Cache-Control"] == "no-store"
        assert "reasons" not in answers[0].json()
        page = await there.proxy.get("/strict/simple/widget/", {**WHO["ci"], "Accept": "text/html"})
        assert (page.status, b"You may not use this view" in page.body, b"widget" in page.body) == (403, True, False)


async def test_the_view_at_the_root_can_be_restricted_and_probes_stay_open(tmp_path: Path) -> None:
    async with guarded(tmp_path, default=["alice"]) as there:
        for route in (*there.routes("default"), "/metrics"):
            assert (await there.proxy.get(route, WHO["ci"])).status == 403, route
        assert (await there.proxy.get("/metrics", WHO["alice"])).status == 200
        assert (await there.proxy.get("/teams/dev/simple/widget/", WHO["ci"])).status == 200
        for who in ("nobody", "ci"):
            for route in ("/healthz", "/readyz"):
                assert (await there.proxy.get(route, WHO[who])).status == 200


async def test_home_leads_to_the_views_that_are_open_to_who_asks(tmp_path: Path) -> None:
    async with guarded(tmp_path, strict=["alice"], dev=["carol"]) as there:
        for who, expected in (("alice", (True, False)), ("carol", (False, True)), ("dave", (False, False))):
            home = (await there.proxy.get("/", WHO[who])).body
            assert (b"strict" in home, b"teams/dev" in home) == expected, who


async def test_whom_no_front_proxy_names_is_nobody_whatever_the_header_says(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"ci:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    auth = {"tokens": str(tmp_path / "tokens"), "user-header": "X-Forwarded-User"}
    views = [{"name": "strict", "path": "/strict/", "users": ["carol"]}]
    async with Index() as index:
        configuration = make_configuration(index, tmp_path / "assay", server={"port": 0, "auth": auth}, views=views)
        async with run_test_proxy(
            index, tmp_path, policies={"strict": OPEN_POLICY}, configuration=configuration
        ) as proxy:
            for headers, status in ((WHO["carol"], 401), ({**WHO["ci"], **WHO["carol"]}, 403)):
                assert (await proxy.get("/strict/simple/", headers)).status == status
