"""Provenance documents: fetched, verified, recorded as evidence, and revalidated."""
