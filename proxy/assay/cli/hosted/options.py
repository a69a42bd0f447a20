"""Options of ``assay hosted``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

AddCommand: TypeAlias = Callable[..., argparse.ArgumentParser]


def add_hosted_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser], add_command: AddCommand) -> None:
    """Add the commands. `add_command` adds a command with the option ``--config``."""
    summary = "list, yank and fill the files of a hosted index; the token is in the variable ASSAY_TOKEN"
    actions = commands.add_parser("hosted", help=summary, description=summary).add_subparsers(
        required=True, metavar="ACTION"
    )
    listing = add_command(actions, "list", "list the files of a hosted index", "hosted")
    yank = add_command(actions, "yank", "yank the files of a version (PEP 592)", "hosted")
    unyank = add_command(actions, "unyank", "undo a yank", "hosted")
    status = add_command(actions, "status", "set the status of a project (PEP 792)", "hosted")
    import_ = add_command(
        actions, "import", "upload the distributions in a directory, with their attestations", "hosted"
    )
    migrate = add_command(
        actions, "migrate", "copy a hosted index from a directory to the shared storage, without a token", "hosted"
    )
    for name, command in {
        "list": listing,
        "yank": yank,
        "unyank": unyank,
        "status": status,
        "import": import_,
        "migrate": migrate,
    }.items():
        command.add_argument("index", metavar="INDEX", help="name of the hosted index")
        command.set_defaults(action=name)
    for command in (listing, yank, unyank, status, import_):
        command.add_argument("--url", metavar="URL", help="address of the proxy (default: that of the configuration)")
    listing.add_argument("--json", action="store_true", help="print JSON")
    for command in (yank, unyank, status):
        command.add_argument("project", metavar="PROJECT", help="name of the project")
    for command in (yank, unyank):
        command.add_argument("version", metavar="VERSION", help="version whose files are yanked")
        command.add_argument("--file", metavar="FILENAME", help="only this file of the version")
    status.add_argument("status", metavar="STATUS", help="new status: active, archived, quarantined or deprecated")
    for command in (yank, status):
        command.add_argument("--reason", metavar="TEXT", help="reason, which installers show")
    import_.add_argument(
        "directory", metavar="DIR", type=Path, help="directory of wheels, source archives and *.attestation files"
    )
    migrate.add_argument(
        "directory", metavar="DIR", type=Path, help="directory of hosted files (storage.hosted) that no proxy uses now"
    )
