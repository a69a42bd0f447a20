"""Readers that check the types of fields in untrusted TOML or JSON. Error messages name the position. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import InvalidName, NormalizedName, canonicalize_name
from packaging.version import Version

from assay.errors import ConfigurationError
from assay.simple import fields
from assay.simple.fields import parse_sha256
from assay.simple.model import Sha256


def require_table(value: object, where: str) -> Mapping[str, Any]:
    """Return `value` after checking that it is a table. `where` is its position, for the error message.

    Raises:
        ConfigurationError: `value` is not a table.
    """
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}: expected a table, found {type(value).__name__}")
    return value


def iter_tables(value: object, where: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield each table of an array with the table's position. If `value` is None, yield nothing.

    Raises:
        ConfigurationError: `value` is not an array of tables.
    """
    if value is None:
        return
    if not isinstance(value, list):
        raise ConfigurationError(f"{where}: expected an array, found {type(value).__name__}")
    for number, entry in enumerate(value):
        place = f"{where}[{number}]"
        yield require_table(entry, place), place


def require_string(entry: Mapping[str, Any], key: str, where: str) -> str:
    """Return the string of a required key.

    Raises:
        ConfigurationError: the key is missing, or its value is not a string or is empty.
    """
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{where}: expected a string {key!r}, found {value!r:.60}")
    return value


def parse_package(entry: Mapping[str, Any], where: str) -> tuple[NormalizedName, Version | None]:
    """Return the project name and the version in a package's table. The version is None if the table has none.

    Raises:
        ConfigurationError: the name is missing or invalid, or the version is invalid.
    """
    version = entry.get("version")
    return parse_project_name(require_string(entry, "name", where), where), None if version is None else parse_version(
        version, where
    )


def parse_project_name(raw_name: str, where: str) -> NormalizedName:
    """Return the normalized form of a project name. The name becomes part of a URL, so any other text is rejected.

    Raises:
        ConfigurationError: `raw_name` is not a project name.
    """
    try:
        return canonicalize_name(raw_name, validate=True)
    except InvalidName as error:
        raise ConfigurationError(f"{where}: expected a project's name, found {raw_name!r:.80}") from error


def parse_version(value: object, where: str) -> Version:
    """Parse a version (PEP 440).

    Raises:
        ConfigurationError: `value` is not a version.
    """
    if (version := fields.parse_version(str(value))) is None:
        raise ConfigurationError(f"{where}: expected a version, found {value!r:.60}")
    return version


def parse_prefixed_sha256(value: object) -> Sha256 | None:
    """Return the digest in a text such as ``sha256:…``; None if the value is absent or names another algorithm."""
    if not isinstance(value, str) or not value.startswith("sha256:"):
        return None
    return parse_sha256(value.removeprefix("sha256:"))


def extract_filename(address: str) -> str:
    """Return the filename at the end of a URL or path. Percent-encoding is decoded once."""
    try:
        path = urlsplit(address).path if "://" in address else address
    except ValueError:
        path = address
    return unquote(path.replace("\\", "/").rpartition("/")[2])
