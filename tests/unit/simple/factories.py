"""Page as PyPI sends it, in JSON and in HTML, for the tests of the parsers."""

from __future__ import annotations

import json
from typing import Any

from packaging.utils import NormalizedName

from assay.simple.model import File, Project
from assay.simple.parse import parse_project

FOO = NormalizedName("foo")
PAGE_URL = "https://index.example/simple/foo/"
JSON = "application/vnd.pypi.simple.v1+json"
HASH = "3427a8a5dd0c1e176da48a44efb410875b3973bd9843403a0997e4187c408dc1"
OTHER = "0ace7980f82c5815ede4cd7bf9f6693684cec2ae47b9b7ade9add533b8627c6b"
PROVENANCE = "https://index.example/integrity/foo/1.0/foo-1.0-py3-none-any.whl/provenance"

# A page with every key that PyPI sends (API 1.4), and an unknown key in each place.
FILE: dict[str, Any] = {
    "core-metadata": {"sha256": OTHER},
    "data-dist-info-metadata": {"sha256": OTHER},
    "filename": "foo-1.0-py3-none-any.whl",
    "hashes": {"sha256": HASH},
    "provenance": PROVENANCE,
    "requires-python": ">=3.9",
    "size": 4662,
    "upload-time": "2024-11-06T22:37:08.938180Z",
    "url": "https://files.example/packages/d7/73/foo-1.0-py3-none-any.whl",
    "yanked": False,
    "x-file": {"a": [1, None, "é"]},
}
PAGE: dict[str, Any] = {
    "files": [FILE],
    "meta": {"_last-serial": 25862117, "api-version": "1.4", "x-meta": True},
    "name": "foo",
    "project-status": {"status": "archived", "reason": "moved", "x-status": 1},
    "versions": ["0.9", "1.0"],
    "x-page": [],
}


def a_page(page: object, **more: Any) -> Project:
    return parse_project(json.dumps(page).encode(), JSON, PAGE_URL, FOO, **more)


def the_file(**changed: object) -> File:
    return a_page({**PAGE, "files": [{**FILE, **{key.replace("_", "-"): changed[key] for key in changed}}]}).files[0]


def html_page(text: str, **more: Any) -> Project:
    return parse_project(text.encode(), "text/html; charset=UTF-8", PAGE_URL, FOO, **more)


def the_link(attributes: str = "", fragment: str = f"#sha256={HASH}") -> File:
    (file,) = html_page(f'<a href="https://files.example/foo-1.0.tar.gz{fragment}" {attributes}>x</a>').files
    return file
