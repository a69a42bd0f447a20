"""Version and revision of this build of Assay, for ``assay --version``, the metrics and the footer of pages."""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files


def get_version() -> str:
    """Return the version of Assay, which is in the metadata of the installed distribution."""
    return version("assay-proxy")


def get_revision() -> str | None:
    """Return the id of the commit that this distribution was built from; None for a checkout.

    The build hook records it in ``revision.txt``.
    """
    recorded = files("assay") / "revision.txt"
    return recorded.read_text("ascii").strip() if recorded.is_file() else None
