"""Small valid wheels and source archives, made in memory, which pip and uv install without a network.

- `wheel("foo", "1.0")` and `sdist("foo", "1.0")` return a `BuiltDistribution`: filename, content, METADATA, SHA-256.
- `padding=N` adds N incompressible bytes, for a distribution of a given size.
- A source archive contains its build backend (standard library only), so that it builds without an index.
- `make_raw_file("foo-1.0.tar.gz", b"…")` returns a file of any name and content, for tests of refusals.

The same arguments give the same bytes on every machine and day: no clock and no file system is used, and nothing is
compressed.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import random
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Earliest time that a zip archive can store."""

_BACKEND = '''\
"""A build backend of the standard library alone: the wheel comes with the source archive, ready made."""
import base64
import pathlib


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    (packed,) = pathlib.Path(__file__).parent.glob("*.whl.b64")
    pathlib.Path(wheel_directory, packed.stem).write_bytes(base64.b64decode(packed.read_bytes()))
    return packed.stem
'''
_PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@dataclass(frozen=True, kw_only=True)
class BuiltDistribution:
    """Distribution with everything that is uploaded to an index."""

    project: str
    """Project name as the author writes it, not normalised."""
    version: str
    filename: str
    content: bytes
    metadata: bytes | None
    """METADATA of a wheel; None for other kinds, because indexes serve it for wheels only."""
    requires_python: str | None = None

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def blake2_256(self) -> str:
        return hashlib.blake2b(self.content, digest_size=32).hexdigest()

    @cached_property
    def metadata_sha256(self) -> str | None:
        return None if self.metadata is None else hashlib.sha256(self.metadata).hexdigest()

    @property
    def size(self) -> int:
        return len(self.content)


def wheel(
    project: str,
    version: str = "1.0",
    *,
    requires: Iterable[str] = (),
    requires_python: str | None = None,
    tag: str = "py3-none-any",
    build: str | None = None,
    padding: int = 0,
    files: Mapping[str, bytes] | None = None,
) -> BuiltDistribution:
    """Return a wheel with one module that has the version; `files` are added unchanged, by path."""
    name = escape_project_name(project)
    info = f"{name}-{version}.dist-info"
    metadata = _metadata(project, version, requires, requires_python)
    purelib = "true" if tag.endswith("-any") else "false"
    content = {
        f"{name}/__init__.py": f"__version__ = {version!r}\n".encode(),
        **_make_noise_file(f"{name}/padding.bin", padding),
        **(files or {}),
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: assay\nRoot-Is-Purelib: {purelib}\n{_tags(tag)}".encode(),
    }
    content[f"{info}/RECORD"] = _record(content, f"{info}/RECORD")
    number = f"-{build}" if build else ""
    return BuiltDistribution(
        project=project,
        version=version,
        filename=f"{name}-{version}{number}-{tag}.whl",
        content=_zip(content),
        metadata=metadata,
        requires_python=requires_python,
    )


def sdist(
    project: str,
    version: str = "1.0",
    *,
    requires: Iterable[str] = (),
    requires_python: str | None = None,
    padding: int = 0,
    ending: str = ".tar.gz",
) -> BuiltDistribution:
    """Return a source archive, ``.tar.gz`` or ``.zip``, that builds offline into the wheel of the same arguments."""
    inner = wheel(project, version, requires=requires, requires_python=requires_python)
    root = f"{escape_project_name(project)}-{version}"
    content = {
        f"{root}/PKG-INFO": _metadata(project, version, requires, requires_python),
        f"{root}/pyproject.toml": _PYPROJECT.encode(),
        f"{root}/backend.py": _BACKEND.encode(),
        # In base64, because pip would find the end of a zip archive in the tar's last kilobytes and read it as zip.
        f"{root}/{inner.filename}.b64": base64.b64encode(inner.content),
        **_make_noise_file(f"{root}/padding.bin", padding),
    }
    return BuiltDistribution(
        project=project,
        version=version,
        filename=f"{root}{ending}",
        content=_zip(content) if ending == ".zip" else _tar_gz(content),
        metadata=None,
        requires_python=requires_python,
    )


def make_raw_file(
    filename: str, content: bytes = b"content", *, project: str | None = None, version: str = "1.0"
) -> BuiltDistribution:
    """Return a file with any name and content, without METADATA."""
    return BuiltDistribution(
        project=project or filename.partition("-")[0],
        version=version,
        filename=filename,
        content=content,
        metadata=None,
    )


def escape_project_name(project: str) -> str:
    """Return a project name as wheels write it (binary distribution format, "Escaping and Unicode")."""
    lowered = project.lower().replace("-", "_").replace(".", "_")
    while "__" in lowered:
        lowered = lowered.replace("__", "_")
    return lowered


_NOISE_CHUNK_BYTES: Final = 2**24
"""Number of bytes that are generated at once. It divides by four, so that it does not change the bytes. Python can
generate less than 256 MiB at once."""


def make_incompressible_bytes(size: int, seed: str = "") -> bytes:
    """Return `size` incompressible bytes, the same for the same seed."""
    generator = random.Random(f"{seed}/{size}")
    sizes = (min(_NOISE_CHUNK_BYTES, size - start) for start in range(0, size, _NOISE_CHUNK_BYTES))
    return b"".join(map(generator.randbytes, sizes))


def _make_noise_file(path: str, size: int) -> dict[str, bytes]:
    return {path: make_incompressible_bytes(size, path)} if size else {}


def _metadata(project: str, version: str, requires: Iterable[str], requires_python: str | None) -> bytes:
    lines = ["Metadata-Version: 2.1", f"Name: {project}", f"Version: {version}"]
    if requires_python is not None:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    return ("\n".join(lines) + "\n").encode()


def _tags(tag: str) -> str:
    pythons, abis, platforms = (part.split(".") for part in tag.split("-"))
    return "".join(f"Tag: {python}-{abi}-{platform}\n" for python in pythons for abi in abis for platform in platforms)


def _record(content: Mapping[str, bytes], itself: str) -> bytes:
    lines = []
    for path, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}\n")
    return ("".join(lines) + f"{itself},,\n").encode()


def _zip(content: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, data in content.items():
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, data)
    return buffer.getvalue()


def _tar_gz(content: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", compresslevel=0, fileobj=buffer, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path, data in content.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
