"""Contract of every channel of notices. A test class inherits `NoticesContract` and gives `notices`."""

from __future__ import annotations

import pytest

from assay.ports import EVERYTHING, Notice, Notices, NoticeTopic
from assay.simple.model import NormalizedName

FOO = NormalizedName("foo")


class NoticesContract:
    @pytest.fixture
    def notices(self) -> Notices:
        raise NotImplementedError

    async def test_every_subscriber_of_the_process_hears_each_notice_from_then_on(self, notices: Notices) -> None:
        first, second = list[Notice](), list[Notice]()
        sent = [
            Notice(index="pypi", project=FOO),
            Notice(index="internal", project=FOO, topic=NoticeTopic.WHEELS),
            EVERYTHING,
        ]
        notices.publish(sent[0])
        notices.subscribe(first.append)
        notices.publish(sent[0])
        notices.subscribe(second.append)
        for notice in sent[1:]:
            notices.publish(notice)
        assert (first, second) == (sent, sent[1:])

    async def test_a_notice_is_local_unless_another_replica_sent_it(self, notices: Notices) -> None:
        heard = list[Notice]()
        notices.subscribe(heard.append)
        notices.publish(Notice(index="pypi", project=FOO))
        assert [each.is_remote for each in heard] == [False]
