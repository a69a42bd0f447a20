"""Command ``assay explain``: show the current verdict on each file of a project, with the reasons.

The verdicts are those of the proxy. The command finds them in a dry run (`assay.cli.dry_run`), which does not change
the state of a running proxy.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

from assay import telemetry
from assay.cli import EXIT_OK, EXIT_WITHHELD
from assay.cli.advisories import print_advisories
from assay.cli.commands import audit
from assay.cli.dry_run import judge_pages, open_dry_run
from assay.cli.findings import STATUS_APPROVED
from assay.cli.policy_option import choose_policy
from assay.cli.results import FILE_HEADER, RELEASE_HEADER, describe_verdict, make_file_rows, make_release_rows
from assay.cli.tables import escape_unprintable, print_table
from assay.cli.verdicts import list_alarms, list_unstated, releases_json, verdict_json
from assay.config import Configuration
from assay.errors import AssayError, ConfigurationError, ProjectNotFoundError
from assay.gate.judged_page import JudgedPage
from assay.gate.release_words import classify_page
from assay.policy.language.model import Policy
from assay.policy.reasons import absence_to_json
from assay.policy.verdict import Approved, Withheld
from assay.publishers.release_provenance import ReleaseProvenance
from assay.simple.fields import parse_version
from assay.simple.model import File, NormalizedName
from assay.simple.namespaces import read_namespaces

_LOCKFILE_SUFFIXES = frozenset({".lock", ".toml", ".txt", ".in"})
_PROJECT_NAME = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?", re.ASCII | re.IGNORECASE)


def main(options: Namespace) -> int:
    """Explain a project, or audit a lockfile. Return 1 if a selected file is withheld or the project does not exist.

    The argument is a lockfile if a file exists at this path and its name ends in .lock, .toml, .txt or .in. Otherwise
    the argument is the name of a project.

    Raises:
        ConfigurationError: the configuration, the policy or the project name is invalid, or the project has no file
            with the selected filename or version.
        AssayError: the index or the provenance of a file is unavailable, or a component of the proxy cannot start.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    if (lockfile := Path(options.project)).suffix in _LOCKFILE_SUFFIXES and lockfile.is_file():
        audited = Namespace(**vars(options), lockfile=lockfile, sarif=False, allow_unchecked=False)
        return audit.main(audited)
    if not _PROJECT_NAME.fullmatch(options.project):
        raise ConfigurationError(f"{options.project!r} is not a valid project name")
    by = choose_policy(options)
    name = canonicalize_name(options.project)
    try:
        judged = asyncio.run(_judge_project(by.configuration, by.policy, name))
    except ProjectNotFoundError as error:
        if options.json:
            print(json.dumps(_build_absence_json(name, by.policy, error), indent=2))
        print(f"assay: no such project: {escape_unprintable(str(error))}", file=sys.stderr)
        return EXIT_WITHHELD
    verdicts = [each for each in judged.verdicts if _is_selected(each.file, options.which)]
    if options.which and not verdicts:
        raise ConfigurationError(
            f"{judged.page.index.name} lists no file of {options.project} with the filename or version {options.which}"
        )
    if options.json:
        print(json.dumps(_build_json(judged, verdicts), indent=2))
    else:
        _print_report(judged, verdicts, by_file=options.files or options.which is not None)
    withheld = judged.listing.absence_reason is not None or any(isinstance(each, Withheld) for each in verdicts)
    return EXIT_WITHHELD if withheld else EXIT_OK


async def _judge_project(configuration: Configuration, policy: Policy, project: NormalizedName) -> JudgedPage:
    async with open_dry_run(configuration, policy) as assembly:
        page = (await judge_pages(assembly, [project]))[project]
    if isinstance(page, AssayError):
        raise page
    return page


def _is_selected(file: File, selector: str | None) -> bool:
    if selector is None or file.filename == selector:
        return True
    return file.distribution is not None and file.distribution.version == parse_version(selector)


def _print_report(judged_page: JudgedPage, verdicts: list[Approved | Withheld], *, by_file: bool) -> None:
    page = judged_page.page
    stale = " (stale)" if page.is_stale else ""
    print(f"{page.project.name} on {page.index.name}: {len(page.project.files)} files{stale}\n")
    if judged_page.listing.absence_reason is not None:
        print(f"[{judged_page.listing.absence_reason.code}] {judged_page.listing.absence_reason.message}")
        return
    results = [describe_verdict(page.project.name, each) for each in verdicts]
    if by_file:
        print_table(FILE_HEADER, make_file_rows(results))
    else:
        print_table(RELEASE_HEADER[1:], [row[1:] for row in make_release_rows(results)])
    if namespaces := read_namespaces(page.project):
        print(f"\nnamespaces according to the index: {', '.join(each.describe() for each in namespaces)}")
    for problem in list_unstated(verdicts):
        print(f"\n{problem}")
    print_advisories(judged_page.listing.advisories)
    if alarms := list_alarms(_select_releases(judged_page, verdicts)):
        print("\n" + "\n".join(alarms))
    approved = sum(isinstance(each, Approved) for each in verdicts)
    versions = [each.version for each in results if each.status == STATUS_APPROVED and each.version is not None]
    newest = f"; newest approved version: {max(versions)}" if versions else ""
    print(f"\n{approved} approved, {len(verdicts) - approved} withheld{newest}")


def _select_releases(
    judged_page: JudgedPage, verdicts: Iterable[Approved | Withheld]
) -> Mapping[Version, ReleaseProvenance]:
    """Return the provenance of the releases to which the selected files belong. It counts all files of a release."""
    selected = {each.file.distribution.version for each in verdicts if each.file.distribution is not None}
    return {version: found for version, found in classify_page(judged_page).items() if version in selected}


def _build_absence_json(name: NormalizedName, policy: Policy, error: ProjectNotFoundError) -> Mapping[str, Any]:
    return {
        "project": name,
        "index": None,
        "stale": False,
        "namespaces": [],
        "policy": policy.digest,
        "files": [],
        "releases": [],
        "problems": [],
        "advisories": [],
        "reasons": [],
        "error": escape_unprintable(str(error)),
    }


def _build_json(judged_page: JudgedPage, verdicts: list[Approved | Withheld]) -> Mapping[str, Any]:
    return {
        "project": judged_page.page.project.name,
        "index": judged_page.page.index.name,
        "stale": judged_page.page.is_stale,
        "namespaces": [
            {"name": each.name, "owned": each.is_owned} for each in read_namespaces(judged_page.page.project)
        ],
        "policy": judged_page.policy_digest,
        "files": [verdict_json(each) for each in verdicts],
        "releases": releases_json(_select_releases(judged_page, verdicts)),
        "problems": list_unstated(verdicts),
        "advisories": [each.to_json() for each in judged_page.listing.advisories],
        "reasons": []
        if judged_page.listing.absence_reason is None
        else absence_to_json(judged_page.listing.absence_reason)["reasons"],
    }
