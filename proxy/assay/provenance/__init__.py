"""Provenance documents (PEP 740): fetching, verification, records of the evidence, and revalidation."""
