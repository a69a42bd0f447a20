"""Checks and changes that both storages of hosted files share."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from assay.errors import StorageError, UploadRefusedError
from assay.ports import HostedFile, HostedProject
from assay.simple.model import NormalizedName
from assay.store.hosted.changes import change_yanks, check_publication, get_document_sha256
from assay.store.hosted.entries import ProjectState, make_project

NAME = NormalizedName("widget")
FILE = HostedFile(
    filename="widget-1.0.tar.gz",
    version="1.0",
    sha256="ab" * 32,
    size=1,
    uploaded=datetime(2026, 7, 1, tzinfo=UTC),
    uploader="alice",
    requires_python=None,
    metadata_sha256="cd" * 32,
    provenance_sha256=None,
    signers=(),
)
PROJECT = make_project(NAME, [FILE], ProjectState())


def check(
    *,
    damaged: str | None = None,
    is_taken: bool = False,
    current: HostedProject | None = PROJECT,
    known: HostedProject | None = PROJECT,
) -> bool:
    return check_publication("a.whl", NAME, damaged=damaged, is_taken=is_taken, current=current, known=known)


def test_a_file_of_an_unchanged_project_can_be_published_and_one_of_a_changed_project_cannot() -> None:
    assert check()
    assert check(current=None, known=None)
    assert not check(known=None)
    assert not check(current=make_project(NAME, [FILE], ProjectState(status="archived")))


def test_a_damaged_project_and_a_taken_name_are_refused_even_if_nothing_has_changed() -> None:
    with pytest.raises(StorageError, match=r"^the file x of the project widget is damaged"):
        check(damaged="the file x")
    with pytest.raises(UploadRefusedError, match=r"^a\.whl is taken"):
        check(is_taken=True)


def test_yanks_are_added_replaced_and_removed_and_the_others_stay() -> None:
    state = ProjectState(status="archived", yanked={"a": "old", "b": "broken"})
    assert change_yanks(state, ["a", "c"], "new") == replace(state, yanked={"a": "new", "b": "broken", "c": "new"})
    assert change_yanks(state, ["a"], None) == replace(state, yanked={"b": "broken"})


def test_a_document_has_a_digest_only_if_the_file_has_the_document() -> None:
    assert get_document_sha256(FILE, "metadata") == "cd" * 32
    assert get_document_sha256(FILE, "provenance") is None
    assert get_document_sha256(None, "metadata") is None
