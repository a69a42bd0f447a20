"""Tests of `verify` with whole documents: several attestations, several roots, unknown parts and empty documents."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from assay.attestation.trust_roots import TrustRoot
from assay.attestation.verification import sigstore_private
from assay.attestation.verification.verify import verify
from assay.errors import ConfigurationError
from assay.evidence import Attested, Claims, Evidence, Forged, LogIdentity, Unattested, Unverifiable
from assay.publishers.signers import describe_signer
from tests.world.sigstore.attacks import (
    FILE_SHA256,
    FILENAME,
    OTHER_SHA256,
    WHEEL_FILENAME,
    make_listed_file,
    set_claims,
    trust_root_for,
)
from tests.world.sigstore.private_sigstore import (
    SIGNING_TIME,
    SLSA_PREDICATE,
    CircleCI,
    GitHub,
    GitLab,
    Google,
    Person,
    PrivateSigstore,
    Signer,
    build_provenance,
    make_slsa_predicate,
)
from tests.world.sigstore.reference_verifier import is_accepted

GITHUB = "https://token.actions.githubusercontent.com"
SELF_MANAGED = GitLab(issuer="https://gitlab.acme.example")


def claims_of(sigstore: PrivateSigstore, signer: Signer, **more: Any) -> Claims:
    """Return the claims of a document that this signer signed."""
    raw = sigstore.provenance(FILENAME, FILE_SHA256, signer, **more)
    return attested(verify(raw, make_listed_file(), [trust_root_for(sigstore)])).attestations[0].claims


def attested(evidence: Evidence) -> Attested:
    assert isinstance(evidence, Attested), evidence
    return evidence


def test_all_claims_of_github_are_kept(sigstore: PrivateSigstore) -> None:
    signer = GitHub(environment="pypi", repository_id="123", owner_id="45")
    (one,) = attested(
        verify(sigstore.provenance(FILENAME, FILE_SHA256, signer), make_listed_file(), [trust_root_for(sigstore)])
    ).attestations
    claims = one.claims
    assert claims.kind == "GitHub"
    assert (claims.repository, claims.owner, claims.repository_id, claims.owner_id) == (
        "acme/widget",
        "acme",
        "123",
        "45",
    )
    assert (claims.workflow, claims.workflow_ref) == (".github/workflows/release.yml", "refs/tags/v1.0")
    assert (claims.ref, claims.digest) == (signer.ref, signer.digest)
    assert (claims.environment, claims.token_subject) == ("pypi", "repo:acme/widget:environment:pypi")
    assert (claims.trigger, claims.runner, claims.visibility) == ("release", "github-hosted", "public")
    assert claims.builder == claims.san == signer.builder_uri
    assert (one.integrated_time, one.trust_root, one.subject) == (SIGNING_TIME, "test", FILENAME)
    assert len(one.material) == 3
    assert one.log == LogIdentity(id=sigstore.rekor.log_id.hex(), url="https://rekor.sigstore.example")


def test_the_claims_of_the_other_publishers_are_kept(sigstore: PrivateSigstore) -> None:
    def claims_of(signer: Signer) -> Claims:
        raw = sigstore.provenance(FILENAME, FILE_SHA256, signer)
        return attested(verify(raw, make_listed_file(), [trust_root_for(sigstore)])).attestations[0].claims

    gitlab, google, circleci = claims_of(GitLab()), claims_of(Google()), claims_of(CircleCI())
    assert gitlab.repository == "acme/tools/widget"
    assert gitlab.workflow == ".gitlab-ci.yml"
    assert google.email == "builder@acme.iam.gserviceaccount.com"
    assert circleci.project_id == CircleCI().project_id
    assert circleci.vcs_origin == "github.com/acme/widget"
    assert circleci.runner is None


def test_a_reused_workflow_is_named_beside_the_caller(sigstore: PrivateSigstore) -> None:
    signer = GitHub(builder="acme/ci/.github/workflows/build.yml@refs/heads/main")
    raw = sigstore.provenance(FILENAME, FILE_SHA256, signer)
    claims = attested(verify(raw, make_listed_file(), [trust_root_for(sigstore)])).attestations[0].claims
    assert claims.workflow == ".github/workflows/release.yml"
    assert claims.builder == "https://github.com/acme/ci/.github/workflows/build.yml@refs/heads/main"


@pytest.mark.parametrize(
    "signer",
    [
        GitHub(workflow="Publish to PyPI.yml"),
        GitHub(ref="refs/tags/v1.0-β"),
        GitHub(ref="refs/heads/fix/#12"),
        GitHub(builder="acme/ci/.github/workflows/Build wheels.yml@refs/heads/main"),
        GitLab(workflow_filepath="ci/Publish to PyPI.yml", ref="refs/tags/v1.0-β"),
    ],
    ids=repr,
)
def test_a_workflow_or_ref_with_characters_that_no_uri_contains_is_attested(
    sigstore: PrivateSigstore, signer: GitHub | GitLab
) -> None:
    claims = claims_of(sigstore, signer)
    assert claims.san == claims.builder or "%" in claims.san
    assert (claims.ref, claims.workflow_ref) == (signer.ref, signer.ref)
    workflow = signer.path if isinstance(signer, GitHub) else signer.workflow_filepath
    assert claims.workflow == workflow


def test_a_self_managed_gitlab_is_attested_as_fulcios_template_writes_it(sigstore: PrivateSigstore) -> None:
    """The template's default for the server is gitlab.com; only the pipeline's configuration names the real one."""
    templated = claims_of(sigstore, GitLab(issuer="https://gitlab.acme.example", server="https://gitlab.com"))
    assert templated == claims_of(sigstore, GitLab(issuer="https://gitlab.acme.example"))
    assert (templated.kind, templated.repository) == ("GitLab", "acme/tools/widget")
    assert templated.repository_uri == "https://gitlab.acme.example/acme/tools/widget"
    assert (templated.run_url or "").startswith("https://gitlab.acme.example/acme/tools/widget/-/jobs/")
    for issuer in ("https://acme.example:8443", "https://acme.example/gitlab"):
        for server in ("", "https://gitlab.com"):
            found = claims_of(sigstore, GitLab(issuer=issuer, server=server))
            assert (found.kind, found.repository, found.workflow) == ("GitLab", "acme/tools/widget", ".gitlab-ci.yml")
            assert found.repository_uri == f"{issuer}/acme/tools/widget"


def test_a_workflow_that_the_organisation_requires_is_attested_and_named_with_its_repository(
    sigstore: PrivateSigstore,
) -> None:
    claims = claims_of(sigstore, GitHub(required_by="acme/policies"))
    assert (claims.repository, claims.ref) == ("acme/widget", "refs/tags/v1.0")
    assert claims.workflow == "acme/policies/.github/workflows/release.yml"
    assert claims.workflow_ref == "refs/heads/main"
    assert describe_signer(claims) == (
        "GitHub acme/widget (workflow acme/policies/.github/workflows/release.yml, ref refs/tags/v1.0)"
    )
    assert claims.builder == "https://github.com/acme/policies/.github/workflows/release.yml@refs/heads/main"
    enterprise = GitHub(required_by="acme/policies", issuer="https://token.actions.githubusercontent.com/acme-corp")
    assert claims_of(sigstore, enterprise).workflow == claims.workflow
    slsa = make_slsa_predicate(GitHub(required_by="acme/policies"))
    assert slsa["buildDefinition"]["externalParameters"]["workflow"]["ref"] == "refs/heads/main"
    attested(
        verify(
            sigstore.provenance(
                FILENAME,
                FILE_SHA256,
                GitHub(required_by="acme/policies"),
                predicate_type=SLSA_PREDICATE,
                predicate=slsa,
            ),
            make_listed_file(),
            [trust_root_for(sigstore)],
        )
    )


@pytest.mark.parametrize(
    ("environment", "subject"),
    [
        ("a%41b", "repo:acme/widget:environment:a%41b"),
        ("a:b", "repo:acme/widget:environment:a%3Ab"),
        ("100%", "repo:acme/widget:environment:100%"),
        ("Kelvin \u212a", "repo:acme/widget:environment:kELVIN \u212a"),
        ("pypi", "repo:acme@1/widget@2:environment:pypi:ref:refs/tags/v1.0"),
    ],
)
def test_only_a_colon_of_the_environment_is_encoded_in_the_tokens_subject(
    sigstore: PrivateSigstore, environment: str, subject: str
) -> None:
    signer = GitHub(environment=environment)
    assert claims_of(sigstore, signer, leaf=set_claims({24: subject})).environment == environment


def test_an_environment_that_only_the_tokens_subject_names_is_decoded(sigstore: PrivateSigstore) -> None:
    signer = GitHub(environment="a:b%41")
    assert claims_of(sigstore, signer, leaf=set_claims({23: None})).environment == "a:b%41"


@pytest.mark.parametrize(
    ("signer", "block"),
    [
        (GitHub(), {"repository": "ACME/Widget"}),
        (GitLab(), {"repository": "Acme/TOOLS/widget"}),
        (Google(), {"email": "Builder@acme.iam.gserviceaccount.com"}),
        (CircleCI(), {"project_id": CircleCI().project_id.upper()}),
        (CircleCI(), {"pipeline_definition_id": CircleCI().pipeline_definition_id.upper()}),
    ],
    ids=lambda part: str(part)[:40],
)
def test_the_index_may_spell_a_name_in_another_case_where_its_host_compares_without(
    sigstore: PrivateSigstore, signer: Signer, block: dict[str, str]
) -> None:
    assert claims_of(sigstore, signer, publisher={**signer.publisher(), **block}) == claims_of(sigstore, signer)


ORGANIZATION = "https://oidc.circleci.com/org/d60f6c1c-2f0d-4c2e-9d2b-0a6a1c0f3b11"


def test_the_issuer_of_a_circleci_organization_is_circleci(sigstore: PrivateSigstore) -> None:
    claims = claims_of(sigstore, CircleCI(issuer=ORGANIZATION))
    assert (claims.kind, claims.issuer, claims.project_id) == ("CircleCI", ORGANIZATION, CircleCI().project_id)


@pytest.mark.parametrize(
    "issuer",
    [
        "https://oidc.circleci.com/org/acme",
        f"{ORGANIZATION}/more",
        f"{ORGANIZATION}\n",
        ORGANIZATION.replace("https", "http"),
        ORGANIZATION.replace("oidc.circleci.com", "oidc.circleci.com.evil.example"),
    ],
)
def test_no_other_issuer_is_circleci(sigstore: PrivateSigstore, issuer: str) -> None:
    raw = sigstore.provenance(FILENAME, FILE_SHA256, CircleCI(issuer=issuer))
    forged = verify(raw, make_listed_file(), [trust_root_for(sigstore)])
    assert isinstance(forged, Forged)
    assert forged.step == "publisher kind"


def test_a_person_of_google_is_no_publisher_of_kind_google_and_an_index_that_says_so_forges_nothing(
    sigstore: PrivateSigstore,
) -> None:
    """PyPI accepts the address of a person as a publisher of kind Google."""
    claims = claims_of(sigstore, Google(email="jane@gmail.com"))
    assert (claims.kind, claims.email) == (None, "jane@gmail.com")
    assert claims_of(sigstore, Google()).kind == "Google"
    block = {"kind": "Google", "email": "jane@gmail.com"}
    raw = sigstore.provenance(FILENAME, FILE_SHA256, Person(email="jane@gmail.com"), publisher=block)
    forged = verify(raw, make_listed_file(), [trust_root_for(sigstore)])
    assert isinstance(forged, Forged)
    assert forged.step == "publisher kind"


def test_an_environment_that_an_old_certificate_cant_prove_is_nobodys_claim(sigstore: PrivateSigstore) -> None:
    signer = GitHub(environment="pypi", proves_environment=False)
    raw = sigstore.provenance(FILENAME, FILE_SHA256, signer)
    assert (
        attested(verify(raw, make_listed_file(), [trust_root_for(sigstore)])).attestations[0].claims.environment is None
    )


def test_an_environment_compares_without_case(sigstore: PrivateSigstore) -> None:
    signer = GitHub(environment="PyPI")
    publisher = {**signer.publisher(), "environment": "pypi"}
    raw = sigstore.provenance(FILENAME, FILE_SHA256, signer, publisher=publisher)
    assert (
        attested(verify(raw, make_listed_file(), [trust_root_for(sigstore)])).attestations[0].claims.environment
        == "PyPI"
    )


@pytest.mark.parametrize("environment", ["", None])
@pytest.mark.parametrize("signer", [GitHub(environment="pypi"), GitLab(environment="pypi"), GitHub(), GitLab()])
def test_an_index_that_says_no_environment_contradicts_none(
    sigstore: PrivateSigstore, environment: str | None, signer: Signer
) -> None:
    publisher = {**signer.publisher(), "environment": environment, "claims": None}
    attested(
        verify(
            sigstore.provenance(FILENAME, FILE_SHA256, signer, publisher=publisher),
            make_listed_file(),
            [trust_root_for(sigstore)],
        )
    )


@pytest.mark.parametrize("signer", [CircleCI(), CircleCI(vcs_origin=None, vcs_ref=None)])
@pytest.mark.parametrize("field", ["vcs_origin", "vcs_ref"])
def test_an_empty_origin_or_ref_is_a_statement_where_none_says_nothing(
    sigstore: PrivateSigstore, field: str, signer: Signer
) -> None:
    """The reference implementation also treats only null as absent."""

    def publish(publisher: dict[str, Any]) -> Evidence:
        raw = sigstore.provenance(FILENAME, FILE_SHA256, signer, publisher=publisher)
        evidence = verify(raw, make_listed_file(), [root])
        assert is_accepted(raw, make_listed_file(), root.content) is isinstance(evidence, Attested)
        return evidence

    root, honest = trust_root_for(sigstore), signer.publisher()
    attested(publish(honest))
    attested(publish({**honest, field: None}))
    attested(publish({key: value for key, value in honest.items() if key != field}))
    forged = publish({**honest, field: ""})
    assert isinstance(forged, Forged)
    assert (forged.step, forged.found) == (f"publisher {field}", "an empty text, from the index")


def test_the_slsa_facts_are_kept(sigstore: PrivateSigstore) -> None:
    raw = sigstore.provenance(
        FILENAME, FILE_SHA256, predicate_type=SLSA_PREDICATE, predicate=make_slsa_predicate(GitHub())
    )
    facts = attested(verify(raw, make_listed_file(), [trust_root_for(sigstore)])).attestations[0].slsa
    assert facts is not None
    assert (facts.repository, facts.ref, facts.commit) == (
        "https://github.com/acme/widget",
        "refs/tags/v1.0",
        GitHub().digest,
    )


def test_the_name_may_be_spelt_otherwise_and_is_kept_as_signed(sigstore: PrivateSigstore) -> None:
    """The digest identifies the file: `widget-1.0.zip` and `widget-1.0.tar.gz` are equal when parsed."""
    raw = sigstore.provenance("Widget-1.0.zip", FILE_SHA256)
    assert (
        attested(verify(raw, make_listed_file(), [trust_root_for(sigstore)])).attestations[0].subject
        == "Widget-1.0.zip"
    )


def test_a_wheel_with_a_build_tag_is_attested(sigstore: PrivateSigstore) -> None:
    attested(
        verify(
            sigstore.provenance(WHEEL_FILENAME, FILE_SHA256),
            make_listed_file(WHEEL_FILENAME),
            [trust_root_for(sigstore)],
        )
    )


@pytest.mark.parametrize("bundles", [(), ((GitHub().publisher(), ()),), (({"kind": "Gitea"}, ()),)], ids=str)
def test_nothing_attested_is_unattested(
    bundles: tuple[tuple[dict[str, object], tuple[()]], ...], sigstore: PrivateSigstore
) -> None:
    """The command of the reference implementation prints OK for such documents."""
    assert verify(build_provenance(*bundles), make_listed_file(), [trust_root_for(sigstore)]) == Unattested()


def test_what_is_unknown_beside_what_is_good_counts_for_nothing(sigstore: PrivateSigstore) -> None:
    good = sigstore.attestation(FILENAME, FILE_SHA256)
    odd = sigstore.attestation(FILENAME, FILE_SHA256, predicate_type="https://example.com/sbom")
    raw = build_provenance((GitHub().publisher(), [odd, good]), ({"kind": "Gitea"}, [good]))
    evidence = attested(verify(raw, make_listed_file(), [trust_root_for(sigstore)]))
    assert [one.bundle for one in evidence.attestations] == [0]
    assert evidence.ignored == ("unknown predicate type https://example.com/sbom", "unknown publisher kind Gitea")


def test_what_is_forged_beside_what_is_good_makes_the_file_forged(sigstore: PrivateSigstore) -> None:
    good = sigstore.attestation(FILENAME, FILE_SHA256)
    bad = sigstore.attestation(FILENAME, OTHER_SHA256)
    for order in ([good, bad], [bad, good]):
        evidence = verify(
            build_provenance((GitHub().publisher(), order)), make_listed_file(), [trust_root_for(sigstore)]
        )
        assert isinstance(evidence, Forged)
        assert evidence.step == "subject digest"


def test_what_is_forged_under_an_unknown_publisher_is_forged(sigstore: PrivateSigstore) -> None:
    bad = sigstore.attestation(FILENAME, OTHER_SHA256)
    evidence = verify(build_provenance(({"kind": "Gitea"}, [bad])), make_listed_file(), [trust_root_for(sigstore)])
    assert isinstance(evidence, Forged)


def test_two_predicates_by_one_job_are_both_kept(sigstore: PrivateSigstore) -> None:
    publish = sigstore.attestation(FILENAME, FILE_SHA256)
    built = sigstore.attestation(
        FILENAME, FILE_SHA256, predicate_type=SLSA_PREDICATE, predicate=make_slsa_predicate(GitHub())
    )
    evidence = attested(
        verify(
            build_provenance((GitHub().publisher(), [publish, built])), make_listed_file(), [trust_root_for(sigstore)]
        )
    )
    assert len({one.predicate_type for one in evidence.attestations}) == 2
    assert len({one.certificate for one in evidence.attestations}) == 1


# -- several roots ----------------------------------------------------------------------------------------------------


def private() -> PrivateSigstore:
    return PrivateSigstore(seed=2, host="acme.example")


def beside(sigstore: PrivateSigstore) -> list[TrustRoot]:
    """Return the public root, and a private one that may vouch for one self-managed GitLab."""
    further = replace(trust_root_for(private()), name="acme", issuers=frozenset({SELF_MANAGED.issuer}))
    return [trust_root_for(sigstore), further]


def test_each_root_vouches_for_its_own(sigstore: PrivateSigstore) -> None:
    public = verify(sigstore.provenance(FILENAME, FILE_SHA256), make_listed_file(), beside(sigstore))
    ours = verify(private().provenance(FILENAME, FILE_SHA256, SELF_MANAGED), make_listed_file(), beside(sigstore))
    assert attested(public).attestations[0].trust_root == "test"
    assert attested(ours).attestations[0].trust_root == "acme"
    assert attested(ours).attestations[0].claims.kind == "GitLab"


@pytest.mark.parametrize(
    "signer", [GitHub(), GitLab(), Google(), CircleCI(), GitLab(issuer="https://gitlab.rival.example")]
)
def test_a_further_root_cant_mint_an_identity_of_an_issuer_that_it_doesnt_list(
    signer: GitHub | GitLab | Google | CircleCI, sigstore: PrivateSigstore
) -> None:
    evidence = verify(private().provenance(FILENAME, FILE_SHA256, signer), make_listed_file(), beside(sigstore))
    assert isinstance(evidence, Forged)
    assert (evidence.step, evidence.found) == ("issuer", signer.issuer)
    assert "acme" in evidence.expected


def test_the_order_of_the_roots_is_irrelevant(sigstore: PrivateSigstore) -> None:
    for raw in (sigstore.provenance(FILENAME, FILE_SHA256), private().provenance(FILENAME, FILE_SHA256, SELF_MANAGED)):
        forwards = verify(raw, make_listed_file(), beside(sigstore))
        assert forwards == verify(raw, make_listed_file(), beside(sigstore)[::-1])
        attested(forwards)


# -- new keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rotate", [PrivateSigstore.new_rekor_key, PrivateSigstore.new_ct_key])
def test_a_key_that_the_root_doesnt_know_yet_is_unverifiable_until_it_does(
    rotate: object, sigstore: PrivateSigstore
) -> None:
    before = trust_root_for(sigstore)
    assert callable(rotate)
    rotate(sigstore)
    raw = sigstore.provenance(FILENAME, FILE_SHA256)
    evidence = verify(raw, make_listed_file(), [before])
    assert isinstance(evidence, Unverifiable)
    assert "is not in the trust root" in evidence.reason
    attested(verify(raw, make_listed_file(), [trust_root_for(sigstore)]))


# -- total ------------------------------------------------------------------------------------------------------------


def test_an_exception_that_nobody_thought_of_is_forged(
    sigstore: PrivateSigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_: object) -> None:
        raise ZeroDivisionError("nobody thought of it")

    raw = sigstore.provenance(FILENAME, FILE_SHA256)
    attested(verify(raw, make_listed_file(), [trust_root_for(sigstore)]))
    monkeypatch.setattr(sigstore_private, "is_signed_by", burst)
    evidence = verify(raw, make_listed_file(), [trust_root_for(sigstore)])
    assert isinstance(evidence, Forged)
    assert evidence.found == "ZeroDivisionError: nobody thought of it"


def test_an_exception_that_nobody_thought_of_is_forged_in_the_document_too(
    sigstore: PrivateSigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(_: object) -> None:
        raise ZeroDivisionError("nobody thought of it")

    monkeypatch.setattr("assay.attestation.verification.verify.read_document", burst)
    evidence = verify(b"", make_listed_file(), [trust_root_for(sigstore)])
    assert isinstance(evidence, Forged)
    assert evidence.found == "ZeroDivisionError: nobody thought of it"


def test_a_trust_root_that_doesnt_load_is_no_evidence(sigstore: PrivateSigstore) -> None:
    broken = trust_root_for(sigstore, lambda root: root.update(mediaType="text/plain"))
    with pytest.raises(ConfigurationError):
        verify(sigstore.provenance(FILENAME, FILE_SHA256), make_listed_file(), [broken])


def test_our_own_want_of_memory_is_no_evidence(sigstore: PrivateSigstore, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(sigstore_private, "is_signed_by", burst)
    with pytest.raises(MemoryError):
        verify(sigstore.provenance(FILENAME, FILE_SHA256), make_listed_file(), [trust_root_for(sigstore)])


def test_what_evidence_repeats_of_a_document_is_bounded(sigstore: PrivateSigstore) -> None:
    raw = sigstore.provenance(FILENAME, FILE_SHA256, predicate="x" * 100_000)
    evidence = verify(raw, make_listed_file(), [trust_root_for(sigstore)])
    assert isinstance(evidence, Forged)
    assert len(evidence.found) < 400
    named = json.loads(sigstore.provenance(FILENAME, FILE_SHA256))
    named["attestation_bundles"][0]["publisher"]["kind"] = "y" * 100_000
    unknown = verify(json.dumps(named).encode(), make_listed_file(), [trust_root_for(sigstore)])
    assert isinstance(unknown, Unverifiable)
    assert len(unknown.reason) < 400
