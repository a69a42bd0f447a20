"""Registry: each requirement is complete, and each key, word and code belongs to its requirements only."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from assay.policy import compiled, requirements
from assay.policy.candidate import FileFacts, PageContext
from assay.policy.compiled import activate_checks
from assay.policy.language.model import Lift, Policy, Requirements, get_rule_terms, merge_requirements
from assay.policy.requirements.attestations import ATTESTATIONS
from assay.policy.requirements.base import FileCheck, PageCheck, Requirement
from assay.policy.requirements.registry import REQUIREMENTS
from assay.policy.requirements.release import RELEASE
from assay.policy.requirements.types import TYPES
from assay.policy.verdict import Reason, ReasonCode
from assay.policy.waivers import CODES_BY_LIFT, LIFT_BY_CODE
from tests.paths import ROOT
from tests.property.policy_worlds import GENERATED, load_policy
from tests.unit.policy.factories import a_policy

NOT_REQUIREMENTS = {"base", "registry"}
CODES = list(ReasonCode)
STEP_SIX = CODES[CODES.index(ReasonCode.PROVENANCE_UNUSABLE) + 1 :]
"""Codes of requirements: all codes after those of forged, missing and unusable provenance."""


def test_every_module_of_the_package_is_one_requirement_of_the_registry() -> None:
    modules = {found.name for found in pkgutil.iter_modules(requirements.__path__)} - NOT_REQUIREMENTS
    found = {}
    for name in modules:
        module = importlib.import_module(f"{requirements.__name__}.{name}")
        (found[name],) = (each for each in vars(module).values() if isinstance(each, Requirement))
    assert {name.replace("_", "-") for name in modules} == {each.lift for each in REQUIREMENTS}
    assert all(each.lift == name.replace("_", "-") for name, each in found.items())
    assert sorted(map(id, found.values())) == sorted(map(id, REQUIREMENTS))


def test_every_key_of_the_language_has_one_owner_and_the_order_of_the_registry() -> None:
    owned = [key for each in REQUIREMENTS for key in each.keys.model_fields]
    assert list(Requirements.model_fields) == owned
    assert max(Counter(owned).values()) == 1
    for each in REQUIREMENTS:
        assert each.lift.replace("-", "_") in each.keys.model_fields


def test_every_word_of_waivers_has_one_owner_and_the_order_of_the_registry() -> None:
    assert (
        [lift.value for lift in Lift] == [each.lift for each in REQUIREMENTS] == [lift.value for lift in CODES_BY_LIFT]
    )
    assert Policy.model_json_schema()["$defs"]["Lift"]["enum"] == [each.lift for each in REQUIREMENTS]


def test_every_code_of_step_six_has_one_owner_but_that_of_types_and_release() -> None:
    owned = Counter(code for each in REQUIREMENTS for code in each.codes)
    assert set(owned) == set(STEP_SIX)
    assert (
        {code for code, count in owned.items() if count > 1} == {ReasonCode.FILE_TYPE} == TYPES.codes == RELEASE.codes
    )
    assert LIFT_BY_CODE[ReasonCode.FILE_TYPE].value == "types"
    assert all(code in CODES_BY_LIFT[lift] for code, lift in LIFT_BY_CODE.items())


def test_every_requirement_is_generated_by_the_worlds_of_the_property_tests_with_every_key() -> None:
    assert set(GENERATED) == {each.lift for each in REQUIREMENTS}
    for each in REQUIREMENTS:
        for key in each.keys.model_fields:
            assert any(
                re.search(rf"^{key.replace('_', '-')} =", text, re.MULTILINE) for text in GENERATED[each.lift]
            ), key


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda each: each.lift)
def test_every_requirement_asks_something_by_a_check_and_says_so(requirement: Requirement[Any]) -> None:
    for text in GENERATED.get(requirement.lift, ()):
        policy = load_policy(f'version = 1\n[[rules]]\nname = "all"\nprojects = ["*"]\n{text}\n')
        (rule,) = policy.rules
        if "off" in text or "if-present" in text:
            continue
        merged = merge_requirements(rule, policy.defaults)
        terms = get_rule_terms(merged, "all")
        if "min-age-attested" not in text:  # `min-age-attested` only shortens `min-age`
            assert requirement.active(merged, terms) is not None
        assert list(requirement.describe(merged, terms)) or requirement is ATTESTATIONS


def test_a_rule_that_states_nothing_runs_only_the_checks_that_no_key_switches_on() -> None:
    checks = compiled.compile_rule(a_policy('ratchet = "off"'), canonicalize_name("widget")).checks
    named = [type(each).__name__ for each in (*checks.page, *checks.files, *checks.attestations, *checks.time)]
    assert named == ["_MetadataCheck", "_PublisherCheck"]


@dataclass(frozen=True)
class TwoShapes(PageCheck, FileCheck):
    def check_page(self, context: PageContext) -> Reason | None:
        raise NotImplementedError

    def check_file(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | None:
        raise NotImplementedError


@pytest.mark.parametrize("check", [TwoShapes(), object()])
def test_a_check_of_no_shape_or_of_two_is_refused_and_not_skipped(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(TYPES, active=lambda _stated, _terms: check)
    monkeypatch.setattr(compiled, "REQUIREMENTS", (*REQUIREMENTS, wrong))
    with pytest.raises(TypeError, match="exactly one of the base classes"):
        activate_checks(Requirements(), "all")


def test_the_semantics_name_every_requirement_and_every_code_in_order() -> None:
    text = (ROOT / "docs" / "policy-semantics.md").read_text("utf-8")
    step = text[text.index("6. **Requirements**") : text.index(" Each is a module")]
    named = re.findall(r"`([a-z-]+)`", step.replace("(`min-age-attested` for files of an established publisher)", ""))
    assert named == [each.lift for each in REQUIREMENTS]
    codes = text[text.index("Codes, in the order in which they are reported:") :].split("`")[1].split()
    assert codes == [code.value for code in ReasonCode]
