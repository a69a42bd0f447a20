"""Whose certificates are believed: the system's authorities, and for some indexes others beside them."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from assay.errors import ConfigurationError
from assay.indexes import IndexSettings


def load_tls_contexts(indexes: Iterable[IndexSettings]) -> dict[str, ssl.SSLContext]:
    """A context for each index that names a file of authorities, by the index's name. Blocking.

    Raises:
        ConfigurationError: a file cannot be read, or has no certificate.
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
