"""Runs in which something goes wrong with one cluster, topic, segment or worker, and the rest goes on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from finkbridge import execution, layout, merge, parts, workers
from finkbridge.broker import Broker
from finkbridge.drain import Bridge, drain, open_bridge
from finkbridge.errors import (
    BrokerError,
    BrokerTimeoutError,
    LakeAccessError,
    LakeBusyError,
    LakeVersionError,
    SettingsError,
    UnreachableError,
)
from finkbridge.land import Lander
from finkbridge.ledger import Ledger, coordinate, schema
from finkbridge.settings import ClusterSettings, Settings
from finkbridge.values import Message, OffsetRange, SegmentPlan, TopicGeneration
from tests.support.kafka import Kafka
from tests.support.kafka_server import free_ports
from tests.support.lake import (
    KEPT,
    RealAlerts,
    alive_files,
    assert_consistent,
    drained,
    ledger_rows,
    make_settings,
    offsets,
    points,
    real_alerts,
    sql,
)

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def ztf(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "ztf")


def several(lake: Path, clusters: dict[str, dict[str, Any]], **more: Any) -> Settings:
    return Settings.model_validate({"lake": lake, "workers": 0, "clusters": clusters, **more})


def test_cluster_that_is_down_does_not_stop_the_other(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("up")
    kafka.produce(topic, points(1, 2))
    (port,) = free_ports(1)
    down = {"servers": f"127.0.0.1:{port}", "topics": ["any"]}
    up = {"servers": kafka.bootstrap, "topics": [topic]}
    report = drain(several(lake, {"lsst": down, "ztf": up}, broker_timeout_s=3))
    assert not report.succeeded
    (problem,) = report.problems
    assert "cluster lsst: no broker answers" in problem
    assert report.total("rows") == 2
    assert_consistent(lake)


def test_sasl_with_the_right_and_the_wrong_password(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("secret")
    kafka.produce(topic, points(1, 2))
    cluster = {"servers": kafka.sasl_bootstrap, "username": kafka.username, "topics": [topic]}
    bad = several(lake, {"ztf": {**cluster, "password": "no-such-word"}})
    with pytest.raises(BrokerError, match="credentials are refused") as refused:
        drain(bad)
    assert "no-such-word" not in str(refused.value)
    assert not (lake / layout.LEDGER).exists()
    assert drained(several(lake, {"ztf": {**cluster, "password": kafka.password}})).total("rows") == 2
    wrong = drain(bad)
    assert not wrong.succeeded
    assert "credentials are refused" in wrong.problems[0]
    assert "no-such-word" not in str(wrong)
    written = b"".join(p.read_bytes() for p in lake.rglob("*") if p.is_file())
    assert kafka.password.encode() not in written


def test_unknown_topic_is_a_problem_and_the_rest_is_drained(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("known")
    kafka.produce(topic, points(1))
    report = drain(make_settings(lake, kafka.bootstrap), [topic, "known_nowhere"])
    assert not report.succeeded
    assert "has no topic known_nowhere" in report.problems[0]
    assert report.total("rows") == 1


def test_patterns_name_topics(kafka: Kafka, lake: Path) -> None:
    first, second = kafka.topic("pattern_a"), kafka.topic("pattern_a")
    kafka.topic("pattern_b")
    for topic in (first, second):
        kafka.produce(topic, points(1))
    report = drained(make_settings(lake, kafka.bootstrap), "pattern_a_*")
    assert {topic for _, topic in report.topics} == {first, second}


def test_nothing_named_is_one_line(kafka: Kafka, lake: Path) -> None:
    with pytest.raises(SettingsError, match="no topics to drain"):
        drain(make_settings(lake, kafka.bootstrap))
    with pytest.raises(SettingsError, match="no cluster is set"):
        drain(several(lake, {}))


def test_two_at_once(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("twice")
    kafka.produce(topic, points(1, 2))
    settings = make_settings(lake, kafka.bootstrap, topic)
    with open_bridge(settings) as winner:
        before = ledger_rows(lake, schema.meta)
        with pytest.raises(
            LakeBusyError, match=f"is being written by process {os.getpid()}: nothing was changed"
        ):
            drain(settings)
        assert ledger_rows(lake, schema.meta) == before
        assert winner.run().total("rows") == 2
    assert_consistent(lake)


def test_newer_lake_is_left_alone(kafka: Kafka, lake: Path) -> None:
    settings = make_settings(lake, kafka.bootstrap, kafka.topic("newer"))
    drained(settings)
    with Ledger(lake) as ledger, ledger.engine.begin() as connection:
        connection.execute(schema.meta.update().where(schema.meta.c.key == "version").values(value=99))
    before = (lake / "ledger.db").read_bytes()
    with pytest.raises(LakeVersionError, match=r"newer finkbridge \(ledger version 99.*upgrade"):
        drain(settings)
    assert (lake / "ledger.db").read_bytes() == before


def test_lake_that_cannot_be_made_is_one_line(kafka: Kafka, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LakeAccessError, match="cannot be made"):
        drain(make_settings(tmp_path / "file" / "lake", kafka.bootstrap, kafka.topic("any")))


def test_holes_are_accounted_for(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("holes")
    kafka.produce_transaction(topic, points(0, 1))  # marker at 2
    kafka.produce(topic, points(3))
    kafka.produce_transaction(topic, points(4, 5), commit=False)  # and its marker at 6
    kafka.produce(topic, [(None, b"bad"), *points(8)])
    kafka.produce_transaction(topic, points(9))  # the marker at 10 ends the log
    report = drained(make_settings(lake, kafka.bootstrap, topic))
    names = ("planned", "messages", "rows", "quarantined", "holes", "lag")
    assert [report.total(n) for n in names] == [11, 6, 5, 1, 5, 0]
    (span,) = ledger_rows(lake, schema.segment_ranges)
    assert (span.start_offset, span.end_offset, span.rows, span.quarantined) == (0, 11, 5, 1)
    assert span.holes == "[[2, 3], [4, 7], [10, 11]]"
    assert offsets(lake) == [(1, 0, o) for o in (0, 1, 3, 8, 9)]
    query = "SELECT kafka_offset, reason, state FROM quarantine"
    ((offset, reason, state),) = sql(lake, query)
    assert (offset, state) == (7, "waiting")
    assert "no writer schema" in reason
    assert drained(make_settings(lake, kafka.bootstrap, topic)).total("planned") == 0
    assert_consistent(lake)


def test_parts_whose_holes_take_long_sweeps_are_one_fetch(kafka: Kafka, lake: Path) -> None:
    """Holes are confirmed between two parts, while the plan's range is still being read."""
    topic = kafka.topic("markers")
    producer = kafka.open_transaction(topic, points(0))
    ((key, value),) = points(0)
    for _ in range(150):
        producer.commit_transaction(30)
        producer.begin_transaction()
        producer.produce(topic, value, key)
    producer.commit_transaction(30)
    end = 302
    kafka.await_end(topic, end)
    lake.mkdir()
    first = Message(0, 0, 0, 1, key, value, ()).memory(None)
    limit = first + 39 * Message(0, 1, 0, 1, key, value, ()).memory(key)
    plan = SegmentPlan(1, TopicGeneration("ztf", topic, 1), (OffsetRange(0, 0, end),), limit)
    with Broker("ztf", ClusterSettings(servers=kafka.bootstrap)) as broker:
        landed = Lander(lake, broker).land(plan)
    assert [sum(c.rows for c in part.counts) for part in landed] == [40, 40, 40, 31]
    assert all(c.reconciled for part in landed for c in part.counts)


def test_range_of_holes_alone_lands_nothing_and_is_done(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("aborted")
    kafka.produce_transaction(topic, points(0, 1), commit=False)
    report = drained(make_settings(lake, kafka.bootstrap, topic))
    assert (report.total("planned"), report.total("holes"), report.total("rows")) == (3, 3, 0)
    assert alive_files(lake) == set()
    assert drained(make_settings(lake, kafka.bootstrap, topic)).total("planned") == 0


def test_unproved_segment_fails_and_the_others_land(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = kafka.topic("unproved"), kafka.topic("proved")
    for topic in (bad, good):
        kafka.produce(topic, points(0, 1))
    fetch = Broker.fetch

    def forgetful(self: Broker, topic: str, span: Any) -> Any:
        for batch in fetch(self, topic, span):
            yield batch[1:] if topic == bad else batch

    settings = make_settings(lake, kafka.bootstrap, bad, good)
    with monkeypatch.context() as patch:
        patch.setattr(Broker, "fetch", forgetful)
        report = drain(settings)
        assert not report.succeeded
        assert "a second look" in report.problems[0]
        patch.setattr(Broker, "confirm_holes", lambda *_: True)
        patch.setattr(parts.OffsetRange, "missing", lambda *_: ())  # an account that does not add up
        assert "1 messages are accounted for" in drain(settings).problems[0]
    assert offsets(lake) == [(1, 0, 0), (1, 0, 1)]
    assert drained(settings).total("rows") == 2
    assert_consistent(lake)


@pytest.mark.parametrize("error", [RuntimeError("odd\nthing"), KeyError("x"), MemoryError()])
def test_unexpected_error_fails_its_topic_alone(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bad, good = kafka.topic("a"), kafka.topic("b")
    for topic in (bad, good):
        kafka.produce(topic, points(0))
    settings = make_settings(lake, kafka.bootstrap, bad, good)
    fetch = Broker.fetch

    def broken(self: Broker, topic: str, span: Any) -> Any:
        if topic == bad:
            raise error
        return fetch(self, topic, span)

    with monkeypatch.context() as patch:
        patch.setattr(Broker, "fetch", broken)
        report = drain(settings)
    (problem,) = report.problems
    where = f"{bad}: the message at 0:0 cannot even be set aside"
    assert problem.startswith(f"{where}: unexpected {type(error).__name__}: ")
    assert "\n" not in problem
    assert report.total("rows") == 1
    assert drained(settings).total("rows") == 1
    assert_consistent(lake)


def test_broker_that_fails_while_planning_fails_its_topic_alone(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = kafka.topic("a"), kafka.topic("b")
    for topic in (bad, good):
        kafka.produce(topic, points(0))
    settings = make_settings(lake, kafka.bootstrap, bad, good, drain={"start": "2020-01-01"})
    offsets_at = Broker.offsets_at

    def silent(self: Broker, topic: str, *rest: Any) -> Any:
        if topic == bad:
            raise BrokerTimeoutError("no answer")
        return offsets_at(self, topic, *rest)

    monkeypatch.setattr(Broker, "offsets_at", silent)
    report = drain(settings)
    assert (report.problems, report.total("rows")) == (["no answer"], 1)


def test_topic_that_the_broker_cannot_tell_of_is_a_problem_alone(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition without a leader fails the one request for all topics."""
    bad, good = kafka.topic("a"), kafka.topic("b")
    for topic in (bad, good):
        kafka.produce(topic, points(0))
    watermarks = Broker.watermarks

    def leaderless(self: Broker, topics: Any) -> Any:
        if bad in topics:
            raise BrokerError("no leader")
        return watermarks(self, topics)

    monkeypatch.setattr(Broker, "watermarks", leaderless)
    report = drain(make_settings(lake, kafka.bootstrap, bad, good))
    assert (report.problems, report.total("rows")) == ([f"{bad}: no leader"], 1)


def test_same_alert_in_two_topics(kafka: Kafka, lake: Path, ztf: RealAlerts) -> None:
    first, second = sorted(kafka.topic("fink_two_ztf", config=KEPT) for _ in range(2))
    kafka.produce(first, ztf.records[:3])
    kafka.produce(second, ztf.records[2:5])
    drained(make_settings(lake, kafka.bootstrap, first, second))
    assert sql(lake, "SELECT count(*) FROM deliveries") == [(6,)]
    rows = dict(sql(lake, "SELECT source_id, topics FROM alerts"))
    ids = [alert["candid"] for alert in ztf.alerts]
    assert rows == {
        **{key: [first] for key in ids[:2]},
        ids[2]: [first, second],
        **{key: [second] for key in ids[3:5]},
    }
    assert sql(lake, f"SELECT deliveries FROM alerts WHERE source_id = {ids[2]}") == [(2,)]


def test_schema_changes_and_containers_on_a_real_broker(kafka: Kafka, lake: Path, ztf: RealAlerts) -> None:
    topic = kafka.topic("fink_mixed_ztf", config=KEPT)
    kafka.produce(topic, [*ztf.records[:2], *points(1), *ztf.records[2:4], (b"k", b""), (None, None)])
    report = drained(make_settings(lake, kafka.bootstrap, topic))
    assert (report.total("rows"), report.total("quarantined")) == (5, 2)
    counts = "SELECT survey, count(*) FROM deliveries GROUP BY ALL ORDER BY ALL"
    assert sql(lake, counts) == [("other", 1), ("ztf", 4)]
    assert_consistent(lake)


def test_schema_topic_on_a_real_broker(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("ftransfer")
    kafka._topics[f"{topic}_schema"] = kafka._topics[topic].__class__(f"{topic}_schema", 1)
    kafka._create(f"{topic}_schema")
    ((key, datum),) = points(4.5)
    kafka.produce(f"{topic}_schema", [(key, b"")])
    kafka.produce(topic, [(None, datum)])
    drained(make_settings(lake, kafka.bootstrap, topic))
    assert sql(lake, "SELECT x FROM packets_other") == [(4.5,)]


def test_schema_file_overrides(kafka: Kafka, lake: Path, tmp_path: Path) -> None:
    topic = kafka.topic("override")
    ((key, datum),) = points(4.5)
    (tmp_path / "point.avsc").write_bytes(key or b"")
    kafka.produce(topic, [(None, datum)])
    drained(make_settings(lake, kafka.bootstrap, topic, decode={"schema_file": tmp_path / "point.avsc"}))
    assert sql(lake, "SELECT x FROM packets_other") == [(4.5,)]
    missing = make_settings(lake, kafka.bootstrap, topic, decode={"schema_file": tmp_path / "none.avsc"})
    with pytest.raises(SettingsError, match=r"none.avsc cannot be read"):
        drain(missing)


def die(_: workers.Task) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_workers_that_always_die_fail_their_run_and_the_bridge_goes_on(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = [kafka.topic("dies") for _ in range(4)]
    for topic in topics:
        kafka.produce(topic, points(0))
    with open_bridge(make_settings(lake, kafka.bootstrap, *topics, workers=1)) as bridge:
        with monkeypatch.context() as patch:
            patch.setattr(execution, "run_task", die)
            report = bridge.run()
        assert len(report.problems) == 4
        said = "the message at 0:0 cannot even be set aside: its process was killed by SIGKILL"
        assert all(said in problem for problem in report.problems)
        assert bridge.run().total("rows") == 4
    assert_consistent(lake)


def test_told_to_stop_leaves_the_rest_for_the_next(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("stops")
    kafka.produce(topic, points(*range(9)))
    settings = make_settings(lake, kafka.bootstrap, topic, drain={"segment_bytes": 200_000})
    with open_bridge(settings) as bridge:

        class StopsAtFirst(execution.Silent):
            def committed(self, plan: Any, landed: Any) -> None:
                bridge.stopping.set()

        report = bridge.run(listener=StopsAtFirst())
    assert not report.succeeded
    assert 0 < report.total("rows") < 9
    assert drained(settings).total("rows") == 9 - report.total("rows")
    assert_consistent(lake)


def test_told_to_stop_when_all_is_done_leaves_nothing_to_tell_of(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("stops")
    kafka.produce(topic, points(0, 1))
    with open_bridge(make_settings(lake, kafka.bootstrap, topic)) as bridge:

        class StopsAtTheOnly(execution.Silent):
            def committed(self, plan: Any, landed: Any) -> None:
                bridge.stopping.set()

        report = bridge.run(listener=StopsAtTheOnly())
    assert (report.succeeded, report.problems, report.total("rows")) == (True, [], 2)


def test_files_that_cannot_be_merged_are_left_alone_for_a_while(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bridge that follows would else read all of them with every batch."""
    topic, tried = kafka.topic("unmerged"), []
    merge_crowds = merge.merge_crowds

    def counted(*given: Any) -> list[str]:
        tried.append(merge_crowds(*given))
        return tried[-1]

    monkeypatch.setattr(merge, "merge_crowds", counted)
    with open_bridge(make_settings(lake, kafka.bootstrap, topic, merge={"files": 2, "grace_s": 0})) as bridge:

        def batch() -> list[str]:
            """Return what could not be merged after one more message."""
            kafka.produce(topic, points(0))
            return [problem for problem in bridge.run().problems if "merging failed" in problem]

        assert [batch(), batch()] == [[], []]
        file = lake / next(path for path in alive_files(lake) if path.startswith("deliveries"))
        content = file.read_bytes()
        file.write_bytes(b"no parquet")
        tried.clear()
        assert [len(batch()), len(batch()), len(tried)] == [1, 1, 1], "it is told as long as it lasts"
        file.write_bytes(content)
        monkeypatch.setattr(bridge.merging, "_again_at", 0.0)
        assert batch() == []
    with Ledger(lake) as ledger:
        assert ledger.crowds(2) == []
    assert_consistent(lake)


@pytest.mark.parametrize("is_down", [True, False])
def test_a_cluster_that_goes_away_is_waited_for_once(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch, *, is_down: bool
) -> None:
    """Each of its topics would take as long to fail. One leader that is silent is no such cluster."""
    topics, asked = [kafka.topic("many") for _ in range(4)], []
    for topic in topics:
        kafka.produce(topic, points(0))
    settings = make_settings(lake, kafka.bootstrap, *topics)

    def fail(task: Any) -> Any:
        asked.append(task.plan.source.topic)
        raise UnreachableError("cluster ztf: no broker answers")

    def silent(self: Broker) -> Any:
        raise BrokerTimeoutError("no answer")

    with monkeypatch.context() as patch, open_bridge(settings) as bridge:
        patch.setattr(execution, "run_task", fail)
        planned = bridge._plan

        def plan_first(*args: Any) -> Any:
            plans = planned(*args)
            if is_down:
                patch.setattr(Broker, "topics", silent)
            return plans

        patch.setattr(bridge, "_plan", plan_first)
        assert bridge.run().problems == ["cluster ztf: no broker answers"]
    assert len(asked) == (1 if is_down else 4)
    assert drained(settings).total("rows") == 4


def fail_in_words_of_its_own(task: Any) -> Any:
    time.sleep(0.5)  # so that both plans are on their way
    raise UnreachableError(f"no broker answers for partition {task.plan.ranges[0].partition}")


def test_a_silence_is_told_once_in_whatever_words(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("silent", 2)
    for partition in range(2):
        kafka.produce(topic, points(*range(9)), partition)
    settings = make_settings(lake, kafka.bootstrap, topic, workers=2, drain={"segment_bytes": 200_000})
    with monkeypatch.context() as patch, open_bridge(settings) as bridge:
        patch.setattr(execution, "run_task", fail_in_words_of_its_own)
        (problem,) = bridge.run().problems
        assert problem.startswith("no broker answers for partition ")
    assert drained(settings).total("rows") == 18


def test_zombie_changes_nothing(kafka: Kafka, lake: Path) -> None:
    """A coordinator that lost the lake without noticing can write nothing any more."""
    topic = kafka.topic("zombie")
    kafka.produce(topic, points(0))
    settings = make_settings(lake, kafka.bootstrap, topic)
    with open_bridge(settings) as zombie:
        with Ledger(lake) as ledger:
            (lake / "ledger.lock").unlink()  # as if the lock had gone with its machine
            with coordinate(ledger):
                pass
        with pytest.raises(Exception, match="another coordinator took this lake over: nothing was changed"):
            zombie.run()
    assert alive_files(lake) == set()
    assert drained(settings).total("rows") == 1
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("is_lasting", [False, True])
def test_workers_end_before_the_catalog_takes_memory(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch, *, is_lasting: bool
) -> None:
    """Those of `follow` wait for its next batch."""
    topic = kafka.topic("ended")
    kafka.produce(topic, points(1, 2))
    publish, alive = Bridge.publish, []

    def looked(bridge: Bridge) -> list[str]:
        alive.append(len(multiprocessing.active_children()))
        return publish(bridge)

    monkeypatch.setattr(Bridge, "publish", looked)
    with open_bridge(make_settings(lake, kafka.bootstrap, topic, workers=1)) as bridge:
        bridge.is_lasting = is_lasting
        assert bridge.run().total("rows") == 2
    assert alive == [int(is_lasting)]
