"""Verification: provenance documents to evidence, over trust roots of our choosing. The only importer of sigstore.

`verification` holds the total function `verify` and its steps; `trust_roots` and `renewal` are the life of a trust
root; `pool` keeps verification off the event loop; `codec` is how evidence is recorded.
"""
