"""Table of attacks on provenance documents; each attack has an honest twin that differs only in the attacked part.

`ATTACKS` has three users: the unit tests (each attack is refused with its own reason, each twin is accepted), the
differential tests (the reference implementation accepts every document that Assay accepts), and the fuzzers (seeds).
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
"""Value for `set_at_path` that deletes the key."""


def make_listed_file(filename: str = FILENAME, sha256: str | None = FILE_SHA256) -> File:
    """Return a file as an index lists it."""
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
    """Attack with the check and the reason that must refuse it."""

    name: str
    step: str
    """Expected `Forged.step`, or `UNVERIFIABLE`."""
    because: str
    """Text that `expected`, `found` or `reason` must contain."""
    make: Callable[[PrivateSigstore, bool], bytes]
    """Function that returns the document: the attack if the flag is True, the honest twin otherwise."""
    roots: Callable[[PrivateSigstore, bool], Sequence[TrustRoot]]
    file: Callable[[bool], File]

    def build_arguments(self, sigstore: PrivateSigstore, *, lie: bool) -> tuple[bytes, File, Sequence[TrustRoot]]:
        """Return the arguments for `verify`."""
        return self.make(sigstore, lie), self.file(lie), self.roots(sigstore, lie)

    def honest_arguments(self, sigstore: PrivateSigstore) -> tuple[bytes, File, Sequence[TrustRoot]]:
        """Return the arguments for `verify` with the honest twin."""
        return self.build_arguments(sigstore, lie=False)

    def attack_arguments(self, sigstore: PrivateSigstore) -> tuple[bytes, File, Sequence[TrustRoot]]:
        """Return the arguments for `verify` with the attack."""
        return self.build_arguments(sigstore, lie=True)


def trust_root_for(sigstore: PrivateSigstore, edit: Callable[[dict[str, Any]], object] | None = None) -> TrustRoot:
    """Return the trust root of a Sigstore instance, which may vouch for every issuer."""
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
    """Return an attack that changes a document while it is signed.

    `attack` has arguments for `PrivateSigstore.provenance`, mostly hooks; `honest` has those for both twins.
    """

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
    """Return an attack that edits a genuine attestation, which needs no key."""
    return attack_while_signing(name, step, because, signer=signer, honest=arguments, edit=edit)


def attack_document(name: str, step: str, because: str, edit: Callable[[dict[str, Any]], object]) -> Attack:
    """Return an attack that edits a genuine document; if `edit` returns text or bytes, they replace the document."""

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
    """Return an attack with a genuine document that these trust roots must not vouch for."""

    def make(sigstore: PrivateSigstore, _: bool) -> bytes:
        return sigstore.provenance(FILENAME, FILE_SHA256, signer or GitHub(), **arguments)

    def choose(sigstore: PrivateSigstore, lie: bool) -> Sequence[TrustRoot]:
        return roots(sigstore) if lie else (honest or (lambda one: (trust_root_for(one),)))(sigstore)

    return Attack(name=name, step=step, because=because, make=make, roots=choose, file=lambda _: make_listed_file())


def attack_other_file(name: str, step: str, because: str, file: File, *, filename: str = FILENAME) -> Attack:
    """Return an attack with a genuine document that attests another file."""

    def choose(lie: bool) -> File:
        return file if lie else make_listed_file(filename)

    base = attack_while_signing(name, step, because, filename=filename)
    return replace(base, file=choose)


# -- hooks ------------------------------------------------------------------------------------------------------------


def set_fields(**fields: object) -> Hook:
    """Return a hook that sets fields of a plan."""

    def change(plan: Any) -> None:
        for name, value in fields.items():
            setattr(plan, name, value)

    return change


def set_claims(changes: dict[int, str | bytes | None]) -> Hook:
    """Return a hook that sets Fulcio extensions of a leaf; None removes an extension."""

    def change(leaf: Any) -> None:
        for arc, value in changes.items():
            if value is None:
                leaf.claims.pop(arc)
            else:
                leaf.claims[arc] = value

    return change


def set_at_path(path: str, value: object) -> Callable[[Any], None]:
    """Return an edit of the JSON value at a dotted path: a constant, a function of the old value, or `DELETE_KEY`."""

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
    """Return an edit like `set_at_path`, within the log entry of an attestation."""
    return set_at_path(f"verification_material.transparency_entries.0.{path}", value)


def set_in_statement(path: str, value: object) -> Callable[[Any], Any]:
    """Return a hook like `set_at_path`, within the statement before it is signed."""
    change = set_at_path(path, value)

    def hook(statement: Any) -> Any:
        copy = json.loads(json.dumps(statement))
        change(copy)
        return copy

    return hook


def flip_base64(text: str) -> str:
    """Return base64 text with a changed first character."""
    return ("B" if text[0] != "B" else "C") + text[1:]
