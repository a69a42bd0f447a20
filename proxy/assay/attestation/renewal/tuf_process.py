"""Main module of the process that renews one trust root, or verifies a stored one.

The process reads one request (JSON) from standard input and writes one response (JSON) to standard output. `tuf_client`
starts the process, and `tuf` does the work.
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
    """Return the response to a request of `tuf_client`.

    The response is a trust root (``content``, ``obtained`` and ``source``), ``{"none": true}`` if no trust root is
    stored, or an ``error``.
    """
    refresher = TufRefresher(
        name=request["name"],
        directory=Path(request["directory"]),
        url=request["url"],
        anchor=base64.b64decode(request["anchor"]) if "anchor" in request else None,
    )
    try:
        match request["action"]:
            case "refresh":
                # The client uses only content, time and source of the response, and keeps its own name and issuers.
                return _encode_root(refresher.refresh(TrustRoot(name=refresher.name, content=b"")))
            case "prove":
                found = refresher.load_verified()
                return {"none": True} if found is None else _encode_root(found)
            case action:
                return {"error": f"expected the action 'refresh' or 'prove', found {action!r}"}
    except RefreshError as error:
        return {"error": str(error)}


def _encode_root(root: TrustRoot) -> dict[str, Any]:
    content = base64.b64encode(root.content).decode("ascii")
    return {"content": content, "obtained": root.obtained.timestamp(), "source": root.source}


def main() -> None:
    """Read one request from standard input and write its response to standard output."""
    answers = os.fdopen(os.dup(1), "w")
    # Standard output is only for the response: output of libraries goes to standard error, and so to the log.
    os.dup2(2, 1)
    json.dump(handle_request(json.load(sys.stdin)), answers)
    answers.close()
