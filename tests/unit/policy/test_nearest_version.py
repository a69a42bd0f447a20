"""Nearest approved version: it is one that installers accept, if there is one."""

from __future__ import annotations

import pytest

from assay.policy.nearest_version import collect_recommended_versions
from assay.policy.verdict import Withheld
from assay.simple.model import File, Kind
from tests.unit.policy.factories import a_file, a_policy, ago, page

YOUNG = a_policy('min-age = "3 days"')


def nearest(*files: File, version: str = "2.0") -> str | None:
    verdict = page(YOUNG, *files, a_file(version, uploaded=ago(1)))[-1]
    assert isinstance(verdict, Withheld)
    return verdict.nearest


@pytest.mark.parametrize("text", ["", "broken"])
def test_a_yanked_version_is_named_only_if_there_is_no_other(text: str) -> None:
    yanked = a_file("1.5", yanked=text)
    assert nearest(a_file("1.0"), yanked) == "1.0"
    assert nearest(a_file("3.0"), yanked) == "3.0"
    assert nearest(yanked) == "1.5"
    assert nearest(a_file("1.0"), a_file("1.5")) == "1.5", "the twin that is not yanked"


def test_one_file_that_is_not_yanked_suffices() -> None:
    assert nearest(a_file("1.0"), a_file("1.5", yanked=""), a_file("1.5", kind=Kind.SDIST)) == "1.5"


def test_a_version_without_a_wheel_or_sdist_is_named_only_if_there_is_no_other() -> None:
    egg = a_file("1.5", kind=Kind.EGG, filename="widget-1.5-py3.11.egg")
    assert nearest(a_file("1.0"), egg) == "1.0"
    assert nearest(egg) == "1.5"
    assert nearest(a_file("1.0"), a_file("1.5", kind=Kind.SDIST)) == "1.5"


def test_a_pre_release_is_named_for_a_pre_release_or_if_there_is_no_final_version() -> None:
    assert nearest(a_file("1.0"), a_file("1.5rc1")) == "1.0"
    assert nearest(a_file("1.0"), a_file("1.5rc1"), version="2.0rc1") == "1.5rc1"
    assert nearest(a_file("1.5rc1")) == "1.5rc1"


def test_only_approved_files_are_recommended() -> None:
    verdicts = page(YOUNG, a_file("1.0"), a_file("1.1", yanked=""), a_file("2.0", uploaded=ago(1)))
    assert {str(version) for version in collect_recommended_versions(verdicts)} == {"1.0"}
