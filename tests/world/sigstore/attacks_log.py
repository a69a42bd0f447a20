"""Attacks on the transparency log entry: its time, its promise, its body, its proof, its checkpoint."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from tests.world.sigstore.attacks import FILENAME, GONE, OTHER, UNVERIFIABLE, at, edited, entry_at, flip, put, signed
from tests.world.sigstore.private_sigstore import WHEN, Entry, PrivateSigstore
from tests.world.sigstore.transparency_log import curve_key

_THIEF: Final = curve_key("thief")
_OTHERS: Final = PrivateSigstore(seed=98, host="others.example")


def _body(path: str, value: object) -> Callable[[Entry], None]:
    return lambda entry: at(path, value)(entry.body)


def _kind(kind: str, version: str) -> Callable[[Entry], None]:
    """As another kind of entry would be logged, consistently."""

    def change(entry: Entry) -> None:
        entry.kind, entry.version = kind, version
        entry.body["kind"], entry.body["apiVersion"] = kind, version

    return change


def _in_its_name(entry: Entry) -> None:
    entry.log, entry.log_id = _OTHERS.rekor, entry.log.log_id


def _kind_twice(entry: Entry) -> None:
    entry.raw_body = json.dumps(entry.body).encode()[:-1] + b',"kind":"dsse"}'


def _other_attestation() -> dict[str, Any]:
    made: dict[str, Any] = PrivateSigstore(seed=1).attestation(FILENAME, OTHER)
    return made


def _swapped(attestation: dict[str, Any]) -> None:
    material = _other_attestation()["verification_material"]
    attestation["verification_material"]["transparency_entries"] = material["transparency_entries"]


def _second(attestation: dict[str, Any]) -> None:
    entries = attestation["verification_material"]["transparency_entries"]
    entries.append(entries[0])


def _far(entry: Entry) -> None:
    entry.log_index = entry.index - 1
    if entry.log_index < 0:
        entry.index, entry.log_index = 1, 0


_ENTRIES: Final = "verification_material.transparency_entries"
_PROMISE: Final = "inclusionPromise.signedEntryTimestamp"
_PROOF: Final = "inclusionProof"
_NOTE: Final = f"{_PROOF}.checkpoint.envelope"
_SECOND: Final = timedelta(seconds=1)

TIME: Final = (
    signed(
        "logged before the certificate was valid",
        "log time",
        "validity",
        entry=put(integrated_time=int((WHEN - timedelta(hours=1)).timestamp())),
    ),
    signed(
        "logged after the certificate had expired",
        "log time",
        "validity",
        entry=put(integrated_time=int((WHEN + timedelta(minutes=11)).timestamp())),
    ),
    signed("logged at no time", "log time", "1970", entry=put(integrated_time=0)),
    signed("logged in the year 30,000", "log time", "9999", entry=put(integrated_time=10**12)),
    edited("logged beyond all calendars", "log time", "2^53", entry_at("integratedTime", str(10**18))),
    edited("logged before 1970", "log time", "-1", entry_at("integratedTime", "-1")),
    edited("logged at a number", "log time", "int", entry_at("integratedTime", int(WHEN.timestamp()))),
    edited("logged at a time with a space", "log time", "digits", entry_at("integratedTime", lambda text: f" {text}")),
    edited(
        "logged at a time with a zero before it",
        "log time",
        "digits",
        entry_at("integratedTime", lambda text: f"0{text}"),
    ),
    edited("logged at no stated time", "log time", "nothing", entry_at("integratedTime", GONE)),
    edited(
        "logged a second later, they say",
        "inclusion promise",
        "signed entry timestamp",
        entry_at("integratedTime", lambda text: str(int(text) + 1)),
    ),
)

PROMISE: Final = (
    signed("no promise", "inclusion promise", "SET", entry=put(promise=False)),
    signed("another key promised", "inclusion promise", "signed entry timestamp", entry=put(promise_key=_THIEF)),
    edited("the promise is broken", "inclusion promise", "signed entry timestamp", entry_at(_PROMISE, flip)),
    edited("the promise is empty", "inclusion promise", "1 to 1024 bytes", entry_at(_PROMISE, "")),
    edited("the promise is null", "inclusion promise", "SET", entry_at("inclusionPromise", None)),
    edited(
        "the index is another",
        "inclusion promise",
        "signed entry timestamp",
        entry_at("logIndex", lambda text: str(int(text) + 1)),
    ),
    edited("the index is beyond canonical JSON", "log index", "2^53", entry_at("logIndex", str(2**60))),
    edited("the index is a number", "log index", "int", entry_at("logIndex", 7)),
    edited("the index is in other digits", "log index", "digits", entry_at("logIndex", "\u0661\u0662")),
    signed("the index is below that of the proof", "log index", "proof's index", entry=_far),
)

LOG_ID: Final = (
    edited(
        "the log is one that nobody knows",
        UNVERIFIABLE,
        "transparency log",
        entry_at("logId.keyId", b64encode(b"\0" * 32).decode()),
    ),
    signed("the log signs under an unknown id", UNVERIFIABLE, "transparency log", entry=put(log_id=b"\1" * 32)),
    signed("a log that nobody knows", UNVERIFIABLE, "transparency log", entry=put(log=_OTHERS.rekor)),
    signed(
        "somebody signed in the log's name",
        "checkpoint",
        "signed by",
        entry=_in_its_name,
    ),
    edited("the log id is no base64", "log id", "base64", entry_at("logId.keyId", "?")),
    edited("the log id is gone", "log entry", "logId", entry_at("logId", GONE)),
)

BODY: Final = (
    edited("the entry is another file's", "log entry body", "payload hash", _swapped),
    edited("a second entry", "log entries", "2 entries", _second),
    edited("no entry", "log entries", "0 entries", at(_ENTRIES, [])),
    edited("the entries are null", "document", "transparency_entries", at(_ENTRIES, None)),
    edited("the entry is text", "log entry", "str", at(f"{_ENTRIES}.0", "entry")),
    signed(
        "another statement was logged", "log entry body", "payload hash", entry=_body("spec.payloadHash.value", OTHER)
    ),
    signed(
        "another hash was logged", "log entry body", "payload hash", entry=_body("spec.payloadHash.algorithm", "sha512")
    ),
    signed(
        "another signature was logged",
        "log entry body",
        "signature",
        entry=_body("spec.signatures.0.signature", b64encode(b"x").decode()),
    ),
    signed(
        "another certificate was logged",
        "log entry body",
        "verifier",
        entry=_body("spec.signatures.0.verifier", b64encode(b"x").decode()),
    ),
    signed(
        "two signatures were logged",
        "log entry body",
        "exactly one",
        entry=_body("spec.signatures", lambda one: one * 2),
    ),
    signed("no signature was logged", "log entry body", "exactly one", entry=_body("spec.signatures", [])),
    signed("the signatures logged are null", "log entry body", "exactly one", entry=_body("spec.signatures", None)),
    signed("more was logged", "log entry body", "nothing else", entry=lambda entry: entry.body.update(extra=1)),
    signed("no envelope was logged", "log entry body", "envelope hash", entry=_body("spec.envelopeHash", GONE)),
    signed("nothing in particular was logged", "log entry body", "spec", entry=_body("spec", GONE)),
    signed("what was logged is no JSON", "log entry body", "JSON", entry=put(raw_body=b"hello")),
    signed(
        "what was logged says a key twice",
        "log entry body",
        "twice",
        entry=_kind_twice,
    ),
    edited("what was logged is longer than any", "log entry", "65536", entry_at("canonicalizedBody", "A" * 200_000)),
    edited(
        "what was logged was changed",
        "inclusion proof",
        "contains the entry",
        entry_at("canonicalizedBody", lambda text: b64encode(b64decode(text) + b" ").decode()),
    ),
    edited("what was logged is gone", "log entry", "canonicalizedBody", entry_at("canonicalizedBody", GONE)),
    edited(
        "the entry is said to be of another kind",
        "log entry kind",
        "hashedrekord",
        entry_at("kindVersion.kind", "hashedrekord"),
    ),
    edited(
        "the entry is said to be of another version",
        "log entry kind",
        "0.0.9",
        entry_at("kindVersion.version", "0.0.9"),
    ),
    edited("the entry is said to be Rekor v2", "log entry kind", "0.0.2", entry_at("kindVersion.version", "0.0.2")),
    edited("the entry's kind is gone", "log entry", "kindVersion", entry_at("kindVersion", GONE)),
    signed("an entry of another kind", UNVERIFIABLE, "intoto 0.0.1", entry=_kind("intoto", "0.0.1")),
    signed("an entry of Rekor v2", UNVERIFIABLE, "Rekor v2", entry=_kind("dsse", "0.0.2")),
    signed("a hashed record of Rekor v2", UNVERIFIABLE, "Rekor v2", entry=_kind("hashedrekord", "0.0.2")),
    edited("the entry says more than entries do", "log entry", "attestation", entry_at("attestation", "x")),
)

PROOF: Final = (
    edited("no proof", "inclusion proof", "inclusionProof", entry_at(_PROOF, GONE)),
    edited(
        "a hash of the proof is another", "inclusion proof", "contains the entry", entry_at(f"{_PROOF}.hashes.0", flip)
    ),
    edited(
        "a hash of the proof is missing",
        "inclusion proof",
        "contains the entry",
        entry_at(f"{_PROOF}.hashes", lambda one: one[1:]),
    ),
    edited(
        "the proof has a hash too many",
        "inclusion proof",
        "contains the entry",
        entry_at(f"{_PROOF}.hashes", lambda one: [*one, one[0]]),
    ),
    edited("the proof is longer than any", "inclusion proof", "64", entry_at(f"{_PROOF}.hashes", lambda one: one * 65)),
    edited("a hash of the proof is short", "inclusion proof", "32 bytes", entry_at(f"{_PROOF}.hashes.0", "AAAA")),
    edited("a hash of the proof is a number", "inclusion proof", "int", entry_at(f"{_PROOF}.hashes.0", 1)),
    edited("the hashes are text", "inclusion proof", "hashes", entry_at(f"{_PROOF}.hashes", "AAAA")),
    edited("the root hash is another", "checkpoint", "root hash", entry_at(f"{_PROOF}.rootHash", flip)),
    edited(
        "the leaf is another",
        "inclusion proof",
        "contains the entry",
        entry_at(f"{_PROOF}.logIndex", lambda text: str(int(text) ^ 1)),
    ),
    edited(
        "the tree is smaller than the leaf's index",
        "inclusion proof",
        "below the tree",
        entry_at(f"{_PROOF}.treeSize", "1"),
    ),
    edited(
        "the tree is of another size",
        "checkpoint",
        "a tree of",
        entry_at(f"{_PROOF}.treeSize", lambda text: str(int(text) + 1)),
    ),
    edited("the tree is endless", "inclusion proof", "2^53", entry_at(f"{_PROOF}.treeSize", str(2**63))),
)

CHECKPOINT: Final = (
    edited("no checkpoint", "checkpoint", "checkpoint", entry_at(f"{_PROOF}.checkpoint", GONE)),
    edited("the checkpoint is empty", "checkpoint", "blank line", entry_at(_NOTE, "")),
    edited("the checkpoint is a number", "checkpoint", "int", entry_at(_NOTE, 1)),
    edited("the checkpoint is longer than any", "checkpoint", "8192", entry_at(_NOTE, "x" * 9000)),
    signed("another key signed the checkpoint", "checkpoint", "signed by", entry=put(checkpoint_key=_THIEF)),
    signed("the checkpoint is of another tree", "checkpoint", "a tree of", entry=put(checkpoint_size=123_456)),
    signed("the checkpoint has another root", "checkpoint", "root hash", entry=put(checkpoint_root=b"\0" * 32)),
    edited("the checkpoint's origin was changed", "checkpoint", "signed by", entry_at(_NOTE, lambda text: f"x{text}")),
    signed(
        "the checkpoint has no signature",
        "checkpoint",
        "signature lines",
        entry=put(signed_note=lambda text: text.split("\n\n")[0] + "\n\n"),
    ),
    signed(
        "the checkpoint's signature is no base64",
        "checkpoint",
        "base64",
        entry=put(signed_note=lambda text: text.replace("=", "").rstrip() + "?\n"),
    ),
    signed(
        "the checkpoint's signature is cut",
        "checkpoint",
        "base64",
        entry=put(signed_note=lambda text: text.rsplit(" ", 1)[0] + " AAAAA\n"),
    ),
    signed(
        "the checkpoint's signature has a hint of another key",
        "checkpoint",
        "signed by",
        entry=put(signed_note=lambda text: text.rsplit(" ", 1)[0] + " " + flip(text.rsplit(" ", 1)[1])),
    ),
    signed(
        "a line among the signatures is none",
        "checkpoint",
        "signature lines",
        entry=put(signed_note=lambda text: text + "hello\n"),
    ),
    signed(
        "the checkpoint ends in the middle",
        "checkpoint",
        "signature lines",
        entry=put(signed_note=lambda text: text.rstrip("\n")),
    ),
    signed(
        "the checkpoint has no origin",
        "checkpoint",
        "origin",
        entry=put(note=lambda text: "\n" + text.split("\n", 1)[1]),
    ),
    signed("the checkpoint's size is text", "checkpoint", "digits", entry=put(checkpoint_size="many")),
    signed(
        "the checkpoint's root is no base64",
        "checkpoint",
        "base64",
        entry=put(note=lambda text: "\n".join([*text.split("\n")[:2], "???", ""])),
    ),
    signed(
        "the checkpoint has forty signatures",
        "checkpoint",
        "16",
        entry=put(signed_note=lambda text: text + text.split("\n\n")[1] * 39),
    ),
)
