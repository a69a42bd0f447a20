"""Command ``assay attest`` with a key in a token (PKCS#11), up to the approval by a running proxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.policy.test_attested_reviews import REVIEW, WIDGET, reviewed
from tests.service.provenance.test_files import reviews, seen
from tests.world.sigstore.review_keys import write_key
from tests.world.sigstore.token import PIN, find_library, make_token, run_assay

__all__ = ["reviews"]

pytestmark = pytest.mark.skipif(
    find_library() is None, reason="softhsm2 is not on this machine: tests/install-tools.sh installs it"
)
KEY = "hsm:7?label=reviews"


@pytest.mark.parametrize("kind", ["P-256", "P-384"])
async def test_a_key_in_a_token_approves_a_file(reviews: Path, kind: str) -> None:
    directory = reviews.parent
    key = write_key(directory, "security", kind)
    environ = make_token(directory, "reviews", key, 7)
    key.unlink()
    (directory / WIDGET.filename).write_bytes(WIDGET.content)
    (directory / "ok.json").write_text('{"verdict": "ok"}')
    command = ["attest", WIDGET.filename, "--predicate-type", REVIEW, "--predicate", "ok.json", "-o", "reviews"]
    command += ["--public-key", "security.pub", "--key"]
    async with reviewed(reviews) as (proxy, _):
        assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["countersigned"]}
        async with seen(proxy, reviews):
            outcome = await run_assay(
                *command, KEY, environ=environ | {"ASSAY_KEY_PASSPHRASE": PIN}, directory=directory
            )
            assert outcome.status == 0, outcome.output
        assert await proxy.fetch_listed("widget") == {WIDGET.filename}


@pytest.mark.long
@pytest.mark.parametrize(
    ("key", "pin", "message"),
    [
        (KEY, None, "the key needs a pin: set ASSAY_KEY_PASSPHRASE, or use a terminal"),
        (KEY, "9999", f"{KEY}: cannot sign: PinIncorrect"),
        ("hsm:8?label=reviews", PIN, "hsm:8?label=reviews: cannot sign: could not find ECDSA private key on the PKCS"),
        ("hsm:7?label=other", PIN, "hsm:7?label=other: cannot sign: No PKCS#11 token found for label other"),
        ("hsm:x", PIN, "hsm:x: cannot be used: invalid literal for int()"),
    ],
)
async def test_a_key_that_cannot_be_used_is_told(reviews: Path, key: str, pin: str | None, message: str) -> None:
    directory = reviews.parent
    environ = make_token(directory, "reviews", write_key(directory, "security"), 7)
    (directory / WIDGET.filename).write_bytes(WIDGET.content)
    command = ["attest", WIDGET.filename, "--predicate-type", REVIEW, "-o", "reviews", "--public-key", "security.pub"]
    secret = {} if pin is None else {"ASSAY_KEY_PASSPHRASE": pin}
    outcome = await run_assay(*command, "--key", key, environ=environ | secret, directory=directory)
    assert outcome.status == 2
    assert outcome.output.startswith(f"assay: {message}")
    assert len(outcome.output.splitlines()) == 1


async def test_a_token_with_another_key_than_the_public_key_signs_nothing(reviews: Path) -> None:
    directory = reviews.parent
    environ = make_token(directory, "reviews", write_key(directory, "other"), 7)
    write_key(directory, "security")
    (directory / WIDGET.filename).write_bytes(WIDGET.content)
    command = ["attest", WIDGET.filename, "--predicate-type", REVIEW, "-o", "reviews", "--key", KEY, "--public-key"]
    secret = environ | {"ASSAY_KEY_PASSPHRASE": PIN}
    outcome = await run_assay(*command, "security.pub", environ=secret, directory=directory)
    assert (outcome.status, outcome.output) == (2, f"assay: {KEY}: the signature does not match the public key\n")
    assert not (reviews / f"{WIDGET.sha256}.jsonl").exists()
    outcome = await run_assay(*command, "other.pub", environ=secret, directory=directory)
    assert outcome.status == 0, outcome.output
    assert (reviews / f"{WIDGET.sha256}.jsonl").exists()
