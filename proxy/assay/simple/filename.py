"""Parser of distribution filenames: project, version and kind. Pure.

Wheels and source archives are parsed by the rules of `packaging.utils`. For the older kinds that PyPI still lists, each
hyphen is tried as the end of the project name. A filename can be ambiguous: ``foo-1.0-1.tar.gz`` is ``foo`` 1.0.post1
or ``foo-1-0`` 1. The project on whose page the file is listed then decides.

A filename is refused if a file system, a header, a URL or a reader could misunderstand it: separators, control
characters, and all characters outside printable ASCII. Characters of other alphabets could imitate a name, since
``str.lower`` maps the Kelvin sign U+212A to ``k``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from packaging.utils import (
    InvalidWheelFilename,
    NormalizedName,
    canonicalize_name,
    is_normalized_name,
    parse_wheel_filename,
)
from packaging.version import Version

from assay.simple.fields import parse_version
from assay.simple.model import Distribution, Kind

__all__ = ["ParsedFilename", "has_distribution_ending", "parse_filename", "possible_projects"]

MAX_FILENAME_BYTES = 255
"""Maximum length of a filename in bytes. It is the limit of the supported file systems (Linux ``NAME_MAX``)."""
MAX_CANDIDATE_PROJECTS = 8
"""Maximum number of projects under which one filename is looked up. Each look-up may fetch a page."""

# Endings that PyPI accepts or once accepted (warehouse/forklift/legacy.py); longer endings first.
_SDIST_ENDINGS = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.Z", ".tar", ".tgz", ".tbz", ".zip")
_INSTALLER_ENDINGS = (".exe", ".msi", ".rpm", ".deb", ".dmg")
_VARIANTS_ENDING = "-variants.json"
# Binary distribution format, "File name convention": {distribution}-{version}(-{build tag})?-{python tag}-{abi
# tag}-{platform tag}.whl
_WHEEL_PART_COUNTS = (5, 6)
_WHEEL_TAG_COUNT = 3
# Binary distribution format, "Escaping and Unicode": components have alphanumerics, "." and "_", and versions also "+"
# and "!". `packaging` checks name, version and build tag, but accepts any characters in tags.
_WHEEL_CHARACTERS = re.compile(r"[A-Za-z0-9._+!-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFilename:
    """Parsed filename on the page of one project. Either `distribution` or `refusal` is set."""

    distribution: Distribution | None = None
    refusal: str | None = None
    """Reason of the refusal. It follows the filename in a sentence: ``is a file of another project, bar``."""
    owner: NormalizedName | None = None
    """Project that the filename names, if the page belongs to another project; else None."""

    def refuse_at(self, refusal: str | None) -> ParsedFilename:
        """Return this result, or a refused copy of it if the URL of the file is invalid.

        `refusal` is the reason why the URL is invalid; None for a valid URL. If the filename was already refused, the
        result keeps the reason about the filename.
        """
        if refusal is None:
            return self
        return ParsedFilename(refusal=self.refusal or refusal, owner=self.owner)


def parse_filename(filename: str, project: NormalizedName) -> ParsedFilename:
    """Parse `filename` as a file on the page of `project`. No input raises an error.

    Args:
        filename: the filename as listed, percent-decoded. It may contain any characters.
        project: normalised name of the page's project.
    """
    if (unsafe := _explain_unsafe(filename)) is not None:
        return ParsedFilename(refusal=unsafe)
    kind, stem = _split_ending(filename)
    if kind is None:
        return ParsedFilename(refusal="does not have the ending of a distribution")
    if kind is Kind.WHEEL:
        return _parse_wheel(filename, project)
    others: list[NormalizedName] = []
    for name, rest in _iter_splits(stem, kind):
        if name == project:
            if (version := _parse_leading_version(rest, kind, filename)) is not None:
                return ParsedFilename(distribution=Distribution(project=project, version=version, kind=kind))
        elif is_normalized_name(name) and _parse_leading_version(rest, kind, filename) is not None:
            others.append(name)
    if others:
        # `packaging.utils.parse_sdist_filename` splits at the last hyphen.
        return _make_other_project(others[-1])
    return ParsedFilename(refusal="does not consist of a project name and a valid version (PEP 440)")


def has_distribution_ending(filename: str) -> bool:
    """Return whether `filename` has the ending of a distribution, such as ``.whl`` or ``.tar.gz``."""
    return _split_ending(filename)[0] is not None


def possible_projects(filename: str) -> tuple[NormalizedName, ...]:
    """Return the projects whose pages may list `filename`, the most likely first, at most `MAX_CANDIDATE_PROJECTS`.

    A filename may have several hyphens, and each of them may be the end of the project name. Names before a valid
    version come first. Among these names, the shortest comes first, because old tools wrote post-releases as
    ``foo-1.0-1.tar.gz``. All other names come last. They are included because an index may list a file with an invalid
    version. A request for this file must get the reason of its refusal.
    """
    if _explain_unsafe(filename) is not None:
        return ()
    kind, stem = _split_ending(filename)
    if kind is None:
        return ()
    if kind is Kind.WHEEL:
        name = canonicalize_name(stem.partition("-")[0])
        return (name,) if is_normalized_name(name) else ()
    good: dict[NormalizedName, None] = {}
    rest: dict[NormalizedName, None] = {}
    for name, remainder in _iter_splits(stem, kind):
        if is_normalized_name(name):
            (good if _parse_leading_version(remainder, kind, filename) is not None else rest)[name] = None
    return tuple([*good, *(name for name in rest if name not in good)][:MAX_CANDIDATE_PROJECTS])


def _explain_unsafe(filename: str) -> str | None:
    """Return the reason why no file may have this name, such as ``is empty``; None if the name is safe."""
    if not filename:
        return "is empty"
    if len(filename) > MAX_FILENAME_BYTES:
        return f"is longer than {MAX_FILENAME_BYTES} bytes"
    if not filename.isascii() or not filename.isprintable():
        return "contains a character outside printable ASCII"
    if "/" in filename or "\\" in filename or " " in filename:
        return "contains a slash, a backslash or a space"
    if filename[0] in ".-":
        return "begins with a dot or a hyphen"
    return None


def _split_ending(filename: str) -> tuple[Kind | None, str]:
    """Return the kind that the ending indicates, and the filename without the ending.

    For an unknown ending, return None and the whole filename.
    """
    if filename.endswith(".whl"):
        return Kind.WHEEL, filename[:-4]
    for ending in _SDIST_ENDINGS:
        if filename.endswith(ending):
            return Kind.SDIST, filename[: -len(ending)]
    if filename.endswith(_VARIANTS_ENDING):
        return Kind.VARIANTS, filename[: -len(_VARIANTS_ENDING)]
    if filename.endswith(".egg"):
        return Kind.EGG, filename[:-4]
    if filename.endswith(_INSTALLER_ENDINGS):
        return Kind.INSTALLER, filename[:-4]
    return None, filename


def _parse_wheel(filename: str, project: NormalizedName) -> ParsedFilename:
    if _WHEEL_CHARACTERS.fullmatch(filename) is None:
        return ParsedFilename(refusal="is not a valid wheel filename: a tag contains an invalid character")
    name_part, _, rest = filename[:-4].partition("-")
    version_part, _, tags = rest.partition("-")
    release = _parse_wheel_release(name_part, version_part, project)
    if release is not None and _are_valid_tags(tags):
        return release
    try:
        name, _version, _build, _tags = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return ParsedFilename(refusal=f"is not a valid wheel filename: {_explain_wheel(filename)}")
    if name == project:
        return ParsedFilename(distribution=_make_wheel_distribution(project, filename.split("-", 2)[1]))
    if is_normalized_name(name):
        return _make_other_project(name)
    return ParsedFilename(refusal=f"is not a valid wheel filename: invalid project name {name_part!r}")


# `packaging` takes 8 µs for a filename, most of it for the tags. The wheels of a page share releases and tags, so each
# half of a filename is parsed and cached separately. If either half is refused, the whole filename is parsed for the
# error message.


@lru_cache(maxsize=4096)
def _parse_wheel_release(name: str, version: str, project: NormalizedName) -> ParsedFilename | None:
    """Parse the name and version of a wheel; return None if they are invalid or belong to another project.

    The result is cached, because all wheels of a release share it.
    """
    try:
        owner, parsed, _build, _tags = parse_wheel_filename(f"{name}-{version}-py3-none-any.whl")
    except InvalidWheelFilename:
        return None
    if owner != project:
        return None
    return ParsedFilename(distribution=Distribution(project=project, version=parsed, kind=Kind.WHEEL))


@lru_cache(maxsize=4096)
def _are_valid_tags(text: str) -> bool:
    """Return whether the end of a wheel's filename is valid.

    `text` is the part after the version: an optional build number, and the tags.
    """
    try:
        parse_wheel_filename(f"a-0-{text}.whl")
    except InvalidWheelFilename:
        return False
    return True


def _explain_wheel(filename: str) -> str:
    """Return the first fault of a wheel's filename, in the order in which `packaging` checks its parts."""
    parts = filename[:-4].split("-")
    if len(parts) not in _WHEEL_PART_COUNTS:
        return f"expected 5 or 6 parts separated by hyphens, found {len(parts)}"
    name, version, *rest = parts
    if "__" in name or not is_normalized_name(canonicalize_name(name)):
        return f"invalid project name {name!r}"
    if _parse_version(version) is None:
        return f"invalid version {version!r} (PEP 440)"
    if len(rest) > _WHEEL_TAG_COUNT and not rest[0][:1].isdigit():
        return f"invalid build number {rest[0]!r}, which must begin with a digit"
    return f"invalid tags {'-'.join(rest[-_WHEEL_TAG_COUNT:])!r}"


def _make_other_project(owner: NormalizedName) -> ParsedFilename:
    return ParsedFilename(refusal=f"is a file of another project, {owner}", owner=owner)


def _iter_splits(stem: str, kind: Kind) -> Iterator[tuple[NormalizedName, str]]:
    """Yield each split of `stem` at a hyphen into project name and rest, the shortest name first.

    An installer is split at underscores too, because Debian's format is ``name_version_arch``.
    """
    separators = "-_" if kind is Kind.INSTALLER else "-"
    for position, character in enumerate(stem):
        if character in separators and 0 < position < len(stem) - 1:
            yield canonicalize_name(stem[:position]), stem[position + 1 :]


def _parse_leading_version(rest: str, kind: Kind, filename: str) -> Version | None:
    """Return the version at the start of `rest`, or None if `rest` does not begin with a valid version.

    `rest` is the part of the filename after the project name.
    """
    match kind:
        case Kind.EGG:  # {version}-py{X.Y}[-{platform}]; setuptools wrote the version's hyphens as underscores
            text = rest.partition("-")[0]
            return _parse_version(text) or _parse_version(text.replace("_", "-"))
        case Kind.INSTALLER:
            return _find_version_prefix(rest, filename)
        case _:
            return _parse_version(rest)


def _find_version_prefix(rest: str, filename: str) -> Version | None:
    """Return the longest valid version at the start of `rest` that ends at a separator or at the end of `rest`."""
    if filename.endswith(".rpm"):  # {version}-{release}.{architecture}: the release is not a post-release
        return _parse_version(rest.partition("-")[0])
    if filename.endswith(".deb"):  # {version}[-{revision}]_{architecture}
        return _parse_version(rest.partition("_")[0].partition("-")[0])
    cuts = [len(rest), *(place for place in range(len(rest) - 1, 0, -1) if rest[place] in ".-_")]
    return next((version for cut in cuts if (version := _parse_version(rest[:cut])) is not None), None)


@lru_cache(maxsize=4096)
def _make_wheel_distribution(project: NormalizedName, version: str) -> Distribution:
    """Return the `Distribution` of a wheel. All wheels of a release share one object, which saves memory."""
    return Distribution(project=project, version=Version(version), kind=Kind.WHEEL)


_parse_version = lru_cache(maxsize=4096)(parse_version)
