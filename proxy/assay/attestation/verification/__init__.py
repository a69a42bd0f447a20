"""Verification of provenance documents. It does no I/O, and any input bytes have a result."""
