"""Assay: a caching reverse proxy in front of PyPI that serves only what provenance and policy approve.

The layers, from the top (import-linter enforces them):

    cli > web | reload | probe > assembly > config > views > gate > attestation | upstream | store | download
        > telemetry > render | lockfiles > policy > evidence : indexes : ports > simple > settings | reading
        > units > errors
"""
