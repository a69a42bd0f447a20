"""Command ``assay verify``: verify a file on disk against a provenance document, and judge the file by a policy.

The command needs no network and no running proxy. The policy judges the file as if it were the only file of its
project. Some facts are known only from a page or the ledger: age, other files, and the digest first seen. A requirement
that needs such a fact fails.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from assay.assembly.inputs import get_known_names, read_policy, read_trust_roots
from assay.attestation.codec import encode_evidence
from assay.attestation.renewal.report import describe_local_file
from assay.attestation.verification.verify import verify
from assay.cli import EXIT_OK, EXIT_WITHHELD
from assay.cli.tables import escape_unprintable
from assay.config import load_configuration
from assay.errors import ConfigurationError
from assay.evidence import Attestation, Attested, Evidence, Forged, Unverifiable
from assay.indexes import Indexes, allowed_file_hosts
from assay.operator_files import read_file
from assay.policy.judge import IndexFacts, judge_page_in_mode
from assay.policy.language.model import Policy
from assay.policy.reasons import reasons_to_json
from assay.policy.verdict import Approved, Withheld
from assay.ports import ProjectHistory
from assay.publishers.signers import get_signer_name
from assay.simple.filename import parse_filename, possible_projects
from assay.simple.model import File, Project


def main(options: argparse.Namespace) -> int:
    """Print the evidence about a file. If a policy is given, print the verdict too. Return the exit status.

    With a policy, the status is 0 if the policy approves the file. Without a policy, the status is 0 if the file has a
    valid attestation. Otherwise the status is 1.

    Raises:
        ConfigurationError: a file cannot be read, the configuration or the policy is invalid, or no index of the
            configuration owns the project of the file.
    """
    configuration = load_configuration(options.config, os.environ)
    roots, _ = asyncio.run(read_trust_roots(configuration, configuration.storage.directory))
    document = read_file(options.provenance)
    try:
        file = describe_local_file(options.file)
    except OSError as error:
        raise ConfigurationError(f"{options.file}: cannot be read: {error.strerror}") from error
    evidence = verify(document, file, roots.for_index())
    verdict = (
        _judge_alone(configuration.indexes, read_policy(options.policy, get_known_names(configuration)), file, evidence)
        if options.policy
        else None
    )
    if options.json:
        print(json.dumps(_build_json(options.file, document, evidence, verdict), indent=2))
    else:
        for line in _format_report(options.file, evidence, verdict):
            print(escape_unprintable(line))
    good = isinstance(evidence, Attested) if verdict is None else isinstance(verdict, Approved)
    return EXIT_OK if good else EXIT_WITHHELD


def _judge_alone(indexes: Indexes, policy: Policy, file: File, evidence: Evidence) -> Approved | Withheld:
    """Return the policy's verdict on a file, as if it were the only file of its project.

    Raises:
        ConfigurationError: the filename is not that of a distribution, or no configured index owns the file's project.
    """
    for name in possible_projects(file.filename):
        parsed = parse_filename(file.filename, name)
        index = indexes.find_owner(name)
        if parsed.distribution is None or index is None:
            continue
        host = min(allowed_file_hosts(index))
        place = f"{host}/{file.filename}"
        listed: File = replace(
            file, url=f"https://{place}", location=place, route=place, distribution=parsed.distribution, refusal=None
        )
        (verdict,) = judge_page_in_mode(
            policy,
            Project(name=name, files=(listed,), api_version=(1, 4)),
            index=IndexFacts(name=index.name, hosts=allowed_file_hosts(index)),
            history=ProjectHistory(),
            evidence={} if listed.sha256 is None else {(listed.filename, listed.sha256): evidence},
            now=datetime.now(UTC),
        )
        if isinstance(verdict, Approved | Withheld):
            return verdict
    raise ConfigurationError(
        f"{file.filename}: expected the filename of a distribution, for a project that a configured index owns"
    )


def _format_report(path: Path, evidence: Evidence, verdict: Approved | Withheld | None) -> list[str]:
    match evidence:
        case Attested(attestations=attestations, ignored=ignored):
            lines = [f"{path.name}: attested"]
            for attestation in attestations:
                lines += _format_attestation(attestation)
            lines += [f"  ignored: {reason}" for reason in ignored]
        case Forged(step=step, expected=expected, found=found):
            lines = [f"{path.name}: FORGED, failed check: {step}", f"  expected: {expected}", f"  found: {found}"]
        case Unverifiable(reason=reason):
            lines = [f"{path.name}: unverifiable: {reason}"]
        case _:
            lines = [f"{path.name}: the provenance document contains no attestations"]
    if isinstance(verdict, Approved):
        lines.append(f"approved by rule {verdict.rule}")
    elif verdict is not None:
        lines += [f"withheld: [{reason['code']}] {reason['message']}" for reason in reasons_to_json(verdict)]
    return lines


def _format_attestation(attestation: Attestation) -> list[str]:
    claims = attestation.claims
    shown = {
        "predicate": attestation.predicate_type,
        "publisher": get_signer_name(claims),
        "issuer": claims.issuer,
        "workflow": claims.workflow,
        "ref": claims.ref,
        "commit": claims.digest,
        "environment": claims.environment,
        "run": claims.run_url,
        "logged": f"{attestation.integrated_time:%Y-%m-%d %H:%M:%S} UTC, index {attestation.log_index}",
        "log": None if attestation.log is None else f"{attestation.log.url} (id {attestation.log.id})",
        "trust root": attestation.trust_root,
    }
    return [f"  {name}: {value}" for name, value in shown.items() if value]


def _build_json(
    path: Path, document: bytes, evidence: Evidence, verdict: Approved | Withheld | None
) -> dict[str, object]:
    facts: dict[str, object] = {
        "file": path.name,
        "provenance-sha256": hashlib.sha256(document).hexdigest(),
        "evidence": json.loads(encode_evidence(evidence)),
    }
    if verdict is not None:
        facts["verdict"] = "approved" if isinstance(verdict, Approved) else "withheld"
        facts["rule"] = verdict.rule
        facts["reasons"] = reasons_to_json(verdict) if isinstance(verdict, Withheld) else []
    return facts
