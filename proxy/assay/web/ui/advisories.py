"""Advisories on the page of a project: malware first, with the listed versions that each record covers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from assay.policy.shown_advisories import MAX_SHOWN, ShownAdvisory
from assay.web.ui.layout import render_table
from assay.web.ui.markup import Child, Markup, element, link_if_safe


def render_advisories(advisories: Sequence[ShownAdvisory]) -> list[Markup]:
    """Return the section with the advisories; empty without any."""
    if not advisories:
        return []
    rows: list[tuple[Child, ...]] = [
        (link_if_safe(each.id, each.link), each.kind, each.named_versions, each.summary) for each in advisories
    ]
    more = f" The first {MAX_SHOWN} are shown." if len(advisories) == MAX_SHOWN else ""
    return [
        element("h2", "Advisories"),
        element("p", f"Records of the configured feeds that cover a listed version.{more}", class_="soft"),
        render_table("Advisories", ("Advisory", "Kind", "Versions", "Summary"), rows),
    ]
