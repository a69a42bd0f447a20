"""The one door: whatever is listed or served on any route has passed through `Gate`, by one decision of one policy."""

from assay.gate.contents import Arriving, Content, Stored
from assay.gate.gate import Gate, GateSettings, WithheldError
from assay.gate.judged import Judged
from assay.gate.pages import Page, Pages
from assay.gate.proofs import Proofs

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
