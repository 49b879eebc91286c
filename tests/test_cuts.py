"""A real Kafka whose log was cut and grew again: as a leader does that had not copied all messages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from finkbridge.drain import drain
from finkbridge.ledger import schema as s
from tests.support.kafka import Kafka
from tests.support.lake import (
    assert_consistent,
    drained,
    forget_landers,
    gaps,
    ledger_rows,
    make_settings,
    offsets,
    points,
    sql,
)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    forget_landers()


def log_of(kafka: Kafka, topic: str) -> Path:
    return kafka.server._folder / "log" / f"{topic}-0"


def copied(kafka: Kafka, topic: str, away: Path) -> None:
    """Copy a partition as it is now."""
    kafka.stop()
    shutil.copytree(log_of(kafka, topic), away)
    kafka.start()


def cut(kafka: Kafka, topic: str, away: Path) -> None:
    """Put a partition back to what it was: its topic, and Kafka's id of it, are the same."""
    kafka.stop()
    shutil.rmtree(log_of(kafka, topic))
    shutil.copytree(away, log_of(kafka, topic))
    kafka.start()


def topic_ids(lake: Path) -> set[str | None]:
    return {row.topic_id for row in ledger_rows(lake, s.generations)}


@pytest.mark.parametrize("count", [3, 5])
def test_other_messages_with_the_offsets_of_drained_ones_are_drained(
    own_kafka: Kafka, tmp_path: Path, count: int
) -> None:
    """Three messages stay, three are lost, and as many or more come in their place."""
    topic, lake = own_kafka.topic("cut", partitions=2), tmp_path / "lake"
    settings = make_settings(lake, own_kafka.bootstrap, topic)
    own_kafka.produce(topic, points(0, 1, 2), partition=0)
    own_kafka.produce(topic, points(50, 51), partition=1)
    copied(own_kafka, topic, tmp_path / "away")
    own_kafka.produce(topic, points(3, 4, 5), partition=0)
    drained(settings)
    cut(own_kafka, topic, tmp_path / "away")
    own_kafka.produce(topic, points(*range(100, 100 + count)), partition=0)
    own_kafka.produce(topic, points(52), partition=1)
    (problem,) = drain(settings).problems
    assert f"has others with their offsets: {topic} partition 0 from offset 3 on" in problem
    assert len(topic_ids(lake)) == 1
    assert offsets(lake) == [
        *((1, 0, o) for o in range(6)),
        *((1, 1, o) for o in range(2)),
        *((2, 0, o) for o in range(3, 3 + count)),
        (2, 1, 2),
    ]
    found = sql(lake, "SELECT x FROM packets_other WHERE _generation = 2 ORDER BY 1")
    assert found == [(52.0,), *((100.0 + n,) for n in range(count))]
    assert gaps(lake) == []
    assert drained(settings).total("planned") == 0
    assert_consistent(lake)


def test_a_leader_that_has_all_messages_changes_nothing(own_kafka: Kafka, tmp_path: Path) -> None:
    topic, lake = own_kafka.topic("kept"), tmp_path / "lake"
    settings = make_settings(lake, own_kafka.bootstrap, topic)
    own_kafka.produce(topic, points(0, 1, 2), partition=0)
    drained(settings)
    drained(settings)
    (before,) = ledger_rows(lake, s.partitions)
    own_kafka.stop()
    own_kafka.start()
    own_kafka.produce(topic, points(3), partition=0)
    drained(settings)
    (after,) = ledger_rows(lake, s.partitions)
    assert after.leader_epoch > before.leader_epoch >= 0
    assert offsets(lake) == [(1, 0, o) for o in range(4)]
