"""Verification of provenance documents (PEP 740) against configured trust roots.

No other package imports sigstore. `verification` contains the function `verify` and its checks. `trust_roots` loads
trust roots, and `renewal` renews them. `pool` runs verification outside the event loop. `codec` encodes evidence, the
result of a verification, for the record cache and for worker processes.
"""
