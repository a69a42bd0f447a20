"""Attacks on the transparency log entry: its time, its promise, its body, its proof, its checkpoint."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from tests.world.sigstore.attacks import (
    DELETE_KEY,
    FILENAME,
    OTHER_SHA256,
    UNVERIFIABLE,
    attack_by_editing,
    attack_while_signing,
    flip_base64,
    set_at_path,
    set_fields,
    set_in_log_entry,
)
from tests.world.sigstore.private_sigstore import SIGNING_TIME, LogEntryPlan, PrivateSigstore
from tests.world.sigstore.transparency_log import derive_key

_ATTACKER_KEY: Final = derive_key("thief")
_OTHER_DEPLOYMENT: Final = PrivateSigstore(seed=98, host="others.example")


def _set_in_body(path: str, value: object) -> Callable[[LogEntryPlan], None]:
    return lambda entry: set_at_path(path, value)(entry.body)


def _set_kind(kind: str, version: str) -> Callable[[LogEntryPlan], None]:
    """Return a hook that sets the kind of the log entry consistently in all places."""

    def change(entry: LogEntryPlan) -> None:
        entry.kind, entry.version = kind, version
        entry.body["kind"], entry.body["apiVersion"] = kind, version

    return change


def _sign_in_logs_name(entry: LogEntryPlan) -> None:
    entry.log, entry.log_id = _OTHER_DEPLOYMENT.rekor, entry.log.log_id


def _repeat_kind(entry: LogEntryPlan) -> None:
    entry.raw_body = json.dumps(entry.body).encode()[:-1] + b',"kind":"dsse"}'


def _make_other_attestation() -> dict[str, Any]:
    made: dict[str, Any] = PrivateSigstore(seed=1).attestation(FILENAME, OTHER_SHA256)
    return made


def _use_other_entry(attestation: dict[str, Any]) -> None:
    material = _make_other_attestation()["verification_material"]
    attestation["verification_material"]["transparency_entries"] = material["transparency_entries"]


def _add_second_entry(attestation: dict[str, Any]) -> None:
    entries = attestation["verification_material"]["transparency_entries"]
    entries.append(entries[0])


def _far(entry: LogEntryPlan) -> None:
    entry.log_index = entry.index - 1
    if entry.log_index < 0:
        entry.index, entry.log_index = 1, 0


_ENTRIES: Final = "verification_material.transparency_entries"
_PROMISE: Final = "inclusionPromise.signedEntryTimestamp"
_PROOF: Final = "inclusionProof"
_NOTE_PATH: Final = f"{_PROOF}.checkpoint.envelope"
_SECOND: Final = timedelta(seconds=1)

TIME_ATTACKS: Final = (
    attack_while_signing(
        "logged before the certificate was valid",
        "log time",
        "validity",
        entry=set_fields(integrated_time=int((SIGNING_TIME - timedelta(hours=1)).timestamp())),
    ),
    attack_while_signing(
        "logged after the certificate had expired",
        "log time",
        "validity",
        entry=set_fields(integrated_time=int((SIGNING_TIME + timedelta(minutes=11)).timestamp())),
    ),
    attack_while_signing("logged at no time", "log time", "1970", entry=set_fields(integrated_time=0)),
    attack_while_signing("logged in the year 30,000", "log time", "9999", entry=set_fields(integrated_time=10**12)),
    attack_by_editing(
        "logged beyond all calendars", "log time", "2^53", set_in_log_entry("integratedTime", str(10**18))
    ),
    attack_by_editing("logged before 1970", "log time", "-1", set_in_log_entry("integratedTime", "-1")),
    attack_by_editing(
        "logged at a number", "log time", "int", set_in_log_entry("integratedTime", int(SIGNING_TIME.timestamp()))
    ),
    attack_by_editing(
        "logged at a time with a space",
        "log time",
        "digits",
        set_in_log_entry("integratedTime", lambda text: f" {text}"),
    ),
    attack_by_editing(
        "logged at a time with a zero before it",
        "log time",
        "digits",
        set_in_log_entry("integratedTime", lambda text: f"0{text}"),
    ),
    attack_by_editing(
        "logged at no stated time", "log time", "nothing", set_in_log_entry("integratedTime", DELETE_KEY)
    ),
    attack_by_editing(
        "logged a second later, they say",
        "inclusion promise",
        "signed entry timestamp",
        set_in_log_entry("integratedTime", lambda text: str(int(text) + 1)),
    ),
)

PROMISE_ATTACKS: Final = (
    attack_while_signing("no promise", "inclusion promise", "SET", entry=set_fields(promise=False)),
    attack_while_signing(
        "another key promised",
        "inclusion promise",
        "signed entry timestamp",
        entry=set_fields(promise_key=_ATTACKER_KEY),
    ),
    attack_by_editing(
        "the promise is broken", "inclusion promise", "signed entry timestamp", set_in_log_entry(_PROMISE, flip_base64)
    ),
    attack_by_editing("the promise is empty", "inclusion promise", "1 to 1024 bytes", set_in_log_entry(_PROMISE, "")),
    attack_by_editing("the promise is null", "inclusion promise", "SET", set_in_log_entry("inclusionPromise", None)),
    attack_by_editing(
        "the index is another",
        "inclusion promise",
        "signed entry timestamp",
        set_in_log_entry("logIndex", lambda text: str(int(text) + 1)),
    ),
    attack_by_editing(
        "the index is beyond canonical JSON", "log index", "2^53", set_in_log_entry("logIndex", str(2**60))
    ),
    attack_by_editing("the index is a number", "log index", "int", set_in_log_entry("logIndex", 7)),
    attack_by_editing(
        "the index is in other digits", "log index", "digits", set_in_log_entry("logIndex", "\u0661\u0662")
    ),
    attack_while_signing(
        "the index is below that of the proof", "log index", "index in the inclusion proof", entry=_far
    ),
)

LOG_ID_ATTACKS: Final = (
    attack_by_editing(
        "the log is one that nobody knows",
        UNVERIFIABLE,
        "transparency log",
        set_in_log_entry("logId.keyId", b64encode(b"\0" * 32).decode()),
    ),
    attack_while_signing(
        "the log signs under an unknown id", UNVERIFIABLE, "transparency log", entry=set_fields(log_id=b"\1" * 32)
    ),
    attack_while_signing(
        "a log that nobody knows", UNVERIFIABLE, "transparency log", entry=set_fields(log=_OTHER_DEPLOYMENT.rekor)
    ),
    attack_while_signing(
        "somebody signed in the log's name",
        "checkpoint",
        "signed by",
        entry=_sign_in_logs_name,
    ),
    attack_by_editing("the log id is no base64", "log id", "base64", set_in_log_entry("logId.keyId", "?")),
    attack_by_editing("the log id is gone", "log entry", "logId", set_in_log_entry("logId", DELETE_KEY)),
)

BODY_ATTACKS: Final = (
    attack_by_editing("the entry is another file's", "log entry body", "payload hash", _use_other_entry),
    attack_by_editing("a second entry", "log entries", "2 entries", _add_second_entry),
    attack_by_editing("no entry", "log entries", "0 entries", set_at_path(_ENTRIES, [])),
    attack_by_editing("the entries are null", "document", "transparency_entries", set_at_path(_ENTRIES, None)),
    attack_by_editing("the entry is text", "log entry", "str", set_at_path(f"{_ENTRIES}.0", "entry")),
    attack_while_signing(
        "another statement was logged",
        "log entry body",
        "payload hash",
        entry=_set_in_body("spec.payloadHash.value", OTHER_SHA256),
    ),
    attack_while_signing(
        "another hash was logged",
        "log entry body",
        "payload hash",
        entry=_set_in_body("spec.payloadHash.algorithm", "sha512"),
    ),
    attack_while_signing(
        "another signature was logged",
        "log entry body",
        "signature",
        entry=_set_in_body("spec.signatures.0.signature", b64encode(b"x").decode()),
    ),
    attack_while_signing(
        "another certificate was logged",
        "log entry body",
        "verifier",
        entry=_set_in_body("spec.signatures.0.verifier", b64encode(b"x").decode()),
    ),
    attack_while_signing(
        "two signatures were logged",
        "log entry body",
        "exactly one",
        entry=_set_in_body("spec.signatures", lambda one: one * 2),
    ),
    attack_while_signing(
        "no signature was logged", "log entry body", "exactly one", entry=_set_in_body("spec.signatures", [])
    ),
    attack_while_signing(
        "the signatures logged are null", "log entry body", "exactly one", entry=_set_in_body("spec.signatures", None)
    ),
    attack_while_signing(
        "more was logged", "log entry body", "no other keys", entry=lambda entry: entry.body.update(extra=1)
    ),
    attack_while_signing(
        "no envelope was logged", "log entry body", "envelope hash", entry=_set_in_body("spec.envelopeHash", DELETE_KEY)
    ),
    attack_while_signing(
        "nothing in particular was logged", "log entry body", "spec", entry=_set_in_body("spec", DELETE_KEY)
    ),
    attack_while_signing("what was logged is no JSON", "log entry body", "JSON", entry=set_fields(raw_body=b"hello")),
    attack_while_signing(
        "what was logged says a key twice",
        "log entry body",
        "twice",
        entry=_repeat_kind,
    ),
    attack_by_editing(
        "what was logged is longer than any", "log entry", "65536", set_in_log_entry("canonicalizedBody", "A" * 200_000)
    ),
    attack_by_editing(
        "what was logged was changed",
        "inclusion proof",
        "leads from the log entry",
        set_in_log_entry("canonicalizedBody", lambda text: b64encode(b64decode(text) + b" ").decode()),
    ),
    attack_by_editing(
        "what was logged is gone", "log entry", "canonicalizedBody", set_in_log_entry("canonicalizedBody", DELETE_KEY)
    ),
    attack_by_editing(
        "the entry is said to be of another kind",
        "log entry kind",
        "hashedrekord",
        set_in_log_entry("kindVersion.kind", "hashedrekord"),
    ),
    attack_by_editing(
        "the entry is said to be of another version",
        "log entry kind",
        "0.0.9",
        set_in_log_entry("kindVersion.version", "0.0.9"),
    ),
    attack_by_editing(
        "the entry is said to be Rekor v2", "log entry kind", "0.0.2", set_in_log_entry("kindVersion.version", "0.0.2")
    ),
    attack_by_editing(
        "the entry's kind is gone", "log entry", "kindVersion", set_in_log_entry("kindVersion", DELETE_KEY)
    ),
    *(
        attack_while_signing(
            f"an entry of kind {kind} {version}",
            UNVERIFIABLE,
            f"the log entry is of kind {kind} {version}; this verifier knows dsse 0.0.1",
            entry=_set_kind(kind, version),
        )
        for kind, version in (
            ("intoto", "0.0.1"),
            ("intoto", "0.0.2"),
            ("hashedrekord", "0.0.1"),
            ("dsse", "0.0.3"),
            ("rekord", "0.0.2"),
        )
    ),
    attack_while_signing("an entry of Rekor v2", UNVERIFIABLE, "Rekor v2", entry=_set_kind("dsse", "0.0.2")),
    attack_while_signing(
        "a hashed record of Rekor v2", UNVERIFIABLE, "Rekor v2", entry=_set_kind("hashedrekord", "0.0.2")
    ),
    attack_by_editing(
        "the entry says more than entries do", "log entry", "attestation", set_in_log_entry("attestation", "x")
    ),
)

PROOF_ATTACKS: Final = (
    attack_by_editing("no proof", "inclusion proof", "inclusionProof", set_in_log_entry(_PROOF, DELETE_KEY)),
    attack_by_editing(
        "a hash of the proof is another",
        "inclusion proof",
        "leads from the log entry",
        set_in_log_entry(f"{_PROOF}.hashes.0", flip_base64),
    ),
    attack_by_editing(
        "a hash of the proof is missing",
        "inclusion proof",
        "leads from the log entry",
        set_in_log_entry(f"{_PROOF}.hashes", lambda one: one[1:]),
    ),
    attack_by_editing(
        "the proof has a hash too many",
        "inclusion proof",
        "leads from the log entry",
        set_in_log_entry(f"{_PROOF}.hashes", lambda one: [*one, one[0]]),
    ),
    attack_by_editing(
        "the proof is longer than any",
        "inclusion proof",
        "64",
        set_in_log_entry(f"{_PROOF}.hashes", lambda one: one * 65),
    ),
    attack_by_editing(
        "a hash of the proof is short", "inclusion proof", "32 bytes", set_in_log_entry(f"{_PROOF}.hashes.0", "AAAA")
    ),
    attack_by_editing(
        "a hash of the proof is a number", "inclusion proof", "int", set_in_log_entry(f"{_PROOF}.hashes.0", 1)
    ),
    attack_by_editing("the hashes are text", "inclusion proof", "hashes", set_in_log_entry(f"{_PROOF}.hashes", "AAAA")),
    attack_by_editing(
        "the root hash is another", "checkpoint", "root hash", set_in_log_entry(f"{_PROOF}.rootHash", flip_base64)
    ),
    attack_by_editing(
        "the leaf is another",
        "inclusion proof",
        "leads from the log entry",
        set_in_log_entry(f"{_PROOF}.logIndex", lambda text: str(int(text) ^ 1)),
    ),
    attack_by_editing(
        "the tree is smaller than the leaf's index",
        "inclusion proof",
        "below the tree",
        set_in_log_entry(f"{_PROOF}.treeSize", "1"),
    ),
    attack_by_editing(
        "the tree is of another size",
        "checkpoint",
        "tree size",
        set_in_log_entry(f"{_PROOF}.treeSize", lambda text: str(int(text) + 1)),
    ),
    attack_by_editing(
        "the tree is endless", "inclusion proof", "2^53", set_in_log_entry(f"{_PROOF}.treeSize", str(2**63))
    ),
)

CHECKPOINT_ATTACKS: Final = (
    attack_by_editing(
        "no checkpoint", "checkpoint", "checkpoint", set_in_log_entry(f"{_PROOF}.checkpoint", DELETE_KEY)
    ),
    attack_by_editing("the checkpoint is empty", "checkpoint", "blank line", set_in_log_entry(_NOTE_PATH, "")),
    attack_by_editing("the checkpoint is a number", "checkpoint", "int", set_in_log_entry(_NOTE_PATH, 1)),
    attack_by_editing(
        "the checkpoint is longer than any", "checkpoint", "8192", set_in_log_entry(_NOTE_PATH, "x" * 9000)
    ),
    attack_while_signing(
        "another key signed the checkpoint", "checkpoint", "signed by", entry=set_fields(checkpoint_key=_ATTACKER_KEY)
    ),
    attack_while_signing(
        "the checkpoint is of another tree", "checkpoint", "tree size", entry=set_fields(checkpoint_size=123_456)
    ),
    attack_while_signing(
        "the checkpoint has another root", "checkpoint", "root hash", entry=set_fields(checkpoint_root=b"\0" * 32)
    ),
    attack_by_editing(
        "the checkpoint's origin was changed",
        "checkpoint",
        "signed by",
        set_in_log_entry(_NOTE_PATH, lambda text: f"x{text}"),
    ),
    attack_while_signing(
        "the checkpoint has no signature",
        "checkpoint",
        "signature lines",
        entry=set_fields(signed_note=lambda text: text.split("\n\n")[0] + "\n\n"),
    ),
    attack_while_signing(
        "the checkpoint's signature is no base64",
        "checkpoint",
        "base64",
        entry=set_fields(signed_note=lambda text: text.replace("=", "").rstrip() + "?\n"),
    ),
    attack_while_signing(
        "the checkpoint's signature is cut",
        "checkpoint",
        "base64",
        entry=set_fields(signed_note=lambda text: text.rsplit(" ", 1)[0] + " AAAAA\n"),
    ),
    attack_while_signing(
        "the checkpoint's signature has a hint of another key",
        "checkpoint",
        "signed by",
        entry=set_fields(signed_note=lambda text: text.rsplit(" ", 1)[0] + " " + flip_base64(text.rsplit(" ", 1)[1])),
    ),
    attack_while_signing(
        "a line among the signatures is none",
        "checkpoint",
        "signature lines",
        entry=set_fields(signed_note=lambda text: text + "hello\n"),
    ),
    attack_while_signing(
        "the checkpoint ends in the middle",
        "checkpoint",
        "signature lines",
        entry=set_fields(signed_note=lambda text: text.rstrip("\n")),
    ),
    attack_while_signing(
        "the checkpoint has no origin",
        "checkpoint",
        "origin",
        entry=set_fields(note=lambda text: "\n" + text.split("\n", 1)[1]),
    ),
    attack_while_signing(
        "the checkpoint's size is text", "checkpoint", "digits", entry=set_fields(checkpoint_size="many")
    ),
    attack_while_signing(
        "the checkpoint's root is no base64",
        "checkpoint",
        "base64",
        entry=set_fields(note=lambda text: "\n".join([*text.split("\n")[:2], "???", ""])),
    ),
    attack_while_signing(
        "the checkpoint has forty signatures",
        "checkpoint",
        "16",
        entry=set_fields(signed_note=lambda text: text + text.split("\n\n")[1] * 39),
    ),
)
