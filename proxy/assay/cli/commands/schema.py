"""``assay policy schema``: the policy's language as JSON Schema."""

from __future__ import annotations

import argparse
import json

from assay.policy.language.document import policy_schema


def main(_options: argparse.Namespace) -> int:
    """Print it."""
    print(json.dumps(policy_schema(), indent=2))
    return 0
