"""Empty page for a project that does not exist on the index that owns its name. Pure.

The page lists no files and has the status 200, so uv searches no further index. After a 404, uv would search the user's
next index. A stranger may have uploaded a project of the same name there (dependency confusion).

pip and uv print a reason only if the page lists a file. Unless the policy says ``withheld = "hide"``, the page
therefore lists one file that does not exist. The version of that file contains the reason in words, because pip prints
the versions that it ignores. A request for that file gets 403.
"""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import quote, unquote, urlsplit

from packaging.version import Version

from assay.gate.judged_page import Dependencies, JudgedPage
from assay.indexes import IndexSettings
from assay.policy.language.model import Policy, Showing
from assay.policy.tombstones import make_tombstones
from assay.policy.verdict import Reason, ReasonCode, Withheld, state_reason
from assay.ports import IndexPage
from assay.render import PageListing
from assay.simple.model import Distribution, File, Kind, NormalizedName

_ABSENCE_TTL = timedelta(minutes=1)
"""Lifetime of the judged empty page. After this time the page is judged again, so a first release is visible soon after
its upload."""
_NON_LABEL_CHARACTERS = re.compile(r"[^a-z0-9]+", re.ASCII)


def make_absence_reason(index: IndexSettings, name: NormalizedName) -> Reason:
    """Return the reason for the empty page. Its message tells the operator what to do."""
    return state_reason(
        ReasonCode.INDEX,
        None,
        f"the index {index.name} owns the name {name} but has no such project, and Assay asks no other index for it:"
        f" publish the project there, or remove the name from that index's `projects`",
        expected=f"a project on the index {index.name}",
        found="none",
    )


def make_absence_verdict(index: IndexSettings, name: NormalizedName) -> Withheld:
    """Return the verdict on a file that does not exist. The page lists the file unless withheld files are hidden."""
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
    return Withheld(file=file, reasons=(make_absence_reason(index, name),), enforced=True)


def make_absent_page(policy: Policy, showing: Showing, page: IndexPage, dependencies: Dependencies) -> JudgedPage:
    """Return the judged empty page of a project that does not exist on its index.

    Args:
        policy: decides only if the reason is shown under `_withheld`, because the page has no files to judge.
        showing: listing of withheld versions, which decides if and how the page lists a file.
        page: the page that records the absence.
        dependencies: digests or versions of the inputs of verdicts. If one of them changes later, the gate judges the
            page again.
    """
    index, name = page.index, page.project.name
    withheld = make_absence_verdict(index, name)
    tombstones = make_tombstones(showing, (withheld,))
    return JudgedPage(
        page=page,
        dependencies=dependencies,
        has_failed_evidence=False,
        listing=PageListing(
            project=page.project,
            approved=(),
            tombstones=tombstones,
            absence_reason=make_absence_reason(index, name),
            show_withheld=policy.show_withheld,
        ),
        by_location={each.file.location: withheld for each in tombstones},
        valid_until=page.confirmed_at + _ABSENCE_TTL,
    )
