"""Command ``assay hash-password``: print a line with a user name and a password hash, for `server.auth.passwords`."""

from __future__ import annotations

import argparse
import sys
from getpass import getpass

from assay.cli import EXIT_OK
from assay.errors import ConfigurationError
from assay.web.auth import format_password_entry


def main(options: argparse.Namespace) -> int:
    """Read a password from the terminal, or from one line of standard input, and print ``USER:HASH``.

    Raises:
        ConfigurationError: the password is empty, or HTTP Basic authentication does not permit the user name.
    """
    typed = getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().removesuffix("\n")
    if not typed:
        raise ConfigurationError("expected a password, found an empty line")
    print(format_password_entry(options.user, typed))
    return EXIT_OK
