"""Command relock: which proxy and view the URLs name, the file that is replaced, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.cli import run

UPSTREAM = "https://files.pythonhosted.org/a/widget-1.0.tar.gz"
LOCK = f"""version = 1\r
[[package]]\r
name = "widget"\r
version = "1.0"\r
source = {{ registry = "https://pypi.org/simple" }}\r
sdist = {{ url = "{UPSTREAM}", hash = "sha256:00" }}\r
"""
VIEWS = '[[views]]\nname = "strict"\npath = "/strict/"\n'


@pytest.fixture
def lockfile(tmp_path: Path) -> Path:
    path = tmp_path / "uv.lock"
    path.write_bytes(LOCK.encode())
    return path


def relock(lockfile: Path, config: str, *arguments: str, to: str = "proxy") -> int:
    path = lockfile.parent / "proxy.toml"
    path.write_text(config, "utf-8")
    return run(["relock", str(lockfile), "--to", to, "--config", str(path), *arguments])


@pytest.mark.parametrize(
    ("config", "arguments", "base"),
    [
        ("", (), "http://127.0.0.1:8080/"),
        ('[server]\nhost = "::1"\nport = 80\n', (), "http://[::1]/"),
        ('[server]\nhost = "0.0.0.0"\npublic-url = "https://pypi.acme.example"\n', (), "https://pypi.acme.example/"),
        ('[server]\ntls = { certificate = "c.pem" }\n', (), "https://127.0.0.1:8080/"),
        ("", ("--proxy", "https://pypi.acme.example"), "https://pypi.acme.example/"),
        ("", ("--proxy", "https://pypi.acme.example/simple"), "https://pypi.acme.example/"),
        (VIEWS, ("--view", "strict"), "http://127.0.0.1:8080/strict/"),
        (VIEWS, (), "http://127.0.0.1:8080/"),
    ],
)
def test_the_urls_lead_to_the_configured_proxy_and_back(
    lockfile: Path, config: str, arguments: tuple[str, ...], base: str
) -> None:
    assert relock(lockfile, config, *arguments) == 0
    expected = LOCK.replace("https://files", f"{base}files/files").replace("https://pypi.org/simple", f"{base}simple/")
    assert lockfile.read_bytes() == expected.encode()
    assert relock(lockfile, config, *arguments, to="upstream") == 0
    assert lockfile.read_bytes() == LOCK.encode()


def test_a_symbolic_link_stays_and_its_target_keeps_its_mode(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lockfile.chmod(0o640)
    link = lockfile.parent / "link" / "uv.lock"
    link.parent.mkdir()
    link.symlink_to(lockfile)
    assert relock(link, "") == 0
    assert capsys.readouterr().out == f"{link}: 2 of 2 URLs changed; all lead to http://127.0.0.1:8080/\n"
    assert link.is_symlink()
    assert (lockfile.stat().st_mode & 0o777, lockfile.read_bytes() == LOCK.encode()) == (0o640, False)
    assert sorted(path.name for path in lockfile.parent.iterdir()) == ["link", "uv.lock"]


def test_a_lockfile_that_needs_no_change_is_not_replaced(lockfile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = lockfile.stat().st_ino
    assert relock(lockfile, "", to="upstream") == 0
    assert lockfile.stat().st_ino == before
    assert capsys.readouterr().out == f"{lockfile}: 0 of 2 URLs changed; all lead to upstream\n"
    bare = lockfile.parent / "pdm.lock"
    bare.write_text(f'[[package]]\nname = "a"\nversion = "1"\nurl = "{UPSTREAM}"\n', "utf-8")
    assert relock(bare, "") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{bare}: has no URL of an index or a file, so it is the same for http://127.0.0.1:8080/",
        f"not from an index, unchanged: {UPSTREAM}",
    ]


@pytest.mark.parametrize(
    ("change", "config", "call"),
    [
        ((UPSTREAM, "https://evil.example/widget-1.0.tar.gz"), "", ((), "evil.example is not a host of files of the")),
        (
            ("https://pypi.org", "https://other.example"),
            "",
            ((), "neither the proxy nor an index of the configuration"),
        ),
        (("version = 1\r", "version = \r"), "", ((), "uv.lock:1: expected valid TOML")),
        (("", ""), '[server]\nhost = "0.0.0.0"\n', ((), "the URL of the proxy is unknown: set server.public-url")),
        (("", ""), "[server]\nport = 0\n", ((), "the URL of the proxy is unknown")),
        (("", ""), "", (("--proxy", "ftp://x"), "--proxy: expected an http or https URL, found 'ftp://x'")),
        (("", ""), "", (("--view", "strict"), "--view: expected one of the views default")),
    ],
)
def test_a_refusal_leaves_the_lockfile_as_it_was(
    lockfile: Path,
    capsys: pytest.CaptureFixture[str],
    change: tuple[str, str],
    config: str,
    call: tuple[tuple[str, ...], str],
) -> None:
    arguments, message = call
    text = LOCK.replace(*change) if change[0] else LOCK
    lockfile.write_bytes(text.encode())
    assert relock(lockfile, config, *arguments) == 2
    assert message in capsys.readouterr().err
    assert lockfile.read_bytes() == text.encode()
    (lockfile.parent / "proxy.toml").unlink()
    assert [path.name for path in lockfile.parent.iterdir()] == ["uv.lock"]


def test_other_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content, message in (
        ("requirements.txt", b"widget==1.0 --hash=sha256:" + b"0" * 64, "found requirements.txt, which names no URL"),
        ("uv.lock", b"\xff", "not UTF-8, at byte 0"),
        ("package.json", b"{}", "expected the name of a lockfile"),
    ):
        (tmp_path / name).write_bytes(content)
        assert relock(tmp_path / name, "") == 2
        assert message in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert relock(tmp_path / "empty" / "uv.lock", "") == 2
    assert "cannot be read" in capsys.readouterr().err
