"""Command ``assay attest FILE…|LOCKFILE|NAME==VERSION``: sign a statement about files, such as a review.

Each statement becomes a line of ``<sha256>.jsonl`` in a directory, from which a proxy reads it as a source of evidence
(``kind = "files"``). A statement that the same key has signed before is not signed again.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from getpass import getpass
from pathlib import Path
from typing import Any, Final

from assay import telemetry
from assay.attestation.signing.signers import KeySigner, load_key_signer
from assay.attestation.signing.statement import (
    build_bundle,
    build_statement,
    has_statement,
    is_too_large,
    verify_bundle,
)
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial
from assay.attestation.verification.strict_json import MAX_STATEMENT_BYTES, parse_strict_json
from assay.cli import EXIT_CONFIGURATION, EXIT_OK, EXIT_UNDECIDED
from assay.cli.attesting.bundle_files import BundleFileError, add_bundle, get_bundle_path, has_bundle
from assay.cli.attesting.subjects import Subject, find_subjects
from assay.cli.tables import escape_unprintable
from assay.errors import ConfigurationError
from assay.operator_files import read_file

SECRET_VARIABLE: Final = "ASSAY_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable
"""Environment variable with the passphrase of a key file, or the PIN of a token."""
_TYPE_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*:[\x21-\x7e]{1,900}")
_MAX_HINT_CHARACTERS: Final = 200


def main(options: argparse.Namespace) -> int:
    """Sign the statements, write their bundles, and print a line for each file. Return the exit status.

    The status is 2 if the bundles about a file cannot be read or are too many, 3 if an entry of a lockfile could not be
    attested, otherwise 0.

    Raises:
        ConfigurationError: an argument, the key, the predicate or the configuration is invalid; or a file cannot be
            read or written.
        AssayError: an index is unavailable.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    if _TYPE_URI.fullmatch(options.predicate_type) is None:
        found = escape_unprintable(options.predicate_type)
        raise ConfigurationError(
            f"--predicate-type: expected a URI such as https://acme.example/review/v1, found {found!r:.200}"
        )
    hint = options.key_name
    if hint is not None and not (hint.isprintable() and 0 < len(hint) <= _MAX_HINT_CHARACTERS):
        raise ConfigurationError(f"--key-name: expected 1 to {_MAX_HINT_CHARACTERS} printable characters")
    predicate = None if options.predicate is None else _read_predicate(options.predicate)
    signer = load_key_signer(
        options.key, public_key_path=options.public_key, hint=hint, read_secret=make_secret_reader(os.environ)
    )
    if predicate is not None and is_too_large(predicate):
        print("assay: the predicate is so large that no condition (`where`) of a policy reads it", file=sys.stderr)
    subjects = find_subjects(options)
    failures = []
    for subject in subjects.files:
        statement = build_statement(subject.filename, subject.sha256, options.predicate_type, predicate)
        try:
            added = _attest(options.output, subject, statement, signer)
        except BundleFileError as error:
            failures.append(f"not attested: {subject.filename}: {error}")
            continue
        path = get_bundle_path(options.output, subject.sha256)
        done = f"written to {path}" if added else f"already in {path}"
        print(escape_unprintable(f"{subject.filename}: {done}"))
    for problem in (*failures, *subjects.problems):
        print(f"assay: {escape_unprintable(problem)}", file=sys.stderr)
    if failures:
        return EXIT_CONFIGURATION
    return EXIT_UNDECIDED if subjects.problems else EXIT_OK


def make_secret_reader(environ: Mapping[str, str]) -> Callable[[str], str]:
    """Return a function that returns a secret from the environment, or else from the terminal, which asks once."""

    @cache
    def read_secret(name: str) -> str:
        if (value := environ.get(SECRET_VARIABLE)) is not None:
            return value
        if not sys.stdin.isatty():
            raise ConfigurationError(f"the key needs a {name}: set {SECRET_VARIABLE}, or use a terminal")
        try:
            return getpass(f"{name} of the key: ")
        except EOFError as error:
            raise ConfigurationError(f"the key needs a {name}, and the terminal gave none") from error

    return read_secret


def _read_predicate(path: Path) -> dict[str, Any]:
    """Return the predicate in a file.

    Raises:
        ConfigurationError: the file cannot be read, or is not a JSON object as a proxy reads it.
    """
    try:
        return parse_strict_json(read_file(path, max_bytes=MAX_STATEMENT_BYTES), "predicate")
    except CheckFailed as error:
        raise ConfigurationError(f"{path}: expected {error.expected}, found {error.found}") from error


def _attest(directory: Path, subject: Subject, statement: bytes, signer: KeySigner) -> bool:
    """Sign a statement and write its bundle. Return whether it is new.

    Raises:
        BundleFileError: the existing bundles about the file cannot be read, or are too many.
        ConfigurationError: the key cannot sign, a proxy would not accept the bundle, or the bundle cannot be written.
    """
    is_same = partial(has_statement, statement=statement, key=signer.trust_key)
    if has_bundle(directory, subject.sha256, is_same):
        return False
    bundle = build_bundle(statement, signer.sign(statement))
    try:
        verify_bundle(bundle, subject.to_file(), signer.trust_key)
    except CheckFailed as error:
        raise ConfigurationError(
            f"{subject.filename}: a proxy would refuse the statement: expected {error.expected}, found {error.found}"
        ) from error
    except UnknownMaterial as error:
        raise ConfigurationError(f"{subject.filename}: a proxy would refuse the statement: {error.reason}") from error
    return add_bundle(directory, subject.sha256, bundle, is_same)
