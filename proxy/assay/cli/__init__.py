"""The commands. Imports nothing heavy at module level: ``assay --help`` answers at once.

Exit status: 0 good, 1 withheld, 2 configuration or usage, 3 cannot be decided now.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

EXIT_OK, EXIT_WITHHELD, EXIT_CONFIGURATION, EXIT_UNDECIDED = 0, 1, 2, 3

_EXIT_STATUS_HELP = """exit status: 0 good, 1 withheld, 2 configuration, 3 can't be decided now"""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    from assay.errors import AssayError, ConfigurationError, StorageInUseError  # noqa: PLC0415 - see above

    options = _build_parser().parse_args(arguments)
    command = import_module(f"assay.cli.commands.{options.module}")
    try:
        return int(command.main(options))
    except (ConfigurationError, StorageInUseError) as error:
        print(f"assay: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except AssayError as error:
        print(f"assay: {error}", file=sys.stderr)
        return EXIT_UNDECIDED
    except KeyboardInterrupt:
        return 130


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="assay",
        description="A caching proxy in front of PyPI that serves only what provenance and policy approve.",
        epilog=_EXIT_STATUS_HELP,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = _add_command(commands, "serve", "run the proxy")
    serve.add_argument(
        "--log", choices=("auto", "text", "json"), default="auto", help="form of the log (default: %(default)s)"
    )
    _add_command(commands, "check", "check configuration and policy, and show what they mean")
    _add_audit_log_command(commands)
    explain = _add_command(commands, "explain", "what would be listed and served of a project, and why")
    explain.add_argument("project", metavar="PROJECT|LOCKFILE")
    explain.add_argument("which", metavar="FILENAME|VERSION", nargs="?", help="only this file or version")
    explain.add_argument("--json", action="store_true", help="for programs")
    _add_view_option(explain)
    verify = _add_command(commands, "verify", "verify a file on disk against a provenance document")
    verify.add_argument("file", metavar="FILE", type=Path)
    verify.add_argument("--provenance", metavar="P", type=Path, required=True, help="the provenance document")
    verify.add_argument("--policy", metavar="FILE", type=Path, help="also judge it by this policy")
    verify.add_argument("--json", action="store_true", help="for programs")
    trust = _add_command(commands, "trust", "the trust roots in force")
    trust.add_argument("action", choices=("show", "refresh"), help="show them, or renew them now by TUF")
    trust.add_argument("--json", action="store_true", help="for programs")
    _add_policy_commands(commands.add_parser("policy", help="the policy's language, and what a policy changes"))
    _add_lockfile_commands(commands)
    _add_exception_commands(commands)
    hash_password = _add_command(commands, "hash-password", "a line for server.auth.passwords", "hash_password")
    hash_password.add_argument("user", metavar="USER", help="the password is asked for, or read from standard input")
    _add_storage_commands(commands)
    return parser


def _add_exception_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    waive = _add_command(commands, "waive", "write a waiver for exactly these files")
    waive.add_argument("files", metavar="FILE", nargs="+", help="filenames as their index lists them")
    waive.add_argument("--reason", required=True, help="why, for whoever reads the policy")
    waive.add_argument("--expires", metavar="DATE", required=True, help="the last day on which it holds")
    waive.add_argument("--approved-by", metavar="WHO", help="who answers for it")
    waive.add_argument("--append", action="store_true", help="put it at the end of the policy file")
    _add_view_option(waive)
    blast = _add_command(commands, "blast", "what a publisher's revocation covers of what was served, and to whom")
    blast.add_argument("publisher", metavar="PUBLISHER", help="GitHub:owner/name, or a table as a policy has it")
    blast.add_argument("--since", metavar="DATE", required=True, help="signed from here on (signed-from)")
    blast.add_argument("--until", metavar="DATE", help="signed before (signed-until)")
    blast.add_argument("--trail", metavar="FILE", type=Path, help="instead of the configuration's audit.path")
    blast.add_argument("--json", action="store_true", help="for programs")


def _add_storage_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    ledger = _add_command(commands, "ledger", "what must never be forgotten, as a text file")
    ledger.add_argument("action", choices=("export", "import"), help="write it, or add what was written")
    ledger.add_argument("file", metavar="FILE", type=Path, nargs="?", help="default: standard output or input")
    cache = _add_command(commands, "cache", "what the storage holds, while no proxy is using it")
    cache.add_argument("action", choices=("stats", "verify", "prune", "warm"), help="how full; whole; less; more")
    cache.add_argument("lockfile", metavar="LOCKFILE", type=Path, nargs="?", help="warm: fetch what it pins")
    cache.add_argument("--to", metavar="SIZE", help='prune: down to this, such as "10 GiB" (default: storage.blobs)')
    cache.add_argument("--json", action="store_true", help="stats: for programs")
    _add_view_option(cache)


def _add_policy_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    schema = commands.add_parser("schema", help="JSON Schema of the policy's language, for editors")
    schema.set_defaults(module="schema")
    diff = _add_command(commands, "diff", "which files change their verdict from one policy to another", "policy_diff")
    diff.add_argument("old", metavar="OLD", type=Path)
    diff.add_argument("new", metavar="NEW", type=Path)
    diff.add_argument("--lockfile", metavar="L", type=Path, help="only its files (default: every project ever seen)")
    diff.add_argument("--json", action="store_true", help="for programs")
    test = _add_command(commands, "test", "hold a policy to a file of expectations", "policy_test")
    test.add_argument("expectations", metavar="FILE", type=Path)
    _add_policy_or_view_option(test)


def _add_lockfile_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    audit = _add_command(commands, "audit", "evidence and verdict of each file that a lockfile pins")
    forms = audit.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="for programs")
    forms.add_argument("--sarif", action="store_true", help="for code scanning (SARIF 2.1.0)")
    pin = _add_command(commands, "pin", "write rules from what a lockfile's files prove today")
    for command in (audit, pin):
        command.add_argument("lockfile", metavar="LOCKFILE", type=Path)
        _add_policy_or_view_option(command)


def _add_policy_or_view_option(command: argparse.ArgumentParser) -> None:
    either = command.add_mutually_exclusive_group()
    either.add_argument("--policy", metavar="FILE", type=Path, help="instead of the configuration's")
    _add_view_option(either)


def _add_view_option(command: argparse._ActionsContainer) -> None:
    command.add_argument("--view", metavar="NAME", help="by this view's policy (default: that of the view at /)")


def _add_audit_log_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    trail = _add_command(commands, "audit-log", "the trail of what was served and refused")
    trail.add_argument("action", choices=("verify", "head"), help="check it, or print its last hash, to be kept")
    trail.add_argument("--trail", metavar="FILE", type=Path, help="the trail (default: audit.path)")
    trail.add_argument("--head", metavar="H", help="a hash that was kept: the trail must still contain it")
    trail.add_argument("--after", metavar="H", help="the last hash of what was archived and is not here any more")
    trail.add_argument("--json", action="store_true", help="for programs")
    trail.set_defaults(module="audit_log")


def _add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, module: str | None = None
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary, epilog=_EXIT_STATUS_HELP)
    parser.add_argument("--config", metavar="FILE", type=Path, help="proxy.toml (default: built-in settings)")
    parser.set_defaults(module=module or name)
    return parser
