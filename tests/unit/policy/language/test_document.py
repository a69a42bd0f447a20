"""The language as a document: what is read, what is refused and how, schema, digest."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from assay.errors import ConfigurationError
from assay.evidence import PUBLISH_PREDICATE_TYPE
from assay.policy.language.document import BUILT_IN_POLICY, load_policy, policy_schema
from assay.policy.language.model import Mode, Showing
from assay.policy.requirements.attestations import AttestationMode
from assay.policy.requirements.ratchet import RatchetMode
from assay.publishers.registry import PUBLISHER_KINDS
from tests.paths import ROOT

KINDS = ", ".join(f"'{kind.name}'" for kind in PUBLISHER_KINDS)
EXAMPLE = """\
version = 1
mode = "enforce"
withheld = "hide"

[defaults]
attestations = "if-present"
min-age = "3 days"
ratchet = "enforce"

[[rules]]
name = "pyca builds its own wheels"
projects = ["cryptography", "pynacl"]
publishers = [
  { kind = "GitHub", repository = "pyca/cryptography", workflow = "pypi-publish.yml" },
  { kind = "GitHub", repository = "pyca/pynacl", workflow = "*.yml", ref = "refs/tags/*" },
]
predicates = ["publish"]

[[rules]]
name = "our names come from our index, signed by our pipelines"
projects = ["acme", "acme-*"]
indexes = ["internal"]
trust = ["acme-sigstore"]
publishers = [{ kind = "GitLab", issuer = "https://gitlab.acme.example", repository = "platform/**" }]
min-age = "0 days"

[[rules]]
name = "everything else"
projects = ["*"]

[[waivers]]
projects = ["numpy"]
versions = "==1.26.4"
uploaded-before = 2026-11-20
lifts = ["min-age", "attestations"]
expires = 2026-12-15
reason = "CVE fix needed before the cool-down ends"
approved-by = "security@acme.example"

[[revocations]]
publishers = [{ kind = "GitHub", repository = "victim/project" }]
signed-from = 2026-11-01T00:00:00Z
signed-until = 2026-11-03T00:00:00Z
reason = "stolen workflow, INC-1234"
"""


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_policy(text, "policy.toml")
    return str(caught.value)


def test_the_contract_s_example_is_a_policy() -> None:
    policy = load_policy(EXAMPLE, "policy.toml")
    assert policy.rules[0].predicates == (PUBLISH_PREDICATE_TYPE,)
    assert policy.rules[1].min_age == timedelta()
    assert policy.waivers[0].expires == datetime(2026, 12, 16, tzinfo=UTC)
    assert policy.revocations[0].signed_until == datetime(2026, 11, 3, tzinfo=UTC)


def test_the_shipped_policy_can_be_used_and_enforces_the_ratchet() -> None:
    policy = load_policy((ROOT / "config" / "policy.toml").read_text("utf-8"), "config/policy.toml")
    assert (policy.mode, policy.withheld, policy.defaults.ratchet) == (Mode.ENFORCE, Showing.HIDE, RatchetMode.ENFORCE)


def test_every_key_of_the_language_stands_in_the_shipped_policy() -> None:
    """In its comments, if nowhere else: it is where people look."""
    text = (ROOT / "config" / "policy.toml").read_text("utf-8")
    schema = policy_schema()
    keys = {key for table in (schema, *schema["$defs"].values()) for key in table.get("properties", {})}
    absent = {key for key in keys if not re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", text)}
    assert absent == set()


def test_what_is_absent_has_its_meaning() -> None:
    policy = load_policy("version = 1", "policy.toml")
    assert (policy.mode, policy.withheld, policy.show_withheld) == (Mode.ENFORCE, Showing.HIDE, True)
    assert (policy.rules, policy.waivers, policy.revocations) == ((), (), ())
    assert BUILT_IN_POLICY.defaults.ratchet is RatchetMode.WARN
    assert [rule.projects for rule in BUILT_IN_POLICY.rules] == [("*",)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("version = 1", "", " version: expected a value, found nothing: this key is required"),
        ("version = 1", "version = 2", "1: version: expected 1, found 2"),
        (
            'ratchet = "enforce"',
            'ratchet = "enfroce"',
            ("8: defaults.ratchet: expected 'enforce', 'warn' or 'off', found \"enfroce\"; did you mean \"enforce\"?"),
        ),
        (
            'min-age = "0 days"',
            'min-agee = "0 days"',
            '25: rules[1].min-agee: expected a known key, found "min-agee"; did you mean "min-age"?',
        ),
        (
            "pyca/pynacl",
            "",
            '15: rules[0].publishers[1].repository: expected at least 1 character, found ""',
        ),
        (
            'repository = "pyca/pynacl", workflow',
            "workflow",
            (
                "15: rules[0].publishers[1].repository: expected one of repository, repository_id, owner_id, "
                "so that it names somebody, found nothing"
            ),
        ),
        (
            'kind = "GitLab"',
            'kind = "Gitlab"',
            (f'24: rules[1].publishers[0].kind: expected one of {KINDS}, found "Gitlab"; did you mean "GitLab"?'),
        ),
        (
            "signed-until = 2026-11-03T00:00:00Z",
            "signed-until = 2026-11-03T00:00:00",
            (
                "43: revocations[0].signed-until: expected a time with its offset, such as "
                "2026-11-20T12:00:00Z, found 2026-11-03T00:00:00"
            ),
        ),
        (
            "expires = 2026-12-15",
            'expires = "2026-12-15"',
            (
                "36: waivers[0].expires: expected a date such as 2026-11-20, or a time with its offset such as "
                '2026-11-20T12:00:00Z, both without quotes, found "2026-12-15"'
            ),
        ),
        (
            "uploaded-before = 2026-11-20\n",
            "",
            (
                "31: waivers[0].uploaded-before: expected uploaded-before or sha256: a waiver never covers a "
                "file that doesn't exist yet, found nothing"
            ),
        ),
        (
            'versions = "==1.26.4"',
            'versions = "1.26.4"',
            ('33: waivers[0].versions: expected a version specifier such as "==1.26.4" or ">=1,<2", found "1.26.4"'),
        ),
        (
            'predicates = ["publish"]',
            'predicates = ["published"]',
            (
                "17: rules[0].predicates[0]: expected 'publish', 'slsa' or a predicate type URI, "
                'found "published"; did you mean "publish"?'
            ),
        ),
        (
            'projects = ["*"]',
            'projects = ["a b"]',
            '29: rules[2].projects[0]: expected a project\'s name or a pattern such as "acme-*", found "a b"',
        ),
        (
            'projects = ["*"]',
            'projects = ["*"]\nattestations = "required"',
            (
                '27: rules[2].publishers: expected publishers, or publishers = "any", wherever attestations '
                "are required, found nothing"
            ),
        ),
        (
            'projects = ["*"]',
            'projects = ["*"]\npredicates = ["slsa"]',
            (
                '27: rules[2].publishers: expected publishers, or publishers = "any", wherever attestations '
                "are required, found nothing"
            ),
        ),
        (
            'projects = ["*"]',
            'projects = ["*"]\npublishers = "any"\nattestations = "if-present"',
            ('31: rules[2].attestations: expected "required", or nothing, beside publishers, found "if-present"'),
        ),
        (
            'projects = ["*"]',
            'projects = ["*"]\npublishers = "all"',
            "30: rules[2].publishers: expected 'any', found \"all\"",
        ),
        (
            'projects = ["*"]',
            'projects = ["*"]\npins = ["abc"]',
            '30: rules[2].pins[0]: expected a SHA-256: 64 hexadecimal digits, found "abc"',
        ),
        (
            'projects = ["*"]',
            'projects = ["*"]\npinned-only = true',
            "27: rules[2].pins: expected at least one SHA-256 beside pinned-only, found nothing",
        ),
        (
            'projects = ["*"]',
            'projects = ["*"]\npinned-only = "yes"',
            '30: rules[2].pinned-only: expected true or false, found "yes"',
        ),
        (
            'publishers = [{ kind = "GitHub", repository = "victim/project" }]',
            'publishers = [{ kind = "GitHub", repository = "victim/project" }]\nprojects = ["x"]',
            (
                "42: revocations[0].projects: expected one of publishers, certificates, log-index-from with "
                'log-index-until, sha256, projects, found "publishers and projects"'
            ),
        ),
        (
            'publishers = [{ kind = "GitHub", repository = "victim/project" }]',
            "",
            (
                "40: revocations[0].publishers: expected one of publishers, certificates, log-index-from with "
                "log-index-until, sha256, projects, found nothing"
            ),
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_its_key_and_what_was_expected(old: str, new: str, expected: str) -> None:
    assert old in EXAMPLE
    assert refusal(EXAMPLE.replace(old, new)) == f"policy.toml:{expected}"


@pytest.mark.parametrize(
    ("revocation", "key"),
    [
        ('versions = "==1"\nsha256 = ["' + "0" * 64 + '"]', "versions"),
        ('projects = ["x"]\nsigned-from = 2026-11-01', "signed-from"),
        ('projects = ["x"]\nsigned-until = 2026-11-01', "signed-until"),
        ("log-index-from = 3", "log-index-until"),
        ("log-index-until = 3", "log-index-from"),
        ('log-index-from = 3\nlog-index-until = 4\nprojects = ["x"]', "log-index-from"),
        ("log-index-from = -1\nlog-index-until = 4", "log-index-from"),
        ('certificates = ["zz"]', "certificates[0]"),
        ("publishers = []", "publishers"),
    ],
)
def test_a_revocation_that_could_mean_less_than_it_says_is_refused(revocation: str, key: str) -> None:
    message = refusal(f'version = 1\n[[revocations]]\n{revocation}\nreason = "x"')
    assert f"revocations[0].{key}: " in message
    assert len(message.splitlines()) == 1


def test_if_present_in_a_rule_contradicts_publishers_in_the_defaults() -> None:
    text = (
        'version = 1\n[defaults]\npublishers = "any"\nattestations = "required"\n'
        '[[rules]]\nprojects = ["*"]\nattestations = "if-present"'
    )
    assert refusal(text).startswith("policy.toml:7: rules[0].attestations: ")


def test_if_present_in_the_defaults_gives_way_to_publishers_in_a_rule() -> None:
    policy = load_policy(EXAMPLE, "policy.toml")
    assert policy.defaults.attestations is AttestationMode.IF_PRESENT
    assert policy.rules[0].publishers


def test_the_defaults_may_say_whose_attestations_are_required() -> None:
    text = 'version = 1\n[defaults]\nattestations = "required"\npublishers = "any"\n[[rules]]\nprojects = ["*"]'
    assert load_policy(text, "policy.toml").defaults.publishers == "any"


def test_a_pasted_publisher_of_the_integrity_api_is_one() -> None:
    text = (
        'version = 1\n[[rules]]\nprojects = ["*"]\n[[rules.publishers]]\nkind = "GitHub"\n'
        'repository = "pypa/sampleproject"\nworkflow = "release.yml"\nenvironment = ""\n'
    )
    assert load_policy(text, "policy.toml").rules[0].publishers


def test_the_digest_is_of_what_is_said_and_not_of_how() -> None:
    spelled = 'version=1\n# why\n[[rules]]\nmin-age = "72 hours"\nprojects = ["Acme_*"]\n'
    same = 'version = 1\n[[rules]]\nprojects = ["acme-*"]\nmin-age = "P3D"\n'
    other = 'version = 1\n[[rules]]\nprojects = ["acme-*"]\nmin-age = "4 days"\n'
    first, second, third = (load_policy(text, "policy.toml") for text in (spelled, same, other))
    assert first.digest == second.digest
    assert (first, hash(first)) == (second, hash(second))
    assert first.digest != third.digest
    assert re.fullmatch(r"[0-9a-f]{64}", first.digest)


def test_the_order_of_rules_counts() -> None:
    rules = ['[[rules]]\nprojects = ["a"]\n', '[[rules]]\nprojects = ["b"]\n']
    one, two = (load_policy("version = 1\n" + "".join(each), "policy.toml") for each in (rules, rules[::-1]))
    assert one.digest != two.digest


def test_the_schema_has_every_table_and_refuses_unknown_keys() -> None:
    schema = policy_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    rule = schema["$defs"]["Rule"]
    assert {"projects", "min-age", "ratchet-except", "pinned-only", "project-status"} <= set(rule["properties"])
    assert rule["additionalProperties"] is False
    assert "repository_id" in schema["$defs"]["GitHub"]["properties"]
