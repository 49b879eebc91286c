"""Everything against the embedded broker, which lacks much: no test may wait for what it never answers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from finkbridge.broker import Broker, EmbeddedBroker, Producer, create_topic, embedded_process
from finkbridge.broker.embedded import PARTITION_BYTES, PARTITIONS
from finkbridge.errors import BrokerError, RangeExpiredError, UnknownTopicError
from finkbridge.settings import ClusterSettings
from finkbridge.values import OffsetRange


@pytest.fixture(scope="module")
def settings() -> Iterator[ClusterSettings]:
    with EmbeddedBroker() as embedded:
        yield ClusterSettings(servers=embedded.bootstrap)


@pytest.fixture
def broker(settings: ClusterSettings) -> Iterator[Broker]:
    with Broker("demo", settings) as broker:
        yield broker


def fill(settings: ClusterSettings, topic: str, count: int, size: int = 10) -> None:
    with Producer("demo", settings) as producer:
        for number in range(count):
            value = b"%d" % number + bytes(size)
            producer.send(topic, value, key=b"k", timestamp_ms=1000 + number, partition=0)


def test_messages_come_back(settings: ClusterSettings, broker: Broker) -> None:
    fill(settings, "some", 250)
    assert broker.topics()["some"] == PARTITIONS
    assert broker.match(["so*"]) == ["some"]
    ends = {("some", p): (0, 250 if p == 0 else 0, None) for p in range(PARTITIONS)}
    assert broker.watermarks(["some"]) == ends
    messages = [m for batch in broker.fetch("some", OffsetRange(0, 10, 240)) for m in batch]
    assert [m.offset for m in messages] == list(range(10, 240))
    assert messages[0].timestamp_ms == 1010
    assert broker.first_key("some") == b"k"
    assert broker.first_timestamps_ms({("some", 0): 7}) == {("some", 0): 1007}
    assert broker.message_at("some", 0, 250) is None
    assert broker.message_at("some", 0, 300) is None
    assert not broker.confirm_holes("some", [OffsetRange(0, 249, 250)])


def test_what_it_lacks_is_told_at_once(settings: ClusterSettings, broker: Broker) -> None:
    fill(settings, "lacking", 3)
    started = time.monotonic()
    assert broker.topic_ids(["lacking"]) == {"lacking": None}
    assert broker.retention_ms(["lacking"]) == {"lacking": None}
    with pytest.raises(BrokerError, match="finds no offset by time"):
        broker.offsets_at("lacking", [0], 1001)
    assert not create_topic(settings, "new", 2)
    assert broker.tell_group({("lacking", 0): 2})
    assert time.monotonic() - started < 2


def test_oldest_messages_expire_by_size(settings: ClusterSettings, broker: Broker) -> None:
    fill(settings, "full", 80, size=100_000)
    low, end, _ = broker.watermarks(["full"])["full", 0]
    assert 0 < low < end == 80
    batch = 1_000_000  # is dropped whole
    assert (end - low) * 100_000 <= PARTITION_BYTES < (end - low + 1) * 100_000 + batch
    with pytest.raises(RangeExpiredError) as caught:
        list(broker.fetch("full", OffsetRange(0, 0, 80)))
    assert caught.value.low == low
    messages = [m for batch in broker.fetch("full", OffsetRange(0, low, 80)) for m in batch]
    assert [m.offset for m in messages] == list(range(low, 80))


def test_unknown_topic_is_not_made_by_asking(broker: Broker) -> None:
    with pytest.raises(UnknownTopicError):
        broker.watermarks(["nothing"])
    assert "nothing" not in broker.topics()


def test_process_of_its_own_ends_with_the_context() -> None:
    with embedded_process() as bootstrap:
        (child,) = [p for p in psutil.Process().children() if "embedded" in " ".join(p.cmdline())]
        fill(ClusterSettings(servers=bootstrap), "far", 5)
        with Broker("demo", ClusterSettings(servers=bootstrap)) as broker:
            assert broker.watermarks(["far"])["far", 0] == (0, 5, None)
    assert not child.is_running()


def test_ctrl_c_in_a_terminal_does_not_reach_it() -> None:
    """The terminal interrupts a whole process group; while Python starts, nothing can be ignored yet."""
    with embedded_process():
        (child,) = [p for p in psutil.Process().children() if "embedded" in " ".join(p.cmdline())]
        assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
        assert os.getsid(child.pid) == child.pid


def test_one_that_does_not_start_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(BrokerError, match="did not start"), embedded_process():
        pass
