"""Files on their way in: one fetch, many followers, nothing completed but the bytes that were decided on."""

from assay.download.download import TAIL, Body, Download, Pause, Source, Span, Wanted
from assay.download.downloads import Downloads

__all__ = ["TAIL", "Body", "Download", "Downloads", "Pause", "Source", "Span", "Wanted"]
