"""Inputs of a proxy beside its configuration: policies, trust roots, the names that policies may use, and the time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from assay.attestation.config import BUNDLED_ROOT_NAMES, DEFAULT_ROOT_NAME
from assay.attestation.renewal.tuf_client import SubprocessRefresher, create_subprocess_refreshers
from assay.attestation.trust_roots import TrustRoots, load_roots
from assay.config import Configuration
from assay.evidence import INDEX_SOURCE
from assay.operator_files import read_text
from assay.policy.language.document import BUILT_IN_POLICY, load_policy
from assay.policy.language.model import Policy
from assay.policy.language.values import KnownNames


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def get_known_names(configuration: Configuration) -> KnownNames:
    """Return the names of the configured indexes, and of the trust roots that these indexes use."""
    trust = configuration.trust
    default = trust.root if trust.root in BUNDLED_ROOT_NAMES else DEFAULT_ROOT_NAME
    named = {index.trust for index in configuration.indexes if index.trust is not None}
    return KnownNames(
        indexes=frozenset(index.name for index in configuration.indexes),
        trust_roots=frozenset({default, *trust.roots, *named}),
        keys=frozenset(trust.keys),
        sources=frozenset({INDEX_SOURCE, *(each.name for each in configuration.evidence)}),
    )


def read_policy(path: Path | None, known: KnownNames | None = None) -> Policy:
    """Return the policy in the file at `path`, or the built-in policy if `path` is None.

    Args:
        path: path of the policy file.
        known: names that the policy may use (`get_known_names`); None: any.

    Raises:
        ConfigurationError: the file cannot be read or is not a valid policy.
    """
    if path is None:
        return BUILT_IN_POLICY
    return load_policy(read_text(path), str(path), known)


def read_policies(configuration: Configuration) -> dict[str, Policy]:
    """Return the policy of each view, by the view's name.

    Raises:
        ConfigurationError: a policy file cannot be read or is not a valid policy.
    """
    known = get_known_names(configuration)
    return {view.name: read_policy(view.policy, known) for view in configuration.all_views}


async def read_trust_roots(
    configuration: Configuration, state_directory: Path
) -> tuple[TrustRoots, tuple[SubprocessRefresher, ...]]:
    """Return the latest version of each trust root, and the objects that renew the trust roots.

    Args:
        configuration: names the trust roots, and states whether they are renewed.
        state_directory: directory in which the renewed trust roots are stored.

    Raises:
        ConfigurationError: a trust root cannot be read or is invalid.
    """
    trust = configuration.trust
    renewers = create_subprocess_refreshers([trust.root] if trust.is_refresh_enabled else [], state_directory)
    renewed = [root for renewer in renewers if (root := await renewer.load_last_good()) is not None]
    return await asyncio.to_thread(lambda: load_roots(trust, Path.cwd(), renewed=renewed)), renewers
