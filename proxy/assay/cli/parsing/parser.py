"""Option parser whose help has examples, and whose errors name the most similar command."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from assay.errors import ConfigurationError

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "assay": ("assay serve --config proxy.toml", "assay explain numpy", "assay audit uv.lock"),
    "assay init": ("assay init", "assay init /etc/assay --yes"),
    "assay serve": (
        "assay serve",
        "assay serve --port 9000 --policy policy.toml",
        "assay serve --config /etc/assay/proxy.toml --log json",
    ),
    "assay check": (
        "assay check --config proxy.toml",
        "assay check --policy new.toml",
        "assay check --online",
        "assay check --connect",
    ),
    "assay audit-log": (
        "assay audit-log verify --config proxy.toml",
        "assay audit-log head --trail /var/lib/assay/audit.jsonl",
    ),
    "assay explain": (
        "assay explain numpy",
        "assay explain numpy 1.26.4",
        "assay explain cryptography --view strict --json",
    ),
    "assay verify": (
        "assay verify sampleproject-4.0.0.tar.gz --provenance sampleproject-4.0.0.tar.gz.provenance",
        "assay verify sampleproject-4.0.0.tar.gz --provenance p.json --policy policy.toml",
    ),
    "assay trust": ("assay trust show", "assay trust refresh --config proxy.toml"),
    "assay policy": ("assay policy diff old.toml new.toml", "assay policy test expectations.toml"),
    "assay policy schema": ("assay policy schema > policy.schema.json",),
    "assay policy diff": (
        "assay policy diff old.toml new.toml",
        "assay policy diff old.toml new.toml --lockfile uv.lock --json",
    ),
    "assay policy test": (
        "assay policy test expectations.toml",
        "assay policy test expectations.toml --policy new.toml",
    ),
    "assay audit": (
        "assay audit uv.lock",
        "assay audit requirements.txt --allow-unchecked",
        "assay audit requirements.txt --sarif > assay.sarif",
    ),
    "assay pin": ("assay pin uv.lock > policy.toml", "assay pin poetry.lock --policy policy.toml"),
    "assay relock": (
        "assay relock uv.lock --to upstream",
        "assay relock poetry.lock --to proxy --proxy https://pypi.acme.example",
    ),
    "assay waive": (
        'assay waive numpy==1.26.4 --reason "CVE fix" --expires "2 weeks"',
        'assay waive foo-1.0.tar.gz --reason "until the port" --expires 2027-01-31 --append',
    ),
    "assay attest": (
        "assay attest foo-1.0.tar.gz --predicate-type https://acme.example/review/v1 --key key.pem -o reviews",
        "assay attest uv.lock --predicate-type urn:acme:review --predicate ok.json --key key.pem -o reviews",
        "assay attest foo==1.0 --predicate-type urn:acme:scan --key hsm:1 --public-key scans.pub -o reviews",
    ),
    "assay blast": (
        "assay blast GitHub:victim/project --since 2026-11-01",
        "assay blast GitHub:victim/project --since 2026-11-01 --until 2026-11-03 --json",
    ),
    "assay completion": (
        "assay completion bash > ~/.local/share/bash-completion/completions/assay",
        "assay completion zsh > ~/.zfunc/_assay",
        "assay completion fish > ~/.config/fish/completions/assay.fish",
    ),
    "assay advisories": ("assay advisories show", "assay advisories check uv.lock"),
    "assay advisories show": ("assay advisories show", "assay advisories show --json"),
    "assay advisories refresh": ("assay advisories refresh --config proxy.toml",),
    "assay advisories accept": ('assay advisories accept osv --reason "compared with osv.dev, INC-77"',),
    "assay advisories check": ("assay advisories check uv.lock", "assay advisories check requirements.txt --json"),
    "assay hash-password": ("assay hash-password alice >> /etc/assay/passwords",),
    "assay ledger": ("assay ledger export ledger.txt", "assay ledger import ledger.txt"),
    "assay ledger export": ("assay ledger export ledger.txt", "assay ledger export > ledger.txt"),
    "assay ledger import": (
        "assay ledger import ledger.txt",
        "assay ledger import ledger.txt --new-ledger",
        'assay ledger import corrected.txt --replace --reason "INC-77"',
    ),
    "assay ledger forget": (
        'assay ledger forget pypi numpy --serial --reason "the mirror sent a wrong serial"',
        'assay ledger forget pypi numpy --digest numpy-2.1.0.tar.gz --reason "restored from backup, INC-77"',
    ),
    "assay database": (
        "assay database init --url postgresql://postgres@db/assay --deployment acme-prod",
        "assay database check --url postgresql://assay_app@db/assay --deployment acme-prod",
    ),
    "assay database init": ("assay database init --url postgresql://postgres@db/assay --deployment acme-prod",),
    "assay database upgrade": ("assay database upgrade --url postgresql://postgres@db/assay",),
    "assay database check": (
        "assay database check --url postgresql://assay_app@db/assay --deployment acme-prod",
        "assay database check --url postgresql://assay_admin@db/assay --operator",
    ),
    "assay database restored": ("assay database restored --url postgresql://assay_admin@db/assay",),
    "assay hosted": ("assay hosted list internal", "assay hosted import internal dist/"),
    "assay hosted list": ("assay hosted list internal", "assay hosted list internal --json"),
    "assay hosted yank": (
        'assay hosted yank internal acme-app 1.2 --reason "broken"',
        "assay hosted yank internal acme-app 1.2 --file acme_app-1.2-py3-none-any.whl",
    ),
    "assay hosted unyank": ("assay hosted unyank internal acme-app 1.2",),
    "assay hosted status": ('assay hosted status internal acme-app archived --reason "use acme-tools"',),
    "assay hosted import": (
        "assay hosted import internal dist/",
        "assay hosted import internal dist/ --url https://pypi.acme.example",
    ),
    "assay hosted migrate": ("assay hosted migrate internal /var/lib/assay/hosted",),
    "assay cache": ("assay cache stats", 'assay cache prune --to "10 GiB"', "assay cache warm uv.lock"),
}
"""Examples of each command, by the words before its arguments. A test parses each of them."""
_MAX_REASON_CHARACTERS: Final = 1000
_INVALID_CHOICE: Final = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")


class CommandParser(argparse.ArgumentParser):
    """Option parser of the command line. The parsers of its commands have the same class."""

    _is_intermixing = False

    def parse_known_args(  # type: ignore[override]  # the signature of argparse is overloaded
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse arguments, with options before, between and after the others.

        `argparse` itself gives an optional argument its default at the first option after another argument.
        """
        if self._subparsers is not None or self._is_intermixing:
            return super().parse_known_args(args, namespace)
        self._is_intermixing = True  # Python 3.11 calls parse_known_args from parse_known_intermixed_args
        try:
            parsed, unknown = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_intermixing = False
        if unknown:  # reported here, because `argparse` would print the usage of the whole program
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def format_help(self) -> str:
        """Return the help, with the examples of the command at its end."""
        examples = EXAMPLES.get(self.prog, ())
        lines = ["", "examples:", *(f"  {each}" for each in examples), ""] if examples else []
        return super().format_help() + "\n".join(lines)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, with the most similar valid word if there is one, and exit with status 2."""
        super().error(message + _format_hint(message))


def _format_hint(message: str) -> str:
    """Return a suggestion for an invalid choice, or an empty text."""
    from assay.settings import find_close_match  # noqa: PLC0415 - keeps --help fast

    found = _INVALID_CHOICE.search(message)
    close = None if found is None else find_close_match(found[1], re.findall(r"[\w-]+", found[2]))
    return "" if close is None else f"; did you mean {close}?"


def check_reason(text: str) -> str:
    """Return a reason without blanks around it.

    Raises:
        ConfigurationError: it is empty, too long or not one printable line.
    """
    reason = text.strip()
    if not reason or not reason.isprintable() or len(reason) > _MAX_REASON_CHARACTERS:
        raise ConfigurationError(
            f"--reason: expected a printable line of at most {_MAX_REASON_CHARACTERS} characters, found {reason!r:.100}"
        )
    return reason
