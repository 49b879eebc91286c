"""What librdkafka tells a consumer that nobody reads from does not pile up; no message is taken with it."""

from __future__ import annotations

import random
import time
from contextlib import closing

import pytest

from finkbridge.broker import idle
from finkbridge.broker.reader import PEEK, RangeReader
from finkbridge.settings import ClusterSettings
from finkbridge.values import OffsetRange
from tests.support.kafka import Kafka

pytestmark = pytest.mark.kafka

TALKATIVE = PEEK | {"statistics.interval.ms": 10}


class Counting(RangeReader):
    """Counts what it is told."""

    told = 0

    def _note_traffic(self, told: str) -> None:
        self.told += 1
        super()._note_traffic(told)


@pytest.mark.parametrize("has_read", [False, True])
def test_an_idle_reader_takes_what_it_is_told(
    kafka: Kafka, settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch, has_read: bool
) -> None:
    monkeypatch.setattr(idle, "EVERY_S", 1.0)  # so that each turn has many to take
    topic = kafka.topic("idle")
    kafka.produce(topic, [(None, b"a")])
    with closing(Counting("ztf", settings, TALKATIVE, 10)) as reader:
        if has_read:
            assert len(list(reader.read(topic, OffsetRange(0, 0, 1)))) == 1
        else:
            assert not reader.is_gone(topic)
        before = reader.told
        time.sleep(3.5)
        assert reader.told >= before + 50


def test_no_message_is_taken_from_who_reads(
    kafka: Kafka, settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "EVERY_S", 0.0005)
    topic, turns = kafka.topic("busy"), random.Random(7)
    kafka.produce(topic, [(None, b"%d" % n) for n in range(400)])
    with closing(RangeReader("ztf", settings, TALKATIVE, 10)) as reader:
        for _ in range(60):
            start, end = sorted(turns.sample(range(401), 2))
            batches = list(reader.read(topic, OffsetRange(0, start, end)))
            assert [m.offset for batch in batches for m in batch] == list(range(start, end))
