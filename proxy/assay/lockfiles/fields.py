"""Reading somebody else's tables: each field as what it must be, or an error that says where. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import InvalidName, NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from assay.errors import ConfigurationError
from assay.simple.fields import parse_sha256
from assay.simple.model import Sha256


def require_table(value: object, where: str) -> Mapping[str, Any]:
    """`value` as a table.

    Raises:
        ConfigurationError: it is none.
    """
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}: expected a table, found {type(value).__name__}")
    return value


def iter_tables(value: object, where: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The tables of an array, each with its place; none where the array is absent.

    Raises:
        ConfigurationError: it is no array of tables.
    """
    if value is None:
        return
    if not isinstance(value, list):
        raise ConfigurationError(f"{where}: expected an array, found {type(value).__name__}")
    for number, entry in enumerate(value):
        place = f"{where}[{number}]"
        yield require_table(entry, place), place


def require_string(entry: Mapping[str, Any], key: str, where: str) -> str:
    """A string that must be there.

    Raises:
        ConfigurationError: it is not.
    """
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{where}: expected a string {key!r}, found {value!r:.60}")
    return value


def parse_package(entry: Mapping[str, Any], where: str) -> tuple[NormalizedName, Version | None]:
    """Name and version of a package's table.

    Raises:
        ConfigurationError: there is no name, or the version is none.
    """
    version = entry.get("version")
    return parse_project_name(require_string(entry, "name", where), where), None if version is None else parse_version(
        version, where
    )


def parse_project_name(raw_name: str, where: str) -> NormalizedName:
    """A project's name, normalised: it becomes part of an address, so that nothing else may pass for one.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return canonicalize_name(raw_name, validate=True)
    except InvalidName as error:
        raise ConfigurationError(f"{where}: expected a project's name, found {raw_name!r:.80}") from error


def parse_version(value: object, where: str) -> Version:
    """A version.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return Version(str(value))
    except InvalidVersion as error:
        raise ConfigurationError(f"{where}: expected a version, found {value!r:.60}") from error


def parse_prefixed_sha256(value: object) -> Sha256 | None:
    """``sha256:…`` as a digest; None for any other algorithm, or none."""
    if not isinstance(value, str) or not value.startswith("sha256:"):
        return None
    return parse_sha256(value.removeprefix("sha256:"))


def extract_filename(address: str) -> str:
    """The filename at the end of a URL or path, decoded once."""
    try:
        path = urlsplit(address).path if "://" in address else address
    except ValueError:
        path = address
    return unquote(path.replace("\\", "/").rpartition("/")[2])
