"""Reader of pylock.toml (PEP 751), including its ``attestation-identities``.

`packaging.pylock` validates the text. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from packaging.pylock import Package, PackageSdist, PackageWheel, Pylock, PylockValidationError

from assay.errors import ConfigurationError
from assay.lockfiles.fields import parse_project_name
from assay.lockfiles.model import PinnedFile, ReadResult
from assay.settings import parse_toml
from assay.simple.fields import parse_sha256


def read_pylock(text: str, source: str) -> ReadResult:
    """Return the pinned files, and descriptions of entries that pin no file.

    Raises:
        ConfigurationError: the text is not a lockfile of PEP 751.
    """
    try:
        # `packaging` validates the file, but an unexpected type deep inside may raise another exception.
        packages = Pylock.from_dict(parse_toml(text, source)).packages
        files = [pinned for package in packages for pinned in _iter_pinned_files(package)]
    except (PylockValidationError, TypeError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"{source}: expected a lock file of PEP 751: {error}") from error
    return ReadResult(files, [loose for package in packages for loose in _iter_unpinned(package)])


def _iter_pinned_files(package: Package) -> Iterator[PinnedFile]:
    if package.vcs or package.directory or package.archive:
        return
    found: list[PackageSdist | PackageWheel] = [*(package.wheels or ())]
    if package.sdist is not None:
        found.append(package.sdist)
    for file in found:
        if file.path is not None and file.url is None:
            continue
        yield PinnedFile(
            project=parse_project_name(package.name, "packages"),
            version=package.version,
            filename=file.filename,
            sha256=parse_sha256(file.hashes.get("sha256", "")),
            identities=tuple(package.attestation_identities or ()),
        )


def _iter_unpinned(package: Package) -> Iterator[str]:
    if package.vcs is not None:
        yield f"{package.name}: from the repository {package.vcs.url or package.vcs.path}, not from an index"
    elif package.archive is not None:
        yield f"{package.name}: from {package.archive.url or package.archive.path}, not from an index"
    elif package.directory is not None:
        yield f"{package.name}: from the directory {package.directory.path}, not from an index"
    for file in (*(package.wheels or ()), *([package.sdist] if package.sdist else ())):
        if file.path is not None and file.url is None:
            yield f"{package.name}: the file {file.path} is a local file, not from an index"
