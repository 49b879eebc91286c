"""Lag is what the next drain would take, and looking at it changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from finkbridge.errors import SettingsError
from finkbridge.lag import Lag, measure_lag
from finkbridge.ledger import Ledger, coordinate
from finkbridge.settings import Settings
from finkbridge.values import OffsetRange
from tests.pipelines.conftest import ztf_records
from tests.support.kafka import Kafka
from tests.support.lake import drained, make_settings


def offsets(lag: Lag) -> dict[str, int]:
    assert lag.problems == ()
    return {topic.topic: topic.offsets for topic in lag.topics}


@pytest.mark.kafka
def test_lag_is_what_a_drain_would_take(kafka: Kafka, tmp_path: Path) -> None:
    a, b = kafka.topic("fink_a_ztf", partitions=3), kafka.topic("fink_b_ztf")
    settings = make_settings(tmp_path / "lake", kafka.bootstrap, a, b)
    kafka.produce(a, ztf_records(6))

    before = measure_lag(settings)
    assert offsets(before) == {a: 6, b: 0}
    assert not (tmp_path / "lake").exists(), "looking makes no lake"
    assert drained(settings).total("planned") == before.offsets
    assert offsets(measure_lag(settings)) == {a: 0, b: 0}

    kafka.produce(a, ztf_records(4))
    kafka.produce(b, ztf_records(2))
    assert offsets(measure_lag(settings)) == {a: 4, b: 2}
    assert offsets(measure_lag(settings, [a])) == {a: 4}


@pytest.mark.kafka
def test_expired_and_recreated_topics_have_something_to_drain(kafka: Kafka, tmp_path: Path) -> None:
    topic = kafka.topic("fink_a_ztf")
    settings = make_settings(tmp_path / "lake", kafka.bootstrap, topic)
    kafka.produce(topic, ztf_records(3))
    drained(settings)
    kafka.produce(topic, ztf_records(2))
    kafka.expire(topic, {0: 5})
    assert offsets(measure_lag(settings)) == {topic: 2}, "the gap is to be recorded"
    drained(settings)
    assert offsets(measure_lag(settings)) == {topic: 0}
    kafka.recreate(topic)
    kafka.produce(topic, ztf_records(4))
    assert offsets(measure_lag(settings)) == {topic: 4}
    assert drained(settings).total("rows") == 4


@pytest.mark.kafka
def test_a_topic_that_starts_at_its_end_has_no_lag(kafka: Kafka, tmp_path: Path) -> None:
    topic = kafka.topic("fink_a_ztf")
    kafka.produce(topic, ztf_records(3))
    settings = make_settings(tmp_path / "lake", kafka.bootstrap, topic, drain={"start": "latest"})
    assert offsets(measure_lag(settings)) == {topic: 0}


@pytest.mark.kafka
def test_what_a_dead_run_left_counts_whatever_the_topics(kafka: Kafka, tmp_path: Path) -> None:
    gone, topic = kafka.topic("fink_gone_ztf"), kafka.topic("fink_a_ztf")
    kafka.produce(gone, ztf_records(2))
    before = make_settings(tmp_path / "lake", kafka.bootstrap, gone)
    drained(before)
    with Ledger(tmp_path / "lake") as ledger, coordinate(ledger) as coordinator:
        known = ledger.generations()["ztf", gone]
        coordinator.add_plans(known, [(OffsetRange(0, 2, 3),)], 1)
    lag = measure_lag(make_settings(tmp_path / "lake", kafka.bootstrap, topic))
    assert (lag.offsets, lag.pending, lag.warnings) == (0, 1, ())
    other = {"lsst": {"servers": kafka.bootstrap, "topics": [topic]}}
    lag = measure_lag(Settings.model_validate({"lake": tmp_path / "lake", "clusters": other}))
    assert lag.pending == 0
    (warning,) = lag.warnings
    assert warning.startswith("cluster ztf is not in the settings")
    assert "pending plans: 1" in warning


@pytest.mark.kafka
def test_a_cluster_that_is_down_is_a_problem_of_its_own(kafka: Kafka, tmp_path: Path) -> None:
    topic = kafka.topic("fink_a_ztf")
    kafka.produce(topic, ztf_records(2))
    clusters = {
        "ztf": {"servers": kafka.bootstrap, "topics": [topic, "fink_absent"]},
        "lsst": {"servers": "127.0.0.1:1", "topics": ["fink_a_lsst"]},
    }
    lag = measure_lag(Settings.model_validate({"lake": tmp_path / "lake", "clusters": clusters}))
    assert lag.offsets == 2
    assert ["lsst" in problem for problem in lag.problems] == [True, False]
    assert "fink_absent" in lag.problems[1]


@pytest.mark.kafka
def test_a_running_drain_does_not_hinder(kafka: Kafka, tmp_path: Path) -> None:
    topic = kafka.topic("fink_a_ztf")
    kafka.produce(topic, ztf_records(2))
    with Ledger(tmp_path / "lake", create=True) as ledger, coordinate(ledger):
        assert offsets(measure_lag(make_settings(tmp_path / "lake", kafka.bootstrap, topic))) == {topic: 2}


def test_no_cluster_and_no_topic_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no cluster is set"):
        measure_lag(Settings(lake=tmp_path))
    with pytest.raises(SettingsError, match="no topics to drain"):
        measure_lag(make_settings(tmp_path, "127.0.0.1:1"))
