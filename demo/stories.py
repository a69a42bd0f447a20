"""Stories of the demo: versions with their expected verdict, and the words that pip prints. Pure.

`tests/service/demo/test_demo.py` checks every verdict on the running demo, and `tests/clients/test_demo_console.py` the
words of pip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Version of a project with its expected verdict and output."""

    project: str
    version: str
    told: str
    """Short description of the event."""
    codes: tuple[str, ...] = ()
    """Codes of the reasons that withhold the files; empty for an approved version."""
    console: str = ""
    """Part of pip 26's output when this version is installed; empty if the installation succeeds."""
    listed: bool = True
    """False if the index that owns the name does not list this version."""
    or_else: str = ""
    """Alternative output, if pip retries a broken download and then gets an error response."""
    whole: bool = True
    """False if the index sends other bytes than those that its page promises."""

    @property
    def wanted(self) -> str:
        """Requirement for the command line of pip and uv."""
        return f"{self.project}=={self.version}"

    def is_in(self, output: str) -> bool:
        """Return whether pip's output has the expected words."""
        return self.seen in output or bool(self.or_else and self.or_else in output)

    @property
    def seen(self) -> str:
        """Words that pip is expected to print."""
        return self.console or "Successfully installed"


STORIES: Final = (
    Story(project="acme-widgets", version="1.8", told="approved: signed by the same pipeline as before"),
    Story(
        project="acme-widgets",
        version="1.4",
        told="stolen upload token: no attestation, although earlier versions have one",
        codes=("provenance-lost",),
        console="withheld, provenance-lost",
    ),
    Story(
        project="acme-widgets",
        version="1.5",
        told="signed by another project of the same GitLab",
        codes=("publisher-changed",),
        console="withheld, publisher-changed",
    ),
    Story(
        project="acme-widgets",
        version="1.6",
        told="forged: one byte of the certificate was changed",
        codes=("forged",),
        console="withheld, forged",
    ),
    Story(
        project="acme-widgets",
        version="1.7",
        told="forged: one byte of the signed statement was changed",
        codes=("forged",),
        console="withheld, forged",
    ),
    Story(
        project="acme-widgets",
        version="1.9",
        told="too young; the reason has the time of the approval",
        codes=("too-young",),
        console="withheld, too-young",
    ),
    Story(
        project="acme-payments",
        version="1.1",
        told="no attestation, but the rule requires one",
        codes=("unattested", "provenance-lost"),
        console="withheld, unattested",
    ),
    Story(
        project="acme-payments",
        version="1.2",
        told="signed by a pipeline that the rule does not name",
        codes=("publisher", "publisher-changed"),
        console="withheld, publisher",
    ),
    Story(project="acme-parser", version="1.0", told="approved: signed before the runner was stolen"),
    Story(
        project="acme-parser",
        version="1.1",
        told="revoked: valid signature, made while the runner was stolen",
        codes=("revoked",),
        console="withheld, revoked",
    ),
    Story(project="acme-hotfix", version="1.0.1", told="approved by a waiver although too young, with a note"),
    Story(project="acme-legacy", version="0.9", told="approved without attestation: pinned by its digest"),
    Story(
        project="acme-legacy",
        version="0.9.1",
        told="no attestation, and not pinned",
        codes=("unattested",),
        console="withheld, unattested",
    ),
    Story(
        project="acme-abandoned",
        version="2.0",
        told="denied by name; the reason recommends another project",
        codes=("denied",),
        console="withheld, denied",
    ),
    Story(
        project="acme-swapped",
        version="1.0",
        told="the index replaced the content of a file under the same name",
        codes=("digest-changed",),
        console="withheld, digest-changed",
    ),
    Story(
        project="acme-tampered",
        version="1.0",
        told="approved, but one byte is changed in transit: the download fails",
        console="Connection interrupted while downloading",
        or_else="424 Client Error: the file has SHA-256",
        whole=False,
    ),
    Story(
        project="acme-core",
        version="1.0",
        told="approved: from the company index; PyPI has a version 99.0 that Assay never requests",
    ),
    Story(
        project="acme-core",
        version="99.0",
        told="dependency confusion: a project of the same name on PyPI",
        listed=False,
        console="No matching distribution found",
    ),
    Story(
        project="acme-nothing",
        version="1.0",
        told="a company name that only PyPI has",
        listed=False,
        console="No matching distribution found",
    ),
    Story(
        project="sampleproject",
        version="4.0.0",
        told="real project, approved by its attestation; the demo's index sends zeros, so the download fails",
        console="HTTP error 424 Client Error",
        whole=False,
    ),
    Story(
        project="rfc8785",
        version="0.1.2",
        told="real project, signed by Sigstore's staging instance, which is not trusted",
        codes=("unverifiable",),
        console="withheld, unverifiable",
    ),
    Story(
        project="plain",
        version="1.0",
        told="no attestation, like most projects on PyPI",
        codes=("unattested",),
        console="withheld, unattested",
    ),
)
