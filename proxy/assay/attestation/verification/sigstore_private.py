"""The private names of sigstore that verification stands on, all of them, each behind one function of ours.

sigstore's public API verifies a whole bundle at once, looks keys up by a hint, and verifies the same chain again for
each file of a release. Its steps one by one let `verify` be stricter (one exact key, its validity window) and let the
chain of a certificate be remembered. `tests/unit/attestation/verification/test_sigstore_private.py` fails loudly when
the library changes under us.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography.x509 import Certificate
from sigstore._internal.sct import verify_sct
from sigstore._internal.timestamp import TimestampSource, TimestampVerificationResult
from sigstore._internal.trust import CTKeyring, Keyring
from sigstore._utils import KeyID
from sigstore.errors import VerificationError
from sigstore.models import TrustedRoot
from sigstore.verify import Verifier
from sigstore_models.common.v1 import PublicKey
from sigstore_models.trustroot.v1 import TrustedRoot as WireTrustedRoot

__all__ = ["Keyring", "create_keyring", "create_verifier", "is_signed_by", "verify_chain", "verify_embedded_sct"]


def create_verifier(root: WireTrustedRoot) -> Verifier:
    """A verifier over a parsed trusted root, with no cache directory and no network in it."""
    return Verifier(trusted_root=TrustedRoot(root))


def verify_chain(kept: Verifier, certificate: Certificate, time: datetime) -> list[Certificate]:
    """Step (1): from the leaf's issuer to the authority, all valid at `time`; raises what sigstore raises."""
    at = TimestampVerificationResult(source=TimestampSource.TRANSPARENCY_SERVICE, time=time)
    return kept._verify_chain_at_time(certificate, at)  # noqa: SLF001 - this module's purpose


def create_keyring(key: PublicKey) -> Keyring | None:
    """A keyring of exactly this key, so that no other can vouch; None for an algorithm that sigstore doesn't take."""
    made = Keyring([key])
    return made if made._keyring else None  # noqa: SLF001 - as above


def verify_embedded_sct(certificate: Certificate, issuers: Sequence[Certificate], log: Keyring) -> None:
    """Step (2): the certificate's SCT is signed by this CT log."""
    verify_sct(certificate, list(issuers), CTKeyring(log))


def is_signed_by(log: Keyring, log_id: bytes, signature: bytes, content: bytes) -> bool:
    """Steps (4) and (5): this log signed `content`."""
    try:
        log.verify(key_id=KeyID(log_id), signature=signature, data=content)
    except VerificationError:
        return False
    return True
