"""Command `assay check`: settings and policies that cannot work, each with a counterpart that can, and the rules."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run
from assay.policy.language.document import load_policy
from assay.web.ui.policy import render_policy_page
from tests.paths import ROOT
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import ABSENT
from tests.world.index.faulty_server import Reply
from tests.world.index.threaded_index import run_index_in_thread

ALL = '[[rules]]\nname = "all"\nprojects = ["*"]\n'
PASSWORDS = '[server.auth]\npasswords = "passwords"\n'
OURS = '[[rules]]\nprojects = ["our-web"]\n'
TOKENS = '[server.auth]\ntokens = "passwords"\n'
REACHABLE = "server.host is 0.0.0.0, so other machines can connect"
PUBLIC = '[server]\nhost = "0.0.0.0"\n'
BEHIND_A_PROXY = f'{PUBLIC}trusted-proxies = ["10.0.0.0/8"]\n'
INTERNAL = '[[indexes]]\nname = "internal"\nurl = "http://index.example/"\ninsecure = true\n'
NOT_OWNED = (
    "error: index internal: the uploader bot may upload numpy,"
    " but this index does not own the name, so every upload is refused"
)
CREDENTIALS = '[indexes.credentials]\nusername = "u"\npassword-env = "ASSAY_TEST_PASSWORD"\n'


def check(
    directory: Path, capsys: pytest.CaptureFixture[str], policy: str, settings: str = "", *options: str
) -> tuple[int, str]:
    (directory / "policy.toml").write_text(f"version = 1\n{policy}", "utf-8")
    (directory / "passwords").write_text("", "utf-8")
    config = directory / "proxy.toml"
    config.write_text(f'policy = "policy.toml"\n{settings}\n[storage]\ndirectory = "storage"\n', "utf-8")
    status = run(["check", "--config", str(config), *options])
    return status, capsys.readouterr().out


def list_problems(shown: str) -> list[str]:
    return [line for line in shown.splitlines() if line.startswith(("error: ", "warning: "))]


def test_a_policy_that_cannot_work_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    acme = '[[rules]]\nname = "ours"\nprojects = ["acme"]\npublishers = "any"\n'
    status, shown = check(tmp_path, capsys, ALL + acme)
    assert status == 2
    assert list_problems(shown) == [
        "error: rules[1] (ours) never applies, because the earlier rules[0] (all) covers its projects"
    ]
    assert shown.splitlines()[-1] == "configuration is invalid: 1 error"
    status, shown = check(tmp_path, capsys, acme + ALL)
    assert (status, list_problems(shown)) == (0, [])
    assert shown.splitlines()[-1] == "configuration is valid"


def test_two_rules_of_one_name_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    acme = '[[rules]]\nname = "all"\nprojects = ["acme"]\n'
    status, shown = check(tmp_path, capsys, acme + ALL)
    (problem,) = list_problems(shown)
    assert (status, problem.startswith("error: rules[0] and rules[1] have the name 'all'")) == (2, True)
    assert check(tmp_path, capsys, acme.replace('"all"', '"ours"') + ALL)[0] == 0


def test_a_policy_without_a_rule_for_all_projects_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, shown = check(tmp_path, capsys, ALL.replace("*", "acme"))
    assert status == 0
    assert list_problems(shown) == [
        'warning: no rule has projects = ["*"]: each project that no rule covers is withheld'
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (PUBLIC, [f"warning: {REACHABLE}, and server.auth is not", f"warning: {REACHABLE}, and neither server.tls"]),
        (BEHIND_A_PROXY, [f"warning: {REACHABLE}, and server.auth is not set"]),
        (PUBLIC + PASSWORDS, [f"error: {REACHABLE}, and clients send passwords over http"]),
        (BEHIND_A_PROXY + PASSWORDS, []),
        ('[server]\nhost = "::"\n' + TOKENS, ["error: server.host is ::"]),
        (PASSWORDS, []),
        ('[server]\nhost = "localhost"\n' + PASSWORDS, []),
    ],
    ids=["open", "open behind a proxy", "passwords", "twin", "tokens", "loopback", "localhost"],
)
def test_a_proxy_that_other_machines_reach_needs_authentication_and_tls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: str, expected: list[str]
) -> None:
    status, shown = check(tmp_path, capsys, ALL, settings)
    found = list_problems(shown)
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected
    assert status == (2 if any(line.startswith("error") for line in found) else 0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", ["warning: evidence github: without token-file, GitHub answers 60 requests an hour"]),
        ('token-file = "passwords"\n', []),
    ],
)
def test_github_answers_few_requests_without_a_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: str, expected: list[str]
) -> None:
    table = f'[[evidence]]\nname = "github"\nkind = "github"\nrepositories = {{ numpy = "numpy/numpy" }}\n{settings}'
    (tmp_path / "token").write_text("secret")
    status, shown = check(tmp_path, capsys, ALL, table.replace('"passwords"', '"token"'))
    found = list_problems(shown)
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected
    assert status == 0
    assert "numpy=numpy/numpy" in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("index", "hosts", "expected"),
    [
        ("https://pypi.org/simple/", "", []),
        ("https://test.pypi.org/simple/", "", []),
        ("https://pypi.org/simple/", 'file-hosts = ["files.pythonhosted.org"]', []),
        ("https://pypi.org/simple/", 'file-hosts = ["files.example"]', ["files.pythonhosted.org"]),
        ("https://pypi.org/simple/", "file-hosts = []", ["files.pythonhosted.org"]),
        ("https://mirror.example/simple/", "file-hosts = []", []),
    ],
)
def test_pypi_has_the_host_of_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], index: str, hosts: str, expected: list[str]
) -> None:
    status, shown = check(tmp_path, capsys, ALL, f'[[indexes]]\nname = "main"\nurl = "{index}"\n{hosts}\n')
    assert status == (2 if expected else 0)
    assert list_problems(shown) == [
        f"error: index main: file-hosts lacks {host}, which has the files of {index}, so every file is withheld"
        for host in expected
    ]


def test_credentials_for_an_index_over_http_are_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_TEST_PASSWORD", "secret")
    for settings, is_found in (
        (INTERNAL + CREDENTIALS, True),
        (INTERNAL, False),
        (INTERNAL.replace("http:", "https:") + CREDENTIALS, False),
    ):
        status, shown = check(tmp_path, capsys, ALL, settings)
        assert (status, "credentials are sent over http" in shown) == (0, is_found)
        assert "secret" not in shown


@pytest.mark.parametrize(
    ("index", "status"),
    [
        ("https://mirror.example/", 2),
        ('https://mirror.example/"\necosystem = "PyPI', 0),
        ('https://mirror.example/"\nprovenance-from = "https://pypi.org/', 0),
        ("https://pypi.org/simple/", 0),
    ],
)
def test_advisories_that_apply_to_no_index_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], index: str, status: int
) -> None:
    feed = '[[advisories]]\nname = "osv"\nurl = "https://osv.example/all.zip"\n'
    found, shown = check(tmp_path, capsys, ALL, f'[[indexes]]\nname = "main"\nurl = "{index}"\n{feed}')
    assert (found, "error: advisories: no index has the projects of PyPI" in shown) == (status, status == 2)


def test_the_configuration_file_and_the_feeds_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASSAY_CONFIG", raising=False)
    monkeypatch.setenv("ASSAY_STORAGE__DIRECTORY", str(tmp_path / "storage"))
    assert run(["check"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("configuration: built-in settings\n")
    assert "ADVISORIES" not in shown

    _, shown = check(tmp_path, capsys, ALL, '[[advisories]]\nname = "local"\nurl = "records"\n')

    assert shown.startswith(f"configuration: {tmp_path / 'proxy.toml'}\n")
    [header, row] = [line.split() for line in shown.splitlines() if line.startswith(("ADVISORIES", "local"))]
    assert header == ["ADVISORIES", "SOURCE", "REFRESH", "EVERY", "REQUIRED"]
    assert row == ["local", str(tmp_path / "records"), "15", "minutes", "no"]
    monkeypatch.setenv("ASSAY_CONFIG", str(tmp_path / "proxy.toml"))
    assert run(["check"]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("uploaders", "problems"),
    [
        ('[{ user = "bot", projects = ["acme-app", "acme-*"] }]', []),
        ("[]", ["warning: index internal: uploaders is empty: no user may upload files"]),
        (
            '[{ user = "bot", projects = ["numpy"] }]',
            [
                NOT_OWNED,
            ],
        ),
    ],
)
def test_uploaders_of_a_hosted_index(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    uploaders: str,
    problems: list[str],
) -> None:
    monkeypatch.setenv("ASSAY_STORAGE__HOSTED", str(tmp_path / "hosted"))
    hosted = f'[[indexes]]\nname = "internal"\nkind = "hosted"\nprojects = ["acme-*"]\nuploaders = {uploaders}\n'
    settings = f'{TOKENS}{hosted}[[indexes]]\nname = "pypi"\nurl = "https://pypi.org/simple/"\n'
    status, shown = check(tmp_path, capsys, ALL, settings)
    assert list_problems(shown) == problems
    assert status == (2 if any(each.startswith("error") for each in problems) else 0)
    assert "internal  acme-*  hosted" in shown


def test_the_rules_are_shown_in_the_words_of_the_policy_page(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "config" / "policy.toml"
    assert run(["check", "--policy", str(path)]) == 0
    shown = capsys.readouterr().out
    policy = load_policy(path.read_text("utf-8"), "policy.toml")
    page = render_policy_page(policy, policy.withheld, datetime(2026, 7, 1, tzinfo=UTC)).decode()
    phrases = [html.unescape(each) for each in re.findall(r"<(?:li|h3)>([^<]+)", page)]
    assert len(phrases) > 10
    assert [each for each in phrases if each not in shown] == []
    for said in ("1. reserved internal names", "A file of cryptography, pynacl is approved if it:", "is denied: this"):
        assert said in shown


def test_one_policy_can_be_checked_instead_of_the_configured_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(f"version = 1\n{ALL}{ALL}", "utf-8")
    status, shown = check(tmp_path, capsys, ALL, "", "--policy", str(wrong))
    assert (status, str(wrong) in shown, len(list_problems(shown))) == (2, True, 2)
    wrong.write_text('version = 1\n[[rules]]\nprojects = ["*"]\nindexes = ["nowhere"]\n', "utf-8")
    assert check(tmp_path, capsys, ALL, "", "--policy", str(wrong))[0] == 2
    right = tmp_path / "right.toml"
    right.write_text(f"version = 1\n{ALL}", "utf-8")
    assert check(tmp_path, capsys, ALL + ALL, "", "--policy", str(right))[0] == 0


def test_a_policy_without_rules_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "The policy has no rules, so nothing is approved." in check(tmp_path, capsys, "")[1]


@pytest.mark.parametrize(
    ("more", "settings", "is_found"),
    [
        ({"entry": {"provenance": ABSENT}}, "", True),
        ({"entry": {"provenance": ABSENT}}, 'provenance-from = "https://pypi.org/"', False),
        ({}, "", False),
    ],
    ids=["unstated", "provenance-from", "twin"],
)
def test_online_an_index_without_provenance_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: dict[str, Any], settings: str, is_found: bool
) -> None:
    with run_index_in_thread() as index:
        index.add(wheel("pip", "1.0"), **more)
        given = f'[[indexes]]\nname = "test"\nurl = "{index.url}"\n{settings}\n[trust]\nrefresh = false\n'
        problem = "warning: index test carries no provenance; set `provenance-from`"
        status, shown = check(tmp_path, capsys, ALL, f"{given}[verification]\nworkers = 0\n", "--online")
        assert (status, list_problems(shown)) == (0, [problem] if is_found else [])
        requests = len(index.requests)
        assert list_problems(check(tmp_path, capsys, ALL, given)[1]) == []
        assert len(index.requests) == requests, "without the option, no request is sent"


@pytest.mark.parametrize(
    ("patterns", "fault", "expected"),
    [
        ('"*"]\nexcept = ["our-*"', None, "the index does not have pip"),
        ('"acme-*"', None, "neither its settings nor a rule names a project without wildcards"),
        ('"acme-*", "other"', None, "the index has no files of other"),
        ('"*"', 503, "answered 503"),
        ('"acme-*", "acme-web"', None, None),
        ('"our-*"', None, None),
    ],
    ids=["absent", "no project", "no files", "down", "project of the index", "project of a rule"],
)
def test_online_an_index_of_which_no_page_was_read_is_status_3(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    patterns: str,
    fault: int | None,
    expected: str | None,
) -> None:
    with run_index_in_thread() as index:
        index.add(wheel("acme-web", "1.0"))
        index.add(wheel("our-web", "1.0"))
        if fault is not None:
            index.inject_fault("*", Reply(fault))
        given = f'[[indexes]]\nname = "test"\nurl = "{index.url}"\nprojects = [{patterns}]\n[trust]\nrefresh = false\n'
        status, shown = check(tmp_path, capsys, OURS + ALL, f"{given}[verification]\nworkers = 0\n", "--online")
        found = [line for line in list_problems(shown) if "no page was read" in line]
        assert (status, len(found)) == ((0, 0) if expected is None else (3, 1))
        assert expected is None or expected in found[0]
