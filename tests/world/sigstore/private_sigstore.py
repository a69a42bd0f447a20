"""Private Sigstore instance in process: it signs distributions like the public one, deterministically by seed.

It has a root and an intermediate authority (P-384), a CT log and a Rekor v1 log. Unmodified sigstore accepts its
signatures. It uses neither network nor clock: the caller gives the time. Two instances with the same seed write the
same bytes (RFC 6979 signatures); instances with different seeds have different keys.

    sigstore = PrivateSigstore(seed=1)
    sigstore.trusted_root()                                            # bytes of a trusted_root.json
    sigstore.provenance("widget-1.0.tar.gz", sha256)                   # bytes of a PEP 740 provenance object
    sigstore.provenance("widget-1.0.tar.gz", sha256, GitLab(repository="acme/widget"), when=YESTERDAY)
    sigstore.provenance("widget-1.0.tar.gz", sha256, predicate_type=SLSA, predicate=slsa(GitHub()))
    document((GitHub().publisher(), [sigstore.attestation(…), sigstore.attestation(…)]))     # several in one

Files that are signed by the same signer at the same `when` share one certificate, like the files of a publish job.

For forgeries, each of the hooks below gets a plan *before* it is signed. So all later steps are consistent, and only
the changed part is wrong. `edit` gets the finished JSON; its changes invalidate the signatures.

    leaf=lambda leaf: leaf.claims.pop(18)                  # a `LeafPlan`: claims, names, usages, key, issuer, SCT
    statement=lambda statement: {**statement, "_type": …}  # a dict, or bytes to sign unchanged
    envelope=lambda envelope: …                            # an `EnvelopePlan`: key, signed bytes, signature
    entry=lambda entry: …                                  # a `LogEntryPlan`: body, times, tree, checkpoint, keys
    edit=lambda attestation: …                             # the attestation's JSON
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.world.sigstore.certificates import LeafPlan, encode_der, issue_leaf, make_key_usage
from tests.world.sigstore.signers import CircleCI, GitHub, GitLab, Google, Person, Signer, make_slsa_predicate
from tests.world.sigstore.transparency_log import (
    EPOCH,
    EnvelopePlan,
    LogEntryPlan,
    LogKey,
    PrivateKey,
    build_log_entry,
    derive_key,
    make_validity,
    sign_envelope,
)

__all__ = [
    "EPOCH",
    "PUBLISH_PREDICATE",
    "SIGNING_TIME",
    "SLSA_PREDICATE",
    "CircleCI",
    "EnvelopePlan",
    "GitHub",
    "GitLab",
    "Google",
    "LeafPlan",
    "LogEntryPlan",
    "LogKey",
    "Person",
    "PrivateSigstore",
    "Signer",
    "build_provenance",
    "make_slsa_predicate",
]

PUBLISH_PREDICATE: Final = "https://docs.pypi.org/attestations/publish/v1"
SLSA_PREDICATE: Final = "https://slsa.dev/provenance/v1"
SIGNING_TIME: Final = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
"""Default time of signatures."""

Hook = Callable[[Any], Any] | None


def _apply_hook(plan: Any, hook: Hook) -> Any:
    """Apply a hook and return its replacement for the plan, or the plan that it changed in place."""
    if hook is None:
        return plan
    changed = hook(plan)
    return changed if isinstance(changed, type(plan) | bytes) else plan


class PrivateSigstore:
    """Sigstore instance: authority, CT log and transparency log, with keys derived from `seed`."""

    def __init__(self, seed: int = 1, host: str = "sigstore.example") -> None:
        self.seed = seed
        self.host = host
        self.root_key = self._key("root", ec.SECP384R1())
        self.intermediate_key = self._key("intermediate", ec.SECP384R1())
        self.root = self._authority("root", self.root_key, None)
        self.intermediate = self._authority("intermediate", self.intermediate_key, self.root)
        self.rekor = LogKey(key=self._key("rekor"), url=f"https://rekor.{host}")
        self.ct = LogKey(key=self._key("ct"), url=f"https://ctfe.{host}")
        self.rekor_logs = [self.rekor]
        self.ct_logs = [self.ct]
        self._leaves: dict[tuple[str, tuple[tuple[int, str], ...], datetime], tuple[PrivateKey, bytes]] = {}

    def _key(self, label: str, curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
        return derive_key(f"sigstore {self.seed} {label}", curve)

    def _serial(self, label: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed} {label}".encode()).digest()[:19], "big") + 1

    # -- trusted root and its life -------------------------------------------------------------------------------

    def trusted_root(self, edit: Callable[[dict[str, Any]], object] | None = None) -> bytes:
        """Return the current trusted_root.json; `edit` can change its JSON."""
        content: dict[str, Any] = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log.to_trusted_root_entry() for log in self.rekor_logs],
            "certificateAuthorities": [
                {
                    "subject": {"organization": self.host, "commonName": "root"},
                    "uri": f"https://fulcio.{self.host}",
                    "certChain": {
                        "certificates": [
                            {"rawBytes": b64encode(encode_der(certificate)).decode()}
                            for certificate in (self.intermediate, self.root)
                        ]
                    },
                    "validFor": make_validity(EPOCH, None),
                }
            ],
            "ctlogs": [log.to_trusted_root_entry() for log in self.ct_logs],
            "timestampAuthorities": [],
        }
        if edit is not None:
            edit(content)
        return json.dumps(content, indent=1).encode()

    def new_rekor_key(self, label: str = "rekor 2", start: datetime = EPOCH) -> LogKey:
        """Use a new key for the transparency log. Earlier trusted roots do not list it."""
        self.rekor = LogKey(key=self._key(label), url=f"https://rekor.{self.host}", start=start)
        self.rekor_logs.append(self.rekor)
        return self.rekor

    def new_ct_key(self, label: str = "ct 2", start: datetime = EPOCH) -> LogKey:
        """Use a new key for the CT log. Earlier trusted roots do not list it."""
        self.ct = LogKey(key=self._key(label), url=f"https://ctfe.{self.host}", start=start)
        self.ct_logs.append(self.ct)
        self._leaves.clear()
        return self.ct

    # -- what is signed ------------------------------------------------------------------------------------------

    def provenance(
        self,
        filename: str,
        sha256: str,
        signer: Signer | None = None,
        when: datetime = SIGNING_TIME,
        *,
        predicate_type: str = PUBLISH_PREDICATE,
        predicate: object = None,
        publisher: dict[str, Any] | None = None,
        **hooks: Hook,
    ) -> bytes:
        """Return a provenance object with one bundle: one attestation and the signer's publisher block."""
        signer = signer or GitHub()
        made = self.attestation(
            filename, sha256, signer, when, predicate_type=predicate_type, predicate=predicate, **hooks
        )
        return build_provenance((signer.publisher() if publisher is None else publisher, [made]))

    def attestation(
        self,
        filename: str,
        sha256: str,
        signer: Signer | None = None,
        when: datetime = SIGNING_TIME,
        *,
        predicate_type: str = PUBLISH_PREDICATE,
        predicate: object = None,
        leaf: Hook = None,
        statement: Hook = None,
        envelope: Hook = None,
        entry: Hook = None,
        edit: Hook = None,
    ) -> dict[str, Any]:
        """Return one PEP 740 attestation object, as parsed JSON."""
        key, certificate = self._leaf(signer or GitHub(), when, leaf)
        stated = _apply_hook(
            {
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"name": filename, "digest": {"sha256": sha256}}],
                "predicateType": predicate_type,
                "predicate": predicate,
            },
            statement,
        )
        raw = stated if isinstance(stated, bytes) else json.dumps(stated, separators=(",", ":")).encode()
        plan: EnvelopePlan = _apply_hook(EnvelopePlan(key=key, statement=raw), envelope)
        signature = sign_envelope(plan)
        made = {
            "version": 1,
            "verification_material": {
                "certificate": b64encode(certificate).decode(),
                "transparency_entries": [
                    build_log_entry(self._entry(certificate, plan.statement, signature, when, entry))
                ],
            },
            "envelope": {
                "statement": b64encode(plan.statement).decode(),
                "signature": b64encode(signature).decode(),
            },
        }
        changed: dict[str, Any] = _apply_hook(made, edit)
        return changed

    # -- certificates --------------------------------------------------------------------------------------------

    def _authority(
        self, name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None
    ) -> x509.Certificate:
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.host),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer.subject)
            .public_key(key.public_key())
            .serial_number(self._serial(name))
            .not_valid_before(EPOCH)
            .not_valid_after(EPOCH + timedelta(days=365 * 30))
            .add_extension(make_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(x509.BasicConstraints(ca=True, path_length=1 if issuer is None else 0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if issuer is not None:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
            ).add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root_key.public_key()), critical=False
            )
        return builder.sign(self.root_key, hashes.SHA384(), ecdsa_deterministic=True)

    def _leaf(self, signer: Signer, when: datetime, hook: Hook) -> tuple[PrivateKey, bytes]:
        known = (repr(signer), tuple(signer.claims().items()), when)
        if hook is None and known in self._leaves:
            return self._leaves[known]
        plan = _apply_hook(self._leaf_plan(signer, when), hook)
        made = plan.key, encode_der(issue_leaf(plan))
        if hook is None:
            self._leaves[known] = made
        return made

    def _leaf_plan(self, signer: Signer, when: datetime) -> LeafPlan:
        label = f"leaf {signer!r} {when.isoformat()}"
        return LeafPlan(
            key=self._key(label),
            claims=dict(signer.claims()),
            names=[signer.name()],
            # Fulcio's certificates are valid for ten minutes, and the log records the entry within seconds.
            not_before=when - timedelta(seconds=2),
            not_after=when + timedelta(minutes=10),
            issuer_key=self.intermediate_key,
            issuer=self.intermediate,
            serial=self._serial(label),
            key_usage=make_key_usage(digital_signature=True),
            extended_key_usage=[ExtendedKeyUsageOID.CODE_SIGNING],
            log=self.ct,
        )

    def _entry(
        self, certificate: bytes, statement: bytes, signature: bytes, when: datetime, hook: Hook
    ) -> LogEntryPlan:
        pem = x509.load_der_x509_certificate(certificate).public_bytes(serialization.Encoding.PEM)
        spread = int.from_bytes(hashlib.sha256(signature).digest()[:4], "big")
        size = 9 + spread % 90
        index = spread % size
        plan = LogEntryPlan(
            log=self.rekor,
            body={
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(signature).hexdigest()},
                    "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(statement).hexdigest()},
                    "signatures": [{"signature": b64encode(signature).decode(), "verifier": b64encode(pem).decode()}],
                },
            },
            integrated_time=int(when.timestamp()),
            log_index=121_904_261 + index,
            index=index,
            size=size,
            origin=f"rekor.{self.host} - {4242 + self.seed}",
        )
        hooked: LogEntryPlan = _apply_hook(plan, hook)
        return hooked


def build_provenance(*bundles: tuple[dict[str, Any], Sequence[dict[str, Any]]], version: object = 1) -> bytes:
    """Return a provenance object with a bundle for each pair of publisher block and attestations."""
    return json.dumps(
        {
            "version": version,
            "attestation_bundles": [
                {"publisher": publisher, "attestations": list(attestations)} for publisher, attestations in bundles
            ],
        },
        separators=(",", ":"),
    ).encode()
