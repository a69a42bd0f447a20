"""Statements about files that a key signs: the bundles of reviews, audits and scans."""
