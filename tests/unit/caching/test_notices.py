"""The channel of notices within one process keeps the contract."""

from __future__ import annotations

import pytest

from assay.caching.notices import LocalNotices
from tests.contract.notices_contract import NoticesContract


class TestContract(NoticesContract):
    @pytest.fixture
    def notices(self) -> LocalNotices:
        return LocalNotices()
