"""A drain after the ledger was made again, on a real broker: the same life of the topic, only what is new."""

from __future__ import annotations

from pathlib import Path

import pytest

from finkbridge import quarantine, rebuild
from finkbridge.drain import drain
from finkbridge.ledger import Ledger, seen
from finkbridge.ledger import schema as s
from finkbridge.ledger.coverage import read_coverage
from finkbridge.ledger.quarantined import Selection
from finkbridge.settings import Settings
from tests.support.dying import killed_at
from tests.support.kafka import Kafka
from tests.support.lake import (
    POINT,
    drained,
    encode,
    ledger_rows,
    make_settings,
    offsets,
    points,
)
from tests.support.offline import POINT_KEY, assert_verified

pytestmark = pytest.mark.kafka

STEPS = [
    ("requeue", "finkbridge.quarantine.requeue:q.announce"),
    ("requeue", "finkbridge.quarantine.requeue:q.commit_requeue"),
    ("rebuild", "finkbridge.rebuild.tables:_keep"),
    ("rebuild", "finkbridge.rebuild.tables:r.commit_rebuild"),
]


@pytest.fixture
def settings(kafka: Kafka, tmp_path: Path) -> Settings:
    topic = kafka.topic("fink_again_ztf", partitions=2)
    for partition in (0, 1):
        kafka.produce(topic, points(*range(5)), partition=partition)
        kafka.produce(topic, [(None, encode(POINT, {"x": 7.0}))], partition=partition)
    made = make_settings(tmp_path / "lake", kafka.bootstrap, topic, merge={"enabled": False, "grace_s": 0})
    drained(made)
    return made


def test_drain_goes_on_after_the_ledger_was_made_again(kafka: Kafka, settings: Settings) -> None:
    lake = settings.lake
    for path in lake.glob("ledger.db*"):
        path.unlink()
    assert rebuild.rebuild_ledger(settings).problems == []
    assert drained(settings).total("messages") == 0
    (generation,) = ledger_rows(lake, s.generations)
    assert generation.topic_id
    kafka.produce(generation.topic, points(8.0, 9.0), partition=1)
    assert drained(settings).total("messages") == 2
    assert quarantine.requeue(settings, Selection(), POINT_KEY).landed == 2
    assert offsets(lake) == [*((1, 0, o) for o in range(6)), *((1, 1, o) for o in range(8))]
    assert_verified(lake, prune=True)


def test_a_topic_that_went_before_the_ledger_was_made_again(kafka: Kafka, settings: Settings) -> None:
    """Nobody can tell any more what it had got: a reason that can be true, and a ledger that is sound."""
    (generation,) = ledger_rows(settings.lake, s.generations)
    for path in settings.lake.glob("ledger.db*"):
        path.unlink()
    assert rebuild.rebuild_ledger(settings).problems == []
    kafka.delete(generation.topic)
    drain(settings)
    with Ledger(settings.lake) as ledger:
        with ledger.reading() as connection:
            assert len(seen.gone(connection)) == 1
        reaches = read_coverage(ledger).reaches
    assert len(reaches) == 2
    assert all(reach.ended_at for reach in reaches)
    assert_verified(settings.lake, prune=True)


def run(settings: Settings, what: str) -> None:
    if what == "requeue":
        quarantine.requeue(settings, Selection(), POINT_KEY)
    else:
        rebuild.rebuild(settings)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("what", "step"), STEPS, ids=[step.partition(":")[2] for _, step in STEPS])
def test_killed_and_drained_and_run_again(
    kafka: Kafka, settings: Settings, what: str, step: str, when: str
) -> None:
    killed_at((step, 1, when), run, settings, what)
    (generation,) = ledger_rows(settings.lake, s.generations)
    kafka.produce(generation.topic, points(8.0), partition=0)
    drained(settings)
    run(settings, what)
    due = {(1, p, o) for p in (0, 1) for o in range(6 if what == "requeue" else 5)} | {(1, 0, 6)}
    assert offsets(settings.lake) == sorted(due)
    assert_verified(settings.lake, prune=True)
