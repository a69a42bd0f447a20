"""Policy documents: parsing, refusals and their messages, schema, digest."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from assay.errors import ConfigurationError
from assay.evidence import PUBLISH_PREDICATE_TYPE
from assay.policy.language.document import BUILT_IN_POLICY, load_policy, policy_schema
from assay.policy.language.model import Mode, Showing
from assay.policy.language.values import KnownNames
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
    assert (policy.mode, policy.withheld, policy.defaults.ratchet) == (Mode.ENFORCE, Showing.STOP, RatchetMode.ENFORCE)


def test_every_key_of_the_language_stands_in_the_shipped_policy() -> None:
    """Comments count, because operators read the keys there."""
    text = (ROOT / "config" / "policy.toml").read_text("utf-8")
    schema = policy_schema()
    keys = {key for table in (schema, *schema["$defs"].values()) for key in table.get("properties", {})}
    absent = {key for key in keys if not re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", text)}
    assert absent == set()


def test_what_is_absent_has_its_meaning() -> None:
    policy = load_policy("version = 1", "policy.toml")
    assert (policy.mode, policy.withheld, policy.show_withheld) == (Mode.ENFORCE, Showing.STOP, True)
    assert (policy.rules, policy.waivers, policy.revocations, policy.ignored_advisories) == ((), (), (), ())
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
                "to identify the publisher, found nothing"
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
                "43: revocations[0].signed-until: expected a time with an offset, such as "
                "2026-11-20T12:00:00Z, found 2026-11-03T00:00:00"
            ),
        ),
        (
            "expires = 2026-12-15",
            'expires = "2026-12-15"',
            (
                "36: waivers[0].expires: expected a date such as 2026-11-20, or a time with an offset such as "
                '2026-11-20T12:00:00Z, without quotes, found "2026-12-15"'
            ),
        ),
        (
            "uploaded-before = 2026-11-20\n",
            "",
            (
                "31: waivers[0].uploaded-before: expected uploaded-before or sha256, because a waiver covers only "
                "files that exist already, found nothing"
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
            '29: rules[2].projects[0]: expected a project name or a pattern such as "acme-*", found "a b"',
        ),
        (
            'projects = ["*"]',
            'projects = ["*"]\nattestations = "required"',
            (
                "27: rules[2].publishers: expected a value, because attestations are required, found nothing; "
                'add publishers = "any", or name publishers'
            ),
        ),
        (
            'projects = ["*"]',
            'projects = ["*"]\npredicates = ["slsa"]',
            (
                "27: rules[2].publishers: expected a value, because attestations are required, found nothing; "
                'add publishers = "any", or name publishers'
            ),
        ),
        (
            'projects = ["*"]',
            'projects = ["*"]\npublishers = "any"\nattestations = "if-present"',
            (
                '31: rules[2].attestations: expected "required", or no value, because the table has publishers, '
                'found "if-present"'
            ),
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
            "27: rules[2].pins: expected at least one SHA-256, because pinned-only is true, found nothing",
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
                'log-index-until, sha256, projects, keys, found "publishers and projects"'
            ),
        ),
        (
            'publishers = [{ kind = "GitHub", repository = "victim/project" }]',
            "",
            (
                "40: revocations[0].publishers: expected one of publishers, certificates, log-index-from with "
                "log-index-until, sha256, projects, keys, found nothing"
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
        ("log-index-from = 3\nlog-index-until = 4", "log"),
        ('log-index-from = 4\nlog-index-until = 4\nlog = "https://rekor.sigstore.dev"', "log-index-until"),
        ('log-index-from = 3\nlog-index-until = 4\nlog = "rekor"', "log"),
        ('log-index-from = 3\nlog-index-until = 4\nlog = "http://rekor.sigstore.dev"', "log"),
        ('log-index-from = 3\nlog-index-until = 4\nlog = ""', "log"),
        ('projects = ["x"]\nlog = "https://rekor.sigstore.dev"', "log"),
        ('certificates = ["zz"]', "certificates[0]"),
        ("publishers = []", "publishers"),
    ],
)
def test_a_revocation_that_could_mean_less_than_it_says_is_refused(revocation: str, key: str) -> None:
    message = refusal(f'version = 1\n[[revocations]]\n{revocation}\nreason = "x"')
    assert f"revocations[0].{key}: " in message
    assert len(message.splitlines()) == 1


def test_a_range_of_log_entries_names_its_log_with_an_example() -> None:
    text = 'version = 1\n[[revocations]]\nreason = "x"\nlog-index-from = 3\nlog-index-until = 4\n'
    example = 'such as "https://rekor.sigstore.dev", found nothing'
    assert refusal(text).startswith("policy.toml:2: revocations[0].log: expected the id of a transparency log")
    assert refusal(text).endswith(example)
    for log in ("https://rekor.sigstore.dev", "rekor.sigstore.dev", "C0" * 32):
        load_policy(f'{text}log = "{log}"', "policy.toml")


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


PUBLISHER_MISTAKES = {
    ("GitHub", "repository"): (
        'owner/name on GitHub, such as "octo-org/widget"',
        ["octo/widget", "Octo/*", "**", "octo/**", "**/widget", "o?to/w.i_d-get"],
        [
            *(
                "https://github.com/victim/project",
                "github.com/o/r",
                "o/r.git",
                "o/r.GIT",
                "o",
                "*",
                "o/",
                "/r",
                "o//r",
            ),
            *("o/r/x", "a/**/b", "o/r@main", "o/r#1", "o/w\\u0456dget", "\\u212a/r", "o/[r]", "o /r", "o/r:main"),
        ],
    ),
    ("GitLab", "repository"): (
        'the path of a project, such as "group/sub/widget"',
        ["group/widget", "group/sub/widget", "group/**", "**", "a/**/b"],
        [
            "https://gitlab.com/group/widget",
            "group/widget.git",
            "group",
            "*",
            "group/",
            "/group/widget",
            "gr\\u043eup/x",
        ],
    ),
    ("GitHub", "workflow"): (
        "the name of a file in .github/workflows",
        [
            *("release.yml", "Publish to PyPI.yaml", "*.yml", "*", "rel*", "**/release.yml", "release.y?l"),
            *(".github/workflows/release.yml", "acme/policies/.github/workflows/*.yml", "v\\u03b2.yml"),
            "acme/policies/.github/workflows/release.yml",
        ],
        [
            *("release.yml@refs/heads/main", "release", "release.py", "*.txt", "ci/release.yml", "/release.yml"),
            *("./release.yml", "https://github.com/o/r/.github/workflows/release.yml", ".github/workflows/a/b.yml"),
        ],
    ),
    ("GitLab", "workflow_filepath"): (
        'the path of a file, such as ".gitlab-ci.yml", without @ and ref',
        [".gitlab-ci.yml", "ci/Publish to PyPI.yml", "**", "ci/*.yaml"],
        [".gitlab-ci.yml@main", "ci.yml@group/project", "/ci.yml", "ci", "//ci.yml", "https://gitlab.com/g/p//ci.yml"],
    ),
    ("GitHub", "ref"): (
        'a full Git ref, such as "refs/heads/main" or "refs/tags/*"',
        ["refs/heads/main", "refs/tags/*", "refs/tags/v1.0-\\u03b2", "**", "*/heads/main", "re*"],
        ["main", "heads/main", "tags/*", "v*", "Refs/heads/main", "/refs/heads/main"],
    ),
    ("GitHub", "trigger"): (
        "the name of an event",
        ["release", "pull_request_target", "*"],
        ["Release", "pull-request"],
    ),
    ("GitHub", "runner"): ("a runner environment", ["github-hosted", "*"], ["github hosted", "github\\u2010hosted"]),
    ("GitHub", "visibility"): (
        'a visibility: "public", "private" or "internal"',
        ["public", "Private", "*"],
        ["open", "publ\\u0456c"],
    ),
    ("GitHub", "builder"): (
        "a Build Signer URI, such as",
        ["https://github.com/o/r/.github/workflows/build.yml", "**", "https://**", "h*"],
        ["o/r/.github/workflows/build.yml", "http://github.com/o/r", "github.com/o/*", "build.yml"],
    ),
    ("GitHub", "environment"): (
        "at most 1000 printable characters, without leading and trailing blanks",
        ["pypi", "", "Release (\\u03b2)"],
        [" pypi", "pypi ", "py\\u200bpi", "pypi\\u00a0"],
    ),
    ("GitHub", "repository_id"): ("a number in quotes", ["1", "1234567"], ["", "12a", "\\u0663", "-1"]),
    ("GitLab", "owner_id"): ("a number in quotes", ["77"], ["x", "7.0"]),
    ("GitHub", "issuer"): (
        'the https URL of an OIDC issuer, such as "https://gitlab.acme.example"',
        [
            "https://token.actions.githubusercontent.com/acme-corp",
            "https://ghe.example:8443/_services/token",
            "https://x/",
        ],
        [
            *(
                "gitlab.acme.example",
                "http://gitlab.acme.example",
                "https://",
                "https://*.example",
                "https://a.example?x",
            ),
            *("https://\\u0430cme.example", "https://user@acme.example", "https://acme.example/a b"),
        ],
    ),
    ("Google", "email"): (
        'the address of a service account, such as "build@project.iam.gserviceaccount.com"',
        ["build@acme.iam.gserviceaccount.com", "*@acme.iam.gserviceaccount.com", "*", "1-compute@developer.g*"],
        [
            "jane@gmail.com",
            "acme.iam.gserviceaccount.com/x",
            "*@acme.example",
            "build@acme.iam.gserviceaccount.c\\u043em",
        ],
    ),
    ("Google", "issuer"): (
        "https://accounts.google.com, the only issuer of this kind",
        ["https://accounts.google.com", "https://accounts.google.com/"],
        ["https://google.com", "https://gitlab.com"],
    ),
    ("CircleCI", "issuer"): (
        "https://oidc.circleci.com or https://oidc.circleci.com/org/ with the UUID of an organization",
        ["https://oidc.circleci.com", "https://oidc.circleci.com/org/0b5c0a6e-1111-4222-8333-444455556666"],
        ["https://circleci.com", "https://oidc.circleci.com/org/acme"],
    ),
    ("CircleCI", "project_id"): (
        "a UUID, such as",
        ["0b5c0a6e-1111-4222-8333-444455556666"],
        ["acme/widget", "0b5c0a6e", "0b5c0a6e-1111-4222-8333-44445555666\\uff16"],
    ),
    ("CircleCI", "vcs_origin"): (
        'a repository without https:// and .git, such as "github.com/octo-org/widget"',
        ["github.com/octo/widget", "github.com/**", "*"],
        ["https://github.com/octo/widget", "github.com/octo/widget.git", "git@github.com:octo/widget", "github.com/"],
    ),
    ("ActiveState", "issuer"): (
        "https://platform.activestate.com/api/v1/oauth/oidc, the only issuer of this kind",
        ["https://platform.activestate.com/api/v1/oauth/oidc"],
        ["https://platform.activestate.com", "https://activestate.com"],
    ),
    **{
        ("ActiveState", key): (
            "the name of an organization or project, without / and :",
            ["acme", "Acme Tools-1.0", "acme-*", "*"],
            ["acme/widget", "org:acme", "https://platform.activestate.com/acme", "\\u0430cme"],
        )
        for key in ("organization", "project")
    },
    ("CircleCI", "vcs_ref"): ("a full Git ref", ["refs/heads/main", "refs/**"], ["main", "v1"]),
}
BASES = {
    "GitHub": 'repository = "octo/widget"',
    "GitLab": 'repository = "group/widget"',
    "Google": 'email = "build@acme.iam.gserviceaccount.com"',
    "ActiveState": 'organization = "acme"',
    "CircleCI": 'project_id = "0b5c0a6e-1111-4222-8333-444455556666"',
}
OUTER_BLANKS = [" {}", "{} ", "\\t{}", "{}\\n", "\\u00a0{}", "{}\\u200b", "{}\\u202e"]


def write_publisher(kind: str, key: str, value: str) -> str:
    base = BASES[kind]
    stated = f'{key} = "{value}"' if base.startswith(f"{key} ") else f'{base}, {key} = "{value}"'
    return f'{{ kind = "{kind}", {stated} }}'


@pytest.mark.parametrize(("kind", "key"), list(PUBLISHER_MISTAKES), ids=str)
def test_a_publisher_that_no_certificate_can_have_is_an_error_with_line_key_and_example(kind: str, key: str) -> None:
    expected, valid, invalid = PUBLISHER_MISTAKES[kind, key]
    tables = {
        "revocations[0].publishers[0]": 'version = 1\n[[revocations]]\nreason = "x"\npublishers = [{}]',
        "rules[0].publishers[0]": 'version = 1\n[[rules]]\nprojects = ["*"]\npublishers = [{}]',
        "defaults.publishers[0]": 'version = 1\n[defaults]\nratchet = "off"\npublishers = [{}]',
    }
    for place, text in tables.items():
        for value in valid:
            load_policy(text.replace("{}", write_publisher(kind, key, value)), "policy.toml")
        for value in invalid:
            message = refusal(text.replace("{}", write_publisher(kind, key, value)))
            assert message.startswith(f"policy.toml:4: {place}.{key}: expected "), message
            assert (expected in message) or value == "", message
            assert len(message.splitlines()) == 1


@pytest.mark.parametrize("blanks", OUTER_BLANKS)
@pytest.mark.parametrize(("kind", "key"), list(PUBLISHER_MISTAKES), ids=str)
def test_a_value_with_outer_blanks_or_invisible_characters_is_an_error(kind: str, key: str, blanks: str) -> None:
    value = blanks.replace("{}", PUBLISHER_MISTAKES[kind, key][1][0])
    text = f'version = 1\n[[revocations]]\nreason = "x"\npublishers = [{write_publisher(kind, key, value)}]'
    assert refusal(text).startswith(
        f"policy.toml:4: revocations[0].publishers[0].{key}: expected at most 1000 printable "
    )


def test_every_key_of_every_publisher_is_in_the_table_of_mistakes() -> None:
    """A new key needs its own type, with values that match nothing."""
    same_in_both = {
        "ref",
        "environment",
        "trigger",
        "runner",
        "visibility",
        "repository_id",
        "owner_id",
        "builder",
        "issuer",
    }
    for kind in PUBLISHER_KINDS:
        for key in set(kind.table.model_fields) - {"kind"}:
            tested = {name for name, tested_key in PUBLISHER_MISTAKES if tested_key == key}
            assert (
                kind.name in tested
                or (key in same_in_both and tested)
                or (kind.name, key) == ("CircleCI", "pipeline_definition_id")
            ), (kind.name, key)


@pytest.mark.parametrize("builder", ["o/r/.github/workflows/build.yml", "http://github.com/o/r", " https://x/y"])
def test_a_builder_of_a_rule_is_a_uri(builder: str) -> None:
    text = 'version = 1\n[[rules]]\nprojects = ["*"]\npublishers = "any"\nbuilder = ["{}"]'
    load_policy(text.replace("{}", "https://github.com/o/r/.github/workflows/build.yml"), "policy.toml")
    assert refusal(text.replace("{}", builder)).startswith("policy.toml:5: rules[0].builder[0]: expected ")


@pytest.mark.parametrize("pattern", ["!x", "x_", "[x", "x[a_c]", "-x", "x.", " x", "\\u0445"])
@pytest.mark.parametrize("table", ["rules", "waivers", "revocations"])
def test_a_name_that_no_project_can_have_is_an_error(table: str, pattern: str) -> None:
    more = {
        "rules": "",
        "waivers": 'lifts = ["min-age"]\nuploaded-before = 2026-11-20\nexpires = 2026-12-15\nreason = "x"',
        "revocations": 'reason = "x"',
    }
    text = f'version = 1\n[[{table}]]\nprojects = ["a", "{{}}"]\n{more[table]}'
    load_policy(text.replace("{}", "x-*"), "policy.toml")
    assert refusal(text.replace("{}", pattern)).startswith(
        f'policy.toml:3: {table}[0].projects[1]: expected a project name or a pattern such as "acme-*", found '
    )


@pytest.mark.parametrize("version", ["true", "1.0", '"1"', "2", "0", "[1]"])
def test_the_version_is_the_whole_number_one(version: str) -> None:
    message = refusal(f'# a policy\nversion = {version}\n[[rules]]\nprojects = ["*"]')
    assert message.startswith("policy.toml:2: version: expected 1, found ")
    load_policy('version = 1\n[[rules]]\nprojects = ["*"]', "policy.toml")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        *(
            (key, value, "expected a duration of at most 36500 days, such as ")
            for key in ("min-age", "min-age-attested", "ratchet-settle", "late-files")
            for value in ('"3000000 days"', '"999999999 weeks"', '"P999999999W"')
        ),
        *(
            ("uploaded-before", value, "expected a time in the years 1 to 9999 of UTC, such as ")
            for value in ("9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00")
        ),
    ],
)
def test_a_time_or_duration_that_cannot_be_computed_with_is_an_error(key: str, value: str, expected: str) -> None:
    text = f'version = 1\n[[rules]]\nprojects = ["*"]\n{key} = '
    message = refusal(text + value)
    assert message.startswith(f"policy.toml:4: rules[0].{key}: {expected}")
    load_policy(text + ('"36500 days"' if '"' in value else "9999-12-31T23:59:59Z"), "policy.toml")


@pytest.mark.parametrize("key", ["expires", "uploaded-before"])
def test_a_waiver_may_end_at_the_end_of_all_times_of_utc(key: str) -> None:
    end = {"expires": "2026-12-15", "uploaded-before": "2026-11-20"}

    def waiver(value: str) -> str:
        lines = "\n".join(f"{name} = {value if name == key else known}" for name, known in end.items())
        return f'version = 1\n[[waivers]]\nprojects = ["x"]\nlifts = ["min-age"]\nreason = "x"\n{lines}'

    load_policy(waiver("9999-12-31"), "policy.toml")
    load_policy(waiver("9999-12-31T23:59:59Z"), "policy.toml")
    message = refusal(waiver("9999-12-31T23:59:59-05:00"))
    assert f"waivers[0].{key}: expected a time in the years 1 to 9999 of UTC" in message


@pytest.mark.parametrize(
    ("window", "key"),
    [
        ("signed-from = 2026-11-02T00:00:00Z\nsigned-until = 2026-11-02T00:00:00Z", "signed-until"),
        ("signed-from = 2026-11-03\nsigned-until = 2026-11-02", "signed-until"),
    ],
)
def test_a_window_that_contains_nothing_is_an_error(window: str, key: str) -> None:
    text = 'version = 1\n[[revocations]]\nreason = "x"\npublishers = [{ kind = "GitHub", repository = "o/r" }]\n'
    assert f"revocations[0].{key}: expected a time after signed-from" in refusal(text + window)
    load_policy(f"{text}signed-from = 2026-11-02\nsigned-until = 2026-11-02", "policy.toml")


KNOWN = KnownNames(indexes=frozenset({"pypi", "internal"}), trust_roots=frozenset({"sigstore", "acme"}))


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [
        (
            "indexes",
            "internl",
            "expected one of 'internal', 'pypi', as in the configuration, found \"internl\"; did you mean \"int",
        ),
        ("indexes", "PyPI", "expected one of 'internal', 'pypi', as in the configuration, found \"PyPI\""),
        (
            "trust",
            "sigstore-staging",
            "expected one of 'acme', 'sigstore', as in the configuration, found \"sigstore-staging\"",
        ),
        ("trust", "pypi", "expected one of 'acme', 'sigstore', as in the configuration, found \"pypi\""),
    ],
)
@pytest.mark.parametrize("table", ['[[rules]]\nprojects = ["*"]', '[defaults]\nratchet = "off"'])
def test_a_name_that_the_configuration_does_not_define_is_an_error(
    table: str, key: str, name: str, expected: str
) -> None:
    text = f'version = 1\n{table}\n{key} = ["{{}}"]'
    place = "rules[0]" if "rules" in table else "defaults"
    with pytest.raises(ConfigurationError) as caught:
        load_policy(text.replace("{}", name), "policy.toml", KNOWN)
    assert str(caught.value).startswith(f"policy.toml:4: {place}.{key}[0]: {expected}")
    for known in KNOWN.indexes if key == "indexes" else KNOWN.trust_roots:
        load_policy(text.replace("{}", known), "policy.toml", KNOWN)
    load_policy(text.replace("{}", name), "policy.toml")


IGNORED = 'version = 1\n[[ignored-advisories]]\nid = "MAL-2026-1"\nreason = "false positive"\nexpires = 2026-12-15\n'


def test_an_ignored_advisory_counts_again_from_its_end_on() -> None:
    policy = load_policy(IGNORED, "policy.toml")
    end = datetime(2026, 12, 16, tzinfo=UTC)
    before = end - timedelta(microseconds=1)
    ignored = policy.find_ignored_advisory("MAL-2026-1", before)
    assert ignored is not None
    assert ignored.reason == "false positive"
    assert policy.find_ignored_advisory("MAL-2026-1", end) is None
    assert policy.find_ignored_advisory("MAL-2026-2", before) is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"MAL-2026-1"', '"MAL-*"', "3: ignored-advisories[0].id: expected the id of an advisory, such as MAL-2026-"),
        ('"MAL-2026-1"', '""', "3: ignored-advisories[0].id: expected the id of an advisory, such as MAL-2026-"),
        ('reason = "false positive"', "", "2: ignored-advisories[0].reason: "),
        ("expires = 2026-12-15", "", "2: ignored-advisories[0].expires: "),
        ('id = "MAL-2026-1"', "", "2: ignored-advisories[0].id: "),
    ],
)
def test_an_ignored_advisory_has_one_id_a_reason_and_an_end(old: str, new: str, expected: str) -> None:
    assert refusal(IGNORED.replace(old, new)).startswith(f"policy.toml:{expected}")
