"""What the demo promises: each file that tells something, its verdict, and the words that pip prints. Pure.

`tests/service/demo/test_demo.py` holds the running demo to every verdict,
`tests/clients/test_demo_console.py` to the words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One version of a project."""

    project: str
    version: str
    told: str
    """What happened, in a few words."""
    codes: tuple[str, ...] = ()
    """Of the reasons for which its files are withheld; none: approved."""
    console: str = ""
    """What pip 26 prints when this version is asked for; empty: that it is installed."""
    listed: bool = True
    """Whether the index that owns the name has it at all."""
    or_else: str = ""
    """What pip prints where it tried again before it was told: the connection that was cut, or the 502 after it."""
    whole: bool = True
    """Whether the index sends the bytes that its page promises."""

    @property
    def wanted(self) -> str:
        """As pip and uv take it."""
        return f"{self.project}=={self.version}"

    def is_in(self, output: str) -> bool:
        """Whether pip printed it."""
        return self.seen in output or bool(self.or_else and self.or_else in output)

    @property
    def seen(self) -> str:
        """What pip is promised to print."""
        return self.console or "Successfully installed"


STORIES: Final = (
    Story(project="acme-widgets", version="1.8", told="approved: signed by the pipeline that always signed it"),
    Story(
        project="acme-widgets",
        version="1.4",
        told="a stolen upload token: no attestation where there always was one",
        codes=("provenance-lost",),
        console="withheld, provenance-lost",
    ),
    Story(
        project="acme-widgets",
        version="1.5",
        told="signed, but by another project of the same GitLab",
        codes=("publisher-changed",),
        console="withheld, publisher-changed",
    ),
    Story(
        project="acme-widgets",
        version="1.6",
        told="forged: one byte of the certificate is another",
        codes=("forged",),
        console="withheld, forged",
    ),
    Story(
        project="acme-widgets",
        version="1.7",
        told="forged: one byte of the signed statement is another",
        codes=("forged",),
        console="withheld, forged",
    ),
    Story(
        project="acme-widgets",
        version="1.9",
        told="too young; the reason says when it will be old enough",
        codes=("too-young",),
        console="withheld, too-young",
    ),
    Story(
        project="acme-payments",
        version="1.1",
        told="no attestation where the rule requires one",
        codes=("unattested", "provenance-lost"),
        console="withheld, unattested",
    ),
    Story(
        project="acme-payments",
        version="1.2",
        told="signed by a pipeline that the rule doesn't name",
        codes=("publisher", "publisher-changed"),
        console="withheld, publisher",
    ),
    Story(project="acme-parser", version="1.0", told="approved: signed before the theft"),
    Story(
        project="acme-parser",
        version="1.1",
        told="revoked: signed genuinely, while a runner was stolen",
        codes=("revoked",),
        console="withheld, revoked",
    ),
    Story(project="acme-hotfix", version="1.0.1", told="too young, and waived: approved, and said so"),
    Story(project="acme-legacy", version="0.9", told="unattested, and pinned by its digest: approved"),
    Story(
        project="acme-legacy",
        version="0.9.1",
        told="unattested, and nobody pinned it",
        codes=("unattested",),
        console="withheld, unattested",
    ),
    Story(
        project="acme-abandoned",
        version="2.0",
        told="denied by name, with what to use instead",
        codes=("denied",),
        console="withheld, denied",
    ),
    Story(
        project="acme-swapped",
        version="1.0",
        told="the index has other bytes under a name that it had before",
        codes=("digest-changed",),
        console="withheld, digest-changed",
    ),
    Story(
        project="acme-tampered",
        version="1.0",
        told="approved, but one byte is changed on the way: the download never completes",
        console="Download failed",
        or_else="502 error responses",
        whole=False,
    ),
    Story(
        project="acme-core",
        version="1.0",
        told="approved: our own; PyPI has a 99.0 of that name, which is never asked for",
    ),
    Story(
        project="acme-core",
        version="99.0",
        told="dependency confusion: a stranger's, on PyPI",
        listed=False,
        console="No matching distribution found",
    ),
    Story(
        project="acme-nothing",
        version="1.0",
        told="our name, and only a stranger on PyPI has it",
        listed=False,
        console="No matching distribution found",
    ),
    Story(
        project="sampleproject",
        version="4.0.0",
        told="real, approved by its real attestation; zeros in the place of its bytes do not pass",
        console="502",
        whole=False,
    ),
    Story(
        project="rfc8785",
        version="0.1.2",
        told="real: signed by Sigstore's staging instance, which proves nothing",
        codes=("unverifiable",),
        console="withheld, unverifiable",
    ),
    Story(
        project="plain",
        version="1.0",
        told="as most of PyPI: no attestation",
        codes=("unattested",),
        console="withheld, unattested",
    ),
)
