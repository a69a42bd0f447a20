"""Files on their way in: one fetch, many followers, nothing completed but the bytes that were decided on."""

from proxy.download.download import TAIL, Body, Download, Pause, Source, Span, Wanted
from proxy.download.downloads import Downloads

__all__ = ["TAIL", "Body", "Download", "Downloads", "Pause", "Source", "Span", "Wanted"]
