"""The tables ``[[evidence]]``: what they accept."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.assembly.inputs import get_known_names
from assay.provenance.sources.settings import FilesSourceSettings, GitHubSourceSettings
from tests.unit.config_text import load, refusal

TABLE = '[[evidence]]\nname = "github"\nkind = "github"\n'
ENTERPRISE = f'{TABLE}url = "https://ghe.example/api/v3"\n'
FILES = '[[evidence]]\nname = "reviews"\nkind = "files"\npath = "reviews"\n'
ISSUER = 'issuer = "https://ghe.example/_services/token"\n'


def test_a_source_needs_only_name_and_kind(tmp_path: Path) -> None:
    configuration = load(tmp_path, TABLE)
    (source,) = configuration.evidence
    assert isinstance(source, GitHubSourceSettings)
    assert source.url == "https://api.github.com/"
    assert source.issuer == "https://token.actions.githubusercontent.com"
    assert get_known_names(configuration).sources == {"index", "github"}
    connection = source.connection
    assert (connection.name, connection.url, connection.credentials) == ("evidence:github", source.url, None)


def test_a_source_has_repositories_by_project_and_a_token(tmp_path: Path) -> None:
    text = TABLE + 'token-file = "token"\nrepositories = { "Zope.Interface" = "ZopeFoundation/zope.interface" }\n'
    (source,) = load(tmp_path, text).evidence
    assert isinstance(source, GitHubSourceSettings)
    assert source.repository_by_project == {"zope-interface": "zopefoundation/zope.interface"}
    assert source.token_file == str(tmp_path / "token")
    assert source.connection.credentials is not None
    (source,) = load(tmp_path, ENTERPRISE + ISSUER + 'bundle-hosts = ["blobs.ghe.example"]\n').evidence
    assert isinstance(source, GitHubSourceSettings)
    assert (source.url, source.connection.file_hosts) == ("https://ghe.example/api/v3/", ("blobs.ghe.example",))


def test_a_directory_starts_at_that_of_the_file(tmp_path: Path) -> None:
    (source,) = load(tmp_path, FILES).evidence
    assert isinstance(source, FilesSourceSettings)
    assert source.path == tmp_path / "reviews"
    assert get_known_names(load(tmp_path, FILES + TABLE)).sources == {"index", "reviews", "github"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[[evidence]]\nname = "github"\n', "kind"),
        (TABLE.replace('kind = "github"', 'kind = "gitlab"'), "kind"),
        (TABLE.replace('"github"\nkind', '"index"\nkind'), "a name other than index"),
        (TABLE.replace('"github"\nkind', '"git hub"\nkind'), "name"),
        (FILES.replace('path = "reviews"\n', ""), "path"),
        (FILES + 'url = "https://a.example/"\n', "url"),
        (TABLE + FILES.replace('"reviews"\nkind', '"github"\nkind'), "a name that no other source has"),
        (TABLE + TABLE, "a name that no other source has"),
        (ENTERPRISE, "the OIDC issuer"),
        (TABLE + 'url = "http://api.github.com/"\n' + ISSUER, "https"),
        (TABLE + 'repositories = { a = "acme" }\n', "owner/name on GitHub"),
        (TABLE + 'repositories = { a = "acme/*" }\n', "without wildcards"),
        (TABLE + 'repositories = { a = "acme/.." }\n', "owner/name on GitHub"),
        (TABLE + 'repositories = { a = "acme/a/b" }\n', "owner/name on GitHub"),
        (TABLE + 'repositories = { "a b" = "acme/a" }\n', "the name of a project"),
        (TABLE + 'token = "secret"\n', "token-file"),
    ],
)
def test_a_source_that_cannot_work_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    problem = refusal(tmp_path, text)
    assert expected in problem
    assert "secret" not in problem
