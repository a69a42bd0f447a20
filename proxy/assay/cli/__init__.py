"""Command line of Assay: the option parser, and the call of the module that implements a command.

Large modules are imported only when a command runs, so that ``assay --help`` prints at once. Exit status: 0 success, 1
a file is withheld or a check failed, 2 invalid configuration or usage, 3 no decision is possible at the moment.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from assay.cli.attesting.options import add_attest_command
from assay.cli.hosted.options import add_hosted_commands
from assay.cli.parsing.parser import CommandParser
from assay.cli.state.options import add_database_commands, add_ledger_commands, add_new_ledger_option

EXIT_OK, EXIT_WITHHELD, EXIT_CONFIGURATION, EXIT_UNDECIDED = 0, 1, 2, 3

_MAX_PORT = 65535
_EXIT_STATUS_HELP = (
    "exit status: 0 success; 1 a file is withheld or a check failed; 2 invalid configuration or usage; "
    "3 no decision is possible now, for example because an index is unavailable or a lockfile's entry cannot be checked"
)


def run(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` name, and return the exit status. Print an `AssayError` to standard error."""
    from assay.errors import AssayError, ConfigurationError, StorageInUseError  # noqa: PLC0415 - keeps --help fast

    options = build_parser().parse_args(arguments)
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


class _VersionAction(argparse.Action):
    """Option that prints the version and exits. It reads the metadata only when it is used."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 - signature of argparse
        values: object,  # noqa: ARG002 - signature of argparse
        option_string: str | None = None,  # noqa: ARG002 - signature of argparse
    ) -> None:
        from assay.telemetry.build import get_revision, get_version  # noqa: PLC0415 - most commands do not need it

        revision = get_revision()
        print(f"assay {get_version()}" + (f" (revision {revision})" if revision else ""))
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Return the option parser of all commands."""
    parser: argparse.ArgumentParser = CommandParser(
        prog="assay",
        description="Caching proxy in front of PyPI that serves only files approved by provenance and policy.",
        epilog=_EXIT_STATUS_HELP,
    )
    parser.add_argument("--version", action=_VersionAction, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_init_command(commands)
    serve = _add_command(commands, "serve", "run the proxy")
    serve.add_argument("--host", metavar="ADDRESS", help="address to listen on (default: the setting server.host)")
    serve.add_argument(
        "--port", metavar="PORT", type=_parse_port, help="port to listen on (default: the setting server.port)"
    )
    serve.add_argument(
        "--policy", metavar="FILE", type=Path, help="policy of the view at / (default: the setting policy)"
    )
    serve.add_argument(
        "--log",
        choices=("auto", "text", "json"),
        default="auto",
        help="log format; auto: text on a terminal, else JSON (default: %(default)s)",
    )
    add_new_ledger_option(serve)
    check = _add_command(commands, "check", "check configuration and policy, and print the meaning of each rule")
    check.add_argument("--policy", metavar="FILE", type=Path, help="check this policy instead of the configured ones")
    check.add_argument(
        "--online",
        action="store_true",
        help="also request a page from each index, and warn if its pages do not say which files have provenance",
    )
    check.add_argument(
        "--connect",
        action="store_true",
        help="with [storage.shared]: also connect to the database and the object storage, and say what was found",
    )
    _add_audit_log_command(commands)
    explain = _add_command(commands, "explain", "show the verdict on each file of a project, with the reasons")
    explain.add_argument("project", metavar="PROJECT|LOCKFILE", help="name of a project, or path of a lockfile")
    explain.add_argument(
        "which", metavar="FILENAME|VERSION", nargs="?", help="show only this file, or the files of this version"
    )
    formats = explain.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="print JSON")
    _add_files_option(formats)
    _add_view_option(explain)
    verify = _add_command(commands, "verify", "verify a file on disk against a provenance document")
    verify.add_argument("file", metavar="FILE", type=Path, help="the distribution")
    verify.add_argument(
        "--provenance", metavar="P", type=Path, required=True, help="provenance document of the file (PEP 740)"
    )
    verify.add_argument("--policy", metavar="FILE", type=Path, help="also judge the file by this policy")
    verify.add_argument("--json", action="store_true", help="print JSON")
    trust = _add_command(commands, "trust", "show the trust roots in force, or renew them")
    trust.add_argument(
        "action",
        choices=("show", "refresh"),
        help="show: print the trust roots; refresh: renew them by TUF, then print them",
    )
    trust.add_argument("--json", action="store_true", help="print JSON")
    _add_policy_commands(
        commands.add_parser("policy", help="print the JSON Schema of policies, compare two policies, or test a policy")
    )
    _add_lockfile_commands(commands)
    _add_exception_commands(commands)
    _add_advisory_commands(commands)
    hash_password = _add_command(
        commands,
        "hash-password",
        "print a user name and password hash for the password file (server.auth.passwords)",
        "hash_password",
    )
    hash_password.add_argument(
        "user", metavar="USER", help="user name; the command prompts for the password, or reads it from standard input"
    )
    add_hosted_commands(commands, _add_command)
    _add_storage_commands(commands)
    summary = "print a script that completes commands, options and values in a shell"
    completion = commands.add_parser("completion", help=summary, description=summary)
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="shell that runs the script")
    completion.set_defaults(module="completion")
    return parser


def _parse_port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to {_MAX_PORT}, found {text!r:.40}")
    return int(text)


def _add_init_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "write a configuration and a policy to start from, after three questions"
    init = commands.add_parser("init", help=summary, description=summary, epilog=_EXIT_STATUS_HELP)
    init.add_argument(
        "directory",
        metavar="DIRECTORY",
        type=Path,
        nargs="?",
        default=Path(),
        help="directory of the files proxy.toml and policy.toml, which must not exist (default: the current one)",
    )
    init.add_argument("--yes", action="store_true", help="ask nothing, and write the default answers")
    init.set_defaults(module="init")


def _add_advisory_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "show, refresh or accept the snapshots of advisories, or check a lockfile against them"
    actions = commands.add_parser("advisories", help=summary, description=summary).add_subparsers(
        required=True, metavar="ACTION"
    )
    show = _add_command(actions, "show", "show the feeds, their age and their problems; a proxy may run", "advisories")
    show.add_argument("--json", action="store_true", help="print JSON")
    refresh = _add_command(actions, "refresh", "refresh all feeds now; a running proxy does it itself", "advisories")
    accept = _add_command(actions, "accept", "accept a refused snapshot, and malware hits on hold", "advisories")
    accept.add_argument("feed", metavar="FEED", nargs="?", help="name of the feed (default: all feeds)")
    accept.add_argument(
        "--reason", metavar="TEXT", required=True, help="reason, for the log and the audit trail of a running proxy"
    )
    check = _add_command(
        actions, "check", "list the advisories about the versions in a lockfile; offline, a proxy may run", "advisories"
    )
    check.add_argument("lockfile", metavar="LOCKFILE", type=Path, help="path of the lockfile")
    check.add_argument(
        "--allow-unchecked",
        action="store_true",
        help="exit with status 0 although entries of the lockfile name no version",
    )
    check.add_argument("--json", action="store_true", help="print JSON")
    _add_view_option(check)
    for action, command in (("show", show), ("refresh", refresh), ("accept", accept), ("check", check)):
        command.set_defaults(action=action)


def _add_exception_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    waive = _add_command(
        commands, "waive", "write a waiver, a temporary exception from the policy, for the given files"
    )
    waive.add_argument(
        "files",
        metavar="FILE|NAME==VERSION",
        nargs="+",
        help="filename, as on the page of its index; or a release, for all its withheld files",
    )
    waive.add_argument("--reason", required=True, help="reason for the waiver, for readers of the policy")
    waive.add_argument(
        "--expires",
        metavar="DATE|DURATION",
        required=True,
        help='last day of the waiver (UTC), such as 2026-12-15; or its duration, such as "2 weeks"',
    )
    waive.add_argument("--approved-by", metavar="WHO", help="person or team that approved the waiver")
    waive.add_argument(
        "--append", action="store_true", help="append the waiver to the policy file instead of printing it"
    )
    _add_policy_or_view_option(waive)
    _add_view_option(add_attest_command(commands, _add_command))
    blast = _add_command(
        commands,
        "blast",
        "list the served files that a publisher signed or an advisory covers, with the clients that received them",
    )
    blast.add_argument(
        "publisher",
        metavar="PUBLISHER",
        nargs="?",
        help="publisher: GitHub:owner/name, or a TOML table as in a policy; requires --since",
    )
    blast.add_argument("--advisory", metavar="ID", help="list the files whose versions this advisory covers")
    blast.add_argument(
        "--since",
        metavar="DATE",
        help="list only files signed on or after this date, or at or after this time",
    )
    blast.add_argument(
        "--until", metavar="DATE", help="list only files signed on or before this date, or before this time"
    )
    blast.add_argument(
        "--trail",
        metavar="FILE",
        type=Path,
        help="file of the audit trail, or directory with the stored parts of one replica"
        " (default: the setting audit.path)",
    )
    blast.add_argument("--json", action="store_true", help="print JSON")


def _add_storage_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    add_ledger_commands(commands, _add_command, _add_config_option)
    add_database_commands(commands, _add_command, _add_config_option)
    cache = _add_command(
        commands, "cache", "inspect, shrink or fill the cache while no proxy uses the storage directory"
    )
    cache.add_argument(
        "action",
        choices=("stats", "verify", "prune", "warm"),
        help="stats: show usage; verify: remove corrupt files; prune: remove files until a size is reached; "
        "warm: download the files of a lockfile",
    )
    cache.add_argument(
        "lockfile", metavar="LOCKFILE", type=Path, nargs="?", help="warm: lockfile whose files are downloaded"
    )
    cache.add_argument(
        "--to",
        metavar="SIZE",
        help='prune: maximum size of all files, such as "10 GiB" (default: the setting storage.blobs)',
    )
    cache.add_argument("--json", action="store_true", help="stats: print JSON")
    _add_view_option(cache)


def _add_policy_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    schema = commands.add_parser("schema", help="print the JSON Schema of a policy file, for use in an editor")
    schema.set_defaults(module="schema")
    diff = _add_command(commands, "diff", "list the files whose verdict differs between two policies", "policy_diff")
    diff.add_argument("old", metavar="OLD", type=Path, help="old policy file")
    diff.add_argument("new", metavar="NEW", type=Path, help="new policy file")
    diff.add_argument(
        "--lockfile",
        metavar="L",
        type=Path,
        help="compare only the files of this lockfile (default: the files of all projects in the ledger)",
    )
    diff.add_argument("--json", action="store_true", help="print JSON")
    test = _add_command(commands, "test", "compare the verdicts of a policy with expected verdicts", "policy_test")
    test.add_argument(
        "expectations", metavar="FILE", type=Path, help="TOML file with expected verdicts ([[expect]] tables)"
    )
    _add_policy_or_view_option(test)


def _add_lockfile_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    audit = _add_command(commands, "audit", "judge every file in a lockfile")
    formats = audit.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="print JSON")
    _add_files_option(formats)
    formats.add_argument("--sarif", action="store_true", help="print SARIF 2.1.0, for code scanning")
    _add_relock_command(commands)
    pin = _add_command(commands, "pin", "write policy rules that require the current publishers of a lockfile's files")
    for command in (audit, pin):
        command.add_argument("lockfile", metavar="LOCKFILE", type=Path, help="path of the lockfile")
        command.add_argument(
            "--allow-unchecked",
            action="store_true",
            help="exit with status 0 although entries of the lockfile are not checked, such as lines without hashes,"
            " repositories, URLs and local paths",
        )
        _add_policy_or_view_option(command)


def _add_relock_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    relock = _add_command(
        commands, "relock", "rewrite the URLs in a lockfile, so that they lead to the upstream indexes or to the proxy"
    )
    relock.add_argument(
        "lockfile",
        metavar="LOCKFILE",
        type=Path,
        help="uv.lock, poetry.lock, pdm.lock, Pipfile.lock or pylock.toml; nothing but its URLs is changed",
    )
    relock.add_argument(
        "--to", choices=("upstream", "proxy"), required=True, help="side to which the URLs lead afterwards"
    )
    relock.add_argument(
        "--proxy",
        metavar="URL",
        help="URL of the proxy for clients (default: server.public-url, else the loopback address it listens on)",
    )
    relock.add_argument("--view", metavar="NAME", help="proxy: view to which the URLs lead (default: the view at /)")


def _add_policy_or_view_option(command: argparse.ArgumentParser) -> None:
    choice = command.add_mutually_exclusive_group()
    choice.add_argument(
        "--policy", metavar="FILE", type=Path, help="judge by this policy instead of the configured one"
    )
    _add_view_option(choice)


def _add_files_option(command: argparse._ActionsContainer) -> None:
    command.add_argument(
        "--files", action="store_true", help="print a row for each file (default: a row for each version, with counts)"
    )


def _add_view_option(command: argparse._ActionsContainer) -> None:
    command.add_argument("--view", metavar="NAME", help="use the policy of this view (default: the view at /)")


def _add_audit_log_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    trail = _add_command(commands, "audit-log", "verify the audit trail of served and refused files")
    trail.add_argument(
        "action",
        choices=("verify", "head"),
        help="verify: check the hash chain and print a summary; head: check it and print only its last hash",
    )
    trail.add_argument(
        "--trail",
        metavar="FILE",
        type=Path,
        help="file of the audit trail, or directory with the stored parts of one replica"
        " (default: the setting audit.path)",
    )
    trail.add_argument(
        "--heads",
        metavar="REPLICA",
        help="the trail must contain the last entries that the shared database has of this replica",
    )
    trail.add_argument("--head", metavar="H", help="hash that was saved earlier; the trail must still contain it")
    trail.add_argument("--after", metavar="H", help="last hash in the parts of the trail that were moved to an archive")
    trail.add_argument("--json", action="store_true", help="print JSON")
    trail.set_defaults(module="audit_log")


def _add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    module: str | None = None,
    *,
    config_default: str | None = None,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary, epilog=_EXIT_STATUS_HELP)
    _add_config_option(parser, config_default)
    parser.set_defaults(module=module or name)
    return parser


def _add_config_option(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "--config",
        default=default,
        metavar="FILE",
        type=Path,
        help="configuration file (default: the file in ASSAY_CONFIG, else built-in settings)",
    )
