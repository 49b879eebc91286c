"""Drains from librdkafka's mock cluster, which knows no ids, times, settings or creation of topics."""

from __future__ import annotations

from pathlib import Path

import pytest

from finkbridge.backlog import Look, TopicAtBroker
from finkbridge.broker import EmbeddedBroker, Producer
from finkbridge.drain import drain
from finkbridge.errors import BrokerError, UnknownTopicError, UnreachableError
from finkbridge.ledger import Ledger, coordinate
from finkbridge.settings import ClusterSettings
from finkbridge.values import OffsetRange
from tests.support.lake import (
    assert_consistent,
    drained,
    forget_landers,
    gaps,
    make_settings,
    offsets,
    points,
)
from tests.support.offline import plan_of


def produce(bootstrap: str, *numbers: float) -> None:
    with Producer("ztf", ClusterSettings(servers=bootstrap)) as producer:
        for key, value in points(*numbers):
            producer.send("embedded", value, key, partition=1)


def test_drain_twice(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with EmbeddedBroker() as broker:
        settings = make_settings(lake, broker.bootstrap, "embedded")
        produce(broker.bootstrap, 0, 1, 2)
        assert drained(settings).total("rows") == 3
        produce(broker.bootstrap, 3)
        assert drained(settings).total("rows") == 1
        assert drained(settings).total("planned") == 0
        forget_landers()
    assert offsets(lake) == [(1, 1, o) for o in range(4)]
    assert_consistent(lake)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_another_broker_is_told_by_its_offsets_and_messages(tmp_path: Path, count: int) -> None:
    lake = tmp_path / "lake"
    for generation, numbers in ((1, range(3)), (2, range(10, 10 + count))):
        with EmbeddedBroker() as broker:
            produce(broker.bootstrap, *numbers)
            report = drained(make_settings(lake, broker.bootstrap, "embedded"))
            assert [t.generation for t in report.topics.values()] == [generation]
            forget_landers()
    assert offsets(lake) == [(1, 1, o) for o in range(3)] + [(2, 1, o) for o in range(count)]
    assert gaps(lake) == []
    assert_consistent(lake)


def test_a_topic_with_work_left_that_cannot_be_told_of_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no leader, and by a second look its broker would be gone."""
    errors = iter([BrokerError("no broker leads"), UnreachableError("no broker answers")])

    def failing(*_: object) -> None:
        raise next(errors)

    with EmbeddedBroker() as broker:
        settings = make_settings(tmp_path / "lake", broker.bootstrap, "embedded")
        produce(broker.bootstrap, 0, 1, 2)
        drained(settings)
        with Ledger(settings.lake) as ledger, coordinate(ledger) as coordinator:
            plan_of(coordinator, "embedded", [OffsetRange(1, 3, 4)])
        with monkeypatch.context() as patch:
            patch.setattr("finkbridge.backlog._describe", failing)
            assert drain(settings).problems == ["embedded: no broker leads"]
        forget_landers()


def test_start_by_time_is_one_line(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        produce(broker.bootstrap, 0)
        settings = make_settings(
            tmp_path / "lake", broker.bootstrap, "embedded", drain={"start": "2020-01-01"}
        )
        report = drain(settings)
    assert "finds no offset by time: start at `earliest` or `latest`" in report.problems[0]


def test_a_name_that_no_cluster_has_is_told_of_each_and_one_that_some_has_of_none() -> None:
    def absent(cluster: str, name: str) -> tuple[tuple[str, str], UnknownTopicError]:
        return (cluster, name), UnknownTopicError(f"cluster {cluster} has no topic {name}: check its name")

    there = TopicAtBroker("lsst", "there", None, {})
    look = Look((there,), dict([absent("ztf", "x"), absent("lsst", "x"), absent("ztf", "there")]))
    assert {name: str(error) for name, error in look.nowhere.items()} == {
        "x": "cluster lsst has no topic x: check its name; cluster ztf has no topic x: check its name"
    }
