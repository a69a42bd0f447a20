"""Types of the texts by which a policy names claims. Pure.

A text that no certificate can contain matches nothing. A revocation with such a text would revoke nothing, without an
error. Each type here therefore raises `ValueError` for such a text, with the expected form and an example. If a text
has wildcards (``*`` or ``?``), it is refused only if no match is possible.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from assay.publishers.globs import lower_ascii

_MAX_CHARACTERS: Final = 1000
_ASCII_SCHEMA: Final = WithJsonSchema({"type": "string", "minLength": 1, "maxLength": _MAX_CHARACTERS})
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9._*?-]+(?:/[A-Za-z0-9._*?-]+)*", re.ASCII)
_ISSUER: Final = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~%+/-]*)?", re.ASCII)
_WORKFLOW_PATH: Final = re.compile(r"(?:[A-Za-z0-9._-]+/[A-Za-z0-9._-]+/)?\.github/workflows/[^/]+", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z0-9_*?-]+", re.ASCII)
_EVENT: Final = re.compile(r"[a-z0-9_*?]+", re.ASCII)
_ORIGIN: Final = re.compile(r"[A-Za-z0-9.*?-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~*?-]+)*", re.ASCII)
_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+*?-]+(?:@[A-Za-z0-9.*?-]+)?", re.ASCII)
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_ACTIVESTATE_NAME: Final = re.compile(r"[A-Za-z0-9._*? -]+", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,20}", re.ASCII)


def _check_printable(text: str) -> str:
    """Return a text unchanged, if it is printable and has no blanks at its start or end.

    Letters of any script are permitted.

    Raises:
        ValueError: the text is empty, too long, not printable, or has outer blanks.
    """
    if not text:
        raise ValueError("at least 1 character")
    if len(text) > _MAX_CHARACTERS or not text.isprintable() or text != text.strip():
        raise ValueError(
            f'at most {_MAX_CHARACTERS} printable characters, without leading and trailing blanks, such as "release"'
        )
    return text


def _find_literal_start(pattern: str) -> str:
    """Return the part of a glob before its first wildcard."""
    return re.split(r"[*?]", pattern, maxsplit=1)[0]


def _find_literal_end(pattern: str) -> str:
    """Return the part of a glob after its last wildcard."""
    return re.split(r"[*?]", pattern)[-1]


def _can_start_with(pattern: str, start: str) -> bool:
    literal = _find_literal_start(pattern)
    return literal.startswith(start) or (literal != pattern and start.startswith(literal))


def _can_end_with(pattern: str, end: str) -> bool:
    literal = _find_literal_end(pattern)
    return literal.endswith(end) or (literal != pattern and end.endswith(literal))


def _is_yaml(pattern: str) -> bool:
    return any(_can_end_with(lower_ascii(pattern), ending) for ending in (".yml", ".yaml"))


def _require(is_valid: Callable[[str], object], expected: str) -> AfterValidator:
    """Return a validator that raises `ValueError` if `is_valid` is false for a text; `expected` is the message."""

    def check(text: str) -> str:
        if not is_valid(text):
            raise ValueError(expected)
        return text

    return AfterValidator(check)


def _is_repository(text: str, *, has_groups: bool) -> bool:
    if not _REPOSITORY.fullmatch(text) or lower_ascii(text).endswith(".git"):
        return False
    slashes = text.count("/")
    if slashes == 0:
        return "**" in text
    return has_groups or slashes == 1


def _is_github_workflow(text: str) -> bool:
    if "@" in text or not _is_yaml(text):
        return False
    return "/" not in text or "*" in text or "?" in text or _WORKFLOW_PATH.fullmatch(text) is not None


def _is_gitlab_workflow(text: str) -> bool:
    return "@" not in text and not text.startswith("/") and "//" not in text and _is_yaml(text)


def _is_service_account(text: str) -> bool:
    return _EMAIL.fullmatch(text) is not None and _can_end_with(lower_ascii(text), ".gserviceaccount.com")


def _is_builder(text: str) -> bool:
    return _can_start_with(text, "https://")


def _is_origin(text: str) -> bool:
    return _ORIGIN.fullmatch(text) is not None and not lower_ascii(text).endswith(".git")


ClaimText = Annotated[str, AfterValidator(_check_printable), _ASCII_SCHEMA]
"""Printable text of any script, without blanks at its start or end."""
Issuer = Annotated[
    ClaimText, _require(_ISSUER.fullmatch, 'the https URL of an OIDC issuer, such as "https://gitlab.acme.example"')
]
GitHubRepository = Annotated[
    ClaimText,
    _require(lambda text: _is_repository(text, has_groups=False), 'owner/name on GitHub, such as "octo-org/widget"'),
]
GitLabRepository = Annotated[
    ClaimText,
    _require(lambda text: _is_repository(text, has_groups=True), 'the path of a project, such as "group/sub/widget"'),
]
GitHubWorkflow = Annotated[
    ClaimText,
    _require(
        _is_github_workflow,
        'the name of a file in .github/workflows, such as "release.yml", without @ and ref, '
        'or its path, such as ".github/workflows/release.yml"',
    ),
]
GitLabWorkflow = Annotated[
    ClaimText, _require(_is_gitlab_workflow, 'the path of a file, such as ".gitlab-ci.yml", without @ and ref')
]
Ref = Annotated[
    ClaimText,
    _require(
        lambda text: _can_start_with(text, "refs/"),
        'a full Git ref, such as "refs/heads/main" or "refs/tags/*"',
    ),
]
Event = Annotated[ClaimText, _require(_EVENT.fullmatch, 'the name of an event, such as "release" or "push"')]
Runner = Annotated[ClaimText, _require(_WORD.fullmatch, 'a runner environment, such as "github-hosted"')]
Visibility = Annotated[
    ClaimText,
    _require(
        lambda text: re.search(r"[*?]", text) or lower_ascii(text) in {"public", "private", "internal"},
        'a visibility: "public", "private" or "internal"',
    ),
]
Builder = Annotated[
    ClaimText,
    _require(
        _is_builder,
        'a Build Signer URI, such as "https://github.com/octo-org/ci/.github/workflows/build.yml"',
    ),
]
ServiceAccount = Annotated[
    ClaimText,
    _require(_is_service_account, 'the address of a service account, such as "build@project.iam.gserviceaccount.com"'),
]
Origin = Annotated[
    ClaimText, _require(_is_origin, 'a repository without https:// and .git, such as "github.com/octo-org/widget"')
]
ActiveStateName = Annotated[
    ClaimText,
    _require(_ACTIVESTATE_NAME.fullmatch, 'the name of an organization or project, without / and :, such as "widget"'),
]
NumericId = Annotated[ClaimText, _require(_NUMBER.fullmatch, 'a number in quotes, such as "1234567"')]
Uuid = Annotated[ClaimText, _require(_UUID.fullmatch, 'a UUID, such as "0b5c0a6e-1111-4222-8333-444455556666"')]


def _check_environment(value: object) -> object:
    if isinstance(value, str) and value:
        return _check_printable(value)
    return value


Environment = Annotated[str, BeforeValidator(_check_environment)]
"""Name of an environment: empty, or printable text of any script without blanks at its start or end."""
