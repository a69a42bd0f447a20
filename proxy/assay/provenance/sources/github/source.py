"""Evidence source for GitHub's attestation store. It is asked about one repository at a time.

The questions about the files of a page come at the same time. If they concern more than a few digests of one owner,
they are sent as one bulk request. GitHub then answers for all repositories of the owner. This proves nothing more,
because each bundle's certificate names its repository.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from assay.caching.background import gather_or_cancel
from assay.errors import UpstreamUnavailableError
from assay.evidence import Evidence, Unattested, make_question
from assay.policy.candidate import SourceFacts
from assay.ports import DocumentFormat
from assay.provenance.documents import require_sha256
from assay.provenance.sources.base import EvidenceSource, Lifetimes, ProjectQuery
from assay.provenance.sources.github.api import GitHubApi, GitHubTiming
from assay.provenance.sources.github.responses import Bundle, encode_bundles
from assay.provenance.sources.settings import GitHubSourceSettings, is_repository
from assay.publishers.github import GITHUB
from assay.simple.model import File

_MIN_BULK_DIGESTS: Final = 3
"""Number of digests of one owner from which they are requested in bulk."""
_MAX_BULK_DIGESTS: Final = 100
_MAX_DOCUMENT_BYTES: Final = 8 * 2**20
_LIFETIMES: Final = Lifetimes(absence=timedelta(hours=1), document=timedelta(days=1))
"""GitHub's rate limits permit few requests. A repository may attest a file after its upload, but seldom later."""


@dataclass(slots=True)
class _Question:
    """Question about one digest in the store of one repository."""

    repository: str
    digest: str
    check: Callable[[], None]
    answer: asyncio.Future[list[Bundle]]

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def succeed(self, bundles: list[Bundle]) -> None:
        if not self.answer.done():
            self.answer.set_result(bundles)


class GitHubSource:
    """Attestation store of one GitHub server. Implements `SourceFamily`, whose subjects are repositories.

    Args:
        settings: table of the configuration.
        api: client of the server's API.
        timing: delays.
    """

    def __init__(self, settings: GitHubSourceSettings, api: GitHubApi, timing: GitHubTiming | None = None) -> None:
        self.name = settings.name
        self._issuer = settings.issuer.rstrip("/")
        self._repositories = settings.repository_by_project
        self._api = api
        self._timing = timing or GitHubTiming()
        self._gathered: dict[str, list[_Question]] = {}

    @property
    def facts(self) -> SourceFacts:
        """Facts by which the policy decides which repositories are asked about."""
        return SourceFacts(
            name=self.name, publisher_kind=GITHUB.name, issuer=self._issuer, repositories=self._repositories
        )

    def get_source(self, subject: str) -> EvidenceSource:
        """Return the source for one repository.

        Raises:
            ValueError: `subject` is not ``owner/name``.
        """
        if not is_repository(subject):
            raise ValueError(f"{subject!r} is not a repository")
        return _RepositorySource(self, subject)

    async def ask(self, repository: str, digest: str, check: Callable[[], None]) -> list[Bundle]:
        """Return the bundles about a digest. Questions about one owner that come together are sent together.

        Raises:
            UpstreamUnavailableError: GitHub does not answer, or its answer cannot be used.
        """
        question = _Question(repository, digest, check, asyncio.get_running_loop().create_future())
        owner = repository.partition("/")[0]
        gathered = self._gathered.get(owner)
        if gathered is not None and len(gathered) < _MAX_BULK_DIGESTS:
            gathered.append(question)
            return await question.answer
        gathered = self._gathered[owner] = [question]
        try:
            await asyncio.sleep(self._timing.gather_seconds)
            self._forget(owner, gathered)
            await self._answer(owner, gathered)
        except BaseException:
            question.answer.cancel()
            raise
        finally:
            self._forget(owner, gathered)
            for each in gathered:
                each.fail(UpstreamUnavailableError(f"{self.name}: the request was cancelled"))
        return await question.answer

    def _forget(self, owner: str, gathered: list[_Question]) -> None:
        if self._gathered.get(owner) is gathered:
            del self._gathered[owner]

    async def _answer(self, owner: str, questions: list[_Question]) -> None:
        """Send the questions about one owner, and answer them."""
        digests = list(dict.fromkeys(each.digest for each in questions))
        if len(digests) < _MIN_BULK_DIGESTS:
            await gather_or_cancel(self._answer_one(each) for each in questions)
            return
        permitted = [each for each in questions if _is_permitted(each)]
        if not permitted:
            return
        try:
            found = await self._api.list_bundles_in_bulk(owner, digests, permitted[0].check)
        except Exception as error:  # noqa: BLE001 - each caller gets the error
            for each in permitted:
                each.fail(error)
            return
        for each in permitted:
            answer = found.get(each.digest, [])
            if isinstance(answer, UpstreamUnavailableError):
                each.fail(answer)
            else:
                each.succeed(answer)

    async def _answer_one(self, question: _Question) -> None:
        try:
            question.succeed(await self._api.list_bundles(question.repository, question.digest, question.check))
        except Exception as error:  # noqa: BLE001 - the caller gets the error
            question.fail(error)


def _is_permitted(question: _Question) -> bool:
    """Return whether the caller of a question still permits its request. If not, the caller gets its own error."""
    try:
        question.check()
    except Exception as error:  # noqa: BLE001 - the error belongs to the caller
        question.fail(error)
        return False
    return True


class _RepositorySource:
    """Attestation store of one repository. Implements `EvidenceSource`."""

    def __init__(self, family: GitHubSource, repository: str) -> None:
        self._family = family
        self._repository = repository

    @property
    def name(self) -> str:
        return make_question(self._family.name, self._repository)

    @property
    def document_format(self) -> DocumentFormat:
        return DocumentFormat.BUNDLES

    @property
    def lifetimes(self) -> Lifetimes:
        return _LIFETIMES

    def covers(self, _query: ProjectQuery, file: File) -> bool:
        return file.sha256 is not None

    async def fetch(self, _query: ProjectQuery, file: File, ensure_may_fetch: Callable[[], None]) -> bytes | None:
        bundles = await self._family.ask(self._repository, f"sha256:{require_sha256(file)}", ensure_may_fetch)
        if not bundles:
            return None
        document = await asyncio.to_thread(encode_bundles, bundles)  # a bundle in a listing has up to 16 MiB
        if len(document) > _MAX_DOCUMENT_BYTES:
            raise UpstreamUnavailableError(f"{self.name}: the bundles have more than {_MAX_DOCUMENT_BYTES} bytes")
        return document

    def judge_absence(self, _query: ProjectQuery, _file: File) -> Evidence:
        return Unattested()

    def revalidates(self, _file: File) -> bool:
        return False

    def can_replace(self, document: bytes) -> bool:
        return document.startswith(b"[")
