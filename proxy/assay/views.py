"""The views of one proxy: each a path, a policy, and who may use it.

Owns the settings of one `[[views]]` table and what must hold among them: paths that cannot be taken for one another or
for an address of the view at ``/``, so that the view of a request is known by its raw path alone; and which users a
view is open to, by the names that `[server.auth]` gives. Judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from assay.settings import Settings, make_key_error
from assay.users import User

DEFAULT_VIEW = "default"
"""The view at ``/`` where no table replaces it. Log and trail do not name it: what names no view is its."""
ROOT_PATH = "/"
RESERVED_SEGMENTS = frozenset(
    {"simple", "files", "integrity", "project", "policy", "search", "healthz", "readyz", "metrics"}
)
"""First segments of what the view at ``/`` answers itself."""
_MAX_VIEWS = 32
"""Views: each holds pages of its own, and has labels of its own in metrics."""
_MAX_PATH_CHARS = 200
# Unreserved characters alone (RFC 3986, 2.3), in lower case: there is one way to write such a path, percent-encoding
# it is another path, and no client rewrites it on its way.
_PATH = re.compile(r"/?(?:[a-z0-9._~-]+/)*[a-z0-9._~-]+/?", re.ASCII)


def _parse_path(text: str) -> str:
    if text == ROOT_PATH:
        return ROOT_PATH
    segments = text.strip("/").split("/")
    if len(text) > _MAX_PATH_CHARS or not _PATH.fullmatch(text) or {".", ".."} & set(segments):
        raise ValueError('a path such as "/strict/", whose segments have a-z, 0-9, ".", "_", "~" and "-"')
    if segments[0] in RESERVED_SEGMENTS:
        raise ValueError(f"a path that does not begin with {segments[0]}, which is an address of the view at /")
    return f"/{'/'.join(segments)}/"


class ViewSettings(Settings):
    """One ``[[views]]`` table."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$")]
    """For logs, metrics and commands."""
    path: Annotated[str, AfterValidator(_parse_path)]
    """What its addresses begin with: ``/`` or ``/strict/``."""
    policy: Path | None = None
    """None: the built-in policy."""
    users: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(min_length=1)] | None = None
    """Names that `[server.auth]` gives; None: everybody who may ask at all."""

    @property
    def prefix(self) -> str:
        """What stands before the addresses of the view at ``/`` to make them this one's: nothing, or ``/strict``."""
        return self.path.rstrip("/")

    def admits(self, user: User | None) -> bool:
        """Return whether the view is open to a user; None: to a client that has not authenticated."""
        return self.users is None or (user is not None and user.name in self.users)


def list_views(views: Sequence[ViewSettings], policy: Path | None) -> tuple[ViewSettings, ...]:
    """Every view, the one at ``/`` first: that of the tables, else `default` with the top level's policy."""
    root = [each for each in views if each.path == ROOT_PATH] or [
        ViewSettings(name=DEFAULT_VIEW, path=ROOT_PATH, policy=policy)
    ]
    return (*root, *(each for each in views if each.path != ROOT_PATH))


def validate_views(views: Sequence[ViewSettings], policy: Path | None, *, has_auth: bool) -> None:
    """What must hold among the tables of a configuration; key paths are relative to it.

    Args:
        views: in their order.
        policy: the top level's.
        has_auth: whether there is `[server.auth]`.

    Raises:
        PydanticCustomError: it does not hold.
    """
    if len(views) > _MAX_VIEWS:
        raise make_key_error("views", expected=f"at most {_MAX_VIEWS} views", found=f"{len(views)} views")
    for place, each in enumerate(views):
        if each.users is not None and not has_auth:
            raise make_key_error(
                ("views", place, "users"), expected="[server.auth] beside it, which names users", found=[]
            )
        if each.path == ROOT_PATH and policy is not None:
            expected = (
                f"nothing, since views[{place}] is the view at / and has a policy of its own (also no ASSAY_POLICY)"
            )
            raise make_key_error("policy", expected=expected, found=str(policy))
        if each.name == DEFAULT_VIEW and each.path != ROOT_PATH:
            raise make_key_error(
                ("views", place, "name"), expected="another name: this is the view at /", found=each.name
            )
    for (_, one), (place, other) in permutations(enumerate(views), 2):
        if one.name == other.name:
            raise make_key_error(("views", place, "name"), expected="a name that no other view has", found=other.name)
        if one.path == other.path or (one.path != ROOT_PATH and other.path.startswith(one.path)):
            expected = f"a path that does not begin with {one.path}, which is the view {one.name}"
            raise make_key_error(("views", place, "path"), expected=expected, found=other.path)
