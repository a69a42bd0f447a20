from __future__ import annotations

import pytest
from packaging.utils import NormalizedName
from packaging.version import Version

from assay.simple.filename import MAX_CANDIDATE_PROJECTS, parse_filename, possible_projects
from assay.simple.model import Kind

FOO = NormalizedName("foo")


@pytest.mark.parametrize(
    ("filename", "version", "kind"),
    [
        ("foo-1.0-py3-none-any.whl", "1.0", Kind.WHEEL),
        ("Foo-1.0-2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "1.0", Kind.WHEEL),
        ("foo-1!2.0+local.1-py3-none-any.whl", "1!2.0+local.1", Kind.WHEEL),
        ("foo-1.0.tar.gz", "1.0", Kind.SDIST),
        ("FOO-1.0rc1.zip", "1.0rc1", Kind.SDIST),
        ("foo-1.0-1.tar.gz", "1.0.post1", Kind.SDIST),
        ("foo-1.0.tar.bz2", "1.0", Kind.SDIST),
        ("foo-1.0.tgz", "1.0", Kind.SDIST),
        ("foo-1.0.tar.xz", "1.0", Kind.SDIST),
        ("foo-1.0.tar.Z", "1.0", Kind.SDIST),
        ("foo-1.0-py2.7.egg", "1.0", Kind.EGG),
        ("foo-1.0_1-py2.7-linux-x86_64.egg", "1.0.post1", Kind.EGG),
        ("foo-1.0.win32-py2.7.exe", "1.0", Kind.INSTALLER),
        ("foo-2.0rc1.win-amd64.exe", "2.0rc1", Kind.INSTALLER),
        ("foo-1.0.win-amd64-py3.4.msi", "1.0", Kind.INSTALLER),
        ("foo-1.0-1.noarch.rpm", "1.0", Kind.INSTALLER),
        ("foo_1.0-1_all.deb", "1.0", Kind.INSTALLER),
        ("foo-1.0.macosx-10.9-x86_64.dmg", "1.0", Kind.INSTALLER),
        ("foo-1.0-variants.json", "1.0", Kind.VARIANTS),
    ],
)
def test_a_distribution_of_the_pages_project_is_taken_apart(filename: str, version: str, kind: Kind) -> None:
    parsed = parse_filename(filename, FOO)
    assert parsed.distribution is not None, parsed.refusal
    assert (parsed.distribution.project, parsed.distribution.version) == (FOO, Version(version))
    assert parsed.distribution.kind is kind
    assert (parsed.refusal, parsed.owner) == (None, None)


@pytest.mark.parametrize(
    ("filename", "project", "version"),
    [
        ("foo-1.0-1.tar.gz", "foo", "1.0.post1"),
        ("foo-1.0-1.tar.gz", "foo-1-0", "1"),
        ("zope.interface-5.0.tar.gz", "zope-interface", "5.0"),
        ("backports-abc-0.1.tar.gz", "backports-abc", "0.1"),
        ("a_b.c-d-1.0.zip", "a-b-c-d", "1.0"),
        ("py-foo-1.0.win32.exe", "py-foo", "1.0"),
    ],
)
def test_the_page_decides_where_a_name_ends(filename: str, project: str, version: str) -> None:
    parsed = parse_filename(filename, NormalizedName(project))
    assert parsed.distribution is not None
    assert parsed.distribution.version == Version(version)


@pytest.mark.parametrize(
    ("filename", "owner"),
    [
        ("bar-1.0-py3-none-any.whl", "bar"),
        ("bar-1.0.tar.gz", "bar"),
        ("foo-extra-1.0.tar.gz", "foo-extra"),
        ("foo.bar-1.0.tar.gz", "foo-bar"),
        ("foo_bar-1.0-py3-none-any.whl", "foo-bar"),
        ("bar-1.0.win32.exe", "bar"),
    ],
)
def test_a_file_of_another_project_names_its_owner(filename: str, owner: str) -> None:
    parsed = parse_filename(filename, FOO)
    assert (parsed.distribution, parsed.owner) == (None, owner)
    assert parsed.refusal == f"is a file of another project, {owner}"


@pytest.mark.parametrize(
    ("filename", "words"),
    [
        ("", "is empty"),
        ("foo-1.0.whl", "expected 5 or 6 parts separated by hyphens, found 2"),
        ("foo-1.0-1-py3-none-any-x.whl", "expected 5 or 6 parts separated by hyphens, found 7"),
        ("foo-1.0-py3-none-any.whl.asc", "ending of a distribution"),
        ("foo-1.0.txt", "ending of a distribution"),
        ("foo.tar.gz", "does not consist of a project"),
        ("foo-.tar.gz", "does not consist of a project"),
        ("-1.0.tar.gz", "begins with"),
        ("foo-1.0.linux-x86_64.tar.gz", "does not consist of a project"),
        ("foo-one-py3-none-any.whl", "is not a valid wheel filename: invalid version 'one' (PEP 440)"),
        ("foo-1.0_1-py3-none-any.whl", "is not a valid wheel filename: invalid version '1.0_1' (PEP 440)"),
        ("foo--py3-none-any.whl", "invalid version '' (PEP 440)"),
        ("foo__bar-1.0-py3-none-any.whl", "is not a valid wheel filename: invalid project name 'foo__bar'"),
        ("_foo-1.0-py3-none-any.whl", "is not a valid wheel filename: invalid project name '_foo'"),
        ("foo+-1.0-py3-none-any.whl", "is not a valid wheel filename: invalid project name 'foo+'"),
        ("foo-1.0-x1-py3-none-any.whl", "invalid build number 'x1', which must begin with a digit"),
        ("foo-1.0--py3-none-any.whl", "invalid build number '', which must begin with a digit"),
        ("foo-1.0-py3--any.whl", "is not a valid wheel filename: invalid tags 'py3--any'"),
        ("foo-1.0-1-3py-none-any.whl", "is not a valid wheel filename: invalid tags '3py-none-any'"),
        ("foo-1.0-py3-none-any<script>.whl", "a tag contains"),
        ("../foo-1.0.tar.gz", "slash"),
        ("a\\foo-1.0.tar.gz", "slash"),
        ("foo-1.0.tar.gz\0", "printable ASCII"),
        ("foo-1.0\n.tar.gz", "printable ASCII"),
        ("foo-1.0\x7f.tar.gz", "printable ASCII"),
        ("foo-1.0\udcff.tar.gz", "printable ASCII"),
        ("\u212aoo-1.0.tar.gz", "printable ASCII"),
        ("foo- 1.0.tar.gz", "space"),
        (".foo-1.0.tar.gz", "begins with"),
        ("foo-" + "1" * 250 + ".zip", "longer than"),
    ],
)
def test_what_is_no_distributions_name_is_refused_in_words(filename: str, words: str) -> None:
    parsed = parse_filename(filename, FOO)
    assert (parsed.distribution, parsed.owner) == (None, None)
    assert words in (parsed.refusal or "")
    assert not filename or filename not in str(parsed.refusal), "the refusal follows the filename"


def test_letters_of_other_alphabets_cannot_forge_a_name() -> None:
    forged = "\u212ait-1.0.tar.gz"  # KELVIN SIGN, which str.lower maps to k
    assert forged.lower() == "kit-1.0.tar.gz"
    assert parse_filename(forged, NormalizedName("kit")).distribution is None
    assert parse_filename("kit-1.0.tar.gz", NormalizedName("kit")).distribution is not None


@pytest.mark.parametrize(
    ("filename", "projects"),
    [
        ("foo-1.0-py3-none-any.whl", ("foo",)),
        ("foo_bar-1.0-py3-none-any.whl", ("foo-bar",)),
        ("foo-1.0.tar.gz", ("foo",)),
        ("foo-1.0-1.tar.gz", ("foo", "foo-1-0")),
        ("foo-bar-1.0.tar.gz", ("foo-bar", "foo")),
        ("foo-bar-baz.tar.gz", ("foo", "foo-bar")),
        ("foo-1.0.txt", ()),
        ("a/b-1.0.tar.gz", ()),
        ("_-1.0-py3-none-any.whl", ()),
    ],
)
def test_every_split_is_a_project_to_look_under(filename: str, projects: tuple[str, ...]) -> None:
    assert possible_projects(filename) == projects


def test_the_projects_to_look_under_are_few() -> None:
    assert len(possible_projects("-".join("abcdefghijklmnop") + "-1.0.tar.gz")) == MAX_CANDIDATE_PROJECTS


def test_a_refused_address_refuses_the_file_and_a_valid_one_changes_nothing() -> None:
    good = parse_filename("foo-1.0.tar.gz", NormalizedName("foo"))
    assert good.refuse_at(None) is good
    refused = good.refuse_at("has no usable address")
    assert (refused.distribution, refused.refusal) == (None, "has no usable address")
    other = parse_filename("bar-1.0.tar.gz", NormalizedName("foo"))
    assert other.refuse_at("has no usable address") == other
