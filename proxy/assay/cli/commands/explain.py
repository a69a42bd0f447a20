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
from assay.cli import GOOD, WITHHELD
from assay.cli.commands import audit
from assay.cli.dry_run import aside, judged_pages
from assay.cli.policy_option import chosen
from assay.cli.tables import table
from assay.cli.verdicts import because, evidence_words, verdict_json
from assay.config import Configuration
from assay.errors import AssayError, ConfigurationError
from assay.gate.judged_page import Judged
from assay.policy.language.model import Policy
from assay.policy.reasons import nameless_json
from assay.policy.verdict import Approved, Withheld
from assay.simple.model import File, NormalizedName

_LOCKFILES = frozenset({".lock", ".toml", ".txt", ".in"})
_NAME = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?", re.ASCII | re.IGNORECASE)


def main(options: Namespace) -> int:
    """Explain a project, or what a lockfile would get; 1 when something asked for is withheld.

    Raises:
        ConfigurationError: configuration or policy, or no such file or version.
        AssayError: it cannot be decided now.
    """
    telemetry.log_to(sys.stderr, level=logging.WARNING)
    if (lockfile := Path(options.project)).suffix in _LOCKFILES and lockfile.is_file():
        asked = Namespace(lockfile=lockfile, sarif=False, json=options.json, config=options.config, view=options.view)
        return audit.main(asked)
    if not _NAME.fullmatch(options.project):
        raise ConfigurationError(f"{options.project!r} is no project name")
    by = chosen(options)
    judged = asyncio.run(_judged(by.configuration, by.policy, canonicalize_name(options.project)))
    verdicts = [each for each in judged.verdicts if _is_asked(each.file, options.which)]
    if options.which and not verdicts:
        raise ConfigurationError(
            f"{judged.page.index.name} lists no file or version {options.which} of {options.project}"
        )
    if options.json:
        print(json.dumps(_document(judged, verdicts), indent=2))
    else:
        _print(judged, verdicts)
    withheld = judged.listed.reserved is not None or any(isinstance(each, Withheld) for each in verdicts)
    return WITHHELD if withheld else GOOD


async def _judged(configuration: Configuration, policy: Policy, project: NormalizedName) -> Judged:
    async with aside(configuration, policy) as assembly:
        page = (await judged_pages(assembly, [project]))[project]
    if isinstance(page, AssayError):
        raise page
    return page


def _is_asked(file: File, which: str | None) -> bool:
    if which is None or file.filename == which:
        return True
    try:
        return file.distribution is not None and file.distribution.version == Version(which)
    except InvalidVersion:
        return False


def _print(judged: Judged, verdicts: list[Approved | Withheld]) -> None:
    page = judged.page
    print(
        f"{page.project.name} on {page.index.name}: {len(page.project.files)} files{' (stale)' if page.stale else ''}\n"
    )
    if judged.listed.reserved is not None:
        print(f"[{judged.listed.reserved.code}] {judged.listed.reserved.message}")
        return
    rows = [
        (
            each.file.filename,
            "approved" if isinstance(each, Approved) else "withheld",
            each.rule or "-",
            evidence_words(each.evidence),
            because(each),
        )
        for each in verdicts
    ]
    for line in table(("FILE", "VERDICT", "RULE", "EVIDENCE", "BECAUSE"), rows):
        print(line)
    approved = sum(isinstance(each, Approved) for each in verdicts)
    print(f"\n{approved} approved, {len(verdicts) - approved} withheld")


def _document(judged: Judged, verdicts: list[Approved | Withheld]) -> Mapping[str, Any]:
    return {
        "project": judged.page.project.name,
        "index": judged.page.index.name,
        "stale": judged.page.stale,
        "policy": judged.policy,
        "files": [verdict_json(each) for each in verdicts],
        "reasons": [] if judged.listed.reserved is None else nameless_json(judged.listed.reserved)["reasons"],
    }
