"""Settings of the views. A view has a URL path, a policy, and optionally a list of users.

This module defines the `[[views]]` table, and the rules that concern several of these tables. The path of a view must
not begin with the path of another view, or with a route of the view at ``/``. The raw path of a request therefore
determines its view. The users are names from `[server.auth]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from assay.policy.language.model import Showing
from assay.settings import Settings, make_key_error
from assay.users import User

DEFAULT_VIEW = "default"
"""Name of the view at ``/`` if no `[[views]]` table has this path. Log lines and audit entries omit this name."""
ROOT_PATH = "/"
RESERVED_SEGMENTS = frozenset(
    {
        "simple",
        "files",
        "integrity",
        "attestations",
        "project",
        "policy",
        "overview",
        "refusals",
        "search",
        "osv",
        "upload",
        "hosted",
        "healthz",
        "readyz",
        "metrics",
        "favicon.svg",
        "favicon.ico",
    }
)
"""First path segments of the proxy's own routes. No path of a view may begin with them."""
_MAX_VIEWS = 32
"""Maximum number of views. Each view has its own judged pages in memory and its own labels in metrics."""
_MAX_PATH_CHARS = 200
# Only unreserved characters (RFC 3986, 2.3), in lower case. Such a path has one spelling: a percent-encoded form counts
# as another path, and no client rewrites the path in transit.
_PATH = re.compile(r"/?(?:[a-z0-9._~-]+/)*[a-z0-9._~-]+/?", re.ASCII)


def _parse_path(text: str) -> str:
    if text == ROOT_PATH:
        return ROOT_PATH
    segments = text.strip("/").split("/")
    if len(text) > _MAX_PATH_CHARS or not _PATH.fullmatch(text) or {".", ".."} & set(segments):
        raise ValueError('a path such as "/strict/" whose segments have only a-z, 0-9, ".", "_", "~" and "-"')
    if segments[0] in RESERVED_SEGMENTS:
        raise ValueError(f"a path that does not begin with /{segments[0]}, which the view at / uses")
    return f"/{'/'.join(segments)}/"


class ViewSettings(Settings):
    """Settings of one ``[[views]]`` table."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$")]
    """Name of the view in logs, metrics and commands."""
    path: Annotated[str, AfterValidator(_parse_path)]
    """Path with which the view's URLs begin, such as ``/`` or ``/strict/``."""
    policy: Path | None = None
    """Policy file. None: the built-in policy."""
    withheld: Showing | None = None
    """Listing of withheld versions on the pages of this view. None: as the key ``withheld`` of its policy says."""
    users: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(min_length=1)] | None = None
    """Names of the users who may use the view, as in `[server.auth]`. None: all clients of the proxy may use it."""

    @property
    def prefix(self) -> str:
        """Path of the view without the slash at its end: ``/strict``, or an empty text for the view at ``/``."""
        return self.path.rstrip("/")

    def admits(self, user: User | None) -> bool:
        """Return whether `user` may use the view; None stands for a client without authentication."""
        return self.users is None or (user is not None and user.name in self.users)


def list_views(views: Sequence[ViewSettings], policy: Path | None) -> tuple[ViewSettings, ...]:
    """Return all views, the one at ``/`` first.

    Args:
        views: the views of the tables.
        policy: the top-level policy file. If no table has the path ``/``, the result has a view named `default` there
            with this policy.
    """
    root = [each for each in views if each.path == ROOT_PATH] or [
        ViewSettings(name=DEFAULT_VIEW, path=ROOT_PATH, policy=policy)
    ]
    return (*root, *(each for each in views if each.path != ROOT_PATH))


def validate_views(views: Sequence[ViewSettings], policy: Path | None, *, has_auth: bool) -> None:
    """Check the rules that concern all views of a configuration together.

    Args:
        views: the views of the tables, in their order.
        policy: the top-level policy file.
        has_auth: True if the configuration has `[server.auth]`.

    Raises:
        PydanticCustomError: the views violate a rule; the error names the key.
    """
    if len(views) > _MAX_VIEWS:
        raise make_key_error("views", expected=f"at most {_MAX_VIEWS} views", found=f"{len(views)} views")
    for place, each in enumerate(views):
        if each.users is not None and not has_auth:
            raise make_key_error(
                ("views", place, "users"), expected="a [server.auth] table, which defines the users", found=[]
            )
        if each.path == ROOT_PATH and policy is not None:
            expected = f"no value here or in ASSAY_POLICY, because views[{place}] has the path / and its own policy"
            raise make_key_error("policy", expected=expected, found=str(policy))
        if each.name == DEFAULT_VIEW and each.path != ROOT_PATH:
            raise make_key_error(
                ("views", place, "name"),
                expected="another name, because this one is reserved for the view at /",
                found=each.name,
            )
    for (_, one), (place, other) in permutations(enumerate(views), 2):
        if one.name == other.name:
            raise make_key_error(("views", place, "name"), expected="a name that no other view has", found=other.name)
        if one.path == other.path or (one.path != ROOT_PATH and other.path.startswith(one.path)):
            expected = f"a path that does not begin with {one.path}, the path of the view {one.name}"
            raise make_key_error(("views", place, "path"), expected=expected, found=other.path)
