"""Readers of lockfiles: real files are read, entries without digests are reported, and other files are rejected."""

from __future__ import annotations

import json
import posixpath
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.version import Version

from assay.errors import ConfigurationError
from assay.lockfiles import IncludedFile, Lockfile, read_lockfile
from assay.lockfiles.model import EMPTY
from assay.lockfiles.requirements import MAX_INCLUDED_FILES
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
        "g: has no SHA-256, so any file of this version matches",
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
        ("requirements.txt", "foo==1; " + "(" * 50_000),
        ("requirements.txt", "foo==" + "1" * 5000),
        ("poetry.lock", f"[[package]]\nname = 'foo'\nversion = '{'1' * 5000}'\nfiles = []"),
    ],
)
def test_what_is_no_lockfile_is_refused_with_its_name(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        read(name, text)


def test_a_line_with_many_blanks_is_read_at_once() -> None:
    begun = time.monotonic()
    with pytest.raises(ConfigurationError, match="expected a requirement"):
        read("requirements.txt", f"foo==1{' ' * 60_000}x\n")
    assert time.monotonic() - begun < 5
    assert read("requirements.txt", f"foo==1 --hash=sha256:{A}{' ' * 60_000}# a comment\n").unpinned == ()


def test_the_number_of_words_of_a_line_is_limited() -> None:
    hashes = [f"--hash=sha256:{number:064x}" for number in range(2001)]
    assert len(read("requirements.txt", f"foo==1 {' '.join(hashes[1:])}").files) == 2000
    with pytest.raises(ConfigurationError, match=r"requirements.txt:1: invalid options: more than 2000 words"):
        read("requirements.txt", f"foo==1 {' '.join(hashes)}")


KEYS = st.sampled_from(["[[package]]\n", "name = ", "version = ", "source = ", "files = ", "wheels = ", "hash = "])
VALUES = st.sampled_from(["'f'", "'1'", "1", "''", "--hash=sha256:aa", "foo", "==", "null", "é"])
MARKS = st.sampled_from(["[", "]", "{", "}", "\n", "=", "\\\n", '"', ":", ",", "#", "@", " "])
WORDS = KEYS | VALUES | MARKS


@settings(max_examples=150)
@given(st.sampled_from((*BY_NAME, *BY_DIGEST)), st.lists(WORDS, max_size=25).map("".join) | st.text(max_size=60))
@example("requirements.txt", "f==1 \\")
@example("Pipfile.lock", json.dumps({"default": {"f": {"version": "==" + "1" * 5000, "hashes": []}}}))
def test_any_text_ends_in_a_lockfile_or_in_an_error_of_ours(name: str, text: str) -> None:
    try:
        lockfile = read(name, text)
    except ConfigurationError:
        return
    assert all(each.filename or each.sha256 for each in lockfile.files)


FOLLOWED = {"dev/base.txt": f"base==1.0 --hash=sha256:{A}\n", "dev/loose.txt": "loose==1.0\nplain\n"}


def follow(text: str, files: dict[str, str]) -> Lockfile:
    """Read `text` as requirements.txt, with the other files by their path."""

    def read_included(named: str, including: str, where: str) -> IncludedFile:
        source = posixpath.normpath(posixpath.join(posixpath.dirname(including), named))
        if source not in files:
            raise ConfigurationError(f"{where}: {source} does not exist")
        return IncludedFile(source=source, text=files[source])

    return read_lockfile(text, "requirements.txt", read_included)


@pytest.mark.parametrize(
    "line",
    ["-r dev/base.txt", "-rdev/base.txt", "--requirement=dev/base.txt", "--requirem dev/base.txt", "-c 'dev/base.txt'"],
)
def test_an_included_file_is_read(line: str) -> None:
    lockfile = follow(f"{line}\nfoo==1.0 --hash=sha256:{'bb' * 32}\n", FOLLOWED)
    assert [each.project for each in lockfile.files] == ["base", "foo"]
    assert lockfile.unpinned == ()
    assert [each.source for each in lockfile.included] == ["dev/base.txt"]


def test_an_included_path_is_relative_to_the_including_file() -> None:
    files = {"dev/one.txt": "-r two.txt\n-r ../top.txt", "dev/two.txt": f"two==1 --hash=sha256:{A}", "top.txt": "three"}
    lockfile = follow("-r dev/one.txt", files)
    assert [each.project for each in lockfile.files] == ["two"]
    assert lockfile.unpinned == ("top.txt: three: not pinned to one version",)


def test_lines_without_hashes_in_an_included_file_are_reported() -> None:
    assert follow("-r dev/loose.txt", FOLLOWED).unpinned == (
        "dev/loose.txt: loose==1.0: has no SHA-256, so any file of this version matches",
        "dev/loose.txt: plain: not pinned to one version",
    )
    assert len(follow("-c dev/loose.txt", FOLLOWED).unpinned) == 2
    pinned = f"loose==1.0 --hash=sha256:{A}\nplain==2 --hash=sha256:{'bb' * 32}\n"
    assert follow(f"{pinned}-c dev/loose.txt", FOLLOWED).unpinned == (), "the digest of another line applies"
    assert len(follow(f"{pinned}-r dev/loose.txt", FOLLOWED).unpinned) == 2, "these lines install"
    files = {"c.txt": "-r dev/loose.txt", **FOLLOWED}
    assert len(follow(f"{pinned}-c c.txt", files).unpinned) == 2, "as in pip, -r in a constraints file installs"


def test_files_that_include_each_other_are_refused_and_a_file_included_twice_is_read_once() -> None:
    twice = {"a.txt": "-r c.txt", "b.txt": "-r c.txt", "c.txt": f"foo==1 --hash=sha256:{A}"}
    assert [each.source for each in follow("-r a.txt\n-r b.txt", twice).included] == ["a.txt", "c.txt", "b.txt"]
    with pytest.raises(ConfigurationError, match=r"requirements\.txt > a\.txt > c\.txt > a\.txt"):
        follow("-r a.txt", {**twice, "c.txt": "-c a.txt"})
    with pytest.raises(ConfigurationError, match=r"requirements\.txt > requirements\.txt"):
        follow("-r requirements.txt", {"requirements.txt": ""})


def test_the_number_of_included_files_is_limited() -> None:
    files = {f"{number}.txt": f"-r {number + 1}.txt" for number in range(MAX_INCLUDED_FILES)}
    last = {f"{MAX_INCLUDED_FILES}.txt": ""}
    assert len(follow("-r 1.txt", {**files, **last}).included) == MAX_INCLUDED_FILES
    with pytest.raises(ConfigurationError, match="more than 100 included files"):
        follow("-r 0.txt", {**files, **last})


def test_the_content_of_an_included_file_is_not_in_an_error() -> None:
    with pytest.raises(ConfigurationError) as caught:
        follow("-r s.txt", {"s.txt": "secret value"})
    assert str(caught.value) == "s.txt:1: expected a requirement"
    with pytest.raises(ConfigurationError, match="found 'secret value'"):
        follow("secret value", {})


@pytest.mark.parametrize(
    "line",
    [
        "-r https://example.com/base.txt",
        "-r file:///etc/base.txt",
        "-r /etc/passwd",
        "--frobnicate",
        "-e .",
        "-e git+https://git.example/f",
        ".",
        "..\\local",
        "git+git@git.example:f.git",
        "f @ git+https://git.example/f@main",
        "https://example.com/f-1.0.whl",
        "f.whl",
        f"f==1.0 --hash=sha256:{A} --hash=sha512:{A}{A}",
    ],
)
def test_a_line_that_no_digest_of_an_index_covers_is_reported(line: str) -> None:
    assert len(follow(line, {}).unpinned) == 1


@pytest.mark.parametrize(
    "line",
    ["-i https://example.com", "--extra-index-url=https://e", "--find-links ./wheels", "--pre", "--only-final x"],
)
def test_an_option_that_installs_nothing_is_not_reported(line: str) -> None:
    assert follow(f"{line}\nf==1.0 --hash=sha256:{A}", {}).unpinned == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "# nothing\n\n-i https://example.com\n"),
        ("uv.lock", "version = 1\n[[package]]\nname = 'me'\nversion = '1'\nsource = { virtual = '.' }\n"),
        ("poetry.lock", "package = []\n"),
        ("pdm.lock", ""),
        ("Pipfile.lock", '{"_meta": {}, "default": {}, "develop": {}}'),
        ("pylock.toml", 'lock-version = "1.0"\ncreated-by = "x"\npackages = []\n'),
    ],
)
def test_a_lockfile_without_entries_is_reported(name: str, text: str) -> None:
    assert read(name, text).unpinned == (EMPTY,)


UV_PACKAGE = "[[package]]\nname = 'f'\nversion = '1'\nsource = {{ {} }}\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uv.lock", UV_PACKAGE.format("git = 'https://git.example/f'")),
        ("uv.lock", UV_PACKAGE.format("url = 'https://example.com/f-1.whl'")),
        ("uv.lock", UV_PACKAGE.format("path = 'f-1.whl'")),
        ("uv.lock", UV_PACKAGE.format("directory = 'libs/f'")),
        ("uv.lock", UV_PACKAGE.format("editable = 'libs/f'")),
        ("uv.lock", UV_PACKAGE.format("editable = '../f'") + "[manifest]\nmembers = ['f']\n"),
        ("uv.lock", UV_PACKAGE.format("editable = '/lib/f'") + "[manifest]\nmembers = ['f']\n"),
        ("uv.lock", UV_PACKAGE.format("registry = 'https://pypi.org/simple'")),
        ("poetry.lock", "[[package]]\nname = 'f'\nversion = '1'\nfiles = []\n"),
        ("poetry.lock", f"[[package]]\nname = 'f'\nversion = '1'\nfiles = [{{file = 'f-1.zip', hash = 'md5:{A}'}}]\n"),
        *(
            ("poetry.lock", f"[[package]]\nname = 'f'\nversion = '1'\nfiles = []\nsource = {{type = '{kind}'}}\n")
            for kind in ("git", "url", "file", "directory")
        ),
        ("pdm.lock", "[[package]]\nname = 'f'\nversion = '1'\nfiles = []\n"),
        ("pdm.lock", "[[package]]\nname = 'f'\nversion = '1'\neditable = true\npath = './f'\n"),
        ("pdm.lock", "[[package]]\nname = 'f'\nversion = '1'\nurl = 'https://example.com/f-1.zip'\n"),
        ("Pipfile.lock", '{"default": {"f": {"path": ".", "editable": true}}}'),
        ("Pipfile.lock", '{"default": {"f": {"file": "https://example.com/f-1.zip"}}}'),
        ("Pipfile.lock", f'{{"default": {{"f": {{"version": "==1", "hashes": ["sha256:{A}", "md5:{A}"]}}}}}}'),
        *(
            ("pylock.toml", f'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "f"\n{table}\n')
            for table in (
                'directory = { path = "libs/f", editable = true }',
                f'archive = {{ url = "https://example.com/f.zip", hashes = {{ sha256 = "{A}" }} }}',
                f'sdist = {{ url = "https://f/f-1.zip", name = "f-1.zip", hashes = {{ sha512 = "{A}{A}" }} }}',
            )
        ),
    ],
)
def test_an_entry_that_no_digest_of_an_index_covers_is_reported(name: str, text: str) -> None:
    assert len(read(name, text).unpinned) == 1


@pytest.mark.parametrize(
    "text",
    [
        UV_PACKAGE.format("editable = '.'"),
        UV_PACKAGE.format("virtual = 'libs/f'"),
        UV_PACKAGE.format("editable = 'libs/f'") + "[manifest]\nmembers = ['f', 'me']\n",
    ],
)
def test_the_locked_project_and_the_members_of_its_workspace_are_not_reported(text: str) -> None:
    foo = f"""
        [[package]]
        name = "foo"
        version = "1"
        source = {{ registry = "https://pypi.org/simple" }}
        sdist = {{ url = "https://f/foo-1.tar.gz", hash = "sha256:{A}" }}
        """
    assert read("uv.lock", text + foo).unpinned == ()
