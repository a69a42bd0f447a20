"""The reference of configuration and policy is what the models say, and says something of every key."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel, Field

from assay.config import Configuration, load_configuration
from assay.errors import ConfigurationError
from assay.indexes import IndexSettings
from assay.policy.language.model import Policy
from assay.settings import Settings, parse_toml, validate_table
from docs.reference import HERE, kind_of, meaning, pages
from tests.paths import ROOT

WRITTEN = pages()
VARIABLES = re.findall(r"`(ASSAY_\w+__\w+)` \|$", WRITTEN["configuration.md"], re.MULTILINE)


class Added(Settings):
    """What is new."""

    number: int = Field(default=7)
    """A number of them."""


class More(Configuration):
    """All."""

    additions: tuple[Added, ...] = ()


class Silent(IndexSettings):
    """It says nothing of its key."""

    quiet: int = 1


@pytest.mark.parametrize("filename", ["configuration.md", "policy.md"])
def test_the_committed_page_is_the_one_that_is_written(filename: str) -> None:
    assert (HERE / filename).read_text("utf-8") == WRITTEN[filename], "say: make reference"


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
    """What is wrong with it."""
    try:
        load_configuration(None, {variable: "1"})
    except ConfigurationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_is_one_that_is_obeyed(variable: str) -> None:
    """Its value may be wrong; that it is no setting would be said otherwise, as the twin shows."""
    assert not re.search("expected a (setting|single value)", told(variable))
    assert "expected a setting" in told(f"{variable}_NOT")


def test_all_single_values_outside_of_lists_have_a_variable() -> None:
    assert {"ASSAY_SERVER__PORT", "ASSAY_LIMITS__TIMEOUTS__READ", "ASSAY_TRUST__ROOTS__NAME__PATH"} <= set(VARIABLES)
    assert not [variable for variable in VARIABLES if "INDEXES" in variable]


def test_a_new_table_is_described_as_soon_as_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docs.reference.Configuration", More)
    written = pages()["configuration.md"]
    assert "## `[[additions]]`\n\nWhat is new.\n" in written
    assert "| `number` | whole number | `7` | A number of them. |" in written


def test_inherited_and_own_meanings_are_found_and_a_missing_one_is_empty() -> None:
    assert meaning(Silent, "insecure") == "Plain http to hosts that are not loopback."
    assert meaning(Silent, "quiet") == ""
    assert kind_of(IndexSettings.model_fields["insecure"].annotation) == "true or false"


def test_the_twin_a_key_that_is_no_key_is_refused() -> None:
    assert issubclass(Policy, BaseModel)
    with pytest.raises(ConfigurationError, match="known key"):
        validate_table(Policy, parse_toml("version = 1\nmodes = 1", "p"), source="p")
