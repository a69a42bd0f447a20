"""The one door: whatever is listed or served on any route has passed through `Gate`, by one decision of one policy."""

from proxy.gate.contents import Arriving, Content, Stored
from proxy.gate.gate import Gate, GateSettings, WithheldError
from proxy.gate.judged import Judged
from proxy.gate.pages import Page, Pages
from proxy.gate.proofs import Proofs

__all__ = [
    "Arriving",
    "Content",
    "Gate",
    "GateSettings",
    "Judged",
    "Page",
    "Pages",
    "Proofs",
    "Stored",
    "WithheldError",
]
