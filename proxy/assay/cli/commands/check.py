"""``assay check``: what a configuration and its policy mean, and what is questionable about them."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping

from assay.assembly import read_policies, read_trust, utc_now
from assay.cli.tables import table
from assay.config import Configuration, ServerSettings, load_configuration
from assay.indexes import hosts
from assay.policy.language.expiry import expiring
from assay.policy.language.model import Policy
from assay.units import format_duration, format_size
from assay.upstream.credentials import Authorizations
from assay.upstream.tls import authorities
from assay.web.auth import Access
from assay.web.server.tls import Certificate


def main(options: argparse.Namespace) -> int:
    """Check, and say what was found.

    Raises:
        ConfigurationError: what is wrong, where, what was expected, the nearest valid key.
    """
    configuration = load_configuration(options.config, os.environ)
    policies = read_policies(configuration)
    roots, _ = asyncio.run(read_trust(configuration, configuration.storage.directory))
    Authorizations(configuration.indexes, os.environ)
    authorities(configuration.indexes)
    _try_server(configuration.server)
    for line in (*_settings(configuration), *_views(configuration, policies), "", *_indexes(configuration)):
        print(line)
    for name, policy in policies.items():
        print("\n".join(("", *([f"view {name}:"] if configuration.views else []), *_rules(policy))))
    print(f"\ntrust roots: {', '.join(root.name for root in roots.for_index())}")
    ending = [
        f"{f'view {name}: ' if configuration.views else ''}{each}"
        for name, policy in policies.items()
        for each in expiring(policy, utc_now())
    ]
    for warning in (*_warnings(configuration), *ending):
        print(f"warning: {warning}")
    print("good")
    return 0


def _try_server(server: ServerSettings) -> None:
    """Read what the server would read when it starts.

    Raises:
        ConfigurationError: it would not start.
    """
    if server.tls is not None:
        Certificate(server.tls).load()
    if server.auth is not None:
        Access(server, server.auth).load()


def _settings(configuration: Configuration) -> list[str]:
    server, storage = configuration.server, configuration.storage
    scheme = "http" if server.tls is None else "https"
    who = "everybody may ask" if server.auth is None else "with authentication"
    return [
        f"listens on: {server.host}:{server.port}, {scheme}, {who}",
        f"storage: {storage.directory} (blobs {format_size(storage.blobs)}, records {format_size(storage.records)})",
    ]


def _views(configuration: Configuration, policies: Mapping[str, Policy]) -> list[str]:
    """Where each view is, by which policy and for whom; of a single one only the policy is worth saying."""
    if not configuration.views:
        [policy] = policies.values()
        return [f"policy: {configuration.policy or 'built-in'}, mode {policy.mode}, digest {policy.digest[:12]}"]
    rows = [
        (
            view.name,
            view.path,
            str(view.policy or "built-in"),
            policies[view.name].mode,
            policies[view.name].digest[:12],
            "all" if view.users is None else " ".join(view.users),
        )
        for view in configuration.all_views
    ]
    return ["", *table(("VIEW", "PATH", "POLICY", "MODE", "DIGEST", "USERS"), rows)]


def _indexes(configuration: Configuration) -> list[str]:
    rows = [
        (
            index.name,
            " ".join(index.projects) + (f" except {' '.join(index.excluded)}" if index.excluded else ""),
            index.url,
            " ".join(sorted(hosts(index))),
            format_duration(index.freshness.page),
        )
        for index in configuration.indexes
    ]
    return table(("INDEX", "OWNS", "URL", "HOSTS", "FRESH FOR"), rows)


def _rules(policy: Policy) -> list[str]:
    return table(("RULE", "PROJECTS"), [(rule.name or "-", " ".join(rule.projects)) for rule in policy.rules])


def _warnings(configuration: Configuration) -> list[str]:
    found = [
        f"index {index.name}: its pattern {pattern} never applies, index {earlier.name} comes first and takes it"
        for index, pattern, earlier in configuration.indexes.shadowed()
    ]
    if not any(configuration.indexes.is_catch_all(index) for index in configuration.indexes):
        found.append("no index takes all names: those that no pattern covers are unknown here")
    return found
