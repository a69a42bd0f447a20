"""Routing and ranges are total, and lead nowhere but into this proxy and into the file."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from assay.web.ranges import ByteRange, UnsafeResume, UnsatisfiableRange, WholeFile, select_range
from assay.web.routing.routes import CanonicalRedirect, DistributionFile, DistributionMetadata, SimpleProject
from assay.web.routing.targets import match_route
from tests.property.fuzzing import examples

EXAMPLES = examples(300)
SIZE = 1000
ETAG = f'"{"ab" * 32}"'

PIECES = "simple files integrity provenance Foo_Bar foo %2f %00 %0d%0a .. . % %zz ? format= & # // \\ @ :80 127.0.0.1"
pieces = st.sampled_from([*PIECES.split(), "foo-1.0.whl", ".metadata", "", "\x7f", "\xff", "\u00e9"])
targets = st.one_of(
    st.text(max_size=200),
    st.lists(pieces, max_size=12).map(lambda found: "/" + "/".join(found)),
    st.lists(pieces, max_size=12).map("".join),
)


@settings(max_examples=EXAMPLES)
@given(targets)
@example("/simple/Foo?%0d%0aX: 1")
@example("//evil.example/simple/foo")
def test_every_target_is_a_route_and_a_redirect_stays_here(target: str) -> None:
    match match_route(target):
        case CanonicalRedirect(to=to):
            path, _, query = to.partition("?")
            assert to.isascii()
            assert to.isprintable()
            assert not path.startswith("/")
            assert ":" not in path
            assert path.removeprefix("../").rstrip("/").replace("-", "").isalnum()
            assert len(query) <= 3 * len(target.encode("utf-8", "surrogatepass"))
        case SimpleProject(project=project):
            assert project == project.lower()
            assert project.replace("-", "").isalnum()
        case DistributionFile(location=location) | DistributionMetadata(location=location):
            assert "?" not in location or "%3f" in target.lower()
            assert location
        case _:
            pass


numbers = st.one_of(st.just(""), st.integers(0, 2 * SIZE).map(str), st.just("9" * 17), st.just("9" * 40))
ranges = st.one_of(
    st.text(max_size=60),
    st.tuples(numbers, numbers).map(lambda pair: f"bytes={pair[0]}-{pair[1]}"),
    st.lists(st.tuples(numbers, numbers), max_size=4).map(
        lambda found: "bytes=" + ",".join(f"{first}-{last}" for first, last in found)
    ),
)
conditions = st.one_of(st.none(), st.just(ETAG), st.just(f"W/{ETAG}"), st.text(max_size=20))


@settings(max_examples=EXAMPLES)
@given(ranges, conditions, st.sampled_from(["", "Wget/1.25", "pip/26"]), st.sampled_from([0, 1, SIZE]))
def test_a_part_lies_within_the_file_and_is_what_was_asked_for(
    header: str, condition: str | None, agent: str, size: int
) -> None:
    found = select_range(header, condition, etag=ETAG, size=size, user_agent=agent)
    match found:
        case ByteRange(start=start, count=count):
            assert 0 <= start < start + count <= size
            first, _, last = header.lower().partition("=")[2].strip().partition("-")
            if not first:
                assert start == max(0, size - int(last))
            else:
                assert start == int(first)
                assert start + count == (size if not last.strip() else min(size, int(last) + 1))
            assert condition is None or condition.strip() == ETAG
            if first and int(first) and not last.strip():
                assert condition is not None, "a resumption without the file's own validator gets the whole"
        case UnsafeResume():
            assert agent.startswith("Wget")
        case _:
            assert isinstance(found, WholeFile | UnsatisfiableRange)
