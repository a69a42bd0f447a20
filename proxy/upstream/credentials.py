"""Which Authorization goes to which host.

A credential goes to the host of its index's own `url` and nowhere else: not to file hosts, whose signed addresses it
would spoil, and not along redirects to them. Where secrets come from is `config`'s business; they are in no log, error,
record or page.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr
from yarl import URL

from proxy.indexes import IndexSettings
from proxy.upstream.addresses import host_of


class Authorizations:
    """The Authorization header's value of each index that has credentials, by the index's name."""

    def __init__(self, values: Mapping[str, SecretStr]) -> None:
        self._values = dict(values)

    def headers(self, index: IndexSettings, target: URL) -> dict[str, str]:
        """What to send to `target` on behalf of `index`."""
        value = self._values.get(index.name)
        own = URL(index.url, encoded=True)
        if value is None or host_of(target) != host_of(own) or target.scheme != own.scheme:
            return {}
        return {"Authorization": value.get_secret_value()}
