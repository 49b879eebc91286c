"""When a batch closes, and a loop that outlives whatever happens to topics and brokers."""

from __future__ import annotations

import faulthandler
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from finkbridge import follow as module
from finkbridge import layout
from finkbridge.broker import Broker
from finkbridge.drain import Bridge, open_bridge
from finkbridge.errors import BrokerError, WorkerError
from finkbridge.follow import Drained, Lookout, Sight, Watch, follow, has_changed, is_due, waiting_bytes
from finkbridge.ledger import Ledger, schema, seen
from finkbridge.report import DrainReport
from finkbridge.settings import FollowSettings, Settings
from finkbridge.values import OffsetRange
from finkbridge.workforce import Workforce
from tests.support.kafka import Kafka
from tests.support.lake import (
    RealAlerts,
    assert_consistent,
    delivered,
    drained,
    ledger_rows,
    make_settings,
    real_alerts,
)

LIMITS = FollowSettings(batch_age_s=2, batch_bytes=1000, idle_s=0.1)
DRAINED = Drained({"a": "id"}, {("a", 0): 10, ("a", 1): 5}, {"a": 100.0})


def sight(first: int, second: int, topic_id: str = "id", third: int | None = None) -> Sight:
    ends = {("a", p): end for p, end in enumerate((first, second, third)) if end is not None}
    return Sight({"a": topic_id}, ends, {})


@pytest.mark.parametrize(
    ("waiting", "age_s", "due"),
    [(0, 99, False), (1, 1.9, False), (1, 2.0, True), (999, 0, False), (1000, 0, True)],
)
def test_a_batch_closes_by_size_or_age(waiting: float, age_s: float, due: bool) -> None:
    assert is_due(waiting, age_s, LIMITS) is due


def test_waiting_bytes_are_estimated_by_the_mean_message() -> None:
    assert waiting_bytes(sight(10, 5), DRAINED) == 0
    assert waiting_bytes(sight(13, 5), DRAINED) == 300
    assert waiting_bytes(Sight({"b": None}, {("b", 0): 2}, {}), Drained({}, {("b", 0): 0}, {})) == 128_000


@pytest.mark.parametrize(
    ("seen", "changed"),
    [
        (sight(12, 5), False),
        (sight(10, 4), True),
        (sight(10, 5, topic_id="another"), True),
        (sight(10, 5, third=0), True),
        (Sight({}, {}, {}), True),
    ],
)
def test_only_a_batch_can_tell_what_a_change_means(seen: Sight, changed: bool) -> None:
    assert has_changed(seen, DRAINED) is changed


def test_pauses_grow_with_the_failures_and_end_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: 100.0)
    watch = Watch("ztf", Lookout(Broker("ztf", make_settings(Path(), "x:1").clusters["ztf"]), ["a"]))
    pauses = []
    for _ in range(6):
        watch.fail()
        pauses.append(watch.retry_at - 100)
    assert pauses == [1, 2, 4, 8, 15, 15]
    watch.recover()
    watch.fail()
    assert watch.retry_at - 100 == 1


def test_a_slow_batch_begins_sooner() -> None:
    watch = Watch("ztf", None, drained=DRAINED)  # type: ignore[arg-type]
    watch.take(sight(11, 5))
    assert not watch.is_due(LIMITS, 1.5)
    assert watch.is_due(LIMITS, 2.0)


def test_a_batch_runs_once_an_hour_though_nothing_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes down that there is nothing: certificates of nights rest on it."""
    watch = Watch("ztf", None, drained=DRAINED)  # type: ignore[arg-type]
    watch.take(sight(10, 5))
    assert not watch.is_due(LIMITS, 0.0)
    later = watch.drained_at + module.DRAIN_AGAIN_S + 1
    monkeypatch.setattr(module.time, "monotonic", lambda: later)
    assert watch.is_due(LIMITS, 0.0)


class Told:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.reports: list[DrainReport] = []
        self.problems: list[str] = []
        self.back: list[str] = []

    def batch(self, report: DrainReport) -> None:
        self.reports.append(report)

    def problem(self, line: str) -> None:
        self.problems.append(line)

    def recovered(self, cluster: str) -> None:
        self.back.append(cluster)

    def sizes(self) -> list[int]:
        return [report.total("rows") for report in self.reports]

    def rows(self) -> int:
        return sum(self.sizes())


def gone(lake: Path) -> set[str]:
    """Topics that are written down as deleted."""
    topics = {row.id: row.topic for row in ledger_rows(lake, schema.generations)}
    return {topics[r.generation_id] for r in ledger_rows(lake, schema.looks) if r.gone_at is not None}


@contextmanager
def following(settings: Settings, *names: str) -> Iterator[Told]:
    """Follow in a thread until the context ends."""
    told, failures = Told(), []
    with open_bridge(settings) as bridge:

        def run() -> None:
            try:
                follow(bridge, names, told)
            except BaseException as error:  # noqa: BLE001 - shown by the assertion below
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield told
        except BaseException:
            sys.stderr.write(f"told when it failed: {told.problems}, rows of each batch: {told.sizes()}\n")
            faulthandler.dump_traceback(sys.__stderr__)  # what all threads are at
            raise
        finally:
            bridge.stopping.set()
            thread.join(30)
            assert failures == []


def wait_until(condition: Callable[[], Any], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "ztf")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Look around often; settings of a quick follower."""
    monkeypatch.setattr(module, "REFRESH_S", 0.3)
    return {"idle_s": 0.1, "batch_age_s": 0.3}


@pytest.mark.kafka
def test_a_batch_that_lasts_is_seen_while_it_does(
    kafka: Kafka, real: RealAlerts, tmp_path: Path, quick: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("fink_long_ztf")
    kafka.produce(topic, real.records[:6])
    monkeypatch.setattr(module, "PUBLISH_EVERY_S", 0.0)
    waiting, fetch = threading.Event(), Broker.fetch

    def waits_at_the_last(self: Broker, name: str, span: OffsetRange) -> Any:
        if span.end == 6:
            assert waiting.wait(60)
        return fetch(self, name, span)

    monkeypatch.setattr(Broker, "fetch", waits_at_the_last)
    small = {"segment_bytes": 130_000}  # two alerts
    with following(
        make_settings(tmp_path / "lake", kafka.bootstrap, topic, follow=quick, drain=small)
    ) as told:
        try:
            wait_until(lambda: visible(tmp_path / "lake") >= 2)
            assert told.reports == []
        finally:
            waiting.set()
        wait_until(lambda: told.rows() == 6)


def visible(lake: Path) -> int:
    """Return the rows that a new connection sees."""
    if not (lake / layout.CATALOG).is_file():
        return 0
    with duckdb.connect(str(lake / layout.CATALOG), read_only=True) as connection:
        ((rows,),) = connection.sql("SELECT count(*) FROM deliveries").fetchall()
    return int(rows)


@pytest.mark.kafka
def test_ends_are_asked_without_metadata(kafka: Kafka, real: RealAlerts, monkeypatch: Any) -> None:
    topic = kafka.topic("fink_look_ztf", partitions=2)
    with Broker("ztf", make_settings(Path(), kafka.bootstrap).clusters["ztf"]) as broker:
        lookout = Lookout(broker, [topic])
        assert lookout.look().ends == {(topic, 0): 0, (topic, 1): 0}
        kafka.produce(topic, real.records[:3], partition=1)

        def refuse(*_: object) -> None:
            raise AssertionError("metadata were asked for")

        monkeypatch.setattr(broker._admin, "_overview", refuse)
        assert lookout.look().ends == {(topic, 0): 0, (topic, 1): 3}


@pytest.mark.kafka
def test_follows_topics_that_come_grow_are_recreated_and_go(
    kafka: Kafka, real: RealAlerts, tmp_path: Path, quick: dict[str, float]
) -> None:
    first = kafka.topic("fink_many_ztf")
    kafka.produce(first, real.records[:4])
    settings = make_settings(tmp_path / "lake", kafka.bootstrap, first, "fink_joins_late_*", follow=quick)
    with following(settings) as told:
        wait_until(lambda: told.rows() == 4)
        kafka.produce(first, real.records[4:6])
        wait_until(lambda: told.rows() == 6)
        second = kafka.topic("fink_joins_late_ztf")
        kafka.produce(second, real.records[:3])
        wait_until(lambda: told.rows() == 9)
        kafka.recreate(first)
        kafka.produce(first, real.records[:2])
        wait_until(lambda: told.rows() == 11)
        kafka.delete(second)
        wait_until(lambda: gone(tmp_path / "lake") == {second})
        kafka.produce(first, real.records[2:3])
        wait_until(lambda: told.rows() == 12)
    assert_consistent(tmp_path / "lake")
    generations = {(topic, generation) for topic, generation, *_ in delivered(tmp_path / "lake")}
    assert generations == {(first, 1), (first, 2), (second, 1)}


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.parametrize("workers", [0, 1])
def test_a_topic_recreated_on_a_broker_that_was_restarted_is_followed(
    own_kafka: Kafka, real: RealAlerts, tmp_path: Path, quick: dict[str, float], workers: int
) -> None:
    """Its leader's epochs begin anew, and librdkafka takes a smaller one than it knows for old news."""
    topic = own_kafka.topic("fink_epochs_ztf")
    own_kafka.produce(topic, real.records[:2])
    settings = make_settings(tmp_path / "lake", own_kafka.bootstrap, topic, follow=quick, workers=workers)
    with following(settings) as told:
        wait_until(lambda: told.rows() == 2)
        own_kafka.stop()
        own_kafka.start()
        own_kafka.produce(topic, real.records[2:4])
        wait_until(lambda: told.rows() == 4)
        own_kafka.recreate(topic)
        own_kafka.produce(topic, real.records[:9])
        wait_until(lambda: told.rows() == 13, 30)
    assert_consistent(tmp_path / "lake")


@pytest.mark.kafka
def test_a_deleted_topic_is_noted_though_no_other_is_there(
    kafka: Kafka, real: RealAlerts, tmp_path: Path, quick: dict[str, float]
) -> None:
    """By a pattern or by name, while it runs or before; certificates of later nights do not wait for it."""
    before, by_name = kafka.topic("fink_leaves_before_ztf"), kafka.topic("fink_named_ztf")
    by_pattern = kafka.topic("fink_leaves_ztf")
    for topic in (before, by_name, by_pattern):
        kafka.produce(topic, real.records[:2])
    lake = tmp_path / "lake"
    settings = make_settings(lake, kafka.bootstrap, "fink_leaves_*", by_name, follow=quick)
    drained(settings)
    kafka.delete(before)
    with following(settings) as told:
        wait_until(lambda: gone(lake) == {before})
        kafka.delete(by_pattern)
        kafka.delete(by_name)
        wait_until(lambda: gone(lake) == {before, by_name, by_pattern})
    assert [line for line in told.problems if "no topic" not in line] == []
    with Ledger(lake) as ledger, ledger.reading() as connection:
        assert seen.searched(connection).keys() == {("ztf", "fink_leaves_*"), ("ztf", by_name)}
    assert len(told.problems) <= 1


@pytest.mark.kafka
def test_a_cluster_that_is_down_holds_up_no_other_and_is_told_once(
    kafka: Kafka, real: RealAlerts, tmp_path: Path, quick: dict[str, float]
) -> None:
    topic = kafka.topic("fink_up_ztf")
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        down = {"servers": f"127.0.0.1:{silent.getsockname()[1]}", "topics": ["fink_*_lsst"]}
        up = {"servers": kafka.bootstrap, "topics": [topic, "nowhere"]}
        settings = Settings.model_validate(
            {"lake": tmp_path / "lake", "workers": 0, "clusters": {"lsst": down, "ztf": up}}
            | {"follow": quick, "broker_timeout_s": 1.5}
        )
        with following(settings) as told:
            wait_until(lambda: any("cluster lsst" in line for line in told.problems))
            for count in range(1, 4):
                kafka.produce(topic, real.records[:1])
                began = time.monotonic()
                wait_until(lambda expected=count: told.rows() == expected)
                assert time.monotonic() - began < 5
            time.sleep(3)
        assert len([line for line in told.problems if "cluster lsst" in line]) == 1
        assert [line for line in told.problems if "nowhere" in line] == [
            "cluster ztf has no topic nowhere: check its name"
        ]
        assert len(told.problems) == 2


@pytest.mark.kafka
def test_a_batch_that_fails_is_told_once_and_tried_again_ever_more_rarely(
    kafka: Kafka, real: RealAlerts, tmp_path: Path, quick: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("fink_fail_ztf")
    tried: list[float] = []
    fetch = Broker.fetch

    def failing(self: Broker, *arguments: Any) -> Any:
        tried.append(time.monotonic())
        if len(tried) < 3:
            raise BrokerError("cluster ztf: out of order")
        return fetch(self, *arguments)

    with following(make_settings(tmp_path / "lake", kafka.bootstrap, topic, follow=quick)) as told:
        monkeypatch.setattr(Broker, "fetch", failing)
        kafka.produce(topic, real.records[:2])
        wait_until(lambda: told.rows() == 2)
    assert told.problems == ["cluster ztf: out of order"]
    assert tried[1] - tried[0] >= 1
    assert tried[2] - tried[1] >= 2
    assert_consistent(tmp_path / "lake")


@pytest.mark.kafka
def test_goes_on_when_there_was_no_process_for_a_batch(
    kafka: Kafka, real: RealAlerts, tmp_path: Path, quick: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, refusals = kafka.topic("fink_full_ztf"), iter([True, True, False])
    kafka.produce(topic, real.records[:2])
    submit = Workforce.submit

    def refuse(self: Workforce, *args: Any) -> Any:
        if next(refusals, False):
            raise WorkerError("no worker process can be started (Resource temporarily unavailable)")
        return submit(self, *args)

    monkeypatch.setattr(Workforce, "submit", refuse)
    with following(make_settings(tmp_path / "lake", kafka.bootstrap, topic, follow=quick)) as told:
        wait_until(lambda: told.rows() == 2)
    assert told.problems == ["no worker process can be started (Resource temporarily unavailable)"]


@pytest.mark.kafka
def test_a_log_that_ends_before_the_lake_is_told_once_and_looked_at_rarely(
    kafka: Kafka, real: RealAlerts, tmp_path: Path, quick: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("fink_cut_ztf")
    kafka.produce(topic, real.records[:4])
    ends, watermarks, runs = Broker.ends, Broker.watermarks, []
    with following(make_settings(tmp_path / "lake", kafka.bootstrap, topic, follow=quick)) as told:
        wait_until(lambda: told.rows() == 4)
        monkeypatch.setattr(Broker, "ends", lambda self, of: {p: e - 1 for p, e in ends(self, of).items()})

        def cut(self: Broker, topics: Any) -> Any:
            return {p: m._replace(end=m.end - 1) for p, m in watermarks(self, topics).items()}

        monkeypatch.setattr(Broker, "watermarks", cut)
        run_on = Bridge.run_on
        monkeypatch.setattr(Bridge, "run_on", lambda *given: runs.append(1) or run_on(*given))
        wait_until(lambda: told.problems)
        time.sleep(2.5)
    assert len(runs) <= 3
    (problem,) = told.problems
    assert "the broker lost messages it had" in problem


@pytest.mark.parametrize("workers", [0, 2])
def test_merges_are_made_aside_only_where_there_are_no_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Or both would take too much memory; and none waits for ever, however many batches need workers."""
    asked: list[bool] = []
    with open_bridge(make_settings(tmp_path / "lake", "127.0.0.1:1")) as bridge:
        monkeypatch.setattr(bridge.merging, "go_on", lambda *, aside: asked.append(aside) or [])
        bridge.publish()
        bridge.is_lasting = True
        bridge.publish()
        monkeypatch.setattr("finkbridge.drain.worker_count", lambda *_: workers)
        assert bridge._crew(1e9).count == workers
        bridge.publish()
        monkeypatch.setattr("finkbridge.drain.worker_count", lambda *_: 0)
        assert bridge._crew(1.0).count == 0, "workers that nothing needs are ended"
        bridge.publish()
    assert asked == [False, True, workers == 0, True]


@pytest.mark.kafka
@pytest.mark.parametrize("is_damaged", [False, True])
def test_files_are_merged_aside_also_when_nothing_comes_any_more(
    kafka: Kafka, real: RealAlerts, tmp_path: Path, quick: dict[str, float], *, is_damaged: bool
) -> None:
    topic, lake = kafka.topic("fink_merged_ztf"), tmp_path / "lake"
    merge = {"files": 2, "grace_s": 0}
    with following(make_settings(lake, kafka.bootstrap, topic, follow=quick, merge=merge)) as told:
        for number in range(3):
            if number == 2 and is_damaged:
                for path in lake.glob("deliveries/**/*.parquet"):
                    path.write_bytes(b"no parquet")
            kafka.produce(topic, real.records[:1])
            wait_until(lambda rows=number + 1: told.rows() == rows)  # type: ignore[misc]
        if is_damaged:
            wait_until(lambda: any("merging failed and changed nothing" in line for line in told.problems))
        else:
            wait_until(lambda: not crowded(lake))
    assert len(told.problems) == len(set(told.problems)), "each is told once"
    if not is_damaged:
        assert told.problems == []
        assert_consistent(lake)


def crowded(lake: Path) -> bool:
    with Ledger(lake) as ledger:
        return bool(ledger.crowds(1))
