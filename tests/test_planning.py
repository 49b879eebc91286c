"""What a run plans when the broker is not as the last run left it: expiry, recreation, dead runs, limits."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import NewPartitions, NewTopic

from finkbridge import sightings
from finkbridge.blockers import Rules
from finkbridge.broker import Broker
from finkbridge.drain import drain, open_bridge
from finkbridge.errors import BrokerError, CommitConflictError
from finkbridge.execution import Execution
from finkbridge.ledger import Coordinator, Ledger, coordinate, schema, seen
from finkbridge.nights import verdicts
from finkbridge.report import TopicReport
from finkbridge.settings import Settings
from finkbridge.settling import DELETED, EXPIRED, RECREATED
from tests.support.kafka import Kafka
from tests.support.lake import (
    KEPT,
    assert_consistent,
    data_files,
    drained,
    forget_landers,
    gaps,
    ledger_rows,
    make_settings,
    offsets,
    points,
    sql,
)

pytestmark = pytest.mark.kafka
MARCH_MS = 1_774_050_000_000  # 2026-03-20T23:40 UTC


class Died(BaseException):
    """Stands for the end of the process."""


def die_before(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, settings: Settings, nth: int = 1
) -> None:
    """Drain until the n-th call of a method, and leave everything as it is then."""
    calls = iter(range(1, 1000))
    original = getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == nth:
            raise Died
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(Died):
            drain(settings)
    forget_landers()


def only(report: Any) -> TopicReport:
    (topic,) = report.topics.values()
    assert topic.reconciled
    return topic  # type: ignore[no-any-return]


def test_expired_before_the_plan_is_a_gap(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("expired")
    settings = make_settings(lake, kafka.bootstrap, topic)
    kafka.produce(topic, points(*range(3)))
    drained(settings)
    kafka.produce(topic, points(*range(6)))
    kafka.expire(topic, {0: 5})
    report = only(drained(settings))
    assert (report.planned, report.rows, report.expired, report.lag) == (4, 4, 2, 0)
    assert gaps(lake) == [(1, 0, 3, 5, EXPIRED)]
    assert offsets(lake) == [(1, 0, o) for o in (0, 1, 2, 5, 6, 7, 8)]
    assert_consistent(lake)


def test_all_expired_is_a_gap_and_a_run(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("expired")
    settings = make_settings(lake, kafka.bootstrap, topic)
    kafka.produce(topic, points(0))
    drained(settings)
    kafka.produce(topic, points(1, 2))
    kafka.expire(topic, {0: 3})
    report = drained(settings)
    assert (report.run, only(report).expired, only(report).lag) == (2, 2, 0)
    assert gaps(lake) == [(1, 0, 1, 3, EXPIRED)]
    assert drained(settings).run == 0


def test_first_run_starts_at_what_is_there_and_calls_nothing_lost(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("young")
    kafka.produce(topic, points(*range(5)))
    kafka.expire(topic, {0: 2})
    drained(make_settings(lake, kafka.bootstrap, topic))
    assert gaps(lake) == []
    assert offsets(lake) == [(1, 0, o) for o in (2, 3, 4)]


def test_expired_between_plan_and_fetch_is_a_gap(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("late", partitions=2)
    kafka.produce(topic, points(*range(8)), partition=0)
    kafka.produce(topic, points(*range(4)), partition=1)
    execute = Execution.execute

    def expire_first(self: Execution, plans: Any) -> None:
        kafka.expire(topic, {0: 3})
        execute(self, plans)

    monkeypatch.setattr(Execution, "execute", expire_first)
    report = only(drained(make_settings(lake, kafka.bootstrap, topic)))
    assert (report.planned, report.rows, report.expired, report.lag) == (9, 9, 3, 0)
    assert gaps(lake) == [(1, 0, 0, 3, EXPIRED)]
    assert offsets(lake) == [(1, 0, o) for o in range(3, 8)] + [(1, 1, o) for o in range(4)]
    assert_consistent(lake)


def test_expired_under_several_pending_plans(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("pending")
    kafka.produce(topic, points(*range(10)))
    settings = make_settings(lake, kafka.bootstrap, topic, drain={"segment_bytes": 200_000})  # 3 messages
    die_before(monkeypatch, Coordinator, "commit_segment", settings)
    assert len(ledger_rows(lake, schema.plans)) == 4
    kafka.expire(topic, {0: 4})
    report = only(drained(settings))
    assert (report.planned, report.rows, report.salvaged) == (8, 8, 2)  # the first one had landed
    assert (report.expired, report.lag) == (2, 0)
    assert gaps(lake) == [(1, 0, 2, 4, EXPIRED)]
    assert offsets(lake) == [(1, 0, o) for o in (0, 1, *range(4, 10))]
    assert_consistent(lake)


def test_lost_start_of_one_partition_keeps_the_rest_where_it_begins(kafka: Kafka, lake: Path) -> None:
    """A plan's range may begin behind what the broker still has: nothing before it is planned again."""
    topic = kafka.topic("late", partitions=2)
    settings = make_settings(lake, kafka.bootstrap, topic)
    for partition in range(2):
        kafka.produce(topic, points(*range(3)), partition=partition)
    drained(settings)
    for partition in range(2):
        kafka.produce(topic, points(*range(3)), partition=partition)
    with open_bridge(settings) as bridge:
        execute = bridge._execute

        def expire_first(*args: Any) -> None:
            kafka.expire(topic, {0: 4})
            execute(*args)

        bridge._execute = expire_first  # type: ignore[method-assign]
        report = bridge.run()
    assert report.succeeded, report.problems
    assert gaps(lake) == [(1, 0, 3, 4, EXPIRED)]
    expected = [*((1, 0, o) for o in (0, 1, 2, 4, 5)), *((1, 1, o) for o in range(6))]
    assert offsets(lake) == expected
    assert_consistent(lake)


@pytest.mark.parametrize("step", ["commit_gap", "add_plans"])
def test_run_that_dies_while_it_replans_loses_nothing(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The first of several plans is abandoned and not made anew: what follows it must not stand for ever."""
    topic = kafka.topic("replan")
    kafka.produce(topic, points(*range(10)))
    settings = make_settings(lake, kafka.bootstrap, topic, drain={"segment_bytes": 200_000})
    execute = Execution.execute

    def expire_first(self: Execution, plans: Any) -> None:
        kafka.expire(topic, {0: 1})
        execute(self, plans)

    with monkeypatch.context() as patch:
        patch.setattr(Execution, "execute", expire_first)
        die_before(patch, Coordinator, step, settings, 2 if step == "add_plans" else 1)
    drained(settings)
    assert gaps(lake) == [(1, 0, 0, 1, EXPIRED)]
    assert offsets(lake) == [(1, 0, o) for o in range(1, 10)]
    assert_consistent(lake)


@pytest.mark.parametrize("count", [3, 5, 8])
def test_recreated_topic_is_a_new_generation(kafka: Kafka, lake: Path, count: int) -> None:
    topic = kafka.topic("recreated")
    settings = make_settings(lake, kafka.bootstrap, topic)
    kafka.produce(topic, points(*range(5)))
    drained(settings)
    kafka.recreate(topic)
    kafka.produce(topic, points(*range(100, 100 + count)))
    report = only(drained(settings))
    assert (report.generation, report.rows, report.lag) == (2, count, 0)
    assert offsets(lake) == [(1, 0, o) for o in range(5)] + [(2, 0, o) for o in range(count)]
    query = "SELECT x FROM packets_other ORDER BY _generation, _kafka_offset"
    assert sql(lake, query) == [(float(x),) for x in [*range(5), *range(100, 100 + count)]]
    assert gaps(lake) == []
    assert_consistent(lake)


def test_recreated_topic_is_told_by_its_messages_where_there_are_no_ids(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broker, "topic_ids", lambda self, topics: dict.fromkeys(topics))
    topic = kafka.topic("recreated")
    settings = make_settings(lake, kafka.bootstrap, topic)
    for generation, count in ((1, 5), (2, 5), (3, 7), (4, 2)):
        kafka.produce(topic, points(*range(count)))
        assert only(drained(settings)).generation == generation
        assert drained(settings).total("planned") == 0
        kafka.recreate(topic)
    assert len(offsets(lake)) == 5 + 5 + 7 + 2
    assert_consistent(lake)


def test_topic_id_that_a_broker_begins_to_give_is_noted(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("upgraded")
    settings = make_settings(lake, kafka.bootstrap, topic)
    kafka.produce(topic, points(0))
    with monkeypatch.context() as patch:
        patch.setattr(Broker, "topic_ids", lambda self, topics: dict.fromkeys(topics))
        drained(settings)
    kafka.produce(topic, points(1))
    report = only(drained(settings))
    assert (report.generation, report.rows) == (1, 1)
    (row,) = ledger_rows(lake, schema.generations)
    assert row.topic_id == kafka.topic_id(topic)
    assert_consistent(lake)


def test_id_that_is_first_given_during_the_run_does_not_stop_it(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("upgraded")
    kafka.produce(topic, points(0))
    topic_ids, calls = Broker.topic_ids, iter(range(99))

    def late(self: Broker, topics: Any) -> Any:
        return topic_ids(self, topics) if next(calls) else dict.fromkeys(topics)

    monkeypatch.setattr(Broker, "topic_ids", late)
    assert only(drained(make_settings(lake, kafka.bootstrap, topic))).rows == 1


def test_zombie_that_abandons_plans_deletes_no_file(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger refuses it first: by then the files may be another coordinator's."""
    topic = kafka.topic("zombie")
    kafka.produce(topic, points(*range(4)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    die_before(monkeypatch, Coordinator, "commit_segment", settings)
    plans = ledger_rows(lake, schema.plans)
    before = data_files(lake)
    assert len(plans) == 1
    assert before
    kafka.expire(topic, {0: 1})
    for step in (kafka.expire, kafka.recreate):
        with open_bridge(settings) as zombie:
            with Ledger(lake) as ledger:
                (lake / "ledger.lock").unlink()  # as if the lock had gone with its machine
                with coordinate(ledger):
                    pass
            with pytest.raises(CommitConflictError, match="took this lake over"):
                zombie.run()
        assert data_files(lake) == before
        if step == kafka.expire:
            kafka.recreate(topic)


def test_recreated_with_pending_plans_is_a_gap(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("recreated")
    kafka.produce(topic, points(*range(10)))
    settings = make_settings(lake, kafka.bootstrap, topic, drain={"segment_bytes": 200_000})
    die_before(monkeypatch, Coordinator, "commit_segment", settings, 2)
    kafka.recreate(topic)
    kafka.produce(topic, points(0, 1))
    report = only(drained(settings))
    assert (report.generation, report.planned, report.rows, report.expired) == (2, 5, 5, 5)
    assert report.salvaged == 3  # the second one had landed
    assert gaps(lake) == [(1, 0, 5, 10, RECREATED)]
    assert offsets(lake) == [(1, 0, o) for o in range(5)] + [(2, 0, 0), (2, 0, 1)]
    assert_consistent(lake)


def test_recreated_while_it_is_fetched_commits_nothing(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("recreated")
    kafka.produce(topic, points(*range(3)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    commit_next = Execution._commit_next

    def recreate_first(self: Execution) -> bool:
        if self._back:
            kafka.recreate(topic)
            kafka.produce(topic, points(*range(10, 13)))
        return commit_next(self)

    with monkeypatch.context() as patch:
        patch.setattr(Execution, "_commit_next", recreate_first)
        report = drain(settings)
    assert not report.succeeded
    assert "recreated during the run" in report.problems[0]
    assert offsets(lake) == []
    assert drained(settings).total("salvaged") == 3  # they had landed before, and are not of the new life
    assert gaps(lake) == []
    assert offsets(lake) == [(generation, 0, o) for generation in (1, 2) for o in range(3)]
    query = "SELECT x FROM packets_other ORDER BY x"
    assert sql(lake, query) == [(float(x),) for x in (0, 1, 2, 10, 11, 12)]
    assert_consistent(lake)


@pytest.mark.parametrize("is_noticed", [True, False])
def test_recreated_with_fewer_partitions_while_it_is_planned_anew(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch, is_noticed: bool
) -> None:
    """Between the fetch, which shows that messages expired, and the new plan; also behind the last look."""
    topic = kafka.topic("fewer", partitions=2)
    for partition in range(2):
        kafka.produce(topic, points(*range(4)), partition=partition)
    settings = make_settings(lake, kafka.bootstrap, topic)
    execute, commit_next = Execution.execute, Execution._commit_next

    def expire_first(self: Execution, plans: Any) -> None:
        kafka.expire(topic, {0: 3})
        execute(self, plans)

    def recreate_first(self: Execution) -> bool:
        if self._back:
            kafka.delete(topic)
            kafka._topics[topic] = NewTopic(topic, 1)
            kafka._create(topic)
            kafka.produce(topic, points(7), partition=0)
        return commit_next(self)

    with monkeypatch.context() as patch:
        patch.setattr(Execution, "execute", expire_first)
        patch.setattr(Execution, "_commit_next", recreate_first)
        if not is_noticed:
            patch.setattr(Execution, "_same_generation", lambda *_: True)
        report = drain(settings)
    (problem,) = report.problems
    assert "recreated during the run" in problem
    assert (offsets(lake), gaps(lake)) == ([], [])
    drained(settings)
    assert gaps(lake) == [(1, 0, 0, 4, RECREATED), (1, 1, 0, 4, RECREATED)]
    assert offsets(lake) == [(2, 0, 0)]
    assert_consistent(lake)


def test_what_was_seen_of_a_recreated_topic_and_never_landed_is_a_gap(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("recreated", partitions=2)
    for partition in range(2):
        kafka.produce(topic, points(*range(6)), partition=partition)
    settings = make_settings(lake, kafka.bootstrap, topic)
    assert drained(make_settings(lake, kafka.bootstrap, topic, drain={"max_messages": 4})).total("rows") == 4
    nexts = {p.partition: p.next_offset for p in ledger_rows(lake, schema.partitions)}
    kafka.recreate(topic)
    kafka.produce(topic, points(0))
    report = only(drained(settings))
    assert (report.generation, report.rows, report.expired) == (2, 1, 8)
    assert gaps(lake) == [(1, p, nexts[p], 6, RECREATED) for p in range(2)]
    assert drained(settings).total("expired") == 0
    assert_consistent(lake)


def test_what_was_seen_of_a_deleted_topic_and_never_landed_is_a_gap(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at once: a broker that starts may say of any topic that there is none."""
    gone, other = kafka.topic("gone"), kafka.topic("other")
    kafka.produce(gone, points(*range(6)))
    kafka.produce(other, points(1))
    settings = make_settings(lake, kafka.bootstrap, f"{gone}*", other)
    assert drained(make_settings(lake, kafka.bootstrap, gone, drain={"max_messages": 2})).total("rows") == 2
    kafka.delete(gone)
    assert drained(settings).total("expired") == 0
    assert drained(settings).total("expired") == 0
    monkeypatch.setattr(sightings, "SURELY_GONE_S", 0.0)
    report = drained(settings)
    assert (report.total("expired"), report.total("planned")) == (4, 0)
    assert gaps(lake) == [(1, 0, 2, 6, DELETED)]
    assert drained(settings).total("expired") == 0
    assert_consistent(lake)


def searched(lake: Path) -> dict[tuple[str, str], float]:
    with Ledger(lake) as ledger, ledger.reading() as connection:
        return seen.searched(connection)


def test_a_pattern_was_looked_for_once_all_that_it_matches_is_known(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kafka.topic("pattern")
    pattern = f"{first}*"
    kafka.produce(first, points(0))
    settings = make_settings(lake, kafka.bootstrap, pattern)
    drained(settings, first)
    assert searched(lake) == {}
    before = time.time()
    drained(settings)
    (at,) = searched(lake).values()
    assert searched(lake).keys() == {("ztf", pattern)}
    assert before <= at <= time.time()
    second = kafka.topic(first)
    kafka.produce(second, points(1))
    watermarks = Broker.watermarks

    def without_leader(self: Broker, topics: Any) -> Any:
        if second in topics:
            raise BrokerError(f"{second}: no leader")
        return watermarks(self, topics)

    with monkeypatch.context() as patch:
        patch.setattr(Broker, "watermarks", without_leader)
        assert not drain(settings).succeeded
    assert list(searched(lake).values()) == [at]
    drained(settings)
    assert searched(lake)["ztf", pattern] > at


@pytest.mark.parametrize("is_named", [False, True])
@pytest.mark.parametrize("step", ["watermarks", "held_back"])
def test_a_topic_that_is_gone_was_looked_for_only_where_all_is_known(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch, step: str, *, is_named: bool
) -> None:
    """It may be there again: the life that the ledger has tells nothing of that."""
    gone, other = kafka.topic("gone"), kafka.topic("other")
    kafka.produce(gone, points(0))
    kafka.produce(other, points(1))
    name = gone if is_named else f"{gone}*"
    settings = make_settings(lake, kafka.bootstrap, name, other)
    drained(settings)
    kafka.delete(gone)
    for _ in range(2):
        before = time.time()
        drain(settings)
        assert before <= searched(lake)["ztf", name] <= time.time()
    at = searched(lake)["ztf", name]
    drained(settings, other)
    assert searched(lake)["ztf", name] == at
    kafka.make(gone)
    kafka.produce(gone, points(2))
    ask = getattr(Broker, step)

    def without_leader(self: Broker, topics: Any) -> Any:
        if any(gone in (topic, topic[0]) for topic in topics):
            raise BrokerError(f"{gone}: no leader")
        return ask(self, topics)

    with monkeypatch.context() as patch:
        patch.setattr(Broker, step, without_leader)
        drain(settings)
    is_new = step == "held_back"  # then the ledger knows its new life
    assert (searched(lake)["ztf", name] > at) == (is_new and not is_named)
    report = drained(settings)
    assert report.total("rows") == (0 if is_new else 1)


def test_deleted_with_pending_plans_is_a_gap(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, other = kafka.topic("gone", partitions=2), kafka.topic("other")
    for partition in range(2):
        kafka.produce(gone, points(*range(6)), partition=partition)
    kafka.produce(other, points(1))
    settings = make_settings(lake, kafka.bootstrap, gone, drain={"segment_bytes": 200_000})
    die_before(monkeypatch, Coordinator, "commit_segment", settings, 2)
    kafka.delete(gone)
    report = drain(settings, [other])
    assert report.succeeded, report.problems
    assert (report.total("expired"), report.total("salvaged")) == (6, 3)
    assert gaps(lake) == [(1, 1, 0, 6, DELETED)]
    assert_consistent(lake)


def test_pending_plans_of_a_topic_that_is_not_listed_wait(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who lost the right to see a topic is not told that it was deleted: nothing is given up."""
    hidden, other = kafka.topic("hidden"), kafka.topic("other")
    kafka.produce(hidden, points(*range(3)))
    settings = make_settings(lake, kafka.bootstrap, hidden)
    die_before(monkeypatch, Coordinator, "commit_segment", settings)
    topics = Broker.topics
    with monkeypatch.context() as patch:
        patch.setattr(Broker, "topics", lambda self: {t: n for t, n in topics(self).items() if t != hidden})
        report = drain(settings, [other])
    assert [p for p in report.problems if f"does not list {hidden}" in p] == report.problems != []
    assert gaps(lake) == []
    assert drained(settings).total("rows") == 3
    assert_consistent(lake)


def test_deleted_on_one_cluster_leaves_the_other_s_plans(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("both")
    kafka.produce(topic, points(*range(3)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    die_before(monkeypatch, Coordinator, "commit_segment", settings)
    cluster = settings.clusters["ztf"]
    both = settings.model_copy(update={"clusters": {"lsst": cluster, "ztf": cluster}})
    topics = Broker.topics

    def only_one_has_it(self: Broker) -> dict[str, int]:
        return {t: n for t, n in topics(self).items() if t != topic or self.name == "ztf"}

    monkeypatch.setattr(Broker, "topics", only_one_has_it)
    monkeypatch.setattr(Broker, "is_gone", lambda self, name: self.name == "lsst")
    report = drained(both, topic)
    assert report.total("rows") == 3
    assert gaps(lake) == []


def cut_log(monkeypatch: pytest.MonkeyPatch, end: int) -> None:
    """Let the broker say that every partition ends at an offset, as after an unclean election."""
    watermarks = Broker.watermarks

    def cut(self: Broker, topics: Any) -> Any:
        return {pair: marks._replace(end=end) for pair, marks in watermarks(self, topics).items()}

    monkeypatch.setattr(Broker, "watermarks", cut)


def test_pending_plans_behind_the_brokers_end_are_taken_from_their_files(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("cut")
    kafka.produce(topic, points(*range(6)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    die_before(monkeypatch, Coordinator, "commit_segment", settings)
    with monkeypatch.context() as patch:
        cut_log(patch, 4)
        report = drain(settings)
    (problem,) = report.problems
    assert "ends at 4, and the lake has it up to 6" in problem
    assert (only(report).rows, only(report).salvaged, only(report).expired) == (6, 6, 0)
    assert_consistent(lake)


def test_log_that_ends_before_the_lake_is_a_problem(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("cut")
    kafka.produce(topic, points(*range(6)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    drained(settings)
    with monkeypatch.context() as patch:
        cut_log(patch, 4)
        (problem,) = drain(settings).problems
    assert "the broker lost messages it had" in problem
    assert "ends at 4, and the lake has it up to 6" in problem
    assert drained(settings).total("planned") == 0


def test_pending_plans_are_finished_first_though_the_topic_is_not_asked_for(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = kafka.topic("old"), kafka.topic("new")
    kafka.produce(old, points(*range(4)))
    kafka.produce(new, points(7))
    die_before(monkeypatch, Coordinator, "commit_segment", make_settings(lake, kafka.bootstrap, old))
    kafka.produce(old, points(4))  # waits, and is told
    report = drain(make_settings(lake, kafka.bootstrap, drain={"max_messages": 1}), [new])
    assert report.succeeded, report.problems
    assert {t.topic: (t.planned, t.rows, t.lag) for t in report.topics.values()} == {
        old: (4, 4, 1),
        new: (1, 1, 0),
    }
    assert_consistent(lake)


def test_partitions_that_are_added_are_drained_whole(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("grows")
    settings = make_settings(lake, kafka.bootstrap, topic, drain={"start": "latest"})
    drained(settings)
    grow(kafka, topic, 3)
    kafka.produce(topic, points(0), partition=0)
    kafka.produce(topic, points(1, 2), partition=2)
    drained(settings)
    assert offsets(lake) == [(1, 0, 0), (1, 2, 0), (1, 2, 1)]


def test_partitions_that_are_added_are_known_though_the_topic_is_not_asked_for(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its plans are finished, and what waits beside them is told: no night is complete without it."""
    topic, other = kafka.topic("grows", config=KEPT), kafka.topic("other", config=KEPT)
    settings = make_settings(lake, kafka.bootstrap, topic, other)
    kafka.produce(topic, points(0), timestamps=[MARCH_MS])
    with monkeypatch.context() as patch:
        die_before(patch, Coordinator, "commit_segment", settings)
    grow(kafka, topic, 2)
    kafka.begin_anew()
    kafka.produce(topic, points(1, 2, 3), partition=1, timestamps=[MARCH_MS] * 3)
    report = drain(settings, [other])
    assert report.succeeded
    assert {t.topic: (t.rows, t.lag) for t in report.topics.values()} == {topic: (1, 3), other: (0, 0)}
    with Ledger(lake) as ledger:
        (night,) = verdicts(ledger, Rules.of(settings))
        assert "grows" in str(night.why)
        assert "3 offsets wait" in str(night.why)
    assert drained(settings).total("rows") == 3
    with Ledger(lake) as ledger:
        assert [night.complete for night in verdicts(ledger, Rules.of(settings))] == [True]
    assert_consistent(lake)


def grow(kafka: Kafka, topic: str, partitions: int) -> None:
    for future in kafka._admin.create_partitions([NewPartitions(topic, partitions)]).values():
        future.result(10)
    time.sleep(0.5)


@pytest.mark.parametrize(
    ("start", "expected"), [("earliest", 0), ("latest", 4), (datetime(2025, 1, 3, tzinfo=UTC), 2)]
)
def test_start_of_a_new_topic(kafka: Kafka, lake: Path, start: Any, expected: int) -> None:
    topic = kafka.topic("start", config={"retention.ms": "-1"})
    days = [int(datetime(2025, 1, day, tzinfo=UTC).timestamp() * 1000) for day in range(1, 5)]
    kafka.produce(topic, points(*range(4)), timestamps=days)
    settings = make_settings(lake, kafka.bootstrap, topic, drain={"start": start})
    assert only_or_none(drained(settings)) == 4 - expected
    kafka.produce(topic, points(9), timestamps=[days[0]])
    drained(settings)
    assert offsets(lake) == [(1, 0, o) for o in range(expected, 5)]


def only_or_none(report: Any) -> int:
    return sum(t.rows for t in report.topics.values())


def test_limits_bound_a_run_over_all_topics(kafka: Kafka, lake: Path) -> None:
    topics = [kafka.topic("limited") for _ in range(3)]
    for topic in topics:
        kafka.produce(topic, points(*range(4)))
    settings = make_settings(lake, kafka.bootstrap, *topics, drain={"max_messages": 5})
    report = drained(settings)
    assert (report.total("planned"), report.total("rows"), report.total("lag")) == (5, 5, 7)
    assert sorted(t.rows for t in report.topics.values()) == [1, 2, 2]
    assert drained(settings).total("rows") == 5
    few = make_settings(lake, kafka.bootstrap, *topics, drain={"max_bytes": 8})
    assert drained(few).total("rows") == 1
    assert drained(settings).total("rows") == 1
    assert_consistent(lake)


def test_bytes_of_unknown_topics_are_estimated_over_all_of_them(kafka: Kafka, lake: Path) -> None:
    topics = [kafka.topic("limited") for _ in range(3)]
    for topic in topics:
        kafka.produce(topic, points(*range(4)))
    report = drained(make_settings(lake, kafka.bootstrap, *topics, drain={"max_bytes": 200_000}))
    assert [t.rows for t in report.topics.values()] == [1, 1, 1]


def test_one_bridge_runs_again_and_again(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("again")
    with open_bridge(make_settings(lake, kafka.bootstrap, topic)) as bridge:
        for number in range(3):
            kafka.produce(topic, points(number))
            assert bridge.run().total("rows") == 1
            assert bridge.run().total("rows") == 0
    assert_consistent(lake)
