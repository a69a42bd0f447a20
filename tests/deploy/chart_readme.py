"""Generator of the chart's README from its schema and default values: ``python -m tests.deploy.chart_readme``.

The table of values has the schema's descriptions and the defaults of values.yaml. The text around the table is in
README.template.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.deploy.tools import CHART, documents_of

README = CHART / "README.md"
TEMPLATE = CHART / "README.template.md"
_LONGEST_DEFAULT = 60


def leaves(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each value that can be set, with its schema."""
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
    """Return the text of the README."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    [values] = documents_of((CHART / "values.yaml").read_text("utf-8"))
    rows = [
        f"| `{key}` | {_shown(default_of(values, key))} | {found['description']} |" for key, found in leaves(schema)
    ]
    return TEMPLATE.read_text("utf-8").replace("VALUES\n", "\n".join(rows) + "\n")


def _shown(default: object) -> str:
    text = default if isinstance(default, str) else json.dumps(default)
    if not text:
        return "empty"
    return f"`{text}`" if len(text) <= _LONGEST_DEFAULT and "\n" not in text else "see values.yaml"


def main(target: Path = README) -> int:
    """Write the README."""
    target.write_text(readme(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
