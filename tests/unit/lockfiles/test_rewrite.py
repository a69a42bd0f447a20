"""Rewritten lockfiles: only URLs of indexes and files change, and a text that cannot be edited safely is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import ConfigurationError
from assay.indexes import Indexes, IndexSettings
from assay.lockfiles.addresses import Side, Translator
from assay.lockfiles.rewrite import RewrittenLockfile, rewrite_lockfile
from tests.paths import LOCKFILES

PROXY = "http://127.0.0.1:8080/"
INDEXES = Indexes(
    IndexSettings.model_validate(table)
    for table in (
        {"name": "acme", "url": "https://pypi.acme.example/simple/", "projects": ["acme-*"]},
        {"name": "pypi", "url": "https://pypi.org/simple/"},
    )
)
FILE = "https://files.pythonhosted.org/a/widget-1.0.tar.gz"
HASH = 'hash = "sha256:00"'
UV = f"""version = 1
[[package]]
name = "widget"
version = "1.0"
source = {{ registry = "https://pypi.org/simple" }}
sdist = {{ url = "{FILE}", {HASH} }}
"""


def rewrite(text: str, kind: str, to: Side) -> RewrittenLockfile:
    return rewrite_lockfile(text, kind, kind, Translator(indexes=INDEXES, bases=[PROXY], base=PROXY, to=to))


def to_proxy(text: str, kind: str = "uv.lock") -> str:
    return rewrite(text, kind, Side.PROXY).text


REAL_URLS = {"uv.lock": 9, "pylock.toml": 9, "poetry.lock": 3, "pdm.lock": 0, "Pipfile.lock": 1}


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("kind", REAL_URLS)
def test_a_real_lockfile_has_the_same_bytes_after_both_translations(kind: str, ends: str) -> None:
    text = (LOCKFILES / kind).read_text("utf-8").replace("\n", ends)
    there = rewrite(text, kind, Side.PROXY)
    assert (there.changed, there.translatable, there.others) == (REAL_URLS[kind], REAL_URLS[kind], ())
    assert there.text.count(PROXY) == REAL_URLS[kind]
    assert "https://pypi.org" not in there.text
    assert "https://files" not in there.text
    back = rewrite(there.text, kind, Side.UPSTREAM)
    assert (back.text, back.changed) == (text, REAL_URLS[kind])
    for side, each in ((Side.PROXY, there.text), (Side.UPSTREAM, text)):
        same = rewrite(each, kind, side)
        assert (same.text, same.changed) == (each, 0)


def test_a_proxied_uv_lock_has_the_documented_url_of_the_proxy() -> None:
    assert f'registry = "{PROXY}simple/"' in to_proxy(UV)
    assert 'registry = "https://pypi.org/simple"' in rewrite(to_proxy(UV), "uv.lock", Side.UPSTREAM).text


def test_other_urls_stay_and_are_reported() -> None:
    other = f"""
[[package]]
name = "direct"
version = "1.0"
source = {{ url = "{FILE}" }}
sdist = {{ {HASH} }}
wheels = [{{ url = "{FILE}", {HASH} }}]
[[package]]
name = "vendored"
version = "1.0"
source = {{ git = "https://github.com/a/b" }}
[[package]]
name = "flat"
version = "1.0"
source = {{ registry = "../wheels" }}
wheels = [{{ path = "flat-1.0-py3-none-any.whl" }}]
"""
    rewritten = rewrite(UV + other, "uv.lock", Side.PROXY)
    assert rewritten.text == to_proxy(UV) + other
    assert (rewritten.changed, rewritten.others) == (2, (FILE,))


@pytest.mark.parametrize(
    "addition",
    [
        f'# url = "{FILE}"\n',
        f'[other]\ndescription = """\nurl = "{FILE}"\n"""\n',
        f"[other]\ndescription = '''\nurl = \"{FILE}\"\n'''\n",
        f"[other]\ndescription = 'url = \"{FILE}\"'\n",
        f'[other]\nbase-url = "{FILE}"\n',
        f'[other]\n"url" = "{FILE}"\n',
        f"[other]\nurl = '{FILE}'\n",
    ],
)
def test_urls_elsewhere_in_the_text_stay(addition: str) -> None:
    assert to_proxy(UV + addition) == to_proxy(UV) + addition


def test_a_url_in_single_quotes_or_with_escapes_is_translated() -> None:
    plain = to_proxy(UV)
    assert to_proxy(UV.replace(f'"{FILE}"', f"'{FILE}'")) == plain.replace(
        f'"{PROXY}files/{FILE[8:]}"', f"'{PROXY}files/{FILE[8:]}'"
    )
    assert to_proxy(UV.replace("/a/", "\\u002Fa\\u002F")) == plain


def test_an_explicit_index_of_uv_is_translated_in_every_table() -> None:
    internal = "https://pypi.acme.example/simple"
    text = f"""version = 1
[manifest]
constraints = [{{ name = "acme-web", index = "{internal}" }}]
[[package]]
name = "own"
version = "1.0"
source = {{ editable = "." }}
dependencies = [{{ name = "acme-web", version = "1.0", source = {{ registry = "{internal}" }} }}]
[package.metadata]
requires-dist = [{{ name = "acme-web", index = "{internal}" }}]
"""
    assert to_proxy(text) == text.replace(internal, f"{PROXY}simple/")
    assert rewrite(to_proxy(text), "uv.lock", Side.UPSTREAM).text == text


def test_the_static_urls_of_pdm_are_translated() -> None:
    text = f'[[package]]\nname = "widget"\nversion = "1.0"\nfiles = [{{url = "{FILE}", {HASH}}}]\n'
    direct = f'[[package]]\nname = "direct"\nversion = "1.0"\nurl = "{FILE}"\nfiles = [{{url = "{FILE}", {HASH}}}]\n'
    assert to_proxy(text + direct, "pdm.lock") == text.replace("https://", f"{PROXY}files/") + direct


def test_a_source_of_another_kind_in_poetry_lock_stays() -> None:
    text = '[[package]]\nname = "b"\nversion = "1"\n[package.source]\ntype = "git"\nurl = "https://pypi.org/simple"\n'
    assert to_proxy(text, "poetry.lock") == text
    assert to_proxy(text.replace("git", "legacy"), "poetry.lock") != text


def make_pipfile(**packages: object) -> str:
    sources = [{"name": "pypi", "url": "https://pypi.org/simple"}, {"name": "in", "url": f"{PROXY}simple"}]
    return json.dumps({"_meta": {"sources": sources}, "default": packages}, indent=4)


def test_a_source_of_a_pipfile_belongs_to_the_index_of_its_packages() -> None:
    text = make_pipfile(**{"acme-web": {"index": "in"}, "numpy": {}, "direct": {"file": "https://x.example/y.zip"}})
    there = to_proxy(text, "Pipfile.lock")
    assert there == text.replace("https://pypi.org/", PROXY)
    with pytest.raises(ConfigurationError, match="belong to 2 indexes: pypi, acme"):
        rewrite(make_pipfile(numpy={"index": "in"}, **{"acme-web": {"index": "in"}}), "Pipfile.lock", Side.UPSTREAM)
    with pytest.raises(ConfigurationError, match="the project acme-web belongs to the index acme"):
        to_proxy(make_pipfile(**{"acme-web": {}}), "Pipfile.lock")
    assert '"https://pypi.acme.example/simple"' in rewrite(text, "Pipfile.lock", Side.UPSTREAM).text


def test_one_url_that_cannot_be_translated_refuses_the_lockfile_and_five_are_shown() -> None:
    bad = "".join(
        f'[[package]]\nname = "b{n}"\nversion = "1"\nsource = {{ registry = "https://r{n}.example/simple" }}\n'
        for n in range(7)
    )
    with pytest.raises(ConfigurationError) as refused:
        to_proxy(UV + bad)
    shown = str(refused.value).splitlines()
    assert shown[0] == "uv.lock: URLs that cannot be translated:"
    assert len(shown) == 7
    assert shown[1].startswith("  'https://r0.example/simple': neither the proxy nor an index")
    assert shown[-1] == "  and 2 more"


@pytest.mark.parametrize(
    "text",
    [
        UV.replace(f'"{FILE}"', f'"""{FILE}"""'),
        UV.replace('version = "1.0"\n', 'version = "1.0"\nurl = """x"""\nindex = "a"\nsource.x = ""\n').replace(
            "source = {", "more = {"
        ),
        "[a.b]\nurl = 'one'\n[c]\nurl = 'two'\n[a.d]\nurl = 'three'\n",
    ],
    ids=["multi-line", "mixed", "interleaved"],
)
def test_an_unusual_layout_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"uv\.lock: expected the layout that the tool writes"):
        to_proxy(text)


def test_a_kind_without_urls_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="found requirements"):
        to_proxy("", "requirements.txt")


TEXTS = st.sampled_from(["url", "=", " ", '"', "'", '"""', "\\", "#", "\n", "{", "}", "[[package]]", FILE, "x", ","])


@given(st.lists(TEXTS, max_size=30).map("".join), st.sampled_from(["uv.lock", "pdm.lock"]))
def test_any_text_is_refused_or_has_only_translated_urls(noise: str, kind: str) -> None:
    text = f"{UV}[noise]\n{noise}"
    try:
        rewritten = rewrite(text, kind, Side.PROXY)
    except ConfigurationError:
        return
    assert rewritten.text == text.replace(UV, to_proxy(UV, kind))
