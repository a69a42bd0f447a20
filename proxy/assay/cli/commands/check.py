"""Command ``assay check``: validate configuration and policies, explain each rule, and report errors and warnings."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Iterator, Mapping

from assay import telemetry
from assay.assembly.inputs import read_policies, read_trust_roots, utc_now
from assay.cli import EXIT_CONFIGURATION, EXIT_OK, EXIT_UNDECIDED
from assay.cli.online_review import review_online
from assay.cli.review import review_configuration
from assay.cli.tables import escape_unprintable, format_for_output
from assay.config import Configuration, ServerSettings, load_configuration
from assay.errors import ConfigurationError
from assay.indexes import allowed_file_hosts
from assay.policy.language.expiry import find_expiring_waivers
from assay.policy.language.model import Policy
from assay.policy.language.review import Problem, review_policy
from assay.policy.language.wording import describe_rule
from assay.provenance.sources.settings import FilesSourceSettings
from assay.store.factory import check_engines, check_storage_files
from assay.store.settings import SharedSettings, StorageSettings
from assay.units import format_duration, format_size
from assay.upstream.credentials import IndexAuthorizations
from assay.upstream.tls import load_tls_contexts
from assay.web.auth import Authenticator
from assay.web.server.tls import ServerCertificate


def main(options: argparse.Namespace) -> int:
    """Validate everything that ``assay serve`` reads at start, and print a summary with the meaning of each rule.

    Return 2 if a setting or policy cannot work as written. Warnings do not affect the exit status. With ``--online``,
    return 3 if no page of an index could be read, and with ``--connect``, if the database or the object storage does
    not answer. Otherwise return 0.

    Raises:
        ConfigurationError: a file or setting is invalid. The message states its place, the expected and the found
            value, and the most similar valid key.
        AssayError: ``--online`` is given, and a component of the proxy cannot start.
    """
    configuration = load_configuration(options.config, os.environ)
    if options.policy is not None:
        configuration = configuration.model_copy(update={"policy": options.policy, "views": ()})
    policies = read_policies(configuration)
    roots, _ = asyncio.run(read_trust_roots(configuration, configuration.storage.directory))
    IndexAuthorizations(configuration.connections, os.environ)
    load_tls_contexts(configuration.connections)
    _check_server_files(configuration.server)
    check_storage_files(configuration.storage)
    for line in (
        f"configuration: {options.config or os.environ.get('ASSAY_CONFIG') or 'built-in settings'}",
        *_describe_settings(configuration),
        *_describe_views(configuration, policies),
        "",
        *_describe_indexes(configuration),
        *_describe_evidence(configuration),
        *_describe_advisories(configuration),
    ):
        print(line)
    for name, policy in policies.items():
        print("\n".join(("", *([f"view {name}:"] if configuration.views else []), *_describe_rules(policy))))
    print(f"\ntrust roots: {', '.join(root.name for root in roots.for_index())}")
    problems = [*review_configuration(configuration), *_review_policies(configuration, policies)]
    is_complete = True
    if options.connect or options.online:
        telemetry.configure_logging(sys.stderr, level=logging.ERROR)
    if options.connect:
        found, is_complete = asyncio.run(_connect(configuration.storage))
        problems += found
    if options.online:
        found, is_answered = asyncio.run(review_online(configuration, policies.values()))
        problems += found
        is_complete &= is_answered
    for problem in problems:
        print(f"{'error' if problem.is_error else 'warning'}: {escape_unprintable(problem.text)}")
    if errors := sum(problem.is_error for problem in problems):
        print(f"configuration is invalid: {errors} {'error' if errors == 1 else 'errors'}")
        return EXIT_CONFIGURATION
    print("configuration is valid")
    return EXIT_OK if is_complete else EXIT_UNDECIDED


async def _connect(storage: StorageSettings) -> tuple[list[Problem], bool]:
    """Print what was found about each engine that replicas share; return problems, and False if one does not answer.

    Raises:
        ConfigurationError: the storage is not shared.
    """
    problems: list[Problem] = []
    is_complete = True
    for found in await check_engines(storage):
        if found.text is not None:
            print(escape_unprintable(found.text))
        problems += (Problem(text=warning) for warning in found.warnings)
        if found.error is not None:
            is_error = isinstance(found.error, ConfigurationError)
            problems.append(Problem(text=str(found.error), is_error=is_error))
            is_complete &= is_error
    return problems, is_complete


def _review_policies(configuration: Configuration, policies: Mapping[str, Policy]) -> Iterator[Problem]:
    """Yield the problems of each policy, and its waivers that have expired or will expire soon."""
    for name, policy in policies.items():
        expiring = (Problem(text=str(each)) for each in find_expiring_waivers(policy, utc_now()))
        for problem in (*review_policy(policy), *expiring):
            yield problem.within(f"view {name}") if configuration.views else problem


def _check_server_files(server: ServerSettings) -> None:
    """Read the TLS and authentication files that the server reads at start.

    Raises:
        ConfigurationError: a file is invalid, so that the server would not start.
    """
    if server.tls is not None:
        ServerCertificate(server.tls).load()
    if server.auth is not None:
        Authenticator(server, server.auth).load()


def _describe_settings(configuration: Configuration) -> list[str]:
    server, storage = configuration.server, configuration.storage
    scheme = "http" if server.tls is None else "https"
    access = "no authentication" if server.auth is None else "authentication required"
    return [
        f"listens on: {server.host}:{server.port}, {scheme}, {access}",
        f"storage: {storage.directory} (blobs {format_size(storage.blobs)}, records {format_size(storage.records)})",
        *([] if storage.shared is None else [_describe_shared(storage.shared)]),
    ]


def _describe_shared(shared: SharedSettings) -> str:
    """Return a line about the engines that the replicas share."""
    peers = f"replicas at {' '.join(shared.peer_names)}" if shared.peer_names else "no connections between replicas"
    objects = shared.objects or "no object storage"
    return f"shared by replicas: deployment {shared.deployment}, {shared.get_shown_database()}, {objects}, {peers}"


def _describe_views(configuration: Configuration, policies: Mapping[str, Policy]) -> list[str]:
    """Return the lines of a table of the views, with the path, policy and users of each view.

    If the configuration has no ``[[views]]``, return one line about the policy.
    """
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
    return ["", *format_for_output(("VIEW", "PATH", "POLICY", "MODE", "DIGEST", "USERS"), rows)]


def _describe_indexes(configuration: Configuration) -> list[str]:
    rows = [
        (
            index.name,
            " ".join(index.projects) + (f" except {' '.join(index.excluded)}" if index.excluded else ""),
            "hosted" if index.is_hosted else index.url,
            " ".join(sorted(allowed_file_hosts(index))),
            format_duration(index.freshness.page),
        )
        for index in configuration.indexes
    ]
    return format_for_output(("INDEX", "OWNS", "URL", "HOSTS", "FRESH FOR"), rows)


def _describe_evidence(configuration: Configuration) -> list[str]:
    """Return the lines of a table of the evidence sources; none without such sources."""
    rows = [
        (each.name, each.kind, str(each.path), "")
        if isinstance(each, FilesSourceSettings)
        else (each.name, each.kind, each.url, " ".join(f"{name}={where}" for name, where in each.repositories.items()))
        for each in configuration.evidence
    ]
    return ["", *format_for_output(("EVIDENCE", "KIND", "PLACE", "REPOSITORIES"), rows)] if rows else []


def _describe_advisories(configuration: Configuration) -> list[str]:
    """Return the lines of a table of the feeds of advisories; none without feeds."""
    rows = [
        (each.name, each.url, format_duration(each.refresh_every), "yes" if each.required else "no")
        for each in configuration.advisories
    ]
    return ["", *format_for_output(("ADVISORIES", "SOURCE", "REFRESH EVERY", "REQUIRED"), rows)] if rows else []


def _describe_rules(policy: Policy) -> list[str]:
    """Return a table of the rules, followed by their text on the policy page."""
    if not policy.rules:
        return ["The policy has no rules, so nothing is approved."]
    return [
        *format_for_output(
            ("RULE", "PROJECTS"), [(rule.name or "-", " ".join(rule.projects)) for rule in policy.rules]
        ),
        "",
        *(
            escape_unprintable(line)
            for number, rule in enumerate(policy.rules)
            for line in describe_rule(number, rule, policy).iter_lines()
        ),
    ]
