"""The values of policy keys that several tables share: digests, ages, version specifiers, name patterns. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache, partial
from typing import Annotated

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version
from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, PlainSerializer, WithJsonSchema

from assay.policy.language.patterns import normalize_name_pattern
from assay.simple.model import Sha256
from assay.units import Duration


def compile_specifiers(specifiers: SpecifierSet) -> Callable[[Version], bool]:
    """Return a predicate of versions, pre-releases included; it remembers, since a release has many files."""
    return _compile_specifiers(str(specifiers))


@lru_cache(maxsize=64)
def _compile_specifiers(text: str) -> Callable[[Version], bool]:
    """Return the one predicate of a text: each project's checks would keep the project's versions in memory otherwise.

    By text, which is exact, whatever sets `packaging` takes for equal.
    """
    specifiers = SpecifierSet(text)
    covers = partial(specifiers.contains, prereleases=True)
    # "===" compares spellings, and equal versions may be spelt differently: what holds for one is not remembered.
    return covers if any(each.operator == "===" for each in specifiers) else lru_cache(maxsize=1024)(covers)


def _parse_sha256(text: object) -> str:
    if isinstance(text, str) and (match := re.fullmatch(r"(?:sha256:)?([0-9a-f]{64})", text.strip().lower())):
        return match[1]
    raise ValueError("a SHA-256: 64 hexadecimal digits")


def _parse_fingerprint(text: object) -> str:
    return _parse_sha256(text.replace(":", "").removeprefix("sha256") if isinstance(text, str) else text)


def _parse_specifiers(text: object) -> SpecifierSet:
    if isinstance(text, SpecifierSet):
        return text
    try:
        if isinstance(text, str) and text.strip():
            # With pre-releases: an alpha of a revoked line is revoked.
            return SpecifierSet(text, prereleases=True)
    except InvalidSpecifier:
        pass
    raise ValueError('a version specifier such as "==1.26.4" or ">=1,<2"')


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
NamePatterns = Annotated[tuple[NamePattern, ...], NonEmpty]
