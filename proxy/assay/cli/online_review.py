"""Review of the indexes by one request for a page of each: `assay check --online`.

The pages are judged by a policy that denies everything, so no provenance document is requested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from packaging.utils import canonicalize_name

from assay.cli.dry_run import PageResults, judge_pages, open_dry_run
from assay.config import Configuration
from assay.errors import AssayError, NotFoundError
from assay.evidence import Unstated
from assay.indexes import IndexSettings
from assay.policy.language.model import Policy, Rule
from assay.policy.language.review import Problem
from assay.simple.model import NormalizedName

_DENIES_ALL: Final = Policy(version=1, rules=(Rule(projects=("*",), deny="only the page is needed"),))
_COMMON_PROJECT: Final = NormalizedName("pip")
"""Project that almost every index has that covers all names."""
_MAX_PROJECTS: Final = 3
"""Maximum number of pages that are requested from one index."""


async def review_online(configuration: Configuration, policies: Iterable[Policy]) -> tuple[list[Problem], bool]:
    """Return the problems of the indexes, and False if an index is unavailable or no project of it is known.

    Raises:
        AssayError: a component of the proxy cannot start.
    """
    named = [name for policy in policies for rule in policy.rules for name in rule.projects]
    wanted = {
        index.name: [*islice(_iter_projects(configuration, index, named), _MAX_PROJECTS)]
        for index in configuration.indexes
        if not index.is_hosted
    }
    async with open_dry_run(configuration, _DENIES_ALL) as assembly:
        pages = await judge_pages(assembly, [name for names in wanted.values() for name in names])
    problems: list[Problem] = []
    is_complete = True
    for index in configuration.indexes:
        if index.is_hosted:
            continue
        found, is_answered = _review_index(index, wanted[index.name], pages)
        problems += found
        is_complete &= is_answered
    return problems, is_complete


def _iter_projects(
    configuration: Configuration, index: IndexSettings, named: Iterable[str]
) -> Iterator[NormalizedName]:
    """Yield projects of an index: those that its settings or a rule name without wildcards, and a common project."""
    common = [_COMMON_PROJECT] if configuration.indexes.is_catch_all(index) else []
    literal = (canonicalize_name(name) for name in (*index.projects, *named) if not set(name) & set("*?"))
    for name in dict.fromkeys((*literal, *common)):
        if configuration.indexes.find_owner(name) is index:
            yield name


def _review_index(
    index: IndexSettings, names: Sequence[NormalizedName], pages: PageResults
) -> tuple[list[Problem], bool]:
    """Return the problems of one index, and False if no page of the index could be read."""
    failure = "neither its settings nor a rule names a project without wildcards"
    for name in names:
        page = pages[name]
        if isinstance(page, AssayError):
            failure = f"the index does not have {name}" if isinstance(page, NotFoundError) else str(page)
        elif not page.page.project.files:
            failure = f"the index has no files of {name}"
        elif page.page.project.states_provenance or index.provenance_from is not None:
            return [], True
        else:
            return [Problem(text=Unstated(index=index.name).problem)], True
    return [Problem(text=f"index {index.name}: no page was read: {failure}")], False
