"""Assay: a caching reverse proxy in front of PyPI that serves only what provenance and policy approve.

Begin here, by the question:

- How is a request answered?                     `web.app`, `web.view`, then `gate.gate`
- How is a request logged, counted and traced?  `web.exchange`
- How is a file judged?                          `policy.judge`, then `policy.decide` for the order of precedence
- What may a policy say?                         `policy.language.model`, and of a file `policy.requirements.registry`
- How is an attestation verified?                `attestation.verification.verify`, whose docstring numbers the checks
- Which publishers and claims are there?         `evidence`, `publishers.base`, `publishers.registry`
- Where does a page come from?                   `pages.cache`, then `simple.parse`
- Where do a file's bytes come from?             `files.cache`, then `files.download`
- Where does a file's evidence come from?        `provenance.resolver`
- What may be contacted, and how?                `upstream.client`
- What is kept in memory, and what runs once?    `caching.lru`, `caching.single_flight`, `caching.flights`
- How does a changed policy come in force?       `file_watch`, then `policy_reload`
- What is kept on disk?                          `store.directory`
- How is everything put together?                `assembly`, `web.app.create_app`, `cli.commands.serve`
- What is logged, counted, traced and audited?   `telemetry`
- What do the other engines implement?           `ports`

The layers, from the top; a module imports only from layers below its own (import-linter enforces them):

    __main__ > cli > web | policy_reload | healthcheck > assembly > config > views > gate
        > provenance | pages | files > attestation | upstream | store > file_watch | aiohttp_private > telemetry
        > caching > render | lockfiles > policy > publishers > evidence : indexes : ports : users
        > simple > settings | operator_files > units > errors

docs/architecture.md has a paragraph for each package and the way of a page, a file and a document through them.
"""
