"""Wheel filenames parsed in two cached halves give the same result as `packaging` for the whole filename."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.utils import NormalizedName

from assay.simple import filename as module
from assay.simple.filename import ParsedFilename, parse_filename

WIDGET = NormalizedName("widget")
NAMES = st.sampled_from(["widget", "Widget", "wid.get", "wid_get", "other", "a__b", "_", ""])
VERSIONS = st.sampled_from(["1.0", "1.0.0", "v1", "1!2+a_b", "1.0.post1", "x", ""])
TAGS = st.sampled_from(
    [
        "py3-none-any",
        "py2.py3-none-any",
        "cp313-cp313-manylinux_2_28_x86_64",
        "1-py3-none-any",
        "1a-py3-none-any",
        "a-py3-none-any",
        "-py3-none-any",
        "py3-none-any-more",
        "py3-none",
        "py3--any",
        "py3..-none-any",
        "3py-none-any",
        "",
    ]
)
PARTS = st.text("aw1.+_!-", max_size=6)


@settings(max_examples=300, deadline=None)
@given(NAMES | PARTS, VERSIONS | PARTS, TAGS | PARTS)
@example("widget", "1.0", "py3-none-any")
@example("other", "1.0", "py3-none-any")
def test_a_wheel_s_name_read_by_halves_is_what_the_library_reads(name: str, version: str, tags: str) -> None:
    listed = f"{name}-{version}-{tags}.whl"
    with patch.object(module, "_parse_wheel_release", lambda *_: None):
        whole = parse_filename(listed, WIDGET)
    for _ in range(2):  # the second time from memory
        found = parse_filename(listed, WIDGET)
        assert found == whole
        assert spelling(found) == spelling(whole)


def spelling(parsed: ParsedFilename) -> str:
    """Return the version as text, because equal versions can have different spellings."""
    return str(parsed.distribution.version) if parsed.distribution is not None else ""


def test_the_wheels_of_a_release_share_what_their_names_say() -> None:
    one, other = (parse_filename(f"widget-1.0-{tag}-none-any.whl", WIDGET) for tag in ("cp312", "cp313"))
    assert one.distribution is not None
    assert one.distribution is other.distribution
    assert parse_filename("widget-1.0-cp312-none-any.whl", NormalizedName("other")).owner == "widget"
