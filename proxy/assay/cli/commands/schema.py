"""Command ``assay policy schema``: print the JSON Schema of a policy file."""

from __future__ import annotations

import argparse
import json

from assay.policy.language.document import policy_schema


def main(_options: argparse.Namespace) -> int:
    """Print the JSON Schema of a policy file."""
    print(json.dumps(policy_schema(), indent=2))
    return 0
