"""Reading lockfiles: what their tools really write, what pins nothing, and that nothing else gets through."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.version import Version

from assay.errors import ConfigurationError
from assay.lockfiles import Lockfile, read_lockfile
from tests.paths import LOCKFILES

BY_NAME = ("pylock.toml", "uv.lock", "poetry.lock", "pdm.lock")
BY_DIGEST = ("requirements.txt", "Pipfile.lock")
DIGESTS = {
    "idna-3.20-py3-none-any.whl": "ab7ae7122974553370f0bdb919e1a960b2cd1bc1ef0276416d896db81c14582c",
    "idna-3.20.tar.gz": "a7db850025b95ded1eae8a46181a1a6c56c92c96f0e2b005d9ff8dc0210cab44",
    "peppercorn-0.6-py3-none-any.whl": "46125cad688a9cf3b08e463bcb797891ee73ece93602a8ea6f14e40d1042d454",
    "peppercorn-0.6.tar.gz": "96d7681d7a04545cfbaf2c6fb66de67b29cfc42421aa263e4c78f2cbb85be4c6",
    "sampleproject-4.0.0-py3-none-any.whl": "c23e447ea90d796d1e645c35c4b2de125040add12a845825546f91c93f391b6b",
    "sampleproject-4.0.0.tar.gz": "0ace7980f82c5815ede4cd7bf9f6693684cec2ae47b9b7ade9add533b8627c6b",
}
A = "aa" * 32


def read(name: str, text: str) -> Lockfile:
    return read_lockfile(text, f"some/where/{name}")


@pytest.mark.parametrize("name", BY_NAME)
def test_a_real_lockfile_with_names_pins_each_file_by_name_and_digest(name: str) -> None:
    lockfile = read_lockfile((LOCKFILES / name).read_text(), str(LOCKFILES / name))
    assert lockfile.kind == name
    assert {each.filename: each.sha256 for each in lockfile.files} == DIGESTS
    assert {(each.project, str(each.version)) for each in lockfile.files} == {
        ("idna", "3.20"),
        ("peppercorn", "0.6"),
        ("sampleproject", "4.0.0"),
    }
    assert lockfile.unpinned == ()


@pytest.mark.parametrize("name", BY_DIGEST)
def test_a_real_lockfile_without_names_pins_each_file_by_digest(name: str) -> None:
    lockfile = read_lockfile((LOCKFILES / name).read_text(), str(LOCKFILES / name))
    assert {each.sha256 for each in lockfile.files} == set(DIGESTS.values())
    assert {each.filename for each in lockfile.files} == {None}
    assert {each.version for each in lockfile.files} == {Version("3.20"), Version("0.6"), Version("4.0.0")}
    assert lockfile.unpinned == ()


def test_requirements_say_what_they_leave_open() -> None:
    text = f"""
        -i https://pypi.org/simple
        -r other.txt
        foo == 1.0 ; python_version >= "3.8" \\
            --hash=sha256:{A}  # a comment
        Foo_Bar[extra]===2.0 --hash sha256:{"bb" * 32} --hash=md5:{"cc" * 16}
        bare==1.0
        range>=1 --hash=sha256:{A}
        wild==1.* --hash=sha256:{A}
        direct @ https://example.com/direct-1.0.tar.gz --hash=sha256:{A}
        ./local/thing-1.0.whl
        """
    lockfile = read("requirements-dev.txt", text)
    assert [(each.project, str(each.version), each.sha256) for each in lockfile.files] == [
        ("foo", "1.0", A),
        ("foo-bar", "2.0", "bb" * 32),
    ]
    told = "\n".join(lockfile.unpinned)
    for word in ("-r other.txt", "bare==1.0", "range>=1", "wild==1.*", "example.com", "./local/thing"):
        assert word in told


def test_an_entry_from_elsewhere_is_told_and_not_judged() -> None:
    uv = """
        [[package]]
        name = "me"
        version = "1"
        source = { editable = "." }
        [[package]]
        name = "forked"
        version = "1"
        source = { git = "https://git.example/forked?rev=1#1" }
        """
    assert read("uv.lock", uv).unpinned == ("forked: from git https://git.example/forked?rev=1#1, not from an index",)
    poetry = '[[package]]\nname = "f"\nversion = "1"\nfiles = []\n[package.source]\ntype = "git"\nurl = "u"\n'
    assert read("poetry.lock", poetry).unpinned == ("f: from git u, not from an index",)
    pdm = '[[package]]\nname = "f"\nversion = "1"\npath = "./f"\n'
    assert read("pdm.lock", pdm).unpinned == ("f: from path ./f, not from an index",)
    pipfile = json.dumps({"_meta": {}, "default": {"f": {"git": "u"}, "g": {"version": "==1"}}})
    assert read("Pipfile.lock", pipfile).unpinned == (
        "f: from git u, not from an index",
        "g: has no SHA-256, so that any file of it would do",
    )
    pylock = """
        lock-version = "1.0"
        created-by = "me"
        [[packages]]
        name = "f"
        vcs = { type = "git", url = "u", commit-id = "1" }
        [[packages]]
        name = "beside"
        wheels = [{ path = "beside-1.0-py3-none-any.whl", hashes = { sha256 = "aa" } }]
        """
    assert [each.partition(":")[0] for each in read("pylock.dev.toml", pylock).unpinned] == ["f", "beside"]


def test_older_forms_are_read() -> None:
    poetry = f"""
        [[package]]
        name = "foo"
        version = "1.0"
        [metadata.files]
        foo = [{{file = "foo-1.0.tar.gz", hash = "sha256:{A}"}}]
        """
    (only,) = read("poetry.lock", poetry).files
    assert (only.project, only.filename, only.sha256) == ("foo", "foo-1.0.tar.gz", A)
    file = f'{{url = "https://f/a%2Bb/foo-1.0%2Bl.whl", hash = "sha256:{A}"}}'
    pdm = f'[[package]]\nname = "foo"\nversion = "1.0"\nfiles = [{file}]\n'
    (only,) = read("pdm.lock", pdm).files
    assert only.filename == "foo-1.0+l.whl"


def test_a_pylock_brings_the_publishers_it_recorded() -> None:
    text = f"""
        lock-version = "1.0"
        created-by = "me"
        [[packages]]
        name = "foo"
        version = "1.0"
        wheels = [{{ url = "https://f/foo-1.0-py3-none-any.whl", hashes = {{ sha256 = "{A}" }} }}]
        [[packages.attestation-identities]]
        kind = "GitHub"
        repository = "octo/foo"
        workflow = "release.yml"
        """
    (only,) = read("pylock.toml", text).files
    assert [dict(each) for each in only.identities] == [
        {"kind": "GitHub", "repository": "octo/foo", "workflow": "release.yml"}
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("setup.py", ""),
        ("lock", ""),
        ("uv.lock", "= no toml"),
        ("uv.lock", "package = 1"),
        ("uv.lock", "[[package]]\nversion = '1'"),
        ("uv.lock", "[[package]]\nname = 'f'\nversion = 'x y'"),
        ("uv.lock", "[[package]]\nname = 'f'\nsource = {registry = 'r'}\nwheels = [1]"),
        ("uv.lock", "[[package]]\nname = 'f'\nsource = {registry = 'r'}\nwheels = [{hash = 'x'}]"),
        ("poetry.lock", "[[package]]\nname = 'f'\nfiles = 'x'"),
        ("pdm.lock", "[[package]]\nname = 'f'\nfiles = [{}]"),
        ("Pipfile.lock", "not json"),
        ("Pipfile.lock", "[]"),
        ("Pipfile.lock", '{"default": []}'),
        ("Pipfile.lock", '{"default": {"f": 1}}'),
        ("Pipfile.lock", "[" * 100_000),
        ("Pipfile.lock", '{"default": {"../evil": {"hashes": ["sha256:' + A + '"]}}}'),
        ("poetry.lock", "[[package]]\nname = '../evil'\nfiles = []"),
        ("pylock.toml", 'lock-version = "9"\ncreated-by = "x"\npackages = []'),
        ("pylock.toml", "packages = 1"),
        ("requirements.txt", "what is this"),
    ],
)
def test_what_is_no_lockfile_is_refused_with_its_name(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        read(name, text)


KEYS = st.sampled_from(["[[package]]\n", "name = ", "version = ", "source = ", "files = ", "wheels = ", "hash = "])
VALUES = st.sampled_from(["'f'", "'1'", "1", "''", "--hash=sha256:aa", "foo", "==", "null", "é"])
MARKS = st.sampled_from(["[", "]", "{", "}", "\n", "=", "\\\n", '"', ":", ",", "#", "@", " "])
WORDS = KEYS | VALUES | MARKS


@settings(max_examples=150)
@given(st.sampled_from((*BY_NAME, *BY_DIGEST)), st.lists(WORDS, max_size=25).map("".join) | st.text(max_size=60))
@example("requirements.txt", "f==1 \\")
def test_any_text_ends_in_a_lockfile_or_in_an_error_of_ours(name: str, text: str) -> None:
    try:
        lockfile = read(name, text)
    except ConfigurationError:
        return
    assert all(each.filename or each.sha256 for each in lockfile.files)
