"""Sigstore bundles that a key has signed, as reviewers write them.

    key = ReviewKey("security")                        # ECDSA P-256; kind= "P-384" or "Ed25519"
    key.pem                                            # bytes of the public key, for `[trust.keys]`
    key.bundle("widget-1.0.tar.gz", sha256, "https://acme.example/review/v1", {"verdict": "ok"})

The hooks change a part before it is signed; `edit` changes the finished bundle.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.world.sigstore.bundles import BUNDLE_MEDIA_TYPES, IN_TOTO
from tests.world.sigstore.transparency_log import derive_key

KeyKind = Literal["P-256", "P-384", "Ed25519"]


class ReviewKey:
    """Key of a reviewer, derived from its name."""

    def __init__(self, name: str, kind: KeyKind = "P-256") -> None:
        self.name = name
        self._key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
        match kind:
            case "P-256":
                self._key = derive_key(f"review {name}")
            case "P-384":
                self._key = derive_key(f"review {name}", ec.SECP384R1())
            case _:
                self._key = ed25519.Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"\0")[:32])

    @property
    def pem(self) -> bytes:
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def bundle(
        self,
        filename: str,
        sha256: str,
        predicate_type: str,
        predicate: object,
        *,
        statement: bytes | None = None,
        payload_type: str = IN_TOTO,
        hint: str | None = None,
        edit: Callable[[dict[str, Any]], object] | None = None,
    ) -> dict[str, Any]:
        """Return a bundle; `statement` replaces the statement that is signed."""
        stated = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": filename, "digest": {"sha256": sha256}}],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
        payload = json.dumps(stated).encode() if statement is None else statement
        made = {
            "mediaType": BUNDLE_MEDIA_TYPES["0.3"],
            "verificationMaterial": {"publicKey": {} if hint is None else {"hint": hint}},
            "dsseEnvelope": {
                "payload": b64encode(payload).decode(),
                "payloadType": payload_type,
                "signatures": [{"sig": b64encode(self._sign(payload_type, payload)).decode(), "keyid": ""}],
            },
        }
        if edit is not None:
            edit(made)
        return made

    def _sign(self, payload_type: str, payload: bytes) -> bytes:
        content = f"DSSEv1 {len(payload_type)} {payload_type} {len(payload)} ".encode() + payload
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(content)
        digest = hashes.SHA256() if isinstance(self._key.curve, ec.SECP256R1) else hashes.SHA384()
        return self._key.sign(content, ec.ECDSA(digest))
