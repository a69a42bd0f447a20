"""The commands. Imports nothing heavy at module level: ``assay --help`` answers at once.

Exit status: 0 good, 1 withheld, 2 configuration or usage, 3 cannot be decided now.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

GOOD, WITHHELD, CONFIGURATION, UNDECIDED = 0, 1, 2, 3

_EPILOG = """exit status: 0 good, 1 withheld, 2 configuration, 3 can't be decided now"""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    from proxy.errors import AssayError, ConfigurationError, StorageInUseError  # noqa: PLC0415 - see above

    options = _parser().parse_args(arguments)
    command = import_module(f"proxy.cli.{options.module}")
    try:
        return int(command.main(options))
    except (ConfigurationError, StorageInUseError) as error:
        print(f"assay: {error}", file=sys.stderr)
        return CONFIGURATION
    except AssayError as error:
        print(f"assay: {error}", file=sys.stderr)
        return UNDECIDED
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="assay",
        description="A caching proxy in front of PyPI that serves only what provenance and policy approve.",
        epilog=_EPILOG,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = _command(commands, "serve", "run the proxy")
    serve.add_argument(
        "--log", choices=("auto", "text", "json"), default="auto", help="form of the log (default: %(default)s)"
    )
    _command(commands, "check", "check configuration and policy, and show what they mean")
    explain = _command(commands, "explain", "what would be listed and served of a project, and why")
    explain.add_argument("project", metavar="PROJECT")
    explain.add_argument("which", metavar="FILENAME|VERSION", nargs="?", help="only this file or version")
    explain.add_argument("--json", action="store_true", help="for programs")
    verify = _command(commands, "verify", "verify a file on disk against a provenance document")
    verify.add_argument("file", metavar="FILE", type=Path)
    verify.add_argument("--provenance", metavar="P", type=Path, required=True, help="the provenance document")
    verify.add_argument("--policy", metavar="FILE", type=Path, help="also judge it by this policy")
    verify.add_argument("--json", action="store_true", help="for programs")
    trust = _command(commands, "trust", "the trust roots in force")
    trust.add_argument("action", choices=("show", "refresh"), help="show them, or renew them now by TUF")
    trust.add_argument("--json", action="store_true", help="for programs")
    policy = commands.add_parser("policy", help="the policy's language").add_subparsers(required=True, metavar="WHAT")
    schema = policy.add_parser("schema", help="JSON Schema of the policy's language, for editors")
    schema.set_defaults(module="schema")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary, epilog=_EPILOG)
    parser.add_argument("--config", metavar="FILE", type=Path, help="proxy.toml (default: built-in settings)")
    parser.set_defaults(module=name)
    return parser
