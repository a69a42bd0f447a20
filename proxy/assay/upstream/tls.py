"""TLS settings of indexes: the system's certificate authorities, plus those in the `ca-file` of an index."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from assay.errors import ConfigurationError
from assay.indexes import IndexSettings


def load_tls_contexts(indexes: Iterable[IndexSettings]) -> dict[str, ssl.SSLContext]:
    """Return a TLS context for each index that has a `ca-file`, by the index's name. Blocking.

    Raises:
        ConfigurationError: a file cannot be read, or contains no certificate.
    """
    found = {}
    for index in indexes:
        if index.ca_file is None:
            continue
        context = ssl.create_default_context()
        try:
            context.load_verify_locations(cafile=index.ca_file)
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(
                f"indexes[{index.name}].ca-file: {index.ca_file} cannot be used:"
                f" {getattr(error, 'reason', None) or error.strerror or type(error).__name__}"
            ) from error
        found[index.name] = context
    return found
