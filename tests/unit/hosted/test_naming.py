from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName
from packaging.version import Version

from assay.errors import UploadRefusedError
from assay.hosted.naming import find_slot, parse_project_name, parse_release_version

NAME = NormalizedName("foo")


def test_names_and_versions_are_normalized() -> None:
    assert parse_project_name("Foo._Bar") == "foo-bar"
    assert parse_release_version("v1.0-RC1") == Version("1.0rc1")


def test_equal_releases_take_the_same_slot() -> None:
    one = find_slot("foo-1.0-py2.py3-none-any.whl", NAME, Version("1.0"))
    other = find_slot("FOO-1.0.0-py3.py2-none-any.whl", NAME, Version("1.0"))

    assert one == other
    assert one != find_slot("foo-1.0-1-py2.py3-none-any.whl", NAME, Version("1.0"))


@pytest.mark.parametrize(
    "filename", ["foo-1.0.exe", "foo-1.0-py3-none.whl", "../foo-1.0.tar.gz", "foo-1.0.tar.gz\n", "foo_1.0.tar.gz"]
)
def test_another_filename_is_refused(filename: str) -> None:
    with pytest.raises(UploadRefusedError):
        find_slot(filename, NAME, Version("1.0"))


@given(st.text(max_size=80))
def test_any_text_is_refused_without_another_error(text: str) -> None:
    for parse in (parse_project_name, parse_release_version, lambda name: find_slot(name, NAME, Version("1.0"))):
        with suppress(UploadRefusedError):
            parse(text)
