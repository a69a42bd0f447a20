"""Texts of the two files that ``assay init`` writes, and the values of its answers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from pydantic import TypeAdapter

from assay.indexes import BaseUrl, IndexSettings, is_loopback

DEFAULT_URL: Final = "http://127.0.0.1:8080/"
_DEFAULT_PORT: Final = 8080


class Strictness(StrEnum):
    """Answer to the question of what happens to a file that misses a requirement."""

    REPORT = "report"
    COOL_DOWN = "cool-down"
    ATTESTED = "attested"


STRICTNESS_MEANINGS: Final = {
    Strictness.REPORT: "report files that miss a requirement, and serve them",
    Strictness.COOL_DOWN: "withhold files of the last 3 days, and a project's files that lose their provenance",
    Strictness.ATTESTED: "the same, and withhold every file without an attestation",
}
"""Meaning of each answer, for the question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnIndex:
    """Index of the operator's own packages."""

    pattern: str
    """Pattern of the names that it owns, such as ``acme-*``."""
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers to the three questions, with the defaults of ``--yes``."""

    url: str = DEFAULT_URL
    """URL of the proxy for clients: https, or http on loopback. It ends with a slash."""
    own_index: OwnIndex | None = None
    strictness: Strictness = Strictness.REPORT


def parse_url(text: str) -> str:
    """Return the URL of the proxy with a slash at its end.

    Raises:
        ValueError: it is not https, and not http on loopback.
    """
    url: str = TypeAdapter(BaseUrl).validate_python(text)
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("https, because other machines use it (http is allowed on loopback only)")
    if parts.path != "/":
        raise ValueError("a URL without a path")
    return url


def parse_own_index(text: str) -> OwnIndex | None:
    """Return the index in a text such as ``acme-* https://pypi.acme.example/simple/``; None for an empty text.

    Raises:
        ValueError: the text has another form, or the pattern or URL is invalid.
    """
    words = text.split()
    if not words:
        return None
    if len(words) != 2:  # noqa: PLR2004 - a pattern and a URL
        raise ValueError("a pattern of names and a URL, such as: acme-* https://pypi.acme.example/simple/")
    index = IndexSettings.model_validate({"name": "own", "projects": [words[0]], "url": words[1]})
    return OwnIndex(pattern=index.projects[0], url=index.url)


def parse_strictness(text: str) -> Strictness:
    """Return the strictness with the word `text`.

    Raises:
        ValueError: it is another word.
    """
    if text not in set(Strictness):
        raise ValueError(f"one of {', '.join(Strictness)}")
    return Strictness(text)


def format_configuration(answers: Answers) -> str:
    """Return the text of ``proxy.toml``."""
    return f"""# Configuration of Assay, written by `assay init`. An omitted key has its default; docs/configuration.md
# describes all keys. Relative paths start at the directory of this file.
#
#   assay check --config proxy.toml       after each change
#   assay serve --config proxy.toml

policy = "policy.toml"

{_format_server(answers.url)}
[storage]
directory = "storage"                    # cache and ledger; keep it on a local disk, and back up the ledger
{_format_indexes(answers.own_index)}"""


def _format_server(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        host = "127.0.0.1" if host == "localhost" else host
        return f'[server]\nhost = "{host}"\nport = {parts.port or 80}\n'
    return f"""[server]
host = "127.0.0.1"                       # "0.0.0.0" accepts other machines; first choose https and users below
port = {_DEFAULT_PORT}
public-url = "{url}"

# https comes from this process,
# [server.tls]
# certificate = "/etc/assay/tls/tls.crt"
# key = "/etc/assay/tls/tls.key"
#
# or from a front proxy, whose addresses must be in `trusted-proxies`, a key of [server]:
# trusted-proxies = ["10.0.0.0/8"]
#
# Without this table, every client has access. `assay hash-password alice >> passwords` adds a user.
# [server.auth]
# passwords = "passwords"
"""


def _format_indexes(own: OwnIndex | None) -> str:
    pypi = """
[[indexes]]
name = "pypi"
url = "https://pypi.org/simple/"
file-hosts = ["files.pythonhosted.org"]
"""
    if own is None:
        return pypi
    return f"""
# The first index whose `projects` match a name owns it: no other index is asked for it.
[[indexes]]
name = "own"
url = "{own.url}"
projects = ["{own.pattern}"]
# credentials = {{ username = "assay", password-file = "/run/secrets/index-password" }}
{pypi}"""


def format_policy(answers: Answers) -> str:
    """Return the text of ``policy.toml``."""
    is_report = answers.strictness is Strictness.REPORT
    mode = "audit" if is_report else "enforce"
    meaning = (
        'files that miss a requirement are reported and served; "enforce" withholds them'
        if is_report
        else 'files that miss a requirement are withheld; "audit" only reports them'
    )
    return f"""# Policy of Assay, written by `assay init`. A running proxy applies a change within a second.
# docs/policy.md lists all keys, and docs/using-policies.md says how to write, test and change a policy.

version = 1
mode = "{mode}"{" " * (32 - len(mode))}# {meaning}

[defaults]
min-age = "3 days"                       # most malicious releases are found within days
min-age-attested = "1 day"               # for files that the known publisher of the project signed
ratchet = "enforce"                      # a project that had provenance must keep it
{_format_own_rule(answers.own_index)}
[[rules]]
name = "all other packages"
projects = ["*"]
{_format_requirements(answers.strictness)}"""


def _format_own_rule(own: OwnIndex | None) -> str:
    if own is None:
        return ""
    return f"""
[[rules]]
name = "own packages"
projects = ["{own.pattern}"]
indexes = ["own"]
min-age = "0 days"
min-age-attested = "0 days"
"""


def _format_requirements(strictness: Strictness) -> str:
    if strictness is Strictness.ATTESTED:
        return (
            'attestations = "required"\npublishers = "any"                       # or name them: `assay pin LOCKFILE`\n'
        )
    return (
        '# attestations = "required"              # withholds every file without an attestation\n'
        '# publishers = "any"                     # or name them: `assay pin LOCKFILE`\n'
    )
