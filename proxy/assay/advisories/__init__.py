"""Advisories about projects: OSV records, and the snapshot of them that is in force. Pure."""
