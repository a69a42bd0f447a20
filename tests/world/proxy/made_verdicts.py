"""Verdicts as values, without an index and without a judge, for tests of what shows them."""

from __future__ import annotations

from datetime import UTC, datetime

from packaging.version import Version

from assay.evidence import Unattested
from assay.policy.verdict import ReasonCode, Withheld, state_reason
from assay.simple.model import Distribution, File, Kind, NormalizedName, Sha256

UNATTESTED = state_reason(
    ReasonCode.UNATTESTED, "attested", "the file has no attestation", expected="one", found="none"
)


def make_file(filename: str, version: str | None) -> File:
    """Return a wheel of the project foo; None as version: a file with an invalid name."""
    distribution = None
    if version is not None:
        distribution = Distribution(project=NormalizedName("foo"), version=Version(version), kind=Kind.WHEEL)
    return File(
        filename=filename,
        url=f"https://files.example/{filename}",
        location=f"files.example/{filename}",
        route=f"files.example/{filename}",
        distribution=distribution,
        sha256=Sha256("0" * 64),
        size=1000,
        upload_time=datetime(2026, 1, 1, tzinfo=UTC),
    )


def make_withheld_files(versions: int, files: int) -> list[Withheld]:
    """Return verdicts on a project with many versions, each with many wheels without an attestation."""
    return [
        Withheld(
            file=make_file(f"foo-{number // 8}.0.{number % 8}-cp311-abi3-manylinux_2_34_x86_64_{tag}.whl", version),
            reasons=(UNATTESTED,),
            enforced=False,
            rule="attested",
            evidence=Unattested(),
        )
        for number in range(versions)
        for version in (f"{number // 8}.0.{number % 8}",)
        for tag in range(files)
    ]
