"""The torture machines at a small size: they work, and what they judge is judged rightly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.kafka import Kafka
from tests.support.lake import drained, make_settings
from tests.torture import truth
from tests.torture.kills import torture
from tests.torture.schemas import ROWS, overwhelm
from tests.torture.soak import Observed, soak, trend
from tests.torture.world import World

SEED = 20261123


@pytest.fixture
def world(kafka: Kafka) -> World:
    return World(kafka, SEED)


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_kills(world: World) -> None:
    found = torture(world, kills=15, rate=20)
    assert found["kills"] >= 15
    assert found["problems"] == []
    assert (found["lost"], found["doubled"], found["wrong"]) == (0, 0, 0)
    assert found["messages"] == found["rows"] + found["quarantined"] > 100
    assert len(found["by_kind"]) >= 4, "the kills should be of several kinds"


@pytest.mark.slow
@pytest.mark.kafka
def test_schemas(kafka: Kafka, tmp_path: Path) -> None:
    found = overwhelm(kafka, tmp_path, 500)
    assert (found["rows"], found["quarantined"], found["problems"]) == (ROWS, 500 - ROWS, [])


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_soak(own_kafka: Kafka) -> None:
    found = soak(World(own_kafka, SEED), minutes=0.6, rate=200)
    assert found["problems"] == []
    assert (found["lost"], found["doubled"], found["wrong"]) == (0, 0, 0)
    assert found["messages"] == found["rows"] + found["quarantined"] > 1000
    assert sum(found["restarts"].values()) > 0
    assert found["latency_s"]["n"] > 0


@pytest.fixture
def drained_lake(kafka: Kafka, world: World, tmp_path: Path) -> Path:
    """Return a lake that holds a few messages of each topic."""
    for topic in world.topics:
        kafka.produce(topic, [(b"k", b"not an alert"), (None, b"nor this")], partition=0)
    lake = tmp_path / "lake"
    drained(make_settings(lake, kafka.bootstrap, *world.topics))
    return lake


@pytest.mark.kafka
def test_verdict_is_exact_until_something_is_lost_or_doubled(
    kafka: Kafka, world: World, drained_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = truth.compare(kafka.bootstrap, world.topics, drained_lake)
    assert verdict.is_exact
    assert (verdict.messages, verdict.quarantined, verdict.rows) == (6, 6, 0)

    kafka.produce(world.topics[0], [(None, b"one more")], partition=1)
    assert truth.compare(kafka.bootstrap, world.topics, drained_lake).lost == 1

    original = list(truth.quarantined_messages(drained_lake))
    changed = [*original[:-1], (original[-1][0], "another hash")]
    monkeypatch.setattr(truth, "quarantined_messages", lambda _: [*changed, changed[0]])
    verdict = truth.compare(kafka.bootstrap, world.topics, drained_lake)
    assert (verdict.lost, verdict.doubled, verdict.wrong) == (1, 1, 1)
    assert not verdict.is_exact


def test_trend_tells_growth_from_noise() -> None:
    assert abs(trend([(i, 300 + i % 7) for i in range(400)])["growth"]) < 1
    assert trend([(i, 300 + i / 4) for i in range(400)])["growth"] == pytest.approx(75, rel=0.01)


def test_calm_is_what_no_outage_touches() -> None:
    seen = Observed(outages=[(100, 110)])
    assert seen.is_calm(50, 3)
    assert not seen.is_calm(98, 3)
    assert not seen.is_calm(120, 2)
    assert seen.is_calm(131, 2)
