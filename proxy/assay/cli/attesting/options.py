"""Options of ``assay attest``."""

from __future__ import annotations

import argparse
from pathlib import Path

from assay.cli.hosted.options import AddCommand


def add_attest_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], add_command: AddCommand
) -> argparse.ArgumentParser:
    """Add the command, and return its parser.

    Args:
        commands: the commands of ``assay``.
        add_command: adds a command with a summary, and returns its parser.
    """
    attest = add_command(
        commands, "attest", "sign a statement about files, such as a review, for the requirement countersigned"
    )
    attest.add_argument(
        "files",
        metavar="FILE|LOCKFILE|NAME==VERSION",
        nargs="+",
        help="distribution on disk; or lockfile, for all files that it pins; or release, for all its files",
    )
    attest.add_argument("--predicate-type", metavar="URI", required=True, help="type of the statement")
    attest.add_argument(
        "--predicate",
        metavar="FILE",
        type=Path,
        help="JSON object that is stated about each file (default: the statement has only its type)",
    )
    attest.add_argument(
        "--key",
        metavar="KEY",
        required=True,
        help="private key: a PEM file (ECDSA P-256 or P-384, Ed25519), or a URI of securesystemslib: hsm: (PKCS#11), "
        "gcpkms:, awskms:, azurekms: or hv:. ASSAY_KEY_PASSPHRASE is its passphrase or PIN (default: ask for it)",
    )
    attest.add_argument(
        "--public-key", metavar="FILE", type=Path, help="PEM file of the public key; required if the key is a URI"
    )
    attest.add_argument(
        "--key-name", metavar="NAME", help="hint for verifiers in each bundle (default: the SHA-256 of the public key)"
    )
    attest.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        required=True,
        help="directory of the bundles, SHA256.jsonl for each file; existing bundles stay",
    )
    return attest
