"""A real Kafka whose log was cut and grew again: as a leader does that had not copied all messages."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from finkbridge.blockers import Rules, blockers
from finkbridge.broker import Broker
from finkbridge.drain import drain
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.ledger.coverage import read_coverage
from finkbridge.rebuild import rebuild_ledger
from finkbridge.settings import DrainSettings
from finkbridge.settling import CUT
from tests.support.command import Command
from tests.support.dying import COORDINATOR, killed_at
from tests.support.kafka import Kafka
from tests.support.lake import (
    assert_consistent,
    data_files,
    drained,
    gaps,
    ledger_rows,
    make_settings,
    offsets,
    points,
    sql,
)
from tests.support.offline import assert_verified

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def log_of(kafka: Kafka, topic: str, partition: int) -> Path:
    return kafka.server._folder / "log" / f"{topic}-{partition}"


def copied(kafka: Kafka, topic: str, away: Path, partitions: Sequence[int] = (0,)) -> None:
    """Copy partitions as they are now."""
    kafka.stop()
    for partition in partitions:
        shutil.copytree(log_of(kafka, topic, partition), away / str(partition))
    kafka.start()


def cut(kafka: Kafka, topic: str, away: Path) -> None:
    """Put partitions back to what they were: their topic, and Kafka's id of it, are the same."""
    kafka.stop()
    for copy in away.iterdir():
        shutil.rmtree(log_of(kafka, topic, int(copy.name)))
        shutil.copytree(copy, log_of(kafka, topic, int(copy.name)))
    kafka.start()


def spans(lake: Path) -> dict[tuple[int, int], tuple[int, int, int]]:
    """Return first offset, last offset and number of deliveries, by generation and partition."""
    found: dict[tuple[int, int], list[int]] = {}
    for generation, partition, offset in offsets(lake):
        found.setdefault((generation, partition), []).append(offset)
    return {key: (min(mine), max(mine), len(mine)) for key, mine in found.items()}


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
    assert f"the broker lost messages it had: {topic} partition 0 from offset 3 on" in problem
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


def test_all_partitions_that_were_cut_begin_where_they_were(own_kafka: Kafka, tmp_path: Path) -> None:
    """One grew past what is in the lake, one did not, and one has nothing new."""
    topic, lake = own_kafka.topic("cut", partitions=3), tmp_path / "lake"
    settings = make_settings(lake, own_kafka.bootstrap, topic)
    for partition, first in enumerate((4, 2, 1)):
        own_kafka.produce(topic, points(*range(first)), partition=partition)
    copied(own_kafka, topic, tmp_path / "away", (0, 1, 2))
    for partition in range(3):
        own_kafka.produce(topic, points(*range(10, 14)), partition=partition)
    drained(settings)
    cut(own_kafka, topic, tmp_path / "away")
    own_kafka.produce(topic, points(*range(20, 26)), partition=0)
    own_kafka.produce(topic, points(*range(20, 22)), partition=1)
    (problem,) = drain(settings).problems
    assert (
        "partition 0 from offset 4 on, partition 1 from offset 2 on, partition 2 from offset 1 on" in problem
    )
    old = {(1, 0): (0, 7, 8), (1, 1): (0, 5, 6), (1, 2): (0, 4, 5)}
    assert spans(lake) == old | {(2, 0): (4, 9, 6), (2, 1): (2, 3, 2)}
    own_kafka.produce(topic, points(30), partition=1)
    own_kafka.produce(topic, points(30, 31), partition=2)
    drained(settings)
    assert spans(lake) == old | {(2, 0): (4, 9, 6), (2, 1): (2, 4, 3), (2, 2): (1, 2, 2)}
    assert gaps(lake) == []
    assert drained(settings).total("planned") == 0
    assert_consistent(lake)


def test_a_leader_that_does_not_show_all_yet_doubles_nothing(
    own_kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new leader that has everything may show an earlier end at first; another partition was cut."""
    topic, lake = own_kafka.topic("cut", partitions=2), tmp_path / "lake"
    settings = make_settings(lake, own_kafka.bootstrap, topic)
    own_kafka.produce(topic, points(0), partition=0)
    copied(own_kafka, topic, tmp_path / "away")
    for partition in (0, 1):
        own_kafka.produce(topic, points(1, 2, 3), partition=partition)
    drained(settings)
    cut(own_kafka, topic, tmp_path / "away")
    own_kafka.produce(topic, points(*range(10, 14)), partition=0)
    watermarks = Broker.watermarks

    def late(self: Broker, topics: Any) -> Any:
        return {
            (t, p): m._replace(end=m.end - p) for (t, p), m in watermarks(self, topics).items()
        }  # partition 1's last message

    with monkeypatch.context() as patch:
        patch.setattr(Broker, "watermarks", late)
        problem, short = drain(settings).problems
    assert f"{topic} partition 0 from offset 1 on;" in problem
    assert "partition 1 ends at 2, and the lake has it up to 3" in short
    own_kafka.produce(topic, points(20), partition=1)
    drained(settings)
    assert spans(lake) == {(1, 0): (0, 3, 4), (1, 1): (0, 2, 3), (2, 0): (1, 4, 4), (2, 1): (3, 3, 1)}
    assert_consistent(lake)


def test_a_log_that_is_cut_again_before_where_it_was_cut(own_kafka: Kafka, tmp_path: Path) -> None:
    topic, lake = own_kafka.topic("cut", partitions=2), tmp_path / "lake"
    settings = make_settings(lake, own_kafka.bootstrap, topic)
    for partition in (0, 1):
        own_kafka.produce(topic, points(0, 1), partition=partition)
    copied(own_kafka, topic, tmp_path / "early", (0, 1))
    for partition in (0, 1):
        own_kafka.produce(topic, points(2, 3), partition=partition)
    copied(own_kafka, topic, tmp_path / "late")
    for partition in (0, 1):
        own_kafka.produce(topic, points(4, 5), partition=partition)
    drained(settings)
    cut(own_kafka, topic, tmp_path / "late")
    own_kafka.produce(topic, points(*range(10, 14)), partition=0)
    assert "partition 0 from offset 4 on" in drain(settings).problems[0]
    cut(own_kafka, topic, tmp_path / "early")
    own_kafka.produce(topic, points(*range(20, 28)), partition=0)
    own_kafka.produce(topic, points(*range(20, 25)), partition=1)
    (problem,) = drain(settings).problems
    assert "partition 0 from offset 2 on, partition 1 from offset 2 on" in problem
    assert spans(lake) == {
        (1, 0): (0, 5, 6), (1, 1): (0, 5, 6), (2, 0): (4, 7, 4), (3, 0): (2, 9, 8), (3, 1): (2, 6, 5),
    }  # fmt: skip
    assert gaps(lake) == []
    assert drained(settings).total("planned") == 0
    assert_consistent(lake)


def test_what_was_seen_and_lost_before_it_was_drained_is_a_gap(own_kafka: Kafka, tmp_path: Path) -> None:
    """All that is in the lake is as it was, and so are the messages behind it up to the cut."""
    topic, lake = own_kafka.topic("cut", partitions=2), tmp_path / "lake"
    settings = make_settings(lake, own_kafka.bootstrap, topic)
    own_kafka.produce(topic, points(0, 1, 2, 3), partition=0)
    copied(own_kafka, topic, tmp_path / "away")
    own_kafka.produce(topic, points(4, 5), partition=0)
    assert drained(settings.model_copy(update={"drain": DrainSettings(max_messages=2)})).total("rows") == 2
    cut(own_kafka, topic, tmp_path / "away")
    own_kafka.produce(topic, points(10, 11, 12), partition=0)
    own_kafka.produce(topic, points(20), partition=1)
    (problem,) = drain(settings).problems
    assert f"the broker lost messages it had: {topic} partition 0 from offset 4 on;" in problem
    assert spans(lake) == {(1, 0): (0, 1, 2), (2, 0): (2, 6, 5), (2, 1): (0, 0, 1)}
    assert gaps(lake) == [(1, 0, 2, 6, CUT)]
    assert drained(settings).total("planned") == 0
    assert_consistent(lake)


def test_kafka_tells_where_epochs_ended(own_kafka: Kafka, tmp_path: Path) -> None:
    """Of five partitions: cut and grown again, cut and short, cut twice, whole, and expired."""
    topic = own_kafka.topic("cut", partitions=5)
    for partition in range(5):
        own_kafka.produce(topic, points(0, 1), partition=partition)
    copied(own_kafka, topic, tmp_path / "early", (0, 1, 2))
    own_kafka.produce(topic, points(2, 3), partition=2)
    copied(own_kafka, topic, tmp_path / "late", (2,))
    for partition in range(5):
        own_kafka.produce(topic, points(4, 5), partition=partition)
    (cluster,) = make_settings(tmp_path, own_kafka.bootstrap, topic).clusters.values()
    with Broker("ztf", cluster) as broker:
        epochs = {p: m.leader_epoch or 0 for (_, p), m in broker.watermarks([topic]).items()}
        cut(own_kafka, topic, tmp_path / "late")
        own_kafka.produce(topic, points(6, 7, 8), partition=2)
        cut(own_kafka, topic, tmp_path / "early")
        own_kafka.produce(topic, points(*range(10, 20)), partition=0)
        own_kafka.produce(topic, points(10), partition=2)
        assert broker.epoch_ends(topic, epochs) == {0: 2, 1: 2, 2: 2, 3: 4, 4: 4}
        own_kafka.expire(topic, {3: 4})
        own_kafka.produce(topic, points(10, 11), partition=3)
        own_kafka.produce(topic, points(10, 11), partition=4)
        own_kafka.expire(topic, {4: 5})
        assert broker.epoch_ends(topic, epochs) == {0: 2, 1: 2, 2: 2, 3: 4, 4: 5}
        assert broker.epoch_ends(topic, {}) == {}


KILLS = [
    ("finkbridge.ledger.rows:add_partitions", 1, "before"),
    ("finkbridge.ledger.rows:add_partitions", 1, "after"),
    (f"{COORDINATOR}.begin_behind", 1, "after"),
]
"""The first two leave nothing."""


@pytest.mark.parametrize("is_rebuilt", [False, True])
def test_killed_while_a_life_begins(own_kafka: Kafka, tmp_path: Path, *, is_rebuilt: bool) -> None:
    """Also where the ledger is lost then: no file tells of the new life."""
    topic, lake = own_kafka.topic("cut", partitions=2), tmp_path / "lake"
    settings = make_settings(lake, own_kafka.bootstrap, topic)
    own_kafka.produce(topic, points(0, 1, 2), partition=0)
    copied(own_kafka, topic, tmp_path / "away")
    own_kafka.produce(topic, points(3), partition=0)
    own_kafka.produce(topic, points(*range(4)), partition=1)
    drained(settings)
    cut(own_kafka, topic, tmp_path / "away")
    own_kafka.produce(topic, points(*range(10, 13)), partition=0)
    for step in KILLS:
        killed_at(step, drain, settings)
    if is_rebuilt:
        assert rebuild_ledger(settings, replace_old=True).problems == []
    drained(settings)
    assert spans(lake) == {(1, 0): (0, 3, 4), (1, 1): (0, 3, 4), (2, 0): (3, 5, 3)}
    assert gaps(lake) == []
    assert drained(settings).total("planned") == 0
    if is_rebuilt:
        assert_verified(lake, prune=True)
    else:
        assert_consistent(lake)


def test_a_rebuilt_ledger_goes_on_where_the_older_life_ended(own_kafka: Kafka, tmp_path: Path) -> None:
    """Nothing of the new life's partitions 1 and 2 has landed, so no file tells where they begin."""
    topic, lake = own_kafka.topic("cut", partitions=3), tmp_path / "lake"
    settings = make_settings(lake, own_kafka.bootstrap, topic)
    own_kafka.produce(topic, points(0, 1, 2), partition=0)
    own_kafka.produce(topic, points(0, 1), partition=2)
    copied(own_kafka, topic, tmp_path / "away", (0, 2))
    for partition in range(3):
        own_kafka.produce(topic, points(*range(3, 6)), partition=partition)
    drained(settings)
    cut(own_kafka, topic, tmp_path / "away")
    own_kafka.produce(topic, points(*range(10, 14)), partition=0)
    assert "partition 0 from offset 3 on" in drain(settings).problems[0]
    assert rebuild_ledger(settings, replace_old=True).problems == []
    own_kafka.produce(topic, points(20), partition=1)
    own_kafka.produce(topic, points(20, 21), partition=2)
    drained(settings)
    assert spans(lake) == {
        (1, 0): (0, 5, 6), (1, 1): (0, 2, 3), (1, 2): (0, 4, 5),
        (2, 0): (3, 6, 4), (2, 1): (3, 3, 1), (2, 2): (2, 3, 2),
    }  # fmt: skip
    assert gaps(lake) == []
    assert drained(settings).total("planned") == 0
    assert_verified(lake, prune=True)


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_file_that_is_damaged_stops_its_topic_alone(
    own_kafka: Kafka, tmp_path: Path, *, is_missing: bool
) -> None:
    topic, other, lake = own_kafka.topic("cut"), own_kafka.topic("other"), tmp_path / "lake"
    settings = make_settings(lake, own_kafka.bootstrap, topic, other)
    own_kafka.produce(topic, points(0, 1))
    copied(own_kafka, topic, tmp_path / "away")
    own_kafka.produce(topic, points(2, 3))
    own_kafka.produce(other, points(0))
    drained(settings)
    cut(own_kafka, topic, tmp_path / "away")
    own_kafka.produce(topic, points(*range(10, 14)))
    own_kafka.produce(other, points(1))
    (kept,) = (lake / path for path in data_files(lake) if path.startswith("archive/") and topic in path)
    whole = kept.read_bytes()
    if is_missing:
        kept.unlink()
    else:
        kept.write_bytes(whole[: len(whole) // 2])
    report = drain(settings)
    (problem,) = report.problems
    assert kept.name in problem
    assert "\n" not in problem
    assert {t.topic: t.rows for t in report.topics.values() if t.rows} == {other: 1}
    kept.write_bytes(whole)
    assert "partition 0 from offset 2 on" in drain(settings).problems[0]
    found = sql(lake, f"SELECT count(*) FROM deliveries WHERE topic = '{topic}' AND generation = 2")
    assert found == [(4,)]
    assert_consistent(lake)


def test_what_commands_say_of_a_topic_that_was_cut(own_kafka: Kafka, tmp_path: Path) -> None:
    topic = own_kafka.topic("cut", partitions=2)
    command = Command(tmp_path, own_kafka.bootstrap, FINKBRIDGE_CLUSTERS__ZTF__TOPICS=f'["{topic}"]')
    for partition in (0, 1):
        own_kafka.produce(topic, points(0, 1, 2), partition=partition)
    copied(own_kafka, topic, tmp_path / "away")
    own_kafka.produce(topic, points(3, 4), partition=0)
    command.run("drain")
    cut(own_kafka, topic, tmp_path / "away")
    own_kafka.produce(topic, points(10, 11, 12), partition=0)
    own_kafka.produce(topic, points(10), partition=1)
    said = command.run("drain", code=1).stderr
    assert f"the broker lost messages it had: {topic} partition 0 from offset 3 on; " in said
    ((night,),) = sql(command.lake, "SELECT DISTINCT night FROM deliveries")
    assert "all holds" in command.run("verify", "--deep").stdout
    (status,) = command.json("status", "--json")["topics"]
    assert [status["generation"], status["messages"], status["gaps"]] == [2, 12, []]
    assert "whole" in command.run("doctor").stdout
    told = command.run("certificate", str(night), "--json", code=1).stdout
    assert "sent before the lake began" not in told
    with Ledger(command.lake) as ledger:
        why = [blocker.why for blocker in blockers(read_coverage(ledger), Rules())]
    assert any(
        line.startswith(f"{topic} partition 0: last seen at its end") and "cut by" in line for line in why
    )
    assert [
        line for line in why if line.startswith(f"{topic} partition 1: ")
    ] == []  # it goes on in the next life
    assert "12 messages" in command.run("rebuild", "--ledger", "--replace").stdout
    assert "nothing new" in command.run("drain").stdout
    command.run("verify", "--prune")
    assert "all holds" in command.run("verify", "--deep").stdout
    assert spans(command.lake) == {(1, 0): (0, 4, 5), (1, 1): (0, 2, 3), (2, 0): (3, 5, 3), (2, 1): (3, 3, 1)}
