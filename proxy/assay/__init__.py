"""Assay: a caching reverse proxy in front of PyPI that serves only what provenance and policy approve.

The layers, from the top (import-linter enforces them):

    cli > web | policy_reload | healthcheck > assembly > config > views > gate
        > attestation | upstream | store | download > file_watch > telemetry > render | lockfiles > policy
        > evidence : indexes : ports > simple > settings | operator_files > units > errors
"""
