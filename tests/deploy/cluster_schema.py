"""Check of rendered manifests by the schemas of Kubernetes, run by the Python of .tools, which has the libraries.

    cluster_schema.py json            YAML documents on stdin, as one JSON array
    cluster_schema.py check VERSION…  a JSON array on stdin: one line for each document that a version's schema refuses

A kind without a schema is refused too, because kubernetes-validate only warns and a mistyped apiVersion would pass.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

CUSTOM = frozenset({"ServiceMonitor", "PrometheusRule"})
"""Kinds of operators, for which Kubernetes has no schema; a separate test checks them."""


def problems(documents: Sequence[dict[str, Any]], versions: Sequence[str]) -> Iterator[str]:
    """Yield a line for each problem."""
    schemas: Any = import_module("kubernetes_validate.utils")
    # Without a cache, the library reads 10 MB again for every document.
    schemas.schema_contents = functools.lru_cache(schemas.schema_contents)
    for version in versions:
        for document in documents:
            name = f"{version}: {document['kind']}/{document['metadata']['name']}"
            if document["kind"] in CUSTOM:
                continue
            try:
                schemas.validate(document, version, strict=True)
            except schemas.ValidationError as error:
                yield f"{name}: {'.'.join(map(str, error.path))}: {error.message}"
            except (schemas.SchemaNotFoundError, schemas.VersionNotSupportedError) as error:
                yield f"{name}: {error.message}"


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand, and return 0 if there is no problem."""
    if arguments[0] == "json":
        print(json.dumps([found for found in import_module("yaml").safe_load_all(sys.stdin) if found]))
        return 0
    found = list(problems(json.load(sys.stdin), arguments[1:]))
    print("\n".join(found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
