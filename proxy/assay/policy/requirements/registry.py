"""List of all requirements. Pure.

Four things are derived from this list: the keys of the policy language, the words in `lifts` of waivers, the checks of
a rule, and the policy page. The keys have the order of this list in docs/policy.md. Reasons are reported in the order
of `ReasonCode`, not of this list.
"""

from __future__ import annotations

from typing import Any, Final

from assay.policy.requirements.attestations import ATTESTATIONS
from assay.policy.requirements.base import Requirement
from assay.policy.requirements.builder import BUILDER
from assay.policy.requirements.countersigned import COUNTERSIGNED
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
    COUNTERSIGNED,
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
