"""What a whole document comes to: several attestations, several roots, what is unknown, what is empty."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from assay.attestation.trust_roots import TrustRoot
from assay.attestation.verification import sigstore_private
from assay.attestation.verification.verify import verify
from assay.errors import ConfigurationError
from assay.evidence import Attested, Claims, Evidence, Forged, Unattested, Unverifiable
from tests.world.sigstore.attacks import (
    FILE_SHA256,
    FILENAME,
    OTHER_SHA256,
    WHEEL_FILENAME,
    make_listed_file,
    trust_root_for,
)
from tests.world.sigstore.private_sigstore import (
    SIGNING_TIME,
    SLSA_PREDICATE,
    CircleCI,
    GitHub,
    GitLab,
    Google,
    PrivateSigstore,
    Signer,
    build_provenance,
    make_slsa_predicate,
)
from tests.world.sigstore.reference_verifier import is_accepted

GITHUB = "https://token.actions.githubusercontent.com"
SELF_MANAGED = GitLab(issuer="https://gitlab.acme.example")


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
    """As the reference has it, which leaves out null alone."""

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
    assert (forged.step, forged.found) == (f"publisher {field}", "an empty text, says the index")


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
    """The digest settles which file it is: `widget-1.0.zip` parses as `widget-1.0.tar.gz` does."""
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
    """The reference's command says OK to both."""
    assert verify(build_provenance(*bundles), make_listed_file(), [trust_root_for(sigstore)]) == Unattested()


def test_what_is_unknown_beside_what_is_good_counts_for_nothing(sigstore: PrivateSigstore) -> None:
    good = sigstore.attestation(FILENAME, FILE_SHA256)
    odd = sigstore.attestation(FILENAME, FILE_SHA256, predicate_type="https://example.com/sbom")
    raw = build_provenance((GitHub().publisher(), [odd, good]), ({"kind": "Gitea"}, [good]))
    evidence = attested(verify(raw, make_listed_file(), [trust_root_for(sigstore)]))
    assert [one.bundle for one in evidence.attestations] == [0]
    assert evidence.ignored == ("predicate type https://example.com/sbom", "publisher kind Gitea")


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
    """The public root, and a private one that may speak for one self-managed GitLab."""
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
