"""Approved pages as JSON and HTML. Pure."""
