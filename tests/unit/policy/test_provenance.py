"""Requirements `attestations`, `trust`, `publishers`, `predicates` and `builder`: the attestations that count."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from assay.evidence import (
    PUBLISH_PREDICATE_TYPE,
    SLSA_PREDICATE_TYPE,
    Attestation,
    Attested,
    Claims,
    Unattested,
    Unstated,
    Unverifiable,
)
from assay.policy.verdict import Approved, ReasonCode, Withheld
from assay.publishers.matching import ENVIRONMENT_SINCE
from assay.publishers.signers import describe_signer
from tests.unit.policy.factories import (
    GITHUB,
    NOW,
    a_file,
    a_policy,
    ago,
    attestation,
    attested,
    claims,
    codes,
    one,
    signed,
)

FILE = a_file()
ANY = a_policy('attestations = "required"\npublishers = "any"')
UUID = "0b5c0a6e-1111-4222-8333-444455556666"
GITLAB = Claims(
    kind="GitLab",
    issuer="https://gitlab.com",
    san="https://gitlab.com/group/sub/widget//.gitlab-ci.yml@refs/heads/main",
    repository="Group/sub/Widget",
    repository_id="9",
    workflow=".gitlab-ci.yml",
    ref="refs/heads/main",
)
GOOGLE = Claims(
    kind="Google",
    issuer="https://accounts.google.com",
    san="build@acme.iam.gserviceaccount.com",
    email="build@acme.iam.gserviceaccount.com",
)
CIRCLECI = Claims(
    kind="CircleCI",
    issuer="https://oidc.circleci.com",
    san=f"https://circleci.com/api/v2/projects/{UUID}/pipeline-definitions/{UUID}",
    project_id=UUID,
    pipeline_definition_id=UUID,
    vcs_origin="github.com/octo/widget",
    vcs_ref="refs/heads/main",
    builder=f"https://circleci.com/api/v2/projects/{UUID}/pipeline-definitions/{UUID}",
)
ORGANIZATION = f"https://oidc.circleci.com/org/{UUID}"
REQUIRED_WORKFLOW = "octo/policies/.github/workflows/release.yml"
REQUIRED = claims(workflow=REQUIRED_WORKFLOW, builder=f"https://github.com/{REQUIRED_WORKFLOW}@refs/heads/main")
IN_PRODUCTION = replace(GITLAB, environment="production")
PERSON = Claims(kind=None, issuer="https://accounts.google.com", san="me@example.org", email="me@example.org")


def required(publisher: str, more: str = "") -> Any:
    return a_policy(f"publishers = [{{ {publisher} }}]\n{more}")


def by(said: Claims, **changes: Any) -> Attested:
    return Attested(attestations=(attestation(FILE.upload_time, claims=said, **changes),))


def test_if_present_takes_files_with_and_without_attestations() -> None:
    policy = a_policy('attestations = "if-present"')
    assert codes(one(policy, FILE, Unattested())) == []
    assert codes(one(policy, FILE, signed(FILE))) == []


def test_required_takes_only_attested_files() -> None:
    assert codes(one(ANY, FILE, signed(FILE))) == []
    assert codes(one(ANY, FILE, Unattested())) == [ReasonCode.UNATTESTED]
    assert codes(one(ANY, FILE, Attested(attestations=()))) == [ReasonCode.UNATTESTED]


def test_what_cannot_be_verified_counts_as_unattested_with_that_reason() -> None:
    evidence = Unverifiable(reason="an unknown log")
    verdict = one(ANY, FILE, evidence)
    assert isinstance(verdict, Withheld)
    assert (codes(verdict), verdict.enforced, verdict.reasons[0].found) == (
        [ReasonCode.UNVERIFIABLE],
        False,
        "an unknown log",
    )
    lenient = one(a_policy(), FILE, evidence)
    assert isinstance(lenient, Approved)
    assert any("an unknown log" in note for note in lenient.notes)


def test_what_the_index_does_not_say_is_unattested_with_that_reason() -> None:
    evidence = Unstated(index="pypi")
    verdict = one(ANY, FILE, evidence)
    assert isinstance(verdict, Withheld)
    (reason,) = verdict.reasons
    assert (reason.code, reason.found, verdict.enforced) == (ReasonCode.UNATTESTED, "unknown", False)
    assert reason.message.startswith("index pypi carries no provenance; set `provenance-from`")
    assert isinstance(one(a_policy(), FILE, evidence), Approved)


@pytest.mark.parametrize("policy", [ANY, required('kind = "Google", email = "*@acme.iam.gserviceaccount.com"')])
def test_a_person_is_no_trusted_publisher(policy: Any) -> None:
    assert codes(one(policy, FILE, by(PERSON))) == [ReasonCode.PUBLISHER]
    assert codes(one(policy, FILE, by(GOOGLE))) == []


OCTO = 'kind = "GitHub", repository = "octo/widget"'
ENTERPRISE = f"{GITHUB}/acme-corp"


@pytest.mark.parametrize(
    ("publisher", "said", "found"),
    [
        (OCTO, claims(issuer=ENTERPRISE), f", with issuer {ENTERPRISE}"),
        (f'{OCTO}, issuer = "{ENTERPRISE}"', claims(), f", with issuer {GITHUB}"),
        (f'{OCTO}, repository_id = "1001"', claims(repository_id="1002"), ", with repository_id 1002"),
        (f'{OCTO}, repository_id = "1001"', claims(repository_id=None), ", with repository_id none"),
        (f'{OCTO}, owner_id = "78", trigger = "push"', claims(), ", with trigger release, owner_id 77"),
        (f'{OCTO}, runner = "self-hosted"', claims(), ", with runner github-hosted"),
        (f'{OCTO}, visibility = "private"', claims(), ", with visibility public"),
        (f'{OCTO}, environment = "pypi"', claims(), ", with environment none"),
        (OCTO, claims(kind="GitLab", issuer="https://gitlab.com"), ", with issuer https://gitlab.com"),
        (OCTO, claims(repository="octo/w\u0456dget"), r", with repository 'octo/w\u0456dget'"),
        (OCTO, claims(repository="evil/widget"), ""),
        (f'{OCTO}, workflow = "other.yml", ref = "refs/heads/*"', claims(), ""),
        (
            f'{OCTO}, repository_id = "1" }}, {{ {OCTO}, owner_id = "2"',
            claims(),
            ", with repository_id 1001, owner_id 77",
        ),
    ],
)
def test_the_reason_names_every_claim_that_the_rule_asked_for_and_did_not_get(
    publisher: str, said: Claims, found: str
) -> None:
    verdict = one(required(publisher), FILE, by(said, not_before=ENVIRONMENT_SINCE))
    assert isinstance(verdict, Withheld)
    (reason,) = verdict.reasons
    assert reason.code is ReasonCode.PUBLISHER
    assert reason.found == describe_signer(said) + found
    assert reason.expected != reason.found
    assert f"signed by {reason.found}, but the rule requires {reason.expected}" in reason.message
    assert pickle.loads(pickle.dumps(reason)) == reason  # noqa: S301 - our own value


@pytest.mark.parametrize(
    ("publisher", "said"),
    [
        ('kind = "GitHub", repository = "octo/widget"', claims()),
        ('kind = "GitHub", repository = "Octo/Widget"', claims()),
        ('kind = "GitHub", repository = "octo/widget"', claims(repository="OCTO/Widget")),
        ('kind = "GitHub", repository = "octo/*"', claims()),
        ('kind = "GitHub", repository = "octo/widget", workflow = "release.yml"', claims()),
        ('kind = "GitHub", repository = "octo/widget", workflow = "*.yml"', claims()),
        ('kind = "GitHub", repository = "octo/widget", workflow = ".github/workflows/release.yml"', claims()),
        ('kind = "GitHub", repository = "octo/widget", ref = "refs/tags/*"', claims()),
        ('kind = "GitHub", repository = "octo/widget", environment = ""', claims()),
        ('kind = "GitHub", repository = "octo/widget", trigger = "release", runner = "github-hosted"', claims()),
        ('kind = "GitHub", repository_id = "1001", owner_id = "77"', claims(repository="renamed/widget")),
        ('kind = "GitHub", repository = "octo/widget", visibility = "public"', claims()),
        ('kind = "GitHub", repository = "octo/*", builder = "https://github.com/octo/widget/**"', claims()),
        (
            (
                'kind = "GitHub", repository = "octo/*", '
                'builder = "https://github.com/octo/widget/.github/workflows/release.yml"'
            ),
            claims(),
        ),
        ('kind = "GitLab", repository = "group/**", workflow_filepath = ".gitlab-ci.yml"', GITLAB),
        ('kind = "GitLab", repository = "group/sub/widget", ref = "refs/heads/main"', GITLAB),
        ('kind = "Google", email = "build@acme.iam.gserviceaccount.com"', GOOGLE),
        ('kind = "Google", email = "*@acme.iam.gserviceaccount.com"', GOOGLE),
        (f'kind = "CircleCI", project_id = "{UUID.upper()}"', CIRCLECI),
        (f'kind = "CircleCI", project_id = "{UUID}", vcs_origin = "github.com/octo/*", vcs_ref = "refs/**"', CIRCLECI),
        (f'kind = "CircleCI", project_id = "{UUID}", pipeline_definition_id = "{UUID}"', CIRCLECI),
        (
            f'kind = "CircleCI", project_id = "{UUID}", issuer = "{ORGANIZATION}"',
            replace(CIRCLECI, issuer=ORGANIZATION),
        ),
        (f'kind = "GitHub", repository = "octo/widget", workflow = "{REQUIRED_WORKFLOW}"', REQUIRED),
        ('kind = "GitHub", repository = "octo/widget", workflow = "octo/policies/**"', REQUIRED),
        (
            f'kind = "GitHub", repository = "octo/widget", builder = "https://github.com/{REQUIRED_WORKFLOW}"',
            REQUIRED,
        ),
        ('kind = "GitLab", repository = "group/**", environment = "production"', IN_PRODUCTION),
        ('kind = "GitHub", repository = "octo/*", environment = "Production"', claims(environment="production")),
    ],
)
def test_a_publisher_is_matched_by_what_the_certificate_says(publisher: str, said: Claims) -> None:
    assert codes(one(required(publisher), FILE, by(said))) == []


@pytest.mark.parametrize(
    ("publisher", "said"),
    [
        ('kind = "GitHub", repository = "octo/gadget"', claims()),
        ('kind = "GitHub", repository = "octo/*"', claims(repository="octo/group/widget")),
        ('kind = "GitHub", repository = "octo/widget"', claims(repository=None)),
        ('kind = "GitHub", repository = "octo/widget"', claims(issuer="https://evil.example")),
        ('kind = "GitHub", repository = "octo/widget"', claims(kind="GitLab")),
        ('kind = "GitHub", repository = "octo/widget"', claims(kind=None)),
        ('kind = "GitHub", repository = "octo/widget", issuer = "https://ghe.example"', claims()),
        ('kind = "GitHub", repository = "octo/widget", workflow = "release.yml"', claims(workflow="release.yml")),
        (
            'kind = "GitHub", repository = "octo/widget", workflow = "release.yml"',
            claims(workflow=".github/workflows/sub/release.yml"),
        ),
        ('kind = "GitHub", repository = "octo/widget", workflow = "Release.yml"', claims()),
        ('kind = "GitHub", repository = "octo/widget", workflow = "*.yml"', claims(workflow=None)),
        ('kind = "GitHub", repository = "octo/widget", ref = "refs/tags/*"', claims(ref="refs/tags/a/b")),
        ('kind = "GitHub", repository = "octo/widget", ref = "refs/tags/*"', claims(ref=None)),
        ('kind = "GitHub", repository = "octo/widget", trigger = "release"', claims(trigger="push")),
        ('kind = "GitHub", repository = "octo/widget", runner = "github-hosted"', claims(runner="self-hosted")),
        ('kind = "GitHub", repository_id = "1001"', claims(repository_id="2002")),
        ('kind = "GitHub", owner_id = "77"', claims(owner_id=None)),
        ('kind = "GitHub", repository = "octo/*", builder = "https://github.com/acme/**"', claims()),
        ('kind = "GitLab", repository = "group/*"', GITLAB),
        ('kind = "GitLab", repository = "group/**", workflow_filepath = "ci/*.yml"', GITLAB),
        ('kind = "GitLab", issuer = "https://gitlab.acme.example", repository = "group/**"', GITLAB),
        ('kind = "Google", email = "other@acme.iam.gserviceaccount.com"', GOOGLE),
        ('kind = "Google", email = "*"', PERSON),
        (f'kind = "CircleCI", project_id = "{UUID}"', replace(CIRCLECI, issuer=ORGANIZATION)),
        (f'kind = "CircleCI", project_id = "{UUID}", issuer = "{ORGANIZATION}"', CIRCLECI),
        ('kind = "GitHub", repository = "octo/widget", workflow = "release.yml"', REQUIRED),
        ('kind = "GitHub", repository = "octo/widget", workflow = "*.yml"', REQUIRED),
        ('kind = "GitHub", repository = "octo/widget", builder = "https://github.com/octo/widget/**"', REQUIRED),
        ('kind = "GitLab", repository = "group/**", environment = "Production"', IN_PRODUCTION),
        ('kind = "GitHub", repository = "octo/*", environment = "kiosk"', claims(environment="\u212aiosk")),
        (f'kind = "CircleCI", project_id = "{UUID.replace("0b", "0c")}"', CIRCLECI),
        (f'kind = "CircleCI", project_id = "{UUID}", vcs_ref = "refs/tags/*"', CIRCLECI),
    ],
)
def test_another_publisher_is_withheld(publisher: str, said: Claims) -> None:
    assert codes(one(required(publisher), FILE, by(said))) == [ReasonCode.PUBLISHER]


def test_a_publisher_may_name_a_self_managed_issuer() -> None:
    policy = required('kind = "GitLab", issuer = "https://gitlab.acme.example/", repository = "platform/**"')
    said = claims(kind="GitLab", issuer="https://gitlab.acme.example", repository="platform/a/b")
    assert codes(one(policy, FILE, by(said))) == []


def test_any_one_of_several_publishers_will_do() -> None:
    policy = a_policy(
        'publishers = [{ kind = "GitHub", repository = "octo/x" }, { kind = "GitHub", repository = "octo/widget" }]'
    )
    assert codes(one(policy, FILE, signed(FILE))) == []


def test_a_wrong_publisher_is_told_with_what_was_expected_and_found() -> None:
    verdict = one(required('kind = "GitHub", repository = "octo/gadget", workflow = "*.yml"'), FILE, signed(FILE))
    assert isinstance(verdict, Withheld)
    reason = verdict.reasons[0]
    assert reason.expected == "GitHub octo/gadget (workflow *.yml)"
    assert reason.found == "GitHub octo/widget (workflow release.yml, ref refs/tags/v1)"


# environment: only newer certificates have this claim

ENVIRONMENT = required('kind = "GitHub", repository = "octo/widget", environment = "pypi"')


def certified(*, new: bool, environment: str | None) -> Attested:
    start = ENVIRONMENT_SINCE + timedelta(seconds=0 if new else -1)
    return by(claims(environment=environment), not_before=start)


@pytest.mark.parametrize(
    ("new", "environment", "expected"),
    [
        (True, "pypi", []),
        (True, "PyPI", []),
        (True, "staging", [ReasonCode.PUBLISHER]),
        (True, None, [ReasonCode.PUBLISHER]),
        (False, "pypi", []),
        (False, "staging", [ReasonCode.PUBLISHER]),
        (False, None, []),
    ],
)
def test_an_environment_is_required_of_certificates_that_can_carry_it(
    new: bool,
    environment: str | None,
    expected: list[ReasonCode],
) -> None:
    assert codes(one(ENVIRONMENT, FILE, certified(new=new, environment=environment))) == expected


def test_an_environment_that_an_old_certificate_cannot_prove_is_a_note() -> None:
    verdict = one(ENVIRONMENT, FILE, certified(new=False, environment=None))
    assert isinstance(verdict, Approved)
    assert verdict.notes == ("environment pypi is not proven, because older certificates do not contain it",)
    proven = one(ENVIRONMENT, FILE, certified(new=True, environment="pypi"))
    assert isinstance(proven, Approved)
    assert proven.notes == ()


# predicates, bundles, builders, trust roots


def several(*made: Attestation) -> Attested:
    return Attested(attestations=made)


@pytest.mark.parametrize(
    ("bundles", "expected"),
    [
        ([(0, PUBLISH_PREDICATE_TYPE), (0, SLSA_PREDICATE_TYPE)], []),
        ([(0, PUBLISH_PREDICATE_TYPE), (1, SLSA_PREDICATE_TYPE)], [ReasonCode.PREDICATE]),
        ([(0, PUBLISH_PREDICATE_TYPE)], [ReasonCode.PREDICATE]),
        ([(0, PUBLISH_PREDICATE_TYPE), (1, PUBLISH_PREDICATE_TYPE), (1, SLSA_PREDICATE_TYPE)], []),
    ],
)
def test_one_bundle_carries_all_predicates(bundles: list[tuple[int, str]], expected: list[ReasonCode]) -> None:
    policy = a_policy('publishers = "any"\npredicates = ["publish", "slsa"]')
    made = [attestation(FILE.upload_time, bundle=bundle, predicate_type=kind) for bundle, kind in bundles]
    assert codes(one(policy, FILE, several(*made))) == expected


def test_a_predicate_by_somebody_else_in_the_same_bundle_does_not_count() -> None:
    policy = required('kind = "GitHub", repository = "octo/widget"', 'predicates = ["publish", "slsa"]')
    publish = attestation(FILE.upload_time)
    theirs = attestation(FILE.upload_time, predicate_type=SLSA_PREDICATE_TYPE, repository="evil/widget")
    ours = attestation(FILE.upload_time, predicate_type=SLSA_PREDICATE_TYPE)
    assert codes(one(policy, FILE, several(publish, theirs))) == [ReasonCode.PREDICATE]
    assert codes(one(policy, FILE, several(publish, theirs, ours))) == []


def test_a_predicate_in_a_bundle_of_another_builder_does_not_count() -> None:
    policy = a_policy('publishers = "any"\nbuilder = ["https://github.com/octo/**"]\npredicates = ["publish", "slsa"]')
    elsewhere = "https://github.com/evil/ci/.github/workflows/build.yml@refs/tags/v1"
    ours = attestation(FILE.upload_time)
    theirs = [
        attestation(FILE.upload_time, bundle=1, predicate_type=kind, builder=elsewhere)
        for kind in (PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE)
    ]
    assert codes(one(policy, FILE, several(ours, *theirs))) == [ReasonCode.PREDICATE]
    whole = attestation(FILE.upload_time, predicate_type=SLSA_PREDICATE_TYPE)
    assert codes(one(policy, FILE, several(ours, whole, *theirs))) == []


def test_a_persons_signature_tells_no_time_where_no_attestation_is_required() -> None:
    policy, file = a_policy('min-age = "3 days"'), a_file(upload_time=None)
    assert codes(one(policy, file, attested(ago(5)))) == []
    by_person = Attested(attestations=(attestation(ago(5), claims=PERSON),))
    assert codes(one(policy, file, by_person)) == [ReasonCode.TOO_YOUNG]
    beside = several(attestation(ago(1)), attestation(ago(5), claims=PERSON, bundle=1))
    assert codes(one(policy, file, beside)) == [ReasonCode.TOO_YOUNG]


AUDIT = "https://example.org/audit/v1"


@pytest.mark.parametrize("predicates", ["", 'predicates = ["publish"]', f'predicates = ["{AUDIT}"]'])
def test_a_predicate_of_another_type_proves_no_publisher(predicates: str) -> None:
    policy = required('kind = "GitHub", repository = "octo/widget"', predicates)
    audited = one(policy, FILE, signed(FILE, predicate_type=AUDIT))
    assert codes(audited) == [ReasonCode.UNATTESTED]
    assert isinstance(audited, Withheld)
    assert audited.reasons[0].found == AUDIT
    both = several(attestation(FILE.upload_time), attestation(FILE.upload_time, predicate_type=AUDIT))
    assert codes(one(policy, FILE, both)) == ([ReasonCode.PREDICATE] if AUDIT in predicates else [])


def test_a_predicate_of_another_type_beside_provenance_changes_nothing() -> None:
    policy = required('kind = "GitHub", repository = "octo/widget"')
    stranger = attestation(FILE.upload_time, predicate_type=AUDIT, repository="evil/widget", bundle=1)
    ours = attestation(FILE.upload_time)
    assert codes(one(policy, FILE, several(ours, stranger))) == []
    assert codes(one(policy, FILE, several(replace(ours, predicate_type=AUDIT), stranger))) == [ReasonCode.UNATTESTED]


def test_a_revocation_of_a_publisher_covers_no_file_that_the_publisher_only_audited() -> None:
    revocation = '[[revocations]]\npublishers = [{ kind = "GitHub", repository = "evil/widget" }]\nreason = "stolen"'
    revoked = a_policy('publishers = "any"', more=revocation)
    ours, audit = attestation(FILE.upload_time), attestation(FILE.upload_time, repository="evil/widget", bundle=1)
    assert codes(one(revoked, FILE, several(ours, audit))) == [ReasonCode.REVOKED]
    assert codes(one(revoked, FILE, several(ours, replace(audit, predicate_type=AUDIT)))) == []


def test_an_attestation_of_another_source_may_be_later_than_the_upload() -> None:
    policy = required('kind = "GitHub", repository = "octo/widget"')
    late = attestation(ago(8), predicate_type=SLSA_PREDICATE_TYPE)
    assert codes(one(policy, FILE, several(late))) == [ReasonCode.TIME_CONFLICT]
    assert codes(one(policy, FILE, several(replace(late, source="github")))) == []
    future = replace(late, source="github", integrated_time=NOW + timedelta(hours=1))
    assert codes(one(policy, FILE, several(future))) == [ReasonCode.TIME_CONFLICT]


def test_an_attestation_that_counts_for_nothing_does_no_harm_beside_a_good_one() -> None:
    policy = required('kind = "GitHub", repository = "octo/widget"')
    good, stranger = attestation(FILE.upload_time), attestation(FILE.upload_time, claims=PERSON, bundle=1)
    assert codes(one(policy, FILE, several(good, stranger))) == []
    assert codes(one(policy, FILE, several(stranger, good))) == []


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("https://github.com/acme/builders/.github/workflows/build.yml", []),
        ("https://github.com/acme/builders/**", []),
        ("https://github.com/acme/builders/.github/workflows/build.yml@refs/tags/*", []),
        ("https://github.com/acme/builders/.github/workflows/build.yml@refs/heads/*", [ReasonCode.BUILDER]),
        ("https://github.com/acme/*", [ReasonCode.BUILDER]),
    ],
)
def test_a_builder_is_a_build_signer_uri(pattern: str, expected: list[ReasonCode]) -> None:
    uri = "https://github.com/acme/builders/.github/workflows/build.yml@refs/tags/v1"
    policy = a_policy(f'publishers = "any"\nbuilder = ["{pattern}"]')
    assert codes(one(policy, FILE, signed(FILE, builder=uri))) == expected


def test_a_file_without_a_builder_has_not_the_one_that_is_asked_for() -> None:
    policy = a_policy('publishers = "any"\nbuilder = ["**"]')
    assert codes(one(policy, FILE, signed(FILE, builder=None))) == [ReasonCode.BUILDER]
    assert codes(one(policy, FILE, Unattested())) == [ReasonCode.UNATTESTED]


def test_only_the_named_trust_roots_may_vouch() -> None:
    policy = a_policy('trust = ["acme-sigstore"]\nattestations = "required"\npublishers = "any"')
    assert codes(one(policy, FILE, signed(FILE, trust_root="acme-sigstore"))) == []
    assert codes(one(policy, FILE, signed(FILE))) == [ReasonCode.TRUST]
    assert codes(one(a_policy('trust = ["acme-sigstore"]'), FILE, signed(FILE))) == [ReasonCode.TRUST]
    assert codes(one(a_policy('trust = ["acme-sigstore"]'), FILE, Unattested())) == []


def test_the_publisher_must_be_vouched_for_by_the_named_root() -> None:
    policy = required('kind = "GitHub", repository = "octo/widget"', 'trust = ["acme"]')
    vouched = attestation(FILE.upload_time, trust_root="acme", repository="octo/other")
    genuine = attestation(FILE.upload_time)
    assert codes(one(policy, FILE, several(vouched, genuine))) == [ReasonCode.PUBLISHER]


@pytest.mark.parametrize(
    ("trigger", "noted"), [("pull_request_target", True), ("workflow_run", True), ("release", False), (None, False)]
)
def test_a_trigger_that_strangers_may_set_off_is_a_note(trigger: str | None, noted: bool) -> None:
    verdict = one(a_policy(), FILE, signed(FILE, trigger=trigger))
    assert isinstance(verdict, Approved)
    assert any(str(trigger) in note for note in verdict.notes) is noted


def test_the_publish_attestation_makes_a_file_no_older_than_its_log_entry() -> None:
    policy = a_policy('min-age = "3 days"')
    file = a_file(uploaded=ago(3))
    assert codes(one(policy, file, attested(ago(3)))) == []
    assert codes(one(policy, file, attested(ago(3) + timedelta(minutes=30)))) == [ReasonCode.TOO_YOUNG]
    assert codes(one(policy, file, attested(ago(3) + timedelta(minutes=30), predicate_type=SLSA_PREDICATE_TYPE))) == []
