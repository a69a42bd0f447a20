"""Shared parts of the tests of the whole storage directory."""

from __future__ import annotations

import os

import pytest
from packaging.utils import canonicalize_name

from assay.ports import HistoryChanges
from assay.store.directory import StorageDirectory
from tests.contract.blobs_contract import publish
from tests.contract.ledger_contract import learn

PROJECT = canonicalize_name("a")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others, or mount")


async def use(store: StorageDirectory) -> None:
    await publish(store.blobs, b"abc")
    await store.records.put("key", b"value")
    await learn(store.ledger, "pypi", PROJECT, HistoryChanges(serial=1))
