"""Command ``assay trust show|refresh``: show the trust roots in force. With ``refresh``, renew them first."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys

from assay.assembly.inputs import read_trust_roots, utc_now
from assay.attestation.renewal.report import refresh_trust_roots, report_trust_roots
from assay.attestation.renewal.tuf import create_tuf_refreshers
from assay.cli import EXIT_OK, EXIT_UNDECIDED
from assay.cli.tables import print_table
from assay.config import load_configuration


def main(options: argparse.Namespace) -> int:
    """Print the trust roots in force. With ``refresh``, renew them by TUF first, and return 3 if the renewal failed.

    Raises:
        ConfigurationError: the configuration is invalid, or a trust root cannot be read.
    """
    configuration = load_configuration(options.config, os.environ)
    state = configuration.storage.directory
    roots, _ = asyncio.run(read_trust_roots(configuration, state))
    failures: tuple[str, ...] = ()
    if options.action == "refresh":
        if sys.stderr.isatty():
            print("renewing trust roots by TUF …", file=sys.stderr)
        roots, failures = refresh_trust_roots(roots, create_tuf_refreshers([configuration.trust.root], state))
    reports = report_trust_roots(roots, configuration.trust, utc_now())
    if options.json:
        print(json.dumps([_report_to_json(report) for report in reports], indent=2))
    else:
        rows = [
            (
                f"{report.name}{' (default)' if report.default else ''}",
                report.digest[:12],
                f"{report.age.days} days{', too old' if report.too_old else ''}",
                "yes" if report.refreshed else "no",
                " ".join(report.issuers or ("all",)),
                report.source,
            )
            for report in reports
        ]
        print_table(("ROOT", "DIGEST", "AGE", "AUTO-RENEWED", "ISSUERS", "SOURCE"), rows)
    for failure in failures:
        print(f"assay: renewal failed: {failure}", file=sys.stderr)
    return EXIT_UNDECIDED if failures else EXIT_OK


def _report_to_json(report: object) -> dict[str, object]:
    return {name: _to_json_value(getattr(report, name)) for name in report.__slots__}  # type: ignore[attr-defined] # a slotted dataclass


def _to_json_value(value: object) -> object:
    return value if value is None or isinstance(value, bool | str | tuple) else str(value)
