"""Kubernetes' own schemas over rendered manifests. Run by the Python of .tools, which has what is imported here.

    cluster_schema.py json            YAML documents on stdin, as one JSON array
    cluster_schema.py check VERSION…  a JSON array on stdin: one line for each document that a version's schema refuses

A kind without a schema is refused too: kubernetes-validate only warns, so that a mistyped apiVersion would pass.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

CUSTOM = frozenset({"ServiceMonitor", "PrometheusRule"})
"""Kinds of operators, for which Kubernetes has no schema; a test looks at them by itself."""


def problems(documents: Sequence[dict[str, Any]], versions: Sequence[str]) -> Iterator[str]:
    """What is wrong, a line each."""
    schemas: Any = import_module("kubernetes_validate.utils")
    schemas.schema_contents = functools.lru_cache(schemas.schema_contents)  # it reads 10 MB anew for every document
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
    """0: nothing is wrong."""
    if arguments[0] == "json":
        print(json.dumps([found for found in import_module("yaml").safe_load_all(sys.stdin) if found]))
        return 0
    found = list(problems(json.load(sys.stdin), arguments[1:]))
    print("\n".join(found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
