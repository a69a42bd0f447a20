"""Real twine, uv and Poetry upload to a hosted index, and print its reasons; pip and uv install what it shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.world.clients.consoles import needs
from tests.world.clients.installers import pip_install, uv_install
from tests.world.clients.publishers import POETRY, POETRY_PUBLISH, TWINE, TWINE_UPLOAD, UV_PUBLISH, Publisher
from tests.world.index.archives import add_to_zip, make_bomb_wheel, make_zip_info
from tests.world.index.distributions import BuiltDistribution, make_raw_file, sdist, wheel
from tests.world.proxy.hosting_proxy import TOKENS, HostingProxy, run_hosting_proxy
from tests.world.sigstore.attacks import make_listed_file
from tests.world.sigstore.private_sigstore import SLSA_PREDICATE, GitHub, make_slsa_predicate
from tests.world.sigstore.reference_verifier import is_accepted

pytestmark = pytest.mark.clients

WHEEL, SOURCE = wheel("acme-app", "1.0"), sdist("acme-app", "1.0")
LENIENT_POLICY = 'version = 1\n[defaults]\nmin-age = "0 days"\n[[rules]]\nprojects = ["*"]\n'
NAMED_POLICY = LENIENT_POLICY + 'publishers = [{ kind = "GitHub", repository = "acme/app" }]\n'
SIGNING_CLIENTS = [
    pytest.param(TWINE_UPLOAD, id="twine", marks=needs(TWINE, "twine")),
    pytest.param(UV_PUBLISH, id="uv"),
]
Attestations = Mapping[str, Sequence[Mapping[str, Any]]]


def sign_all(world: HostingProxy, *built: BuiltDistribution) -> Attestations:
    """Return a publish attestation and a SLSA attestation of each distribution."""
    signer = GitHub(repository="acme/app")
    return {
        each.filename: [
            world.sign(each, signer),
            world.sign(each, signer, predicate_type=SLSA_PREDICATE, predicate=make_slsa_predicate(signer)),
        ]
        for each in built
    }


def _canonicalize(attestations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return attestations as JSON, sorted. uv sorts the keys of the objects."""
    return sorted(json.dumps(each, sort_keys=True) for each in attestations)


@pytest.mark.parametrize("client", SIGNING_CLIENTS)
async def test_a_signed_release_is_uploaded_and_installed(client: Publisher, tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        attestations = sign_all(world, WHEEL, SOURCE)

        uploaded = await client.upload(
            world.upload_url, TOKENS["bot"], tmp_path / "dist", [WHEEL, SOURCE], attestations
        )

        assert uploaded.status == 0, uploaded.output
        page = await world.fetch_page("acme-app")
        assert {each["filename"] for each in page["files"]} == {WHEEL.filename, SOURCE.filename}
        for each in page["files"]:
            built = WHEEL if each["filename"] == WHEEL.filename else SOURCE
            document = await world.get("/" + each["provenance"].split("/", 3)[3])
            assert document.status == 200
            [bundle] = document.json()["attestation_bundles"]
            assert _canonicalize(bundle["attestations"]) == _canonicalize(attestations[built.filename])
            listed = make_listed_file(built.filename, built.sha256)
            assert is_accepted(document.body, listed, world.sigstore.trusted_root())
        index = world.proxy.url.replace("://", f"://__token__:{TOKENS['eve']}@")
        for number, install in enumerate((pip_install, uv_install)):
            target = tmp_path / f"target{number}"
            for options in (["--no-binary", ":all:"], []):
                result = await install(index, *options, "acme-app==1.0", home=tmp_path, target=target)
                assert result.status == 0, result.output
                assert (target / "acme_app" / "__init__.py").exists()
        again = await client.upload(world.upload_url, TOKENS["bot"], tmp_path / "again", [WHEEL], attestations)
        assert again.status == 0, again.output


@needs(POETRY, "Poetry")
async def test_poetry_uploads_only_where_attestations_are_optional(tmp_path: Path) -> None:
    for mode, directory in (("optional", tmp_path / "a"), ("required", tmp_path / "b")):
        directory.mkdir()
        async with run_hosting_proxy(directory, policy=LENIENT_POLICY, index_keys={"attestations": mode}) as world:
            result = await POETRY_PUBLISH.upload(
                world.upload_url, TOKENS["bot"], directory / "dist", [SOURCE, WHEEL], {}
            )
            if mode == "optional":
                assert result.status == 0, result.output
                assert await world.fetch_listed("acme-app") == {WHEEL.filename, SOURCE.filename}
            else:
                assert result.status != 0
                assert "this index requires attestations (PEP 740), and the upload has none" in result.text
                assert await world.fetch_listed("acme-app") == set()


EVIL = make_raw_file(WHEEL.filename, add_to_zip(WHEEL.content, (make_zip_info("../evil.py"), b"x")), project="acme-app")
BOMB = make_raw_file(WHEEL.filename, make_bomb_wheel(80_000_000, "acme-app"), project="acme-app")
OTHER_BYTES = wheel("acme-app", "1.0", files={"acme_app/other.py": b""})
OTHER_METADATA = make_raw_file(
    WHEEL.filename,
    wheel("acme-app", "1.0", requires=["evil @ https://evil.example/evil.whl"]).content,
    project="acme-app",
)


def _sign(built: BuiltDistribution, *signers: GitHub) -> Callable[[HostingProxy, BuiltDistribution], list[Any]]:
    return lambda world, _: [world.sign(built, signer) for signer in signers]


OWNER, STRANGER = GitHub(repository="acme/app"), GitHub(repository="evil/app")
OTHER_PROJECT, FOREIGN = wheel("acme-other", "1.0"), wheel("widget", "1.0")
REFUSALS = {
    "no attestation": (WHEEL, _sign(WHEEL), "bot", "this index requires attestations"),
    "another repository": (WHEEL, _sign(WHEEL, STRANGER), "bot", "the policy would not show the file"),
    "attestation of other bytes": (WHEEL, _sign(OTHER_BYTES, OWNER), "bot", "invalid attestation, subject digest"),
    "three attestations": (WHEEL, _sign(WHEEL, OWNER, OWNER, OWNER), "bot", "3 attestations"),
    "a predicate twice": (WHEEL, _sign(WHEEL, OWNER, OWNER), "bot", "have the predicate type"),
    "name of another index": (FOREIGN, _sign(FOREIGN, OWNER), "bot", "does not own the name widget"),
    "another uploader's project": (
        OTHER_PROJECT,
        _sign(OTHER_PROJECT, OWNER),
        "bot",
        "may not upload files of the project acme-other",
    ),
    "wrong metadata": (OTHER_METADATA, _sign(OTHER_METADATA, OWNER), "bot", "requires evil from a URL"),
    "traversal": (EVIL, _sign(EVIL, OWNER), "bot", "whose path leaves its directory"),
    "bomb": (BOMB, _sign(BOMB, OWNER), "bot", "it expands to more than"),
    "no uploader": (WHEEL, _sign(WHEEL, OWNER), "eve", "the user eve may not upload"),
    "wrong token": (WHEEL, _sign(WHEEL, OWNER), "nobody", "a user name and password, or a token"),
}


@pytest.mark.parametrize("client", SIGNING_CLIENTS)
async def test_each_refusal_is_on_the_console(client: Publisher, tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path, policy=NAMED_POLICY) as world:
        for name, (built, sign, user, reason) in REFUSALS.items():
            result = await client.upload(
                world.upload_url,
                TOKENS.get(user, "wrong"),
                tmp_path / name,
                [built],
                {built.filename: sign(world, built)},
            )

            assert result.status != 0, (name, result.output)
            assert reason in result.text, (name, result.output)
            assert list((world.hosted_directory / "internal" / "projects").iterdir()) == [], name
        assert (await world.upload(WHEEL)).status == 200


@pytest.mark.parametrize("client", SIGNING_CLIENTS)
async def test_other_bytes_under_a_taken_name_are_refused_on_the_console(client: Publisher, tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path, policy=NAMED_POLICY) as world:
        assert (await world.upload(WHEEL)).status == 200

        result = await client.upload(
            world.upload_url,
            TOKENS["bot"],
            tmp_path / "dist",
            [OTHER_BYTES],
            {OTHER_BYTES.filename: [world.sign(OTHER_BYTES)]},
        )

        assert result.status != 0, result.output
        assert "is taken by other bytes" in result.text, result.output


@needs(TWINE, "twine")
async def test_skip_existing_does_not_hide_a_refusal(tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path, policy=NAMED_POLICY) as world:
        assert (await world.upload(WHEEL)).status == 200
        client = Publisher("twine", lambda *given: [*TWINE_UPLOAD.make_command(*given), "--skip-existing"])

        result = await client.upload(
            world.upload_url,
            TOKENS["bot"],
            tmp_path / "dist",
            [OTHER_BYTES],
            {OTHER_BYTES.filename: [world.sign(OTHER_BYTES)]},
        )

        assert result.status != 0, result.output
