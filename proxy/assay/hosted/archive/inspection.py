"""Inspection of an uploaded archive of either kind. Pure."""

from __future__ import annotations

from typing import BinaryIO

from assay.hosted.archive.limits import ArchiveLimits
from assay.hosted.archive.metadata import ExpectedDistribution, InspectedArchive
from assay.hosted.archive.sdist import inspect_sdist
from assay.hosted.archive.wheel import inspect_wheel
from assay.hosted.form import UploadForm
from assay.simple.model import Kind


def inspect_archive(
    stream: BinaryIO, size: int, form: UploadForm, limits: ArchiveLimits | None = None
) -> InspectedArchive:
    """Check an archive; return the facts from its metadata. Blocking.

    Args:
        stream: the archive, seekable.
        size: size of the archive in bytes.
        form: form of the upload, which the archive must match.
        limits: limits on the contents; None for the defaults.

    Raises:
        UploadRefusedError: the archive is invalid.
    """
    expected = ExpectedDistribution(project=form.project, version=form.version, filename=form.filename)
    inspect = inspect_wheel if form.slot.kind is Kind.WHEEL else inspect_sdist
    return inspect(stream, size, expected, limits)
