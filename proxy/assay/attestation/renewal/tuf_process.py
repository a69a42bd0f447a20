"""The process apart that renews or proves one trust root: a question on its standard input, the answer on its output.

`renewer` asks; `refresh` does the work.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

from assay.attestation.renewal.tuf import Refresher, RefreshError
from assay.attestation.trust_roots import TrustRoot


def answer(question: dict[str, str]) -> dict[str, Any]:
    """What is said to a question."""
    refresher = Refresher(
        name=question["name"],
        directory=Path(question["directory"]),
        url=question["url"],
        anchor=base64.b64decode(question["anchor"]) if "anchor" in question else None,
    )
    try:
        match question["action"]:
            case "refresh":
                # Only content, time and source of what comes back count: name and issuers are the asker's.
                return _said(refresher.refresh(TrustRoot(name=refresher.name, content=b"")))
            case "prove":
                found = refresher.proven()
                return {"none": True} if found is None else _said(found)
            case action:
                return {"error": f"expected refresh or prove, found {action!r}"}
    except RefreshError as error:
        return {"error": str(error)}


def _said(root: TrustRoot) -> dict[str, Any]:
    content = base64.b64encode(root.content).decode("ascii")
    return {"content": content, "obtained": root.obtained.timestamp(), "source": root.source}


def main() -> None:
    """Answer one question."""
    answers = os.fdopen(os.dup(1), "w")
    # Nothing else may write into the answer: whatever a library prints goes to the log.
    os.dup2(2, 1)
    json.dump(answer(json.load(sys.stdin)), answers)
    answers.close()
