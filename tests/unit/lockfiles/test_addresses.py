"""Translation of URLs: files and indexes in both directions, and URLs that the configuration does not explain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from assay.indexes import Indexes, IndexSettings
from assay.lockfiles.addresses import Side, Translator, UntranslatableError

PROXY = "https://proxy.acme.example/"
FILES = "https://files.pythonhosted.org"
INDEXES = Indexes(
    IndexSettings.model_validate(table)
    for table in (
        {"name": "acme", "url": "https://pypi.acme.example/simple/", "projects": ["acme-*"]},
        {"name": "local", "url": "http://127.0.0.1:4000/simple/", "projects": ["local"], "file-hosts": ["cdn.example"]},
        {"name": "pypi", "url": "https://pypi.org/simple/"},
    )
)
NUMPY, ACME, LOCAL = (canonicalize_name(name) for name in ("numpy", "acme-web", "local"))


def make_translator(to: Side, *, base: str = PROXY, indexes: Indexes = INDEXES) -> Translator:
    return Translator(indexes=indexes, bases=[PROXY, f"{PROXY}strict/"], base=base, to=to)


TO_PROXY, TO_UPSTREAM = make_translator(Side.PROXY), make_translator(Side.UPSTREAM)


@pytest.mark.parametrize(
    ("project", "upstream", "proxied"),
    [
        (NUMPY, f"{FILES}/a/numpy-1.0.tar.gz", "files.pythonhosted.org/a/numpy-1.0.tar.gz"),
        (NUMPY, f"{FILES}/a/numpy-1.0%2Bcpu.whl", "files.pythonhosted.org/a/numpy-1.0%2Bcpu.whl"),
        (NUMPY, f"{FILES}/a//numpy-1.0.whl", "files.pythonhosted.org/a/%2Fnumpy-1.0.whl"),
        (ACME, "https://pypi.acme.example/f/acme_web-1.0.zip", "pypi.acme.example/f/acme_web-1.0.zip"),
        (LOCAL, "http://127.0.0.1:4000/f/local-1.0.zip", "127.0.0.1:4000/f/local-1.0.zip"),
    ],
)
def test_a_file_has_one_url_on_each_side(project: str, upstream: str, proxied: str) -> None:
    name = canonicalize_name(project)
    there = f"{PROXY}files/{proxied}"
    strict = make_translator(Side.PROXY, base=f"{PROXY}strict/")
    for url in (upstream, there, f"{PROXY}strict/files/{proxied}"):
        assert TO_PROXY.translate_file(url, name) == there
        assert TO_UPSTREAM.translate_file(url, name) == upstream
        assert strict.translate_file(url, name) == f"{PROXY}strict/files/{proxied}"


@pytest.mark.parametrize(
    ("project", "url", "reason"),
    [
        (NUMPY, "https://evil.example/numpy-1.0.tar.gz", "evil.example is not a host of files of the index pypi"),
        (NUMPY, f"{PROXY}files/evil.example/numpy-1.0.tar.gz", "evil.example is not a host of files of the index pypi"),
        (ACME, f"{FILES}/acme_web-1.0.zip", "files.pythonhosted.org is not a host of files of the index acme"),
        (NUMPY, "http://files.pythonhosted.org/numpy-1.0.tar.gz", "cannot contain all its parts"),
        (NUMPY, f"{FILES}/numpy-1.0.tar.gz?token=1", "cannot contain all its parts"),
        (NUMPY, f"{FILES}/numpy-1.0.tar.gz#sha256=00", "cannot contain all its parts"),
        (NUMPY, "https://me:secret@files.pythonhosted.org/numpy-1.0.tar.gz", "cannot contain all its parts"),
        (NUMPY, f"{FILES}/a/../numpy-1.0.tar.gz", '".." in its path'),
        (NUMPY, f"{FILES}/a\\numpy-1.0.tar.gz", "backslash"),
        (NUMPY, "file:///srv/numpy-1.0.tar.gz", "without a host"),
        (NUMPY, "numpy-1.0.tar.gz", "without a host"),
        (NUMPY, f"{PROXY}simple/numpy/", "proxy.acme.example is not a host"),
        (LOCAL, "https://cdn.example/local-1.0.zip", "the scheme of this file is not known"),
        (LOCAL, f"{PROXY}files/cdn.example/local-1.0.zip", "the scheme of this file is not known"),
    ],
)
@pytest.mark.parametrize("translator", [TO_PROXY, TO_UPSTREAM], ids=["proxy", "upstream"])
def test_any_other_url_of_a_file_is_refused(translator: Translator, project: str, url: str, reason: str) -> None:
    with pytest.raises(UntranslatableError) as refused:
        translator.translate_file(url, canonicalize_name(project))
    assert reason in str(refused.value)


@given(st.text(max_size=40))
def test_every_url_of_a_file_is_refused_or_has_the_same_url_after_both_translations(path: str) -> None:
    url = f"{FILES}/{path}"
    try:
        there = TO_PROXY.translate_file(url, NUMPY)
    except UntranslatableError:
        return
    assert there.startswith(f"{PROXY}files/files.pythonhosted.org/")
    assert TO_UPSTREAM.translate_file(there, NUMPY) == url


def test_an_index_keeps_its_slash_or_its_absence() -> None:
    for slash in ("", "/"):
        assert TO_PROXY.translate_index(f"https://pypi.org/simple{slash}", [NUMPY]) == f"{PROXY}simple{slash}"
        assert TO_UPSTREAM.translate_index(f"{PROXY}simple{slash}", [NUMPY]) == f"https://pypi.org/simple{slash}"
        assert TO_UPSTREAM.translate_index(f"https://pypi.org/simple{slash}", []) == f"https://pypi.org/simple{slash}"
    assert TO_UPSTREAM.translate_index(f"{PROXY}strict/simple/", [ACME]) == "https://pypi.acme.example/simple/"
    assert TO_UPSTREAM.translate_index(f"{PROXY}simple/", []) == "https://pypi.org/simple/"
    assert TO_PROXY.translate_index("HTTPS://PyPI.org:443/simple", [NUMPY]) == f"{PROXY}simple"


@pytest.mark.parametrize(
    ("url", "projects", "reason"),
    [
        ("https://download.pytorch.org/whl/cpu", [NUMPY], "neither the proxy nor an index"),
        ("https://pypi.org/simple", [ACME], "it is the index pypi, but the project acme-web belongs to the index acme"),
        ("https://pypi.org/simple", [NUMPY, ACME], "belongs to the index acme"),
        (f"{PROXY}simple/", [NUMPY, ACME], "its projects belong to 2 indexes: pypi, acme"),
        ("https://me:secret@pypi.org/simple", [NUMPY], "without user name"),
        ("../wheels", [NUMPY], "an http or https URL"),
    ],
)
def test_any_other_url_of_an_index_is_refused(url: str, projects: list[str], reason: str) -> None:
    with pytest.raises(UntranslatableError) as refused:
        TO_UPSTREAM.translate_index(url, [canonicalize_name(name) for name in projects])
    assert reason in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_project_without_an_index_is_refused() -> None:
    translator = make_translator(Side.UPSTREAM, indexes=Indexes(INDEXES[:2]))
    with pytest.raises(UntranslatableError, match="no index of the configuration covers the project numpy"):
        translator.translate_file(f"{FILES}/numpy-1.0.tar.gz", NUMPY)
    with pytest.raises(UntranslatableError, match="belong to 0 indexes: none"):
        translator.translate_index(f"{PROXY}simple/", [])
