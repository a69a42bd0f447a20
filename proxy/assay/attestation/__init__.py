"""Verification: provenance documents to evidence, over trust roots of our choosing. The only importer of sigstore.

`verify` is the total function; `roots` and `refresh` are the life of a trust root; `workers` keeps it all off the event
loop; `codec` is how evidence is recorded.
"""
