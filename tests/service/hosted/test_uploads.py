from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from tests.world.index.archives import add_to_zip, make_bomb_wheel, make_zip_info
from tests.world.index.distributions import BuiltDistribution, make_raw_file, sdist, wheel
from tests.world.proxy.auth_proxy import make_basic_header
from tests.world.proxy.hosting_proxy import TOKENS, HostingProxy, run_hosting_proxy
from tests.world.proxy.running_proxy import ReadResponse
from tests.world.sigstore.private_sigstore import SLSA_PREDICATE, GitHub, make_slsa_predicate

WHEEL = wheel("acme-app", "1.0", requires_python=">=3.9")


async def test_an_upload_is_shown_with_its_documents_at_once(tmp_path: Path) -> None:
    source = sdist("acme-app", "1.0")
    async with run_hosting_proxy(tmp_path) as world:
        assert await world.fetch_listed("acme-app") == set()

        for built in (WHEEL, source):
            answer = await world.upload(built)
            assert (answer.status, answer.body) == (200, b"OK\n"), answer.body
        page = await world.fetch_page("acme-app")

        entries = {entry["filename"]: entry for entry in page["files"]}
        assert set(entries) == {WHEEL.filename, source.filename}
        entry = entries[WHEEL.filename]
        assert entry["hashes"] == {"sha256": WHEEL.sha256}
        assert (entry["size"], entry["requires-python"]) == (WHEEL.size, ">=3.9")
        assert entry["upload-time"] == world.proxy.clock.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        path = "/files/internal.hosted.invalid/acme-app/" + WHEEL.filename
        assert (await world.get(path)).body == WHEEL.content
        assert (await world.get(f"{path}.metadata")).body == WHEEL.metadata
        document = (await world.get(f"/integrity/acme-app/1.0/{WHEEL.filename}/provenance")).json()
        [bundle] = document["attestation_bundles"]
        assert bundle["publisher"] == GitHub(repository="acme/app").publisher() | {"environment": None}
        assert bundle["attestations"] == [world.sign(WHEEL)]


async def test_an_upload_survives_a_restart(tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        assert (await world.upload(WHEEL)).status == 200
    async with run_hosting_proxy(tmp_path) as world:
        assert await world.fetch_listed("acme-app") == {WHEEL.filename}
        assert (await world.upload(WHEEL)).status == 200  # the same bytes again
        assert await world.fetch_listed("acme-app") == {WHEEL.filename}


async def test_two_attestations_of_different_predicates_are_accepted(tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        signer = GitHub(repository="acme/app")
        slsa = world.sign(WHEEL, predicate_type=SLSA_PREDICATE, predicate=make_slsa_predicate(signer))

        answer = await world.upload(WHEEL, attestations=[world.sign(WHEEL), slsa])

        assert answer.status == 200, answer.reason


def _sign(world: HostingProxy, built: BuiltDistribution, *signers: GitHub) -> list[dict[str, Any]]:
    return [world.sign(built, signer) for signer in signers]


EVIL = add_to_zip(WHEEL.content, (make_zip_info("../evil.py"), b"x"))
BOMB = make_raw_file("acme_app-1.0-py3-none-any.whl", make_bomb_wheel(80_000_000, "acme-app"), project="acme-app")
GOOD_SIGNER = GitHub(repository="acme/app")


@pytest.mark.parametrize(
    ("built", "changes", "status", "reason"),
    [
        (WHEEL, {"attestations": []}, 400, "this index requires attestations"),
        (WHEEL, {"attestations": [{}]}, 400, "invalid attestation"),
        (WHEEL, {"attestations": [{}, {}, {}]}, 400, "3 attestations: a file may have at most 2"),
        (WHEEL, {"user": "eve"}, 403, "the user eve may not upload to the index internal"),
        (WHEEL, {"user": "other-bot"}, 403, "the user other-bot may not upload files of the project acme-app"),
        (WHEEL, {"user": "unknown"}, 401, "requires a user name and password"),
        (wheel("widget", "1.0"), {}, 400, "the index internal does not own the name widget"),
        (WHEEL, {"fields": {"version": "1.1"}}, 400, "has version 1.0, but the upload 1.1"),
        (WHEEL, {"fields": {"sha256_digest": "0" * 64}}, 400, "but the form states"),
        (WHEEL, {"fields": {":action": None}}, 400, ":action=file_upload"),
        (WHEEL, {"path": "/upload/test/"}, 404, "this proxy hosts no index test"),
        (
            make_raw_file(WHEEL.filename, wheel("acme-app", "2.0").content, project="acme-app"),
            {},
            400,
            "belongs to another distribution",
        ),
        (make_raw_file(WHEEL.filename, EVIL, project="acme-app"), {}, 400, "leaves its directory"),
    ],
)
async def test_a_refused_upload_states_the_reason_and_changes_nothing(
    built: BuiltDistribution, changes: dict[str, Any], status: int, reason: str, tmp_path: Path
) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        answer = await world.upload(built, **changes)

        assert (answer.status, reason in answer.reason) == (status, True), answer.reason
        assert "already" not in answer.reason
        assert reason in answer.json()["detail"] or status == 401
        assert await world.fetch_listed("acme-app") == set()
        assert list((world.hosted_directory / "internal" / "incoming").iterdir()) == []
        assert (await world.upload(WHEEL)).status == 200


async def test_attestations_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    other = wheel("acme-app", "1.0", files={"acme_app/other.py": b""})
    async with run_hosting_proxy(tmp_path) as world:
        for attestations, reason in (
            ([world.sign(other)], "invalid attestation, subject digest"),
            ([world.sign(WHEEL), world.sign(WHEEL)], "two attestations have the predicate type"),
        ):
            answer = await world.upload(WHEEL, attestations=attestations)
            assert (answer.status, reason in answer.reason) == (400, True), answer.reason
        assert await world.fetch_listed("acme-app") == set()


async def test_the_first_publisher_owns_the_project(tmp_path: Path) -> None:
    later = wheel("acme-app", "1.1")
    async with run_hosting_proxy(tmp_path) as world:
        assert (await world.upload(WHEEL)).status == 200

        answer = await world.upload(later, attestations=[world.sign(later, GitHub(repository="evil/app"))])

        assert answer.status == 400
        assert "signed by GitHub evil/app, but the project belongs to the publisher" in answer.json()["detail"]
        assert (await world.upload(later)).status == 200


NAMED_POLICY = """
version = 1
[defaults]
min-age = "0 days"
[[rules]]
projects = ["acme-app"]
publishers = [{ kind = "GitHub", repository = "acme/app" }, { kind = "GitHub", repository = "acme/moved" }]
[[rules]]
projects = ["*"]
"""


async def test_a_rule_that_names_another_publisher_lets_it_upload(tmp_path: Path) -> None:
    later = wheel("acme-app", "1.1")
    async with run_hosting_proxy(tmp_path, policy=NAMED_POLICY) as world:
        refused = await world.upload(WHEEL, attestations=[world.sign(WHEEL, GitHub(repository="evil/app"))])
        assert refused.status == 400
        assert "the policy would not show the file: withheld, publisher" in refused.json()["detail"]
        assert (await world.upload(WHEEL)).status == 200

        moved = await world.upload(later, attestations=[world.sign(later, GitHub(repository="acme/moved"))])

        assert moved.status == 200, moved.reason
        assert await world.fetch_listed("acme-app") == {WHEEL.filename, later.filename}


async def test_a_file_is_accepted_that_is_only_too_young(tmp_path: Path) -> None:
    policy = 'version = 1\n[defaults]\nmin-age = "7 days"\n[[rules]]\nprojects = ["*"]\n'
    async with run_hosting_proxy(tmp_path, policy=policy) as world:
        assert (await world.upload(WHEEL)).status == 200
        page = await world.fetch_page("acme-app")
        assert [entry["reasons"][0]["code"] for entry in page["_withheld"]] == ["too-young"]


async def test_other_bytes_under_a_taken_name_are_refused(tmp_path: Path) -> None:
    other = wheel("acme-app", "1.0", files={"acme_app/other.py": b""})
    async with run_hosting_proxy(tmp_path) as world:
        assert (await world.upload(WHEEL)).status == 200

        answer = await world.upload(other)

        assert (answer.status, "is taken by other bytes" in answer.reason) == (400, True), answer.reason
        path = "/files/internal.hosted.invalid/acme-app/" + WHEEL.filename
        assert hashlib.sha256((await world.get(path)).body).hexdigest() == WHEEL.sha256


async def test_without_attestations_if_they_are_optional(tmp_path: Path) -> None:
    policy = 'version = 1\n[defaults]\nmin-age = "0 days"\n[[rules]]\nprojects = ["*"]\n'
    later = wheel("acme-app", "1.1")
    async with run_hosting_proxy(tmp_path, policy=policy, index_keys={"attestations": "optional"}) as world:
        assert (await world.upload(WHEEL, attestations=[])).status == 200
        assert await world.fetch_listed("acme-app") == {WHEEL.filename}
        assert (await world.upload(later)).status == 200

        lost = await world.upload(wheel("acme-app", "1.2"), attestations=[])

        assert (lost.status, "has no attestation, but the project belongs to" in lost.reason) == (400, True)


async def test_acts_are_in_the_audit_trail(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    async with run_hosting_proxy(tmp_path, audit={"path": str(path)}) as world:
        await world.upload(WHEEL)
        await world.upload(WHEEL, attestations=[], user="eve")
        await world.manage("acme-app", "yank", {"version": "1.0", "reason": "broken"})

    entries = [json.loads(line) for line in path.read_text().splitlines()]
    shown = [(each["event"], each.get("user"), each.get("index")) for each in entries]
    assert shown == [
        ("uploaded", "bot", "internal"),
        ("upload-refused", "eve", "internal"),
        ("hosted-changed", "alice", "internal"),
    ]
    assert entries[0]["publishers"][0].startswith("GitHub acme/app")
    assert (entries[2]["action"], entries[2]["filenames"]) == ("yank", [WHEEL.filename])


async def test_a_bomb_is_refused(tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        answer = await world.upload(BOMB)

        assert (answer.status, "expands to more than" in answer.reason) == (400, True), answer.reason


async def test_a_file_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path, index_keys={"limits": {"file": "2 KiB"}}) as world:
        assert (await world.upload(WHEEL)).status == 200
        answer = await world.upload(wheel("acme-app", "1.1", padding=3_000_000))
        assert (answer.status, "limits.file" in answer.reason) == (400, True), answer.reason


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"no form", {"Content-Type": "text/plain"}, "not a valid form"),
        (b"no form", {"Content-Type": "multipart/form-data"}, "not a valid form"),
        (b"no form", {"Content-Type": "multipart/form-data; boundary=x"}, "not a valid form"),
        (b"--x\r\n\r\n", {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "br"}, ""),
        (
            b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n--y--\r\n--x--\r\n",
            {"Content-Type": "multipart/form-data; boundary=x"},
            "nested form",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\na\r\n' * 2 + b"--x--\r\n",
            {"Content-Type": "multipart/form-data; boundary=x"},
            "the field name twice",
        ),
        (b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, ":action=file_upload"),
    ],
)
async def test_a_malformed_form_is_refused(body: bytes, headers: dict[str, str], reason: str, tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        sent = {**make_basic_header("__token__", TOKENS["bot"]), **headers}
        async with world.proxy.session.post(world.upload_url, data=body, headers=sent) as answer:
            assert (answer.status, reason in (answer.reason or "")) == (400, True), answer.reason


async def _send_body(world: HostingProxy, body: bytes, **headers: str) -> ReadResponse:
    target = URL(world.upload_url, encoded=True)
    sent = {"Content-Type": "multipart/form-data; boundary=B", **headers}
    async with world.proxy.session.post(target, data=body, headers=sent) as response:
        return ReadResponse(response.status, response.reason or "", response.headers, await response.read())


@pytest.mark.parametrize(
    "part",
    [
        b"no colon",
        b"X: " + b"y" * 100_000,
        b"\r\n".join(b"X-%d: y" % number for number in range(500)),
        b'Content-Disposition: form-data; name="_charset_"\r\n\r\nnonsense\r\n--B\r\nno colon',
    ],
)
async def test_a_malformed_part_of_a_form_is_refused(part: bytes, tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        answer = await _send_body(
            world, b"--B\r\n" + part + b"\r\n\r\nx\r\n--B--\r\n", **make_basic_header("__token__", TOKENS["bot"])
        )

        assert (answer.status, "not a valid form" in answer.reason) == (400, True), answer.reason


@pytest.mark.parametrize("body", [b"not compressed", gzip.compress(bytes(100_000_000), 1)])
async def test_a_compressed_body_is_never_expanded(body: bytes, tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        known = make_basic_header("__token__", TOKENS["bot"])
        refused = await _send_body(world, body, **known, **{"Content-Encoding": "gzip"})
        unknown = await _send_body(world, body, **{"Content-Encoding": "gzip"})

        assert (refused.status, "content coding" in refused.reason, unknown.status) == (400, True, 401)


@pytest.mark.parametrize("header", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_a_web_page_cannot_use_the_credentials_that_a_browser_remembers(
    header: dict[str, str], tmp_path: Path
) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        assert (await world.upload(WHEEL)).status == 200

        for path, user in (("/upload/internal/", "bot"), ("/hosted/internal/acme-app/yank", "alice")):
            answer = await world.post(path, b'{"version": "1.0"}', user, header)
            assert (answer.status, "from web pages" in answer.reason) == (403, True), answer.reason

        [entry] = (await world.fetch_page("acme-app"))["files"]
        assert not entry["yanked"]
        assert (await world.manage("acme-app", "yank", {"version": "1.0"})).status == 200
