"""Ranges that are read on from where the one before them ended."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest

from finkbridge.broker import Broker, standing
from finkbridge.broker.reader import RangeReader
from finkbridge.values import OffsetRange, TopicGeneration
from tests.support.kafka import Kafka

pytestmark = pytest.mark.kafka


def read(broker: Broker, topic: str, start: int, end: int, partition: int = 0) -> list[tuple[int, bytes]]:
    batches = broker.fetch(topic, OffsetRange(partition, start, end))
    return [(m.offset, m.value or b"") for batch in batches for m in batch]


def numbered(count: int, word: str = "") -> list[tuple[None, bytes]]:
    return [(None, f"{word}{i}".encode()) for i in range(count)]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each range that is read with a new assignment."""
    topics: list[str] = []
    check = RangeReader._check_known

    def noting(self: RangeReader, topic: str) -> None:
        topics.append(topic)
        check(self, topic)

    monkeypatch.setattr(RangeReader, "_check_known", noting)
    return topics


def test_what_follows_is_read_on(kafka: Kafka, broker: Broker, begun: list[str]) -> None:
    topic = kafka.topic("on", partitions=2)
    for partition in (0, 1):
        kafka.produce(topic, numbered(300), partition=partition)
    expected = read(broker, topic, 0, 300)
    other = read(broker, topic, 200, 300, partition=1)
    begun.clear()
    broker.read_on(TopicGeneration("ztf", topic, 1), 1)
    assert read(broker, topic, 0, 150) + read(broker, topic, 150, 300) == expected
    assert begun == [topic]
    assert read(broker, topic, 100, 200) == expected[100:200]  # not where it stands
    assert read(broker, topic, 200, 300, partition=1) == other  # nor of its partition
    assert begun == [topic] * 3
    kafka.produce(topic, [(None, b"300")], partition=1)
    assert read(broker, topic, 300, 301, partition=1) == [(300, b"300")]  # nobody waits where nothing was
    assert begun == [topic] * 4


def test_nothing_is_read_on_unless_asked(kafka: Kafka, broker: Broker, begun: list[str]) -> None:
    topic = kafka.topic("not_on")
    kafka.produce(topic, numbered(4))
    assert read(broker, topic, 0, 2) + read(broker, topic, 2, 4) == [(i, b"%d" % i) for i in range(4)]
    assert begun == [topic] * 2


def test_another_life_is_not_read_on(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("lives")
    kafka.produce(topic, numbered(300, "old "))
    broker.read_on(TopicGeneration("ztf", topic, 1), 1)
    assert len(read(broker, topic, 0, 150)) == 150
    kafka.recreate(topic)
    kafka.produce(topic, numbered(300, "new "))
    broker.read_on(TopicGeneration("ztf", topic, 2), 1)
    found = read(broker, topic, 150, 300)
    assert [offset for offset, _ in found] == list(range(150, 300))
    assert all(value.startswith(b"new ") for _, value in found)


def test_another_run_reads_anew(kafka: Kafka, broker: Broker, begun: list[str]) -> None:
    """Its look at the topic came later than what was read ahead: the log may have been cut in between."""
    topic = kafka.topic("runs")
    kafka.produce(topic, numbered(4))
    broker.read_on(TopicGeneration("ztf", topic, 1), 1)
    assert len(read(broker, topic, 0, 2)) == 2
    broker.read_on(TopicGeneration("ztf", topic, 1), 2)
    assert [offset for offset, _ in read(broker, topic, 2, 4)] == [2, 3]
    assert begun == [topic] * 2


def test_it_is_given_up_where_nobody_goes_on(
    kafka: Kafka, broker: Broker, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "STAND_S", 0.1)
    topic = kafka.topic("stood")
    kafka.produce(topic, numbered(4))
    broker.read_on(TopicGeneration("ztf", topic, 1), 1)
    assert len(read(broker, topic, 0, 2)) == 2
    until = time.monotonic() + 10
    while broker._bulk._consumer.assignment():
        assert time.monotonic() < until
        time.sleep(0.02)
    assert read(broker, topic, 2, 4) == [(2, b"2"), (3, b"3")]
    assert begun == [topic] * 2


def test_a_range_left_early_is_not_read_on(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("early")
    kafka.produce(topic, numbered(300))
    broker.read_on(TopicGeneration("ztf", topic, 1), 1)
    batches = broker.fetch(topic, OffsetRange(0, 0, 200))
    next(batches)
    batches.close()
    assert broker._bulk._consumer.assignment() == []
    assert [offset for offset, _ in read(broker, topic, 200, 300)] == list(range(200, 300))


@pytest.mark.parametrize("seed", range(2))
def test_holes_anywhere_are_read_on_right(kafka: Kafka, broker: Broker, seed: int) -> None:
    chance = random.Random(seed)
    topic = kafka.topic("holes")
    for _ in range(6):
        some = numbered(chance.randint(1, 8), f"{chance.random()} ")
        if chance.random() < 0.3:
            kafka.produce(topic, some)
        else:
            kafka.produce_transaction(topic, some, commit=chance.random() < 0.6)
    low, end, *_ = broker.watermarks([topic])[topic, 0]
    whole = read(broker, topic, low, end)
    broker.read_on(TopicGeneration("ztf", topic, 1), 1)
    for _ in range(10):
        cuts = sorted({low, end, *chance.choices(range(low, end), k=5)})
        assert [m for ends in pairwise(cuts) for m in read(broker, topic, *ends)] == whole


def test_closing_while_it_stands(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("closing")
    kafka.produce(topic, numbered(4))
    broker.read_on(TopicGeneration("ztf", topic, 1), 1)
    assert len(read(broker, topic, 0, 2)) == 2
    broker.close()
    began = time.monotonic()
    assert len(read(broker, topic, 2, 4)) == 2, "with a new connection"
    assert time.monotonic() - began < 10
