"""A name that an index owns and does not have: an empty page that says so. Pure.

Owns the reason and its two shapes. The page has no files, so that uv stops at this index (a 404 would send it to the
user's next one, which is how a stranger's upload of the same name gets installed). Nothing about the project tells pip
and uv to print a reason but a yanked file, so with ``withheld = "explain"`` the page lists one that does not exist: its
version is the reason, since pip prints the versions that it ignores, and asking for it answers 403.
"""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import quote, unquote, urlsplit

from packaging.version import Version

from assay.gate.judged_page import Dependencies, JudgedPage
from assay.indexes import IndexSettings
from assay.policy.language.model import Policy, Showing
from assay.policy.reasons import Tombstone, summarize_withheld
from assay.policy.verdict import Reason, ReasonCode, Withheld, state_reason
from assay.ports import IndexPage
from assay.render import PageListing
from assay.simple.model import Distribution, File, Kind, NormalizedName

_ABSENCE_TTL = timedelta(minutes=1)
"""As long as an absence is remembered: a project's first release is installed soon after."""
_NON_LABEL_CHARACTERS = re.compile(r"[^a-z0-9]+", re.ASCII)


def make_absence_reason(index: IndexSettings, name: NormalizedName) -> Reason:
    """Why there is nothing, and what to do."""
    return state_reason(
        ReasonCode.INDEX,
        None,
        f"the name {name} belongs to the index {index.name}, which has no such project, and no other index is"
        f" asked: publish it there, or leave the name out of that index's `projects`",
        expected=f"a project on the index {index.name}",
        found="none",
    )


def make_absence_tombstone(index: IndexSettings, name: NormalizedName) -> tuple[Tombstone, Withheld]:
    """A file that does not exist, as it is listed and as it is answered."""
    # PEP 440, "Local version identifiers": ASCII letters, digits and periods.
    label = _NON_LABEL_CHARACTERS.sub(".", f"reserved.for.{index.name}.which.has.no.such.project")
    filename = f"{name.replace('-', '_')}-0+{label}-py3-none-any.whl"
    parts = urlsplit(index.url)
    route = f"{parts.netloc}{parts.path}{name}/{quote(filename)}"
    file = File(
        filename=filename,
        url=f"{parts.scheme}://{route}",
        location=f"{parts.netloc}{unquote(parts.path)}{name}/{filename}",
        route=route,
        distribution=Distribution(project=name, version=Version(f"0+{label}"), kind=Kind.WHEEL),
    )
    withheld = Withheld(file=file, reasons=(make_absence_reason(index, name),), enforced=True)
    return Tombstone(file=file, yanked=summarize_withheld(withheld)), withheld


def make_absent_page(policy: Policy, page: IndexPage, dependencies: Dependencies) -> JudgedPage:
    """The empty page with its reason: nothing on it can be judged, and only the policy's way of showing matters."""
    index, name = page.index, page.project.name
    stone, withheld = make_absence_tombstone(index, name)
    shown = policy.withheld is Showing.EXPLAIN
    return JudgedPage(
        page=page,
        dependencies=dependencies,
        has_failed_evidence=False,
        listing=PageListing(
            project=page.project,
            approved=(),
            tombstones=(stone,) if shown else (),
            absence_reason=make_absence_reason(index, name),
            show_withheld=policy.show_withheld,
        ),
        by_location={withheld.file.location: withheld} if shown else {},
        valid_until=page.confirmed_at + _ABSENCE_TTL,
    )
