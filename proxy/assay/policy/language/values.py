"""Types of policy values that several tables share: digests, ages, version specifiers, name patterns. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from operator import gt, lt
from typing import Annotated

from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.version import Version
from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, PlainSerializer, ValidationInfo, WithJsonSchema

from assay.advisories.model import is_advisory_id
from assay.evidence import INDEX_SOURCE
from assay.policy.language.patterns import normalize_name_pattern
from assay.publishers.base import PrintableText
from assay.simple.model import Sha256
from assay.units import Duration

_LOG = re.compile(r"[0-9a-f]{64}|[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::[0-9]{1,5})?(?:/[a-z0-9._~/-]*)?", re.ASCII)
EXPECTED_LOG = 'the id of a transparency log (64 hexadecimal digits) or its URL, such as "https://rekor.sigstore.dev"'
"""Expected value of the key `log`, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownNames:
    """Names of the configured indexes, trust roots and evidence sources.

    `load_policy` passes them to the validators.
    """

    indexes: frozenset[str]
    trust_roots: frozenset[str]
    sources: frozenset[str] = frozenset({INDEX_SOURCE})
    """Names of the evidence sources. One is the index's own."""
    keys: frozenset[str] = frozenset()
    """Names of the keys that can countersign."""


def _check_known(name: str, known: frozenset[str] | None) -> str:
    """Return the name if it is one of the `known` names, or if `known` is None.

    Raises:
        ValueError: the name is not known.
    """
    if known is not None and name not in known:
        names = ", ".join(f"'{each}'" for each in sorted(known))
        raise ValueError(f"one of {names}, as in the configuration")
    return name


def _check_index(name: str, validated: ValidationInfo) -> str:
    known = validated.context
    return _check_known(name, known.indexes if isinstance(known, KnownNames) else None)


def _check_trust_root(name: str, validated: ValidationInfo) -> str:
    known = validated.context
    return _check_known(name, known.trust_roots if isinstance(known, KnownNames) else None)


def _check_source(name: str, validated: ValidationInfo) -> str:
    known = validated.context
    return _check_known(name, known.sources if isinstance(known, KnownNames) else None)


def _check_key(name: str, validated: ValidationInfo) -> str:
    known = validated.context
    return _check_known(name, known.keys if isinstance(known, KnownNames) else None)


def compile_specifiers(specifiers: SpecifierSet) -> Callable[[Version], bool]:
    """Return a predicate that is true for the versions in `specifiers`. Pre-releases are included.

    The predicate caches its results, because all files of a release have the same version.
    """
    return _compile_specifiers(str(specifiers))


def compile_revoked_versions(specifiers: SpecifierSet) -> Callable[[Version], bool]:
    """Return a predicate that is true for the versions in `specifiers`, as a revocation compares them.

    In PEP 440, ``<2.0`` does not match pre-releases of 2.0, and ``>1.0`` does not match post-releases and local
    versions of 1.0. A revocation must cover these versions too. For a revocation, ``<`` and ``>`` therefore compare
    only the order of versions. The other operators already cover these versions.
    """
    parts = [_compile_revoked_part(each) for each in specifiers]
    return lru_cache(maxsize=1024)(lambda version: all(covers(version) for covers in parts))


def _compile_revoked_part(specifier: Specifier) -> Callable[[Version], bool]:
    if specifier.operator not in {"<", ">"}:
        return compile_specifiers(SpecifierSet(str(specifier), prereleases=True))
    limit, compare = Version(specifier.version), lt if specifier.operator == "<" else gt
    return lambda version: compare(version, limit)


@lru_cache(maxsize=64)
def _compile_specifiers(text: str) -> Callable[[Version], bool]:
    """Return the predicate for the specifiers in `text`.

    The predicate caches its results. All projects share the predicate of a text, which limits the number of these
    caches. Predicates are cached by text, because `packaging` may treat specifier sets with different texts as equal.
    """
    specifiers = SpecifierSet(text)
    covers = partial(specifiers.contains, prereleases=True)
    # "===" compares spellings, and equal versions can have different spellings, so its results are not cached.
    return covers if any(each.operator == "===" for each in specifiers) else lru_cache(maxsize=1024)(covers)


def _parse_sha256(text: object) -> str:
    if isinstance(text, str) and (match := re.fullmatch(r"(?:sha256:)?([0-9a-f]{64})", text.strip().lower())):
        return match[1]
    raise ValueError("a SHA-256: 64 hexadecimal digits")


def _parse_fingerprint(text: object) -> str:
    return _parse_sha256(text.replace(":", "").removeprefix("sha256") if isinstance(text, str) else text)


def normalize_log(text: str) -> str:
    """Return the id or URL of a transparency log for comparison: without ``https://`` and without a trailing slash."""
    return text.lower().removeprefix("https://").rstrip("/")


def _parse_log(text: object) -> str:
    """Parse a log id (64 hexadecimal digits) or the URL of a log.

    Raises:
        ValueError: the text is neither of them.
    """
    if isinstance(text, str) and text.isascii() and _LOG.fullmatch(normalize_log(text)):
        return normalize_log(text)
    raise ValueError(EXPECTED_LOG)


def _parse_specifiers(text: object) -> SpecifierSet:
    if isinstance(text, SpecifierSet):
        return text
    try:
        if isinstance(text, str) and text.strip():
            # Include pre-releases, so that an alpha version in a revoked range is revoked.
            return SpecifierSet(text, prereleases=True)
    except InvalidSpecifier:
        pass
    raise ValueError('a version specifier such as "==1.26.4" or ">=1,<2"')


def _check_advisory_id(text: str) -> str:
    if not is_advisory_id(text):
        raise ValueError("the id of an advisory, such as MAL-2026-1234")
    return text


AdvisoryId = Annotated[str, AfterValidator(_check_advisory_id)]
LogReference = Annotated[str, BeforeValidator(_parse_log), WithJsonSchema({"type": "string"})]
Digest = Annotated[Sha256, BeforeValidator(_parse_sha256), WithJsonSchema({"type": "string"})]
Fingerprint = Annotated[str, BeforeValidator(_parse_fingerprint), WithJsonSchema({"type": "string"})]
NamePattern = Annotated[str, AfterValidator(normalize_name_pattern)]
Specifiers = Annotated[
    InstanceOf[SpecifierSet],
    BeforeValidator(_parse_specifiers),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}),
]
Age = Annotated[
    Duration, PlainSerializer(timedelta.total_seconds, return_type=float), WithJsonSchema({"type": "string"})
]
NonEmpty = Field(min_length=1)
IndexName = Annotated[PrintableText, AfterValidator(_check_index)]
"""Name of an index. If the configured indexes are known (`KnownNames`), the name must be one of them."""
TrustRootName = Annotated[PrintableText, AfterValidator(_check_trust_root)]
"""Name of a trust root. If the configured trust roots are known (`KnownNames`), the name must be one of them."""
KeyReference = Annotated[PrintableText, AfterValidator(_check_key)]
"""Name of a key. If the configured keys are known (`KnownNames`), the name must be one of them."""
EvidenceSourceName = Annotated[PrintableText, AfterValidator(_check_source)]
"""Name of an evidence source. If the configured sources are known (`KnownNames`), the name must be one of them."""
NamePatterns = Annotated[tuple[NamePattern, ...], NonEmpty]
