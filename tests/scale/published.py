"""Files that a private Sigstore signed, on a test index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.world.index.distributions import BuiltDistribution, wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.sigstore.private_sigstore import GitHub, PrivateSigstore, Signer

PUBLISHED = datetime.now(UTC).replace(microsecond=0) - timedelta(days=60)
"""Time of all uploads: the replicas use the real clock."""
WORKFLOW = GitHub(repository="acme/widget", workflow="release.yml")
ATTESTED_POLICY = """
version = 1
[[rules]]
name = "attested"
projects = ["*"]
attestations = "required"
publishers = "any"
"""


@dataclass(frozen=True)
class Publisher:
    """Release workflow that uploads attested files to an index."""

    index: Index
    sigstore: PrivateSigstore
    signer: Signer = WORKFLOW

    def publish(self, built: BuiltDistribution, *, attested: bool = True) -> ListedFile:
        document = None
        if attested:
            document = self.sigstore.provenance(built.filename, built.sha256, self.signer, PUBLISHED)
        return self.index.add(built, upload_time=PUBLISHED + timedelta(minutes=1), provenance=document)

    def publish_releases(self, project: str, count: int, *, padding: int = 0) -> list[ListedFile]:
        """Publish versions 0.0 to COUNT-1.0 of a project, each with one attested wheel."""
        return [self.publish(wheel(project, f"{number}.0", padding=padding)) for number in range(count)]
