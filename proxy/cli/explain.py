"""``assay explain``: what of a project would be listed and served now, and why.

Judges as the proxy would, with a copy of its ledger, in a storage directory of its own that is gone afterwards: asking
changes nothing, and a running proxy is not disturbed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from proxy import telemetry
from proxy.assembly import assembled, read_policy
from proxy.attestation.codec import encode_evidence
from proxy.cli import GOOD, WITHHELD
from proxy.cli.tables import printable, table
from proxy.config import Configuration, load_configuration
from proxy.errors import ConfigurationError
from proxy.evidence import Attested, Evidence, Forged, Unverifiable
from proxy.gate import GateSettings, Judged
from proxy.policy.model import Policy
from proxy.policy.reasons import reasons_json
from proxy.policy.verdict import Approved, Withheld
from proxy.simple.model import File
from proxy.store.snapshot import copy_ledger

_NAME = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?", re.ASCII | re.IGNORECASE)
_PATIENCE = timedelta(hours=1)
"""A person waits longer than a client does."""


def main(options: argparse.Namespace) -> int:
    """Explain; 1 when something asked for is withheld.

    Raises:
        ConfigurationError: configuration or policy, or no such file or version.
        AssayError: it cannot be decided now.
    """
    telemetry.log_to(sys.stderr, level=logging.WARNING)
    if not _NAME.fullmatch(options.project):
        raise ConfigurationError(f"{options.project!r} is no project name")
    configuration = load_configuration(options.config, os.environ)
    policy = read_policy(configuration.policy)
    with tempfile.TemporaryDirectory(prefix="assay-explain-") as directory:
        copy_ledger(configuration.storage.directory, Path(directory))
        storage = configuration.storage.model_copy(update={"directory": Path(directory)})
        aside = configuration.model_copy(update={"storage": storage})
        judged = asyncio.run(_judged(aside, policy, options.project, configuration.storage.directory))
    verdicts = [each for each in judged.verdicts if _is_asked(each.file, options.which)]
    if options.which and not verdicts:
        raise ConfigurationError(
            f"{judged.page.index.name} lists no file or version {options.which} of {options.project}"
        )
    if options.json:
        print(json.dumps(_document(judged, verdicts), indent=2))
    else:
        _print(judged, verdicts)
    return WITHHELD if any(isinstance(each, Withheld) for each in verdicts) else GOOD


async def _judged(configuration: Configuration, policy: Policy, project: str, trust_state: Path) -> Judged:
    async def progress() -> None:
        await asyncio.sleep(1)
        print(f"fetching and verifying {project} …", file=sys.stderr)

    patience = GateSettings(patience=_PATIENCE)
    async with assembled(configuration, policy, gate_settings=patience, trust_state=trust_state) as assembly:
        waiting = asyncio.create_task(progress())
        try:
            return await assembly.gate.page(canonicalize_name(project))
        finally:
            waiting.cancel()


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
    rows = [
        (
            each.file.filename,
            "approved" if isinstance(each, Approved) else "withheld",
            each.rule or "-",
            _publisher(each.evidence),
            _because(each),
        )
        for each in verdicts
    ]
    for line in table(("FILE", "VERDICT", "RULE", "EVIDENCE", "BECAUSE"), rows):
        print(line)
    approved = sum(isinstance(each, Approved) for each in verdicts)
    print(f"\n{approved} approved, {len(verdicts) - approved} withheld")


def _publisher(evidence: Evidence | None) -> str:
    match evidence:
        case Attested(attestations=attestations):
            claims = attestations[0].claims
            return claims.repository or claims.email or claims.project_id or claims.san
        case Forged(step=step):
            return f"forged: {step}"
        case Unverifiable(reason=reason):
            return f"unverifiable: {reason}"
        case None:
            return "not needed"
        case _:
            return "none"


def _because(verdict: Approved | Withheld) -> str:
    if isinstance(verdict, Withheld):
        return " ".join(f"[{reason.code}] {reason.message}" for reason in verdict.reasons)
    lifted = [f"despite [{reason.code}] {reason.message}" for reason in verdict.despite]
    return " ".join((*lifted, *verdict.notes)) or "-"


def _document(judged: Judged, verdicts: list[Approved | Withheld]) -> Mapping[str, Any]:
    return {
        "project": judged.page.project.name,
        "index": judged.page.index.name,
        "stale": judged.page.stale,
        "policy": judged.policy,
        "files": [
            {
                "filename": printable(each.file.filename),
                "sha256": each.file.sha256,
                "verdict": "approved" if isinstance(each, Approved) else "withheld",
                "rule": each.rule,
                "evidence": None if each.evidence is None else json.loads(encode_evidence(each.evidence)),
                "reasons": reasons_json(each) if isinstance(each, Withheld) else [],
                "despite": [reason.message for reason in each.despite] if isinstance(each, Approved) else [],
                "notes": list(each.notes) if isinstance(each, Approved) else [],
            }
            for each in verdicts
        ],
    }
