"""Trusted Publishers: what Assay knows of each kind, in one module a kind. Pure.

`base.PublisherKind` says what a kind consists of; `registry.PUBLISHER_KINDS` lists the kinds. A new kind is one module
here and one entry of that list.
"""
