"""Options of ``assay ledger`` and ``assay database``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

AddCommand: TypeAlias = Callable[..., argparse.ArgumentParser]
AddConfigOption: TypeAlias = Callable[[argparse.ArgumentParser], None]


def add_ledger_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_command: AddCommand,
    add_config_option: AddConfigOption,
) -> None:
    """Add the commands for the ledger. The two functions add a command, and the option ``--config``."""
    summary = "export the ledger to a text file, import such a file, or state which facts no longer count"
    parser = commands.add_parser("ledger", help=summary, description=summary)
    add_config_option(parser)
    inherited = argparse.SUPPRESS  # of the option in front of the action
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    export = add_command(
        actions, "export", "write the ledger as text; a proxy may run", "ledger", config_default=inherited
    )
    export.add_argument("file", metavar="FILE", type=Path, nargs="?", help="text file (default: standard output)")
    import_ = add_command(
        actions, "import", "add the facts of a text file to the ledger", "ledger", config_default=inherited
    )
    import_.add_argument("file", metavar="FILE", type=Path, nargs="?", help="text file (default: standard input)")
    import_.add_argument(
        "--replace",
        action="store_true",
        help="make the ledger equal to the text for the facts that it contains, instead of keeping existing facts",
    )
    import_.add_argument("--reason", metavar="TEXT", help="with --replace: reason, for the ledger and the audit trail")
    add_new_ledger_option(import_)
    _add_database_url_option(import_)
    forget = add_command(
        actions,
        "forget",
        "state that wrong facts about a project no longer count; a proxy may run",
        "ledger",
        config_default=inherited,
    )
    _add_forget_options(forget)
    _add_database_url_option(forget)
    for action, command in (("export", export), ("import", import_), ("forget", forget)):
        command.set_defaults(action=action)


def add_database_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_command: AddCommand,
    add_config_option: AddConfigOption,
) -> None:
    """Add the commands for the database that replicas share. The functions are those of `add_ledger_commands`."""
    summary = "create, upgrade or check the PostgreSQL database that replicas share, or confirm that it was restored"
    parser = commands.add_parser("database", help=summary, description=summary)
    add_config_option(parser)
    inherited = argparse.SUPPRESS  # of the option in front of the action
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    texts = {
        "init": "create roles, tables and privileges, as far as they do not exist",
        "upgrade": "migrate the tables to the version of this Assay, and grant the privileges again",
        "check": "check the database as a replica does at its start",
        "restored": "confirm that the database was restored from a backup, so that replicas accept lost facts",
    }
    for action, text in texts.items():
        command = add_command(actions, action, text, "database", config_default=inherited)
        default = " (default: the setting storage.shared.database)" if action == "check" else ""
        command.add_argument(
            "--url",
            metavar="URL",
            required=action != "check",
            help="postgresql://ROLE@HOST/DATABASE; the password is in the environment variable PGPASSWORD" + default,
        )
        command.set_defaults(action=action)
        if action in {"init", "upgrade"}:
            _add_role_options(command)
        if action in {"init", "check"}:
            command.add_argument(
                "--deployment",
                metavar="NAME",
                help="name of the deployment (default: the setting storage.shared.deployment)",
            )
        if action == "check":
            command.add_argument(
                "--operator",
                action="store_true",
                help="check the privileges of the operator's role, not those of the service",
            )


def _add_role_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--app-role", metavar="ROLE", default="assay_app", help="role of the service (default: assay_app)"
    )
    command.add_argument(
        "--admin-role",
        metavar="ROLE",
        default="assay_admin",
        help="role of this command and of assay ledger forget (default: assay_admin)",
    )


def _add_forget_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("index", metavar="INDEX", help="name of the index")
    command.add_argument("project", metavar="PROJECT", help="name of the project")
    kind = command.add_mutually_exclusive_group(required=True)
    kind.add_argument(
        "--publishers", action="store_true", help="the established publishers, and all attestations logged until now"
    )
    kind.add_argument("--serial", action="store_true", help="the highest serial, so that lower ones are accepted")
    kind.add_argument("--first-seen", action="store_true", help="the times at which the files were first seen")
    kind.add_argument(
        "--digest", metavar="FILE", nargs="+", help="the first digests of these files, which never count again"
    )
    kind.add_argument(
        "--evidence", metavar="FILE", nargs="+", help="the provenance documents that were last judged for these files"
    )
    command.add_argument(
        "--reason", metavar="TEXT", required=True, help="reason, for the ledger, the log and the audit trail"
    )


def _add_database_url_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--database-url",
        metavar="URL",
        help="with [storage.shared]: URL of the database with the role of the operator, for what the service may not do"
        " (default: the variable ASSAY_DATABASE_URL, else the setting); the password is in the variable PGPASSWORD",
    )


def add_new_ledger_option(command: argparse.ArgumentParser) -> None:
    """Add the option ``--new-ledger``."""
    command.add_argument(
        "--new-ledger",
        action="store_true",
        help="create an empty ledger if the storage directory has been used and its ledger is missing; the history of"
        " all projects is then lost",
    )
