"""The list of all requirements. Pure.

Everything that concerns all of them is derived from here: the keys of the language, the words of waivers, the checks
of a rule, and the page of the policy. The order is that of the language; reasons are reported in the order of
`ReasonCode`.
"""

from __future__ import annotations

from typing import Any, Final

from assay.policy.requirements.attestations import ATTESTATIONS
from assay.policy.requirements.base import Requirement
from assay.policy.requirements.builder import BUILDER
from assay.policy.requirements.indexes import INDEXES
from assay.policy.requirements.late_files import LATE_FILES
from assay.policy.requirements.metadata import METADATA
from assay.policy.requirements.min_age import MIN_AGE
from assay.policy.requirements.predicates import PREDICATES
from assay.policy.requirements.project_status import PROJECT_STATUS
from assay.policy.requirements.publishers import PUBLISHERS
from assay.policy.requirements.ratchet import RATCHET
from assay.policy.requirements.release import RELEASE
from assay.policy.requirements.trust import TRUST
from assay.policy.requirements.types import TYPES
from assay.policy.requirements.uploaded_before import UPLOADED_BEFORE
from assay.policy.requirements.yanked import YANKED

REQUIREMENTS: Final[tuple[Requirement[Any], ...]] = (
    INDEXES,
    TRUST,
    ATTESTATIONS,
    PUBLISHERS,
    PREDICATES,
    BUILDER,
    MIN_AGE,
    UPLOADED_BEFORE,
    RATCHET,
    LATE_FILES,
    TYPES,
    YANKED,
    PROJECT_STATUS,
    METADATA,
    RELEASE,
)
