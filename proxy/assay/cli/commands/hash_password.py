"""``assay hash-password``: a line for the file that `server.auth.passwords` names. The password is kept nowhere."""

from __future__ import annotations

import argparse
import sys
from getpass import getpass

from assay.cli import EXIT_OK
from assay.errors import ConfigurationError
from assay.web.auth import format_password_entry


def main(options: argparse.Namespace) -> int:
    """Print the line.

    Raises:
        ConfigurationError: no password, or a user name that HTTP cannot carry.
    """
    typed = getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().removesuffix("\n")
    if not typed:
        raise ConfigurationError("expected a password, found none")
    print(format_password_entry(options.user, typed))
    return EXIT_OK
