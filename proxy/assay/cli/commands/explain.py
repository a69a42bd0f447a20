"""``assay explain``: what of a project would be listed and served now, and why.

Judges as the proxy would (`assay.cli.dry_run`): asking changes nothing, and a running proxy is not disturbed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from assay import telemetry
from assay.cli import EXIT_OK, EXIT_WITHHELD
from assay.cli.commands import audit
from assay.cli.dry_run import judge_pages, open_dry_run
from assay.cli.policy_option import choose_policy
from assay.cli.tables import format_table
from assay.cli.verdicts import explain_verdict, summarize_evidence, verdict_json
from assay.config import Configuration
from assay.errors import AssayError, ConfigurationError
from assay.gate.judged_page import JudgedPage
from assay.policy.language.model import Policy
from assay.policy.reasons import absence_to_json
from assay.policy.verdict import Approved, Withheld
from assay.simple.model import File, NormalizedName

_LOCKFILE_SUFFIXES = frozenset({".lock", ".toml", ".txt", ".in"})
_PROJECT_NAME = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?", re.ASCII | re.IGNORECASE)


def main(options: Namespace) -> int:
    """Explain a project, or what a lockfile would get; 1 when something asked for is withheld.

    Raises:
        ConfigurationError: configuration or policy, or no such file or version.
        AssayError: it cannot be decided now.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    if (lockfile := Path(options.project)).suffix in _LOCKFILE_SUFFIXES and lockfile.is_file():
        asked = Namespace(lockfile=lockfile, sarif=False, json=options.json, config=options.config, view=options.view)
        return audit.main(asked)
    if not _PROJECT_NAME.fullmatch(options.project):
        raise ConfigurationError(f"{options.project!r} is no project name")
    by = choose_policy(options)
    judged = asyncio.run(_judge_project(by.configuration, by.policy, canonicalize_name(options.project)))
    verdicts = [each for each in judged.verdicts if _is_selected(each.file, options.which)]
    if options.which and not verdicts:
        raise ConfigurationError(
            f"{judged.page.index.name} lists no file or version {options.which} of {options.project}"
        )
    if options.json:
        print(json.dumps(_build_json(judged, verdicts), indent=2))
    else:
        _print_report(judged, verdicts)
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
    try:
        return file.distribution is not None and file.distribution.version == Version(selector)
    except InvalidVersion:
        return False


def _print_report(judged_page: JudgedPage, verdicts: list[Approved | Withheld]) -> None:
    page = judged_page.page
    stale = " (stale)" if page.is_stale else ""
    print(f"{page.project.name} on {page.index.name}: {len(page.project.files)} files{stale}\n")
    if judged_page.listing.absence_reason is not None:
        print(f"[{judged_page.listing.absence_reason.code}] {judged_page.listing.absence_reason.message}")
        return
    rows = [
        (
            each.file.filename,
            "approved" if isinstance(each, Approved) else "withheld",
            each.rule or "-",
            summarize_evidence(each.evidence),
            explain_verdict(each),
        )
        for each in verdicts
    ]
    for line in format_table(("FILE", "VERDICT", "RULE", "EVIDENCE", "BECAUSE"), rows):
        print(line)
    approved = sum(isinstance(each, Approved) for each in verdicts)
    print(f"\n{approved} approved, {len(verdicts) - approved} withheld")


def _build_json(judged_page: JudgedPage, verdicts: list[Approved | Withheld]) -> Mapping[str, Any]:
    return {
        "project": judged_page.page.project.name,
        "index": judged_page.page.index.name,
        "stale": judged_page.page.is_stale,
        "policy": judged_page.policy_digest,
        "files": [verdict_json(each) for each in verdicts],
        "reasons": []
        if judged_page.listing.absence_reason is None
        else absence_to_json(judged_page.listing.absence_reason)["reasons"],
    }
