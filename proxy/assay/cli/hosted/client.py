"""HTTP client of ``assay hosted``: the upload API and the API for managers of a running proxy."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from assay.errors import ConfigurationError, UploadForbiddenError, UploadRefusedError, UpstreamUnavailableError

TOKEN_VARIABLE: Final = "ASSAY_TOKEN"  # noqa: S105 - the name of a variable
_REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=600)
_TOKEN_USER: Final = "__token__"  # noqa: S105 - the user name that PyPI gives to tokens
_MAX_ATTESTATION_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class LocalDistribution:
    """Distribution in a directory, with the files of its attestations (``NAME.*.attestation``)."""

    path: Path
    attestations: tuple[Path, ...]


def find_distributions(directory: Path) -> list[LocalDistribution]:
    """Return the wheels and source archives in a directory, sorted by filename. Blocking.

    Raises:
        ConfigurationError: the directory cannot be read, or contains no distribution.
    """
    try:
        found = sorted(path for path in directory.iterdir() if path.name.endswith((".whl", ".tar.gz")))
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
    if not found:
        raise ConfigurationError(f"{directory}: expected wheels or source archives (.whl, .tar.gz), found none")
    return [LocalDistribution(path, tuple(sorted(directory.glob(f"{path.name}.*.attestation")))) for path in found]


@dataclass
class HostedClient:
    """Client for one hosted index.

    Args:
        url: address of the proxy, without a path.
        index: name of the hosted index.
        token: token of the user; None for requests without credentials.
    """

    url: str
    index: str
    token: str | None
    _session: aiohttp.ClientSession | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        auth = None if self.token is None else aiohttp.encode_basic_auth(_TOKEN_USER, self.token, "utf-8")
        headers = {"User-Agent": "assay-hosted"} | ({} if auth is None else {"Authorization": auth})
        self._session = aiohttp.ClientSession(headers=headers, timeout=_REQUEST_TIMEOUT, trust_env=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection pool."""
        if self._session is not None:
            await self._session.close()

    async def list_projects(self) -> Any:  # noqa: ANN401 - JSON of the proxy
        """Return the projects of the index, as JSON of the proxy."""
        return json.loads(await self._request("GET", f"hosted/{self.index}/"))

    async def change(self, project: str, action: str, content: Mapping[str, str | None]) -> Any:  # noqa: ANN401
        """Send a change of a project; return it as the proxy has applied it."""
        body = json.dumps(content).encode()
        return json.loads(await self._request("POST", f"hosted/{self.index}/{project}/{action}", body))

    async def upload(self, distribution: LocalDistribution) -> None:
        """Upload a distribution with its attestations.

        Raises:
            UploadRefusedError: the proxy refused it, or the file cannot be uploaded.
        """
        form = aiohttp.FormData()
        for name, value in (await asyncio.to_thread(make_fields, distribution)).items():
            form.add_field(name, value)
        with await asyncio.to_thread(distribution.path.open, "rb") as opened:
            form.add_field("content", opened, filename=distribution.path.name, content_type="application/octet-stream")
            await self._request("POST", f"upload/{self.index}/", form)

    async def _request(self, method: str, path: str, data: bytes | aiohttp.FormData | None = None) -> bytes:
        if self._session is None:
            raise RuntimeError("the client is not open")
        try:
            async with self._session.request(
                method, f"{self.url}/{path}", data=data, allow_redirects=False
            ) as response:
                body = await response.read()
        except aiohttp.ClientError as error:
            raise UpstreamUnavailableError(f"{self.url}: {str(error) or type(error).__name__}") from error
        match response.status:
            case HTTPStatus.OK:
                return body
            case HTTPStatus.UNAUTHORIZED if self.token is not None:
                raise UploadForbiddenError(f"the proxy does not know the token in {TOKEN_VARIABLE}")
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                raise UploadForbiddenError(_explain(response, body))
            case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise UpstreamUnavailableError(_explain(response, body))
            case _:
                raise UploadRefusedError(_explain(response, body))


def make_fields(distribution: LocalDistribution) -> dict[str, str]:
    """Return the form fields of an upload, except the file. Blocking.

    Raises:
        UploadRefusedError: the filename is invalid, or a file cannot be read.
    """
    path = distribution.path
    try:
        is_wheel = path.name.endswith(".whl")
        name, version = parse_wheel_filename(path.name)[:2] if is_wheel else parse_sdist_filename(path.name)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        attestations = [_read_attestation(each) for each in distribution.attestations]
    except (InvalidWheelFilename, InvalidSdistFilename, OSError, ValueError) as error:
        raise UploadRefusedError(f"{path.name}: {error}") from error
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "filetype": "bdist_wheel" if is_wheel else "sdist",
        "name": name,
        "version": str(version),
        "sha256_digest": digest,
    }
    return fields | ({"attestations": json.dumps(attestations)} if attestations else {})


def _read_attestation(path: Path) -> object:
    with path.open("rb") as file:
        return json.loads(file.read(_MAX_ATTESTATION_BYTES))


def _explain(response: aiohttp.ClientResponse, body: bytes) -> str:
    """Return the detail of a problem document (RFC 9457), or the reason phrase of the response."""
    try:
        document = json.loads(body)
        return str(document["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the proxy answered {response.status} {response.reason}"


def describe_files(project: Mapping[str, Any]) -> Sequence[tuple[str, str, str, str, str]]:
    """Return the rows of a table of a project's files: project, status, file, publishers and yank."""
    return [
        (
            str(project["name"]),
            str(project["status"]),
            str(file["filename"]),
            " ".join(file["publishers"]) or "-",
            "-" if "yanked" not in file else file["yanked"] or "yanked",
        )
        for file in project["files"]
    ]
