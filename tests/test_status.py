"""Where everything stands: against a real Kafka, and without one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from finkbridge import layout
from finkbridge.drain import open_bridge
from finkbridge.errors import SettingsError
from finkbridge.ledger.summary import Gap
from finkbridge.settings import Settings
from finkbridge.status import Status, TopicStatus, measure_status
from tests.support.kafka import Kafka
from tests.support.lake import RealAlerts, drained, make_settings, points, real_alerts

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def real(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "ztf")


def only(status: Status) -> TopicStatus:
    (topic,) = status.topics
    return topic


def offsets(topic: TopicStatus) -> list[tuple[int, int, int | None, int | None, int]]:
    return [(p.partition, p.drained, p.end, p.lag, p.lost) for p in topic.partitions]


@pytest.mark.kafka
def test_a_topic_that_was_never_drained_waits_whole(kafka: Kafka, real: RealAlerts, lake: Path) -> None:
    topic = kafka.topic("fink_new_ztf", partitions=2)
    kafka.produce(topic, real.records[:3], partition=1)
    status = measure_status(make_settings(lake, kafka.bootstrap, topic))
    assert offsets(only(status)) == [(0, 0, 0, 0, 0), (1, 0, 3, 3, 0)]
    assert (only(status).generation, only(status).messages, status.run, status.problems) == (
        None,
        0,
        None,
        (),
    )
    assert not lake.exists(), "a look makes no lake"


@pytest.mark.kafka
def test_drained_lag_age_and_expiry(kafka: Kafka, real: RealAlerts, lake: Path) -> None:
    day_ms = 24 * HOUR_MS
    topic = kafka.topic("fink_age_ztf", partitions=2, config={"retention.ms": str(day_ms)})
    now = int(time.time() * 1000)
    kafka.produce(topic, real.records[:2], partition=0, timestamps=[now - 20 * HOUR_MS] * 2)
    settings = make_settings(lake, kafka.bootstrap, topic)
    drained(settings)
    times = [now - 15 * HOUR_MS, now - HOUR_MS]
    kafka.produce(topic, real.records[2:4], partition=0, timestamps=times)
    kafka.produce(topic, real.records[4:5], partition=1, timestamps=[now - 2 * HOUR_MS])

    status = measure_status(settings)
    found = only(status)
    assert offsets(found) == [(0, 2, 4, 2, 0), (1, 0, 1, 1, 0)]
    assert (found.drained, found.end, found.lag, found.messages, found.generation) == (2, 5, 3, 2, 1)
    assert [p.oldest_unread_at for p in found.partitions] == [times[0] / 1000, now / 1000 - 2 * 3600]
    assert found.oldest_unread_at == times[0] / 1000
    assert found.retention_s == 24 * 3600
    assert found.expires_at == times[0] / 1000 + 24 * 3600
    assert list(status.expiring(10 * 3600)) == [found]
    assert list(status.expiring(8 * 3600)) == []
    assert status.run is not None
    assert (status.run.kind, status.run.state, status.run.summary["rows"]) == ("drain", "succeeded", 2)


@pytest.mark.kafka
@pytest.mark.parametrize(("told", "seconds"), [({"retention.ms": "-1"}, None), ({}, 604_800.0)])
def test_retention_as_the_broker_tells(
    kafka: Kafka, real: RealAlerts, lake: Path, told: dict[str, str], seconds: float | None
) -> None:
    topic = kafka.topic("fink_keep_ztf", config=told)
    kafka.produce(topic, real.records[:1])
    status = measure_status(make_settings(lake, kafka.bootstrap, topic))
    assert only(status).retention_s == seconds
    assert (only(status).expires_at is None) == (seconds is None)


@pytest.mark.kafka
def test_retention_is_the_settings_where_the_broker_does_not_tell(
    kafka: Kafka, real: RealAlerts, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("fink_mute_ztf")
    kafka.produce(topic, real.records[:1])
    monkeypatch.setattr("finkbridge.broker.Broker.retention_ms", lambda self, topics: dict.fromkeys(topics))
    settings = make_settings(lake, kafka.bootstrap, topic, status={"retention_hours": 2})
    assert only(measure_status(settings)).retention_s == 7200


@pytest.mark.kafka
def test_the_oldest_message_may_be_behind_a_hole(kafka: Kafka, real: RealAlerts, lake: Path) -> None:
    topic = kafka.topic("fink_hole_ztf")
    kafka.produce_transaction(topic, real.records[:2], commit=False)
    kafka.produce(topic, real.records[:1], timestamps=[int(time.time() * 1000) - HOUR_MS])
    found = only(measure_status(make_settings(lake, kafka.bootstrap, topic)))
    assert found.lag == 4
    assert found.oldest_unread_at == pytest.approx(time.time() - 3600, abs=120)


@pytest.mark.kafka
def test_what_waits_behind_an_open_transaction_is_told(kafka: Kafka, real: RealAlerts, lake: Path) -> None:
    topic = kafka.topic("fink_open_ztf")
    kafka.produce(topic, real.records[:1])
    producer = kafka.open_transaction(topic, real.records[1:3])
    settings = make_settings(lake, kafka.bootstrap, topic)
    found = only(measure_status(settings))
    assert (found.end, found.lag, found.held) == (1, 1, 2)
    producer.abort_transaction(30)
    kafka.await_end(topic, 4)
    assert only(measure_status(settings)).held == 0


@pytest.mark.kafka
def test_what_expired_is_lost_before_and_after_it_is_recorded(
    kafka: Kafka, real: RealAlerts, lake: Path
) -> None:
    topic = kafka.topic("fink_gone_ztf")
    kafka.produce(topic, real.records[:6])
    settings = make_settings(lake, kafka.bootstrap, topic, drain={"max_messages": 2})
    drained(settings)
    kafka.expire(topic, {0: 5})
    before = measure_status(settings)
    assert offsets(only(before)) == [(0, 2, 6, 1, 3)]
    assert list(before.expiring(0.0)) == [only(before)], "it has expired unread"
    drained(settings)
    after = measure_status(settings)
    assert offsets(only(after)) == [(0, 6, 6, 0, 0)]
    (gap,) = only(after).gaps
    assert gap == Gap(1, 0, 2, 5, "expired at the broker before it was drained", gap.at)
    assert time.time() - gap.at < 60
    assert (only(before).lost, only(after).lost) == (3, 3)
    assert list(after.expiring(0.0)) == []


@pytest.mark.kafka
def test_quarantined_messages_are_counted(kafka: Kafka, real: RealAlerts, lake: Path) -> None:
    topic = kafka.topic("fink_bad_ztf")
    kafka.produce(topic, [real.records[0], (b"{}", b"garbage"), (None, None)])
    settings = make_settings(lake, kafka.bootstrap, topic)
    drained(settings)
    assert (only(measure_status(settings)).quarantined, only(measure_status(settings)).messages) == (2, 3)


@pytest.mark.kafka
def test_a_recreated_topic_waits_anew(kafka: Kafka, real: RealAlerts, lake: Path) -> None:
    topic = kafka.topic("fink_again_ztf")
    kafka.produce(topic, real.records[:4])
    settings = make_settings(lake, kafka.bootstrap, topic)
    drained(settings)
    kafka.recreate(topic)
    kafka.produce(topic, real.records[:5])
    assert offsets(only(measure_status(settings))) == [(0, 0, 5, 5, 0)]


@pytest.mark.kafka
def test_a_cluster_that_is_down_leaves_what_the_ledger_knows(
    kafka: Kafka, real: RealAlerts, lake: Path
) -> None:
    topic = kafka.topic("fink_down_ztf")
    kafka.produce(topic, real.records[:3])
    drained(make_settings(lake, kafka.bootstrap, topic))
    status = measure_status(make_settings(lake, "127.0.0.1:1", topic))
    found = only(status)
    assert offsets(found) == [(0, 3, None, None, 0)]
    assert (found.drained, found.end, found.lag, found.is_at_broker, found.messages) == (
        3,
        None,
        None,
        None,
        3,
    )
    assert len(status.problems) == 1
    assert "cluster ztf: no broker answers" in status.problems[0]


@pytest.mark.kafka
def test_topics_of_settings_lake_and_names(kafka: Kafka, real: RealAlerts, lake: Path) -> None:
    known, wanted = kafka.topic("fink_known_ztf"), kafka.topic("fink_wanted_ztf")
    kafka.produce(known, real.records[:2])
    drained(make_settings(lake, kafka.bootstrap), known)
    settings = make_settings(lake, kafka.bootstrap, wanted)

    def topics(*names: str) -> list[str]:
        return [topic.topic for topic in measure_status(settings, names).topics]

    assert topics() == sorted([known, wanted])
    assert topics(known) == [known]
    assert topics(wanted, "fink_known_*") == sorted(
        [wanted, *(t for t in topics("fink_known_*"))]
    )  # other tests' topics may match
    absent = measure_status(settings, ["fink_never"])
    assert (absent.topics, len(absent.problems)) == ((), 1)
    kafka.delete(known)
    gone = next(t for t in measure_status(settings).topics if t.topic == known)
    assert (gone.is_at_broker, gone.messages, measure_status(settings).problems) == (False, 2, ())


@pytest.mark.kafka
def test_a_name_is_asked_of_the_clusters_that_a_drain_asks(kafka: Kafka, lake: Path) -> None:
    """Or a cluster that is down would fail a check of what it never had."""
    topic = kafka.topic("fink_home_ztf")
    kafka.produce(topic, points(1, 2))
    clusters = {
        "ztf": {"servers": kafka.bootstrap, "topics": ["fink_*_ztf*"]},
        "lsst": {"servers": "127.0.0.1:1", "topics": ["fink_*_lsst"]},
    }
    settings = Settings.model_validate({"lake": lake, "clusters": clusters, "broker_timeout_s": 2})
    status = measure_status(settings, [topic])
    assert (status.problems, only(status).lag) == ((), 2)
    assert "cluster lsst" in str(measure_status(settings).problems)


@pytest.mark.kafka
def test_a_run_is_running_or_dead(
    kafka: Kafka, real: RealAlerts, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("fink_run_ztf")
    kafka.produce(topic, real.records[:1])
    settings = make_settings(lake, kafka.bootstrap, topic)
    with open_bridge(settings) as bridge:  # it holds the lock meanwhile
        bridge.coordinator.start_run("follow")
        running = measure_status(settings).run
    assert running is not None
    assert (running.kind, running.state, running.ended_at) == ("follow", "running", None)
    (lake / layout.LOCK).write_text(f"{_unused_process_id()}\n")
    dead = measure_status(settings).run
    assert dead is not None
    assert dead.state == "dead"


def _unused_process_id() -> int:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_without_topics_or_clusters(lake: Path) -> None:
    with pytest.raises(SettingsError, match="no topics to look at: name some"):
        measure_status(make_settings(lake, "127.0.0.1:1"))
    with pytest.raises(SettingsError, match="no cluster is set"):
        measure_status(Settings(lake=lake))
