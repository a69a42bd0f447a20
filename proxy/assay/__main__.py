"""Entry point of ``assay`` and ``python -m assay``. The module imports the command line only when `main` runs."""

from __future__ import annotations

import os
import select
import sys

EXIT_BROKEN_PIPE = 141
"""Exit status if the reader of the output has gone, as of a program that SIGPIPE has ended (128 + 13)."""
_STDOUT, _STDERR = 1, 2


def main() -> None:
    """Run the command line and exit with its status.

    If the reader of the output has gone, as in ``assay explain numpy | head``, exit without a message.

    Raises:
        BrokenPipeError: a command wrote to another broken pipe or connection.
    """
    from assay.cli import run  # noqa: PLC0415 - worker processes import this module without running a command

    try:
        try:
            status = run(sys.argv[1:])
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # also after the help, which ends in SystemExit
    except BrokenPipeError:
        if not _has_lost_reader():
            raise
        # Python flushes both streams at exit, which would fail again.
        null = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (_STDOUT, _STDERR):
            os.dup2(null, descriptor)
        status = EXIT_BROKEN_PIPE
    sys.exit(status)


def _has_lost_reader() -> bool:
    """Return whether standard output or standard error is a pipe whose reader has closed it."""
    poll = select.poll()
    for descriptor in (_STDOUT, _STDERR):
        poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


if __name__ == "__main__":
    main()
