"""The demo's broker holds what the stream behind the UI sends between two drains, and more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from threading import Event

import pytest

from finkbridge import demo
from finkbridge.broker import Broker
from finkbridge.broker.embedded import PARTITION_BYTES, PARTITIONS
from finkbridge.demo import PORTION, STEADY_RATE, World, demo_world
from finkbridge.settings import ScheduleSettings

TICK_S = 300
TICKS = 3
ROOM = 0.9
"""Share of a partition that may be full: not all messages are of one size."""


def steady(seconds: float) -> int:
    """Return how many alerts of a survey the stream sends meanwhile."""
    return round(STEADY_RATE * seconds)


def bytes_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int]]:
    """Count, by topic and partition, the bytes that are produced from now on."""
    counted = Counter[tuple[str, int]]()
    for producer in world.producers.values():

        def send(topic, value, key, *, partition, send=producer.send):
            counted[topic, partition] += len(value) + len(key)
            send(topic, value, key, partition=partition)

        monkeypatch.setattr(producer, "send", send)
    return counted


@pytest.fixture
def world(tmp_path: Path):
    with demo_world(tmp_path / "demo", endless=True) as world:
        yield world


def test_a_tick_is_five_minutes_by_default():
    assert ScheduleSettings().cron == "*/5 * * * *"


def test_three_ticks_fit_the_broker_and_nothing_expires(world, monkeypatch):
    counted = bytes_sent(world, monkeypatch)
    messages = 0
    for survey, portion in PORTION.items():
        messages += world.produce(survey, portion + TICKS * steady(TICK_S))
    topics = {topic for topic, _ in counted}
    assert set(counted) == {(topic, p) for topic in topics for p in range(PARTITIONS)}, "all take turns"
    assert max(counted.values()) < ROOM * PARTITION_BYTES
    for name, cluster in world.settings.clusters.items():
        with Broker(name, cluster) as broker:
            mine = [topic for topic in topics if topic in broker.match(cluster.topics)]
            marks = broker.watermarks(mine)
            assert {mark.low for mark in marks.values()} == {0}
            messages -= sum(mark.end for mark in marks.values())
    assert messages == 0


def test_the_stream_behind_the_ui_has_the_steady_rate(world, monkeypatch):
    waited: list[float] = []

    class Three(Event):
        def wait(self, timeout=None):
            waited.append(timeout)
            return len(waited) > 3

    counted = bytes_sent(world, monkeypatch)
    world.produce_steadily(Three())
    assert waited == [1 / STEADY_RATE] * 4
    assert {topic for topic, _ in counted} >= {"fink_all_ztf", demo.LSST_TOPIC}
    assert len([1 for topic, _ in counted if topic == demo.LSST_TOPIC]) == 3
