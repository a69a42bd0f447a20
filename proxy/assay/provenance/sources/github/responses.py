"""Parser of the responses of GitHub's attestation API, and writer of the document that is verified. Pure.

A response is untrusted. Its bundles are passed on as they are: `attestation` verifies them. The document about a file
is a JSON list of bundles, in a fixed order and without repetitions, so that the same bundles give the same document.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from assay.errors import InvalidResponseError

Bundle: TypeAlias = Mapping[str, Any]

MAX_ATTESTATIONS: Final = 200
"""Maximum number of attestations about one file. A repository that has more of them for one digest is not usable."""
_MAX_URL_CHARACTERS: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedAttestation:
    """Entry of a listing. It has the bundle itself or the URL of the bundle."""

    bundle: Bundle | None
    url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkListing:
    """One page of the listing for several digests."""

    by_digest: Mapping[str, tuple[ListedAttestation, ...]]
    """Attestations by digest, such as ``sha256:…``."""
    unusable: Mapping[str, InvalidResponseError]
    """Errors of the digests whose attestations are malformed."""
    next_cursor: str | None
    """Cursor of the next page; None on the last page."""


def parse_listing(body: bytes) -> tuple[ListedAttestation, ...]:
    """Return the attestations on one page of ``GET /repos/{owner}/{repo}/attestations/{subject_digest}``.

    Raises:
        InvalidResponseError: the body is not such a page.
    """
    return _read_entries(_parse_object(body).get("attestations"))


def parse_bulk_listing(body: bytes) -> BulkListing:
    """Return one page of ``POST /orgs/{org}/attestations/bulk-list`` or of the same endpoint of a user.

    GitHub's schema has an object with the digests as keys. The example in its documentation has a list of such objects;
    both are read. Malformed attestations of one digest do not affect the other digests.

    Raises:
        InvalidResponseError: the body is not such a page.
    """
    content = _parse_object(body)
    listed = content.get("attestations_subject_digests")
    by_digest: dict[str, tuple[ListedAttestation, ...]] = {}
    unusable: dict[str, InvalidResponseError] = {}
    for each in listed if isinstance(listed, list) else [{} if listed is None else listed]:
        if not isinstance(each, dict):
            raise InvalidResponseError("GitHub's listing of attestations is malformed")
        for digest, entries in each.items():
            try:
                by_digest[digest] = (*by_digest.get(digest, ()), *_read_entries([] if entries is None else entries))
            except InvalidResponseError as error:
                unusable[digest] = error
    info = content.get("page_info")
    cursor = info.get("next") if isinstance(info, dict) and info.get("has_next") is True else None
    if cursor is not None and not (isinstance(cursor, str) and cursor.isprintable() and len(cursor) <= 1000):  # noqa: PLR2004 - far longer than a cursor
        raise InvalidResponseError("GitHub's listing of attestations has an invalid cursor")
    return BulkListing(by_digest=by_digest, unusable=unusable, next_cursor=cursor)


def parse_bundle(body: bytes) -> Bundle:
    """Return a bundle that was fetched from its URL.

    Raises:
        InvalidResponseError: the body is not a JSON object.
    """
    return _parse_object(body)


def encode_bundles(bundles: Iterable[Bundle]) -> bytes:
    """Return the document with these bundles: a JSON list in a fixed order, without repetitions.

    A bundle with NaN or an infinite number is replaced by null, which verification rejects. It would make the document
    unreadable.
    """
    texts = {_encode_bundle(each) for each in bundles}
    return f"[{','.join(sorted(texts))}]".encode()


def _encode_bundle(bundle: Bundle) -> str:
    try:
        return json.dumps(bundle, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return "null"


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidResponseError(f"GitHub answered with {len(body)} bytes that are not JSON") from error
    if not isinstance(content, dict):
        raise InvalidResponseError("GitHub answered with JSON that is not an object")
    return content


def _read_entries(entries: object) -> tuple[ListedAttestation, ...]:
    if not isinstance(entries, list) or len(entries) > MAX_ATTESTATIONS:
        raise InvalidResponseError(f"GitHub's listing has no list of at most {MAX_ATTESTATIONS} attestations")
    return tuple(_read_entry(each) for each in entries)


def _read_entry(entry: object) -> ListedAttestation:
    if not isinstance(entry, dict):
        raise InvalidResponseError("GitHub's listing of attestations is malformed")
    bundle, url = entry.get("bundle"), entry.get("bundle_url")
    has_bundle = isinstance(bundle, dict) and bool(bundle)
    has_url = isinstance(url, str) and 0 < len(url) <= _MAX_URL_CHARACTERS and url.isascii() and url.isprintable()
    if not has_bundle and not has_url:
        raise InvalidResponseError("GitHub's listing has an attestation with neither a bundle nor a URL")
    return ListedAttestation(bundle=bundle if has_bundle else None, url=url if has_url else None)
