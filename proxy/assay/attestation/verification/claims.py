"""Claims of a signing certificate about its signer, and their comparison with the index's publisher block.

First, the parts of the certificate are compared with each other. The two extensions with the issuer must be equal. Each
kind of publisher has a module in `assay.publishers`, which compares further extensions. Then the claims are compared
with the publisher block, which is the index's own statement about the publisher.
"""

from __future__ import annotations

from assay.attestation.verification.certificate import SigningCertificate
from assay.attestation.verification.document import StatedPublisher
from assay.attestation.verification.errors import CheckFailed
from assay.evidence import Claims
from assay.publishers.extensions import CertificateFacts, InvalidClaimsError, check_equal, read_common_claims
from assay.publishers.registry import recognize_kind


def read_claims(certificate: SigningCertificate) -> Claims:
    """Return the claims of a certificate about its signer.

    Raises:
        CheckFailed: parts of the certificate contradict each other, or an extension is missing that all certificates of
            this issuer have.
        UnknownMaterial: the Subject Alternative Name is neither a URI nor an e-mail address.
    """
    is_email, name = certificate.subject_alternative_name
    extensions = certificate.claims
    issuer = extensions.get(8) or extensions.get(1)
    if issuer is None:
        raise CheckFailed("issuer", "an OIDC issuer in the certificate (Fulcio extension 8 or 1)", None)
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
    """Check that the index's publisher block agrees with the certificate's claims.

    Raises:
        CheckFailed: they differ. The field `expected` has the certificate's value, and `found` has the index's value.
    """
    kind = stated_publisher.kind
    # PyPI also accepts persons as publishers of kind Google. Such a block is true, but its signer is not a publisher.
    is_person_of_kind = claims.kind is None and claims.issuer == kind.issuer
    if claims.kind != kind.name and not is_person_of_kind:
        signer = f"{claims.kind or 'no Trusted Publisher'}: {claims.san} by {claims.issuer}"
        raise CheckFailed(
            "publisher kind", f"the kind of the signer in the certificate ({signer})", f"kind {kind.name}"
        )
    checks = {key.name: key.check for key in kind.block_keys}
    try:
        for name, said in stated_publisher.fields:
            checks[name](said, claims)
    except InvalidClaimsError as error:
        raise CheckFailed(error.step, error.expected, error.found) from error
