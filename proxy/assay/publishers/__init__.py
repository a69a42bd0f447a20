"""Kinds of Trusted Publisher, one module for each kind. Pure.

`base.PublisherKind` defines the parts of a kind, and `registry.PUBLISHER_KINDS` lists the kinds. A new kind needs one
module here and one entry in that list.
"""
