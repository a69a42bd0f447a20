"""The attack table: ways to make a provenance document lie, each beside a twin that differs only in the lie.

`ATTACKS` is used by the unit tests (each is refused with its own reason, each twin is accepted), by the differential
(the reference must not refuse what Assay accepts) and by the fuzzers as a seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from assay.attestation.trust_roots import TrustRoot
from assay.simple.model import File, Sha256
from tests.world.sigstore.private_sigstore import GitHub, Hook, PrivateSigstore, Signer

FILENAME: Final = "widget-1.0.tar.gz"
WHEEL_FILENAME: Final = "widget-1.0-1-py3-none-any.whl"
FILE_SHA256: Final = hashlib.sha256(b"the file's bytes").hexdigest()
OTHER_SHA256: Final = hashlib.sha256(b"another file's bytes").hexdigest()
UNVERIFIABLE: Final = "unverifiable"
DELETE_KEY: Final = object()
"""In `set_at_path`: take the key away."""


def make_listed_file(filename: str = FILENAME, sha256: str | None = FILE_SHA256) -> File:
    """A file as an index lists it."""
    return File(
        filename=filename,
        url=f"https://files.example/{filename}",
        location=f"files.example/{filename}",
        route=f"files.example/{filename}",
        distribution=None,
        sha256=None if sha256 is None else Sha256(sha256),
    )


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One row: the lie, and how it is refused."""

    name: str
    step: str
    """`Forged.step`, or `UNVERIFIABLE`."""
    because: str
    """Stands in `expected`, `found` or `reason`."""
    make: Callable[[PrivateSigstore, bool], bytes]
    """The document; the lie is in it when the flag is set."""
    roots: Callable[[PrivateSigstore, bool], Sequence[TrustRoot]]
    file: Callable[[bool], File]

    def build_arguments(self, sigstore: PrivateSigstore, *, lie: bool) -> tuple[bytes, File, Sequence[TrustRoot]]:
        """Arguments for `verify`."""
        return self.make(sigstore, lie), self.file(lie), self.roots(sigstore, lie)

    def honest_arguments(self, sigstore: PrivateSigstore) -> tuple[bytes, File, Sequence[TrustRoot]]:
        """The twin."""
        return self.build_arguments(sigstore, lie=False)

    def attack_arguments(self, sigstore: PrivateSigstore) -> tuple[bytes, File, Sequence[TrustRoot]]:
        """The lie."""
        return self.build_arguments(sigstore, lie=True)


def trust_root_for(sigstore: PrivateSigstore, edit: Callable[[dict[str, Any]], object] | None = None) -> TrustRoot:
    """The deployment's root, speaking for everybody."""
    return TrustRoot(name="test", content=sigstore.trusted_root(edit))


def _trust_own_root(sigstore: PrivateSigstore, _: bool) -> Sequence[TrustRoot]:
    return (trust_root_for(sigstore),)


def attack_while_signing(
    name: str,
    step: str,
    because: str,
    *,
    signer: Signer | None = None,
    filename: str = FILENAME,
    honest: dict[str, Any] | None = None,
    **attack: Any,
) -> Attack:
    """The lie is told while signing: `attack_arguments` are arguments of `PrivateSigstore.provenance`, hooks mostly."""

    def make(sigstore: PrivateSigstore, lie: bool) -> bytes:
        arguments = {**(honest or {}), **(attack if lie else {})}
        return sigstore.provenance(filename, FILE_SHA256, signer or GitHub(), **arguments)

    return Attack(
        name=name,
        step=step,
        because=because,
        make=make,
        roots=_trust_own_root,
        file=lambda _: make_listed_file(filename),
    )


def attack_by_editing(
    name: str, step: str, because: str, edit: Hook, *, signer: Signer | None = None, **arguments: Any
) -> Attack:
    """The lie is an edit of a genuine attestation, which needs no key at all."""
    return attack_while_signing(name, step, because, signer=signer, honest=arguments, edit=edit)


def attack_document(name: str, step: str, because: str, edit: Callable[[dict[str, Any]], object]) -> Attack:
    """The lie is an edit of a genuine document around its attestations. Text or bytes returned replace all of it."""

    def make(sigstore: PrivateSigstore, lie: bool) -> bytes:
        raw = sigstore.provenance(FILENAME, FILE_SHA256)
        if not lie:
            return raw
        document = json.loads(raw)
        changed = edit(document)
        if isinstance(changed, bytes | str):
            return changed.encode() if isinstance(changed, str) else changed
        return json.dumps(document).encode()

    return Attack(
        name=name, step=step, because=because, make=make, roots=_trust_own_root, file=lambda _: make_listed_file()
    )


def attack_trust_roots(
    name: str,
    step: str,
    because: str,
    roots: Callable[[PrivateSigstore], Sequence[TrustRoot]],
    *,
    honest: Callable[[PrivateSigstore], Sequence[TrustRoot]] | None = None,
    signer: Signer | None = None,
    **arguments: Any,
) -> Attack:
    """The document is genuine, and these trust roots must not vouch for it."""

    def make(sigstore: PrivateSigstore, _: bool) -> bytes:
        return sigstore.provenance(FILENAME, FILE_SHA256, signer or GitHub(), **arguments)

    def choose(sigstore: PrivateSigstore, lie: bool) -> Sequence[TrustRoot]:
        return roots(sigstore) if lie else (honest or (lambda one: (trust_root_for(one),)))(sigstore)

    return Attack(name=name, step=step, because=because, make=make, roots=choose, file=lambda _: make_listed_file())


def attack_other_file(name: str, step: str, because: str, file: File, *, filename: str = FILENAME) -> Attack:
    """The document is genuine, and about another file than this one."""

    def choose(lie: bool) -> File:
        return file if lie else make_listed_file(filename)

    base = attack_while_signing(name, step, because, filename=filename)
    return replace(base, file=choose)


# -- hooks ------------------------------------------------------------------------------------------------------------


def set_fields(**fields: object) -> Hook:
    """Set these fields of a plan."""

    def change(plan: Any) -> None:
        for name, value in fields.items():
            setattr(plan, name, value)

    return change


def set_claims(changes: dict[int, str | bytes | None]) -> Hook:
    """Set these Fulcio extensions; None takes one away."""

    def change(leaf: Any) -> None:
        for arc, value in changes.items():
            if value is None:
                leaf.claims.pop(arc)
            else:
                leaf.claims[arc] = value

    return change


def set_at_path(path: str, value: object) -> Callable[[Any], None]:
    """Set the JSON value at a dotted path: a constant, what a function makes of the old one, or `DELETE_KEY`."""

    def change(document: Any) -> None:
        *above, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
        for key in above:
            document = document[key]
        if value is DELETE_KEY:
            del document[last]
        elif callable(value):
            document[last] = value(document[last])
        else:
            document[last] = value

    return change


def set_in_log_entry(path: str, value: object) -> Callable[[Any], None]:
    """`set_at_path` within the log entry of an attestation."""
    return set_at_path(f"verification_material.transparency_entries.0.{path}", value)


def set_in_statement(path: str, value: object) -> Callable[[Any], Any]:
    """`set_at_path` within the statement, before it is signed."""
    change = set_at_path(path, value)

    def hook(statement: Any) -> Any:
        copy = json.loads(json.dumps(statement))
        change(copy)
        return copy

    return hook


def flip_base64(text: str) -> str:
    """Base64 with its first bits turned over."""
    return ("B" if text[0] != "B" else "C") + text[1:]
