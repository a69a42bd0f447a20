"""Who signed, read from a certificate's claims, and what the index says of it compared with that.

A claim is taken only when the certificate agrees with itself about it: issuer in both encodings, and everything that
the signer's kind of publisher compares (`assay.publishers`). Only then does the index's publisher block come into it,
and it must agree.
"""

from __future__ import annotations

from assay.attestation.verification.certificate import SigningCertificate
from assay.attestation.verification.document import StatedPublisher
from assay.attestation.verification.errors import CheckFailed
from assay.evidence import Claims
from assay.publishers.extensions import CertificateFacts, InvalidClaimsError, check_equal, read_common_claims
from assay.publishers.registry import recognize_kind


def read_claims(certificate: SigningCertificate) -> Claims:
    """Return the certificate's claims.

    Raises:
        CheckFailed: it contradicts itself, or lacks what its issuer's certificates must have.
        UnknownMaterial: its subject alternative name is of a type we can't compare.
    """
    is_email, name = certificate.subject_alternative_name
    extensions = certificate.claims
    issuer = extensions.get(8) or extensions.get(1)
    if issuer is None:
        raise CheckFailed("issuer", "an OIDC issuer in the certificate (OID .8 or .1)", None)
    try:
        check_equal(extensions, 1, 8)
        kind = recognize_kind(issuer, extensions)
        facts = CertificateFacts(
            kind=None if kind is None else kind.name, issuer=issuer, san=name, is_email=is_email, extensions=extensions
        )
        return read_common_claims(facts) if kind is None else kind.read_claims(facts)
    except InvalidClaimsError as error:
        raise CheckFailed(error.step, error.expected, error.found) from error


def check_publisher(stated_publisher: StatedPublisher, claims: Claims) -> None:
    """Compare what the index says of the publisher with what the certificate proves.

    Raises:
        CheckFailed: it says something else. `expected` is the certificate's, `found` the index's.
    """
    kind = stated_publisher.kind
    if claims.kind != kind.name:
        signer = f"{claims.kind or 'no Trusted Publisher'}: {claims.san} by {claims.issuer}"
        raise CheckFailed("publisher kind", f"the certificate's signer ({signer})", f"kind {kind.name}")
    checks = {key.name: key.check for key in kind.block_keys}
    try:
        for name, said in stated_publisher.fields:
            checks[name](said, claims)
    except InvalidClaimsError as error:
        raise CheckFailed(error.step, error.expected, error.found) from error
