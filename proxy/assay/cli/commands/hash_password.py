"""``assay hash-password``: a line for the file that `server.auth.passwords` names. The password is kept nowhere."""

from __future__ import annotations

import argparse
import sys
from getpass import getpass

from assay.cli import GOOD
from assay.errors import ConfigurationError
from assay.web.auth import hashed


def main(options: argparse.Namespace) -> int:
    """Print the line.

    Raises:
        ConfigurationError: no password, or a user name that HTTP cannot carry.
    """
    typed = getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().removesuffix("\n")
    if not typed:
        raise ConfigurationError("expected a password, found none")
    print(hashed(options.user, typed))
    return GOOD
