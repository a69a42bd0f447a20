"""``assay check``: what a configuration and its policy mean, and what is questionable about them."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping

from assay.assembly import read_policies, read_trust_roots, utc_now
from assay.cli.tables import format_table
from assay.config import Configuration, ServerSettings, load_configuration
from assay.indexes import allowed_file_hosts
from assay.policy.language.expiry import find_expiring_waivers
from assay.policy.language.model import Policy
from assay.units import format_duration, format_size
from assay.upstream.credentials import IndexAuthorizations
from assay.upstream.tls import load_tls_contexts
from assay.web.auth import Authenticator
from assay.web.server.tls import ServerCertificate


def main(options: argparse.Namespace) -> int:
    """Check, and say what was found.

    Raises:
        ConfigurationError: what is wrong, where, what was expected, the nearest valid key.
    """
    configuration = load_configuration(options.config, os.environ)
    policies = read_policies(configuration)
    roots, _ = asyncio.run(read_trust_roots(configuration, configuration.storage.directory))
    IndexAuthorizations(configuration.indexes, os.environ)
    load_tls_contexts(configuration.indexes)
    _check_server_files(configuration.server)
    for line in (
        *_describe_settings(configuration),
        *_describe_views(configuration, policies),
        "",
        *_describe_indexes(configuration),
    ):
        print(line)
    for name, policy in policies.items():
        print("\n".join(("", *([f"view {name}:"] if configuration.views else []), *_describe_rules(policy))))
    print(f"\ntrust roots: {', '.join(root.name for root in roots.for_index())}")
    ending = [
        f"{f'view {name}: ' if configuration.views else ''}{each}"
        for name, policy in policies.items()
        for each in find_expiring_waivers(policy, utc_now())
    ]
    for warning in (*_find_index_warnings(configuration), *ending):
        print(f"warning: {warning}")
    print("good")
    return 0


def _check_server_files(server: ServerSettings) -> None:
    """Read what the server would read when it starts.

    Raises:
        ConfigurationError: it would not start.
    """
    if server.tls is not None:
        ServerCertificate(server.tls).load()
    if server.auth is not None:
        Authenticator(server, server.auth).load()


def _describe_settings(configuration: Configuration) -> list[str]:
    server, storage = configuration.server, configuration.storage
    scheme = "http" if server.tls is None else "https"
    who = "everybody may ask" if server.auth is None else "with authentication"
    return [
        f"listens on: {server.host}:{server.port}, {scheme}, {who}",
        f"storage: {storage.directory} (blobs {format_size(storage.blobs)}, records {format_size(storage.records)})",
    ]


def _describe_views(configuration: Configuration, policies: Mapping[str, Policy]) -> list[str]:
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
    return ["", *format_table(("VIEW", "PATH", "POLICY", "MODE", "DIGEST", "USERS"), rows)]


def _describe_indexes(configuration: Configuration) -> list[str]:
    rows = [
        (
            index.name,
            " ".join(index.projects) + (f" except {' '.join(index.excluded)}" if index.excluded else ""),
            index.url,
            " ".join(sorted(allowed_file_hosts(index))),
            format_duration(index.freshness.page),
        )
        for index in configuration.indexes
    ]
    return format_table(("INDEX", "OWNS", "URL", "HOSTS", "FRESH FOR"), rows)


def _describe_rules(policy: Policy) -> list[str]:
    return format_table(("RULE", "PROJECTS"), [(rule.name or "-", " ".join(rule.projects)) for rule in policy.rules])


def _find_index_warnings(configuration: Configuration) -> list[str]:
    found = [
        f"index {index.name}: its pattern {pattern} never applies, index {earlier.name} comes first and takes it"
        for index, pattern, earlier in configuration.indexes.find_shadowed_patterns()
    ]
    if not any(configuration.indexes.is_catch_all(index) for index in configuration.indexes):
        found.append("no index takes all names: those that no pattern covers are unknown here")
    return found
