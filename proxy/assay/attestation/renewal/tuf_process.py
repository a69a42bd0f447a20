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

from assay.attestation.renewal.tuf import RefreshError, TufRefresher
from assay.attestation.trust_roots import TrustRoot


def handle_request(request: dict[str, str]) -> dict[str, Any]:
    """What is said to a question."""
    refresher = TufRefresher(
        name=request["name"],
        directory=Path(request["directory"]),
        url=request["url"],
        anchor=base64.b64decode(request["anchor"]) if "anchor" in request else None,
    )
    try:
        match request["action"]:
            case "refresh":
                # Only content, time and source of what comes back count: name and issuers are the asker's.
                return _encode_root(refresher.refresh(TrustRoot(name=refresher.name, content=b"")))
            case "prove":
                found = refresher.load_verified()
                return {"none": True} if found is None else _encode_root(found)
            case action:
                return {"error": f"expected refresh or prove, found {action!r}"}
    except RefreshError as error:
        return {"error": str(error)}


def _encode_root(root: TrustRoot) -> dict[str, Any]:
    content = base64.b64encode(root.content).decode("ascii")
    return {"content": content, "obtained": root.obtained.timestamp(), "source": root.source}


def main() -> None:
    """Answer one question."""
    answers = os.fdopen(os.dup(1), "w")
    # Nothing else may write into the answer: whatever a library prints goes to the log.
    os.dup2(2, 1)
    json.dump(handle_request(json.load(sys.stdin)), answers)
    answers.close()
