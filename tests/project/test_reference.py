"""Reference of configuration and policy: the committed pages match the models, and every key has a meaning."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel, Field

from assay.cli import build_parser
from assay.config import Configuration, load_configuration
from assay.errors import ConfigurationError
from assay.indexes import IndexSettings
from assay.policy.language.model import Policy
from assay.settings import Settings, parse_toml, validate_table
from docs.cli_page import format_page, list_helps
from docs.reference import HERE, kind_of, meaning, pages
from tests.paths import ROOT
from tests.world.proxy.loggers import preserve_loggers

WRITTEN = pages()
VARIABLES = re.findall(r"`(ASSAY_\w+__\w+)` \|$", WRITTEN["configuration.md"], re.MULTILINE)


class Added(Settings):
    """Table that the test adds."""

    number: int = Field(default=7)
    """Number of things."""


class More(Configuration):
    """Configuration with one more table."""

    additions: tuple[Added, ...] = ()


class Silent(IndexSettings):
    """Index with a key without a docstring."""

    quiet: int = 1


@pytest.mark.parametrize("filename", ["configuration.md", "policy.md"])
def test_the_committed_page_is_the_one_that_is_written(filename: str) -> None:
    assert (HERE / filename).read_text("utf-8") == WRITTEN[filename], "say: make reference"


def test_the_page_of_the_command_line_has_the_help_of_every_command_and_a_session_that_runs() -> None:
    """The comparison ignores spaces and line breaks, which differ between versions of Python."""
    with preserve_loggers():
        written = format_page()
    committed = (HERE / "cli.md").read_text("utf-8")
    assert committed.split() == written.split(), "say: make reference"
    helps = dict(list_helps(build_parser()))
    assert len(helps) > 20
    assert re.findall("^### `(.*)`$", committed, re.MULTILINE) == list(helps)


def test_the_session_shows_the_commands_of_the_first_day() -> None:
    session = (HERE / "cli.md").read_text("utf-8").partition("```console\n")[2].partition("```")[0]
    commands = [line.split()[2] for line in session.splitlines() if line.startswith("$ assay ")]
    assert {"init", "check", "audit", "explain", "pin", "policy", "relock"} <= set(commands)
    assert "pypa/sampleproject" in session
    assert "withheld" in session
    assert max(map(len, session.splitlines())) <= 110


def test_every_key_says_what_it_means() -> None:
    for content in WRITTEN.values():
        rows = [line.split(" | ") for line in content.splitlines() if line.startswith("| `")]
        assert len(rows) > 40
        assert [row[0] for row in rows if not row[3].strip(" |")] == []


def test_every_key_of_the_two_example_files_is_there() -> None:
    for filename in ("policy.md", "configuration.md"):
        example = ROOT / "config" / filename.replace("configuration.md", "proxy.toml").replace(".md", ".toml")
        keys = set(re.findall(r"^(?:# )?([a-z-]+) = ", example.read_text("utf-8"), re.MULTILINE))
        assert len(keys) > 10
        assert keys <= set(re.findall(r"^\| `([a-z-]+)`", WRITTEN[filename], re.MULTILINE))


def told(variable: str) -> str:
    """Return the error message for an environment variable with the value 1."""
    try:
        load_configuration(None, {variable: "1"})
    except ConfigurationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_is_one_that_is_obeyed(variable: str) -> None:
    """The value 1 may be invalid; the error for an unknown variable differs, as the second assertion shows."""
    assert not re.search("expected a (setting|single value)", told(variable))
    assert "expected a setting" in told(f"{variable}_NOT")


def test_all_single_values_outside_of_lists_have_a_variable() -> None:
    assert {"ASSAY_SERVER__PORT", "ASSAY_LIMITS__TIMEOUTS__READ", "ASSAY_TRUST__ROOTS__NAME__PATH"} <= set(VARIABLES)
    assert not [variable for variable in VARIABLES if "INDEXES" in variable]


def test_a_new_table_is_described_as_soon_as_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docs.reference.Configuration", More)
    written = pages()["configuration.md"]
    assert "## `[[additions]]`\n\nTable that the test adds.\n" in written
    assert "| `number` | whole number | `7` | Number of things. |" in written


def test_inherited_and_own_meanings_are_found_and_a_missing_one_is_empty() -> None:
    assert meaning(Silent, "insecure") == "If true, plain http is permitted to hosts other than loopback."
    assert meaning(Silent, "quiet") == ""
    assert kind_of(IndexSettings.model_fields["insecure"].annotation) == "true or false"


def test_the_twin_a_key_that_is_no_key_is_refused() -> None:
    assert issubclass(Policy, BaseModel)
    with pytest.raises(ConfigurationError, match="known key"):
        validate_table(Policy, parse_toml("version = 1\nmodes = 1", "p"), source="p")
