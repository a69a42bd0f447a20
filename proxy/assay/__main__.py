"""The entry point of ``assay`` and ``python -m assay``. Light: worker processes import it again."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its status."""
    from assay.cli import run  # noqa: PLC0415 - a worker process imports this module without running a command

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
