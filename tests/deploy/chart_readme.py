"""The chart's README, made from its schema and its default values: ``python -m tests.deploy.chart_readme`` writes it.

The table of values is the schema's descriptions beside the defaults of values.yaml; what stands around it is here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.deploy.tools import CHART, documents_of

README = CHART / "README.md"
_LONGEST_DEFAULT = 60

_BEFORE = """\
# Assay, on Kubernetes

<!-- Made by `python -m tests.deploy.chart_readme` from values.schema.json and values.yaml; a test compares. -->

One pod with one volume: a StatefulSet, because the volume holds the ledger, which is state and not cache. More replicas need
shared object storage, which this version does not have: the chart refuses them.

```sh
helm install pypi-proxy helm/assay --namespace assay --create-namespace \\
  --set image.repository=registry.acme.example/assay --set image.digest=sha256:… \\
  --set-file policy.toml=policy.toml --set-file configuration.toml=proxy.toml \\
  --values my-values.yaml
helm test pypi-proxy --namespace assay
```

There is no image to pull from anybody: build yours with the repository's Dockerfile. [ci/](ci/) has example values: the least,
production, air-gapped, a trial. Checked with Helm 3 and 4 and against the schemas of Kubernetes 1.27, 1.30, 1.34 and 1.37.

- **Policy** is a ConfigMap mounted as a directory: a changed one reaches the pod within a minute or so (the kubelet's sync) and
  is obeyed within a second of that, without a restart. One that cannot be a policy is refused in the log; the old one stays.
- **Configuration** is another; a changed one makes a new pod. What the chart must agree on with itself (address, port, storage,
  the policy's place) goes over it as environment variables.
- **Secrets** are only referred to: `credentials` and `certificateAuthority` mount yours, read once at the start of the pod.
- **Security**: the pod fits the Pod Security Standard `restricted`, writes to its volume alone, has no service account token,
  and may go to DNS and port 443 only, never to link-local addresses. Assay has no authentication of its own: say in
  `networkPolicy.from` who may use it.
- **Front proxies**: turn response buffering off and allow long reads for large files. Envoy drops reason phrases, in which pip
  shows why a file is refused, unless the route's HTTP/1 options keep them (`stateful_formatter`); the body says the same.
- **Upgrades** stop the one pod before the next starts: some seconds in which pip and uv retry. Running downloads get 20 seconds.
- **Backup**: the ledger, by `assay ledger export`; all else can be fetched again.

## Resources
RESOURCES

## Values
| value | default | what |
|---|---|---|
"""
_RESOURCES = """\
Measured in the container image on two cores, with one verifying process: 0.1 GiB after a few installs. Take 60 MiB more for each
further process. The limit of 512 MiB leaves room for the largest pages (PyPI's have 20 MB of JSON); the page cache of served
files counts too, but the kernel gives it up before it kills. There is no CPU limit on purpose: it would only make clients wait.
The image itself runs within 256 MiB."""


def leaves(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each value that can be set, with its schema."""
    for key, found in schema["properties"].items():
        if "properties" in found:
            yield from leaves(found, f"{prefix}{key}.")
        elif key != "global":
            yield prefix + key, found


def default_of(values: dict[str, Any], key: str) -> Any:
    """A default by its dotted key.

    Raises:
        KeyError: values.yaml lacks it.
    """
    found: Any = values
    for part in key.split("."):
        found = found[part]
    return found


def readme() -> str:
    """The README's text."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    [values] = documents_of((CHART / "values.yaml").read_text("utf-8"))
    rows = [
        f"| `{key}` | {_shown(default_of(values, key))} | {found['description']} |" for key, found in leaves(schema)
    ]
    return _BEFORE.replace("RESOURCES\n", _RESOURCES + "\n") + "\n".join(rows) + "\n"


def _shown(default: object) -> str:
    text = default if isinstance(default, str) else json.dumps(default)
    if not text:
        return "empty"
    return f"`{text}`" if len(text) <= _LONGEST_DEFAULT and "\n" not in text else "see values.yaml"


def main(target: Path = README) -> int:
    """Write it."""
    target.write_text(readme(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
