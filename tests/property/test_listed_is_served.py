"""Property tests of promise 1: listed ⇔ served ⇔ approved, on every route, for random projects and policies."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.world.index.distributions import BuiltDistribution, sdist, wheel
from tests.world.index.fake_index import ABSENT, Index, ListedFile
from tests.world.proxy.running_proxy import NOW, SIMPLE_JSON, RunningProxy, run_test_proxy
from tests.world.sigstore.private_sigstore import GitHub, PrivateSigstore

PROJECTS = ("alpha", "beta", "gamma-delta")
GOOD, OTHER = GitHub(repository="acme/widget"), GitHub(repository="mallory/widget")
SIGNED_AT = NOW - timedelta(days=30)


@cache
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(seed=7)


@dataclass(frozen=True)
class Drawn:
    """Description of one random file."""

    project: str
    version: str
    source: bool
    padding: int
    provenance: str
    """none, good, other, forged, missing"""
    days: int
    """Time since the file's upload."""
    flaw: str
    """none, no-sha256, no-size, foreign-host, other-name, user-info"""
    yanked: bool

    def built(self) -> BuiltDistribution:
        make = sdist if self.source else wheel
        return make(self.project, self.version, padding=self.padding)

    def document(self, built: BuiltDistribution) -> bytes | None:
        if self.provenance in {"none", "missing"}:
            return None
        signer = OTHER if self.provenance == "other" else GOOD
        sha256 = "0" * 64 if self.provenance == "forged" else built.sha256
        return sigstore().provenance(built.filename, sha256, signer, when=SIGNED_AT)

    def entry(self, index: Index, built: BuiltDistribution) -> dict[str, object]:
        elsewhere = f"http://elsewhere.example/{built.filename}"
        flaws: dict[str, dict[str, object]] = {
            "no-sha256": {"hashes": {"md5": "0" * 32}},
            "no-size": {"size": ABSENT},
            "foreign-host": {"url": elsewhere},
            "user-info": {"url": f"http://user:secret@{index.files_host}/{built.filename}"},
            "other-name": {"filename": f"other_name-{self.version}.tar.gz"},
        }
        entry = dict(flaws.get(self.flaw, {}))
        if self.provenance == "missing":
            entry["provenance"] = f"{index.origin}/integrity/nothing/here"
        return entry


files = st.builds(
    Drawn,
    project=st.sampled_from(PROJECTS),
    version=st.sampled_from(["1.0", "1.1", "2.0rc1", "2.0+local.1"]),
    source=st.booleans(),
    padding=st.sampled_from([0, 100_000]),
    provenance=st.sampled_from(["none", "good", "other", "forged", "missing"]),
    days=st.sampled_from([0, 5, 20, 29]),
    flaw=st.sampled_from(["none", "none", "none", "no-sha256", "no-size", "foreign-host", "user-info", "other-name"]),
    yanked=st.booleans(),
)
worlds = st.lists(files, min_size=1, max_size=6, unique_by=lambda each: (each.project, each.version, each.source))

REQUIREMENTS = [
    "",
    'attestations = "required"\npublishers = "any"',
    'publishers = [{ kind = "GitHub", repository = "acme/widget" }]',
    'min-age = "10 days"',
    'deny = "not allowed"',
    'types = ["wheel"]',
    'yanked = "deny"',
    'mode = "audit"\nmin-age = "10 days"',
]
policies = st.tuples(
    st.sampled_from(["hide", "explain", "stop"]),
    st.sampled_from(["enforce", "warn", "off"]),
    st.tuples(
        st.lists(st.tuples(st.sampled_from([*PROJECTS, "*a"]), st.sampled_from(REQUIREMENTS)), max_size=2),
        st.sampled_from([[], *([("*", requirement)] for requirement in REQUIREMENTS)]),
    ).map(lambda parts: [*parts[0], *parts[1]]),
)


def policy_text(withheld: str, ratchet: str, rules: list[tuple[str, str]]) -> str:
    tables = [
        f'[[rules]]\nname = "rule {number}"\nprojects = ["{pattern}"]\n{requirement}\n'
        for number, (pattern, requirement) in enumerate(rules)
    ]
    return f'version = 1\nwithheld = "{withheld}"\n[defaults]\nratchet = "{ratchet}"\n' + "".join(tables)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(world=worlds, policy=policies, mode=st.sampled_from(["json", "html"]))
def test_what_is_listed_is_served_and_nothing_else(
    world: list[Drawn], policy: tuple[str, str, list[tuple[str, str]]], mode: str
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(check(world, policy_text(*policy), mode, Path(directory)))


async def check(world: list[Drawn], policy: str, mode: Any, directory: Path) -> None:
    async with Index(content=mode) as index:
        added = []
        for drawn in world:
            built = drawn.built()
            added.append(
                index.add(
                    built,
                    provenance=drawn.document(built),
                    upload_time=NOW - timedelta(days=drawn.days),
                    yanked="gone" if drawn.yanked else False,
                    entry=drawn.entry(index, built),
                )
            )
        async with run_test_proxy(index, directory, policy=policy, sigstore=sigstore()) as proxy:
            for project in {drawn.project for drawn in world}:
                shown = await listed_as(proxy, project)
                for listed in added:
                    if listed.built.project == project:
                        approved = await same_on_every_route(proxy, listed, shown)
                        event(f"approved: {approved}")


async def listed_as(proxy: RunningProxy, project: str) -> dict[str, bool]:
    """Return True for a tombstone and False for another file, by location; HTML and JSON must agree."""
    page = (await proxy.get(f"/simple/{project}/", {"Accept": SIMPLE_JSON})).json()
    html = (await proxy.get(f"/simple/{project}/", {"Accept": "text/html"})).body.decode()
    by_json = [entry["url"].removeprefix("../../files/") for entry in page["files"]]
    by_html = [href.partition("#")[0].removeprefix("../../files/") for href in re.findall(r'href="([^"]*)"', html)]
    assert sorted(by_json) == sorted(by_html)
    withheld = {(entry["filename"], entry["sha256"]) for entry in page["_withheld"]}
    return {
        entry["url"].removeprefix("../../files/"): (entry["filename"], entry["hashes"].get("sha256")) in withheld
        for entry in page["files"]
    }


async def same_on_every_route(proxy: RunningProxy, listed: ListedFile, shown: dict[str, bool]) -> bool:
    path = proxy.files_path(listed)
    location = path.removeprefix("/files/")
    approved = shown.get(location) is False
    get, head = await proxy.get(path), await proxy.head(path)
    part = await proxy.get(path, {"Range": "bytes=0-9"})
    metadata = await proxy.get(f"{path}.metadata")
    provenance = await proxy.get(listed.provenance_path)
    if approved:
        assert (get.status, get.body) == (200, listed.built.content)
        assert head.status == 200
        assert (part.status, part.body) == (206, listed.built.content[:10])
        assert metadata.status == (200 if listed.built.metadata else 404)
        assert provenance.status == (200 if listed.provenance else 404)
        assert listed.provenance is None or provenance.body == listed.provenance
    else:
        refused = {get.status, head.status, part.status, metadata.status}
        # 404: the file's URL is not on the page (a foreign host, another name).
        assert refused in ({403}, {404}), (get.reason, shown)
        assert get.body != listed.built.content
        assert provenance.status in {403, 404}
        assert json.loads(get.body)["status"] == get.status
    return approved
