"""A distribution's filename, taken apart once: whose it is, which version, of what kind. Pure.

Wheels follow the binary distribution format, source archives the sdist format, both as `packaging.utils` reads them;
the older kinds that PyPI still lists are recognised by where a hyphen splits them. Two projects can claim one name
(``foo-1.0-1.tar.gz`` is ``foo`` 1.0.post1 or ``foo-1-0`` 1): the page that lists it decides, so every split is tried
against the page's project first.

Refuses whatever could mean something else to a file system, a header, a URL or a person: separators, control
characters, anything outside printable ASCII (``str.lower`` maps U+212A to ``k``: other alphabets could forge a name).
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
from packaging.version import InvalidVersion, Version

from assay.simple.model import Distribution, Kind

__all__ = ["ParsedFilename", "parse_filename", "possible_projects"]

MAX_FILENAME_BYTES = 255
"""Bytes: what the file systems of all our platforms take (Linux ``NAME_MAX``)."""
MAX_CANDIDATE_PROJECTS = 8
"""How many projects one filename is looked up under: each may cost a page."""

# PyPI's own list of what it ever took (warehouse/forklift/legacy.py); longer endings first.
_SDIST_ENDINGS = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.Z", ".tar", ".tgz", ".tbz", ".zip")
_INSTALLER_ENDINGS = (".exe", ".msi", ".rpm", ".deb", ".dmg")
_VARIANTS_ENDING = "-variants.json"
# Binary distribution format, "Escaping and Unicode": components hold alphanumerics, "." and "_", and of versions "+"
# and "!"; the library checks name, version and build tag, but takes any tag.
_WHEEL_CHARACTERS = re.compile(r"[A-Za-z0-9._+!-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFilename:
    """What a filename says, seen from one project's page. Exactly one of `distribution` and `refusal` is set."""

    distribution: Distribution | None = None
    refusal: str | None = None
    """In words, to follow the filename: ``is a file of another project, bar``."""
    owner: NormalizedName | None = None
    """The other project that it parses as, when it is not the page's."""

    def refuse_at(self, refusal: str | None) -> ParsedFilename:
        """Return what the filename says where its address is refused for `refusal`; None: the address is valid."""
        if refusal is None:
            return self
        return ParsedFilename(refusal=self.refusal or refusal, owner=self.owner)


def parse_filename(filename: str, project: NormalizedName) -> ParsedFilename:
    """What `filename` is on the page of `project`. Never raises.

    Args:
        filename: as listed, decoded, whatever it contains.
        project: the page's project, normalised.
    """
    if (unclean := _explain_unsafe(filename)) is not None:
        return ParsedFilename(refusal=unclean)
    kind, stem = _split_ending(filename)
    if kind is None:
        return ParsedFilename(refusal="has none of the endings of a distribution")
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
        # The last split is the one packaging.utils.parse_sdist_filename would make.
        return _make_other_project(others[-1])
    return ParsedFilename(refusal="does not split into a project and a valid version (PEP 440)")


def possible_projects(filename: str) -> tuple[NormalizedName, ...]:
    """Every project on whose page `filename` might stand, most likely first, at most `MAX_CANDIDATE_PROJECTS`.

    Splits that leave a valid version come first, the shortest name among them leading (``foo-1.0-1.tar.gz``: old
    tools wrote post-releases so); the others follow, so that a listed file with a broken version still gets its reason.
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
    """Why no file may be called so, or None."""
    if not filename:
        return "is empty"
    if len(filename) > MAX_FILENAME_BYTES:
        return f"is longer than {MAX_FILENAME_BYTES} bytes"
    if not filename.isascii() or not filename.isprintable():
        return "holds a character outside printable ASCII"
    if "/" in filename or "\\" in filename or " " in filename:
        return "holds a slash, a backslash or a space"
    if filename[0] in ".-":
        return "begins with a dot or a hyphen"
    return None


def _split_ending(filename: str) -> tuple[Kind | None, str]:
    """The kind by the ending, and the filename without it."""
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
        return ParsedFilename(refusal="is not a wheel's name: a tag holds a character that none has")
    name_part, _, rest = filename[:-4].partition("-")
    version_part, _, tags = rest.partition("-")
    release = _parse_wheel_release(name_part, version_part, project)
    if release is not None and _are_valid_tags(tags):
        return release
    try:
        name, _version, _build, _tags = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        return ParsedFilename(refusal=f"is not a wheel's name: {_strip_filename(error, filename)}")
    if name == project:
        return ParsedFilename(distribution=_make_wheel_distribution(project, filename.split("-", 2)[1]))
    if is_normalized_name(name):
        return _make_other_project(name)
    return ParsedFilename(refusal="is not a wheel's name: invalid project name")


# The library takes 8 µs a name, most of it for the tags. A page's wheels share their releases, and those their tags, so
# that it is asked about either half once; and about the whole where it refuses one, for its words.


@lru_cache(maxsize=4096)
def _parse_wheel_release(name: str, version: str, project: NormalizedName) -> ParsedFilename | None:
    """What the halves before the tags say, if they are those of a wheel of `project`; one object for all its wheels."""
    try:
        owner, parsed, _build, _tags = parse_wheel_filename(f"{name}-{version}-py3-none-any.whl")
    except InvalidWheelFilename:
        return None
    if owner != project:
        return None
    return ParsedFilename(distribution=Distribution(project=project, version=parsed, kind=Kind.WHEEL))


@lru_cache(maxsize=4096)
def _are_valid_tags(text: str) -> bool:
    """Whether this may follow a wheel's version: perhaps a build number, and tags."""
    try:
        parse_wheel_filename(f"a-0-{text}.whl")
    except InvalidWheelFilename:
        return False
    return True


def _strip_filename(error: InvalidWheelFilename, filename: str) -> str:
    """The library's words without the filename, which whoever shows them says already."""
    words = str(error).removeprefix("Invalid wheel filename (").removesuffix(f": {filename!r}").removesuffix(")")
    return words.replace(f" in {filename!r}", "").lower()


def _make_other_project(owner: NormalizedName) -> ParsedFilename:
    return ParsedFilename(refusal=f"is a file of another project, {owner}", owner=owner)


def _iter_splits(stem: str, kind: Kind) -> Iterator[tuple[NormalizedName, str]]:
    """Every split at a hyphen, shortest name first; at an underscore too for Debian's ``name_version_arch``."""
    separators = "-_" if kind is Kind.INSTALLER else "-"
    for position, character in enumerate(stem):
        if character in separators and 0 < position < len(stem) - 1:
            yield canonicalize_name(stem[:position]), stem[position + 1 :]


def _parse_leading_version(rest: str, kind: Kind, filename: str) -> Version | None:
    """The version at the beginning of what follows the name; None where there is none."""
    match kind:
        case Kind.EGG:  # {version}-py{X.Y}[-{platform}]; setuptools wrote the version's hyphens as underscores
            text = rest.partition("-")[0]
            return _parse_version(text) or _parse_version(text.replace("_", "-"))
        case Kind.INSTALLER:
            return _find_version_prefix(rest, filename)
        case _:
            return _parse_version(rest)


def _find_version_prefix(rest: str, filename: str) -> Version | None:
    """The longest valid version that ends where a platform, release or architecture may begin."""
    if filename.endswith(".rpm"):  # {version}-{release}.{architecture}: the release is no post-release
        return _parse_version(rest.partition("-")[0])
    if filename.endswith(".deb"):  # {version}[-{revision}]_{architecture}
        return _parse_version(rest.partition("_")[0].partition("-")[0])
    cuts = [len(rest), *(place for place in range(len(rest) - 1, 0, -1) if rest[place] in ".-_")]
    return next((version for cut in cuts if (version := _parse_version(rest[:cut])) is not None), None)


@lru_cache(maxsize=4096)
def _make_wheel_distribution(project: NormalizedName, version: str) -> Distribution:
    """One for all wheels of a release: a page that is kept in memory has a hundred of each."""
    return Distribution(project=project, version=Version(version), kind=Kind.WHEEL)


@lru_cache(maxsize=4096)
def _parse_version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
