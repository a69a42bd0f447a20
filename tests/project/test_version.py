"""Version of the project: pyproject.toml states it, and every other file that names it names the same one."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.deploy.repository import list_repository_files
from tests.paths import ROOT

VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
MENTION = re.compile(
    r"(?m)(?:^version: |^appVersion: \"|^ARG VERSION=|--build-arg VERSION=|/assay:|^  tag: |assay_proxy-|assay-proxy==)"
    r"(\d+\.\d+\.\d+)"
)
PLACES = ("Dockerfile", "config/", "docs/", "helm/", "README.md", "SECURITY.md", "release/", ".github/")


def find_versions(text: str) -> set[str]:
    return set(MENTION.findall(text))


def list_mentioning_files() -> list[str]:
    paths = [
        path for path in list_repository_files() if path.startswith(PLACES) and not path.endswith((".webp", ".svg"))
    ]
    return [path for path in paths if find_versions((ROOT / path).read_text("utf-8"))]


@pytest.mark.parametrize("path", list_mentioning_files())
def test_a_file_that_names_the_version_names_that_of_the_project(path: str) -> None:
    assert find_versions((ROOT / path).read_text("utf-8")) == {VERSION}


def test_the_chart_and_the_image_are_among_these_files() -> None:
    assert {"helm/assay/Chart.yaml", "Dockerfile"} <= set(list_mentioning_files())


def test_a_mention_of_another_version_is_found() -> None:
    assert find_versions("ARG VERSION=9.8.7\nversion: 9.8.6\nother 1.2.3") == {"9.8.7", "9.8.6"}
