"""Assay: a caching reverse proxy in front of PyPI that serves only the files that a policy approves.

Begin reading here:

- request and response                           `web.app`, `web.view`, then `gate.gate`
- a request's log line, metrics and span         `web.exchange`
- verdict on a file                              `policy.judge`, then `policy.decide` for the order of precedence
- language of policies                           `policy.language.model`, `policy.requirements.registry`
- verification of an attestation                 `attestation.verification.verify`, whose docstring numbers the checks
- publishers and claims                          `evidence`, `publishers.base`, `publishers.registry`
- fetching and parsing a page                    `pages.cache`, then `simple.parse`
- fetching and storing a file                    `files.cache`, then `files.download`
- evidence about a file                          `provenance.resolver`
- outbound requests and permitted addresses      `upstream.client`
- caches in memory, and work that runs once      `caching.lru`, `caching.single_flight`, `caching.flights`
- reload of a changed policy                     `file_watch`, then `policy_reload`
- storage on disk                                `store.directory`
- construction and start                         `assembly`, `web.app.create_app`, `cli.commands.serve`
- log, metrics, traces and audit trail           `telemetry`
- protocols for other storage engines            `ports`

The next lines list the layers, the top one first. A module imports only from layers below its own; import-linter
enforces this.

    __main__ > cli > web | policy_reload | healthcheck > assembly > config > views > gate
        > provenance | pages | files > attestation | upstream | store > file_watch | aiohttp_private > telemetry
        > caching > render | lockfiles > policy > publishers > evidence : indexes : ports : users
        > simple > settings | operator_files > units > errors

docs/architecture.md describes each package, and how a page, a file and a provenance document pass through them.
"""
