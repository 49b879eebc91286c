"""A broker that stops answering in the middle of a drain: one clear line, and the next run loses nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finkbridge.broker import Broker
from finkbridge.broker.admin import ClusterAdmin
from finkbridge.broker.group import GroupTeller
from finkbridge.broker.reader import RangeReader
from finkbridge.drain import drain
from finkbridge.errors import BrokerTimeoutError
from finkbridge.execution import Execution
from finkbridge.ledger import Ledger
from finkbridge.report import DrainReport
from finkbridge.settings import Settings
from tests.support.kafka import Kafka
from tests.support.kafka_server import KafkaServer, KafkaUnavailableError
from tests.support.lake import assert_consistent, drained, make_settings, next_offsets, offsets, points

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

TIMEOUT_S = 3.0
PATIENCE_S = 60.0
"""Timeout of a run that is to succeed: a broker that was thawed on a busy machine takes seconds to answer."""
MESSAGES = 5


@pytest.fixture(scope="module")
def frozen() -> Iterator[Kafka]:
    """Give a broker that may be frozen: all tests here share it."""
    try:
        with KafkaServer() as server:
            yield Kafka(server.bootstrap, server)
    except KafkaUnavailableError as reason:
        pytest.skip(f"NOT TESTED ON A REAL KAFKA: {reason}")


@pytest.fixture
def topic(frozen: Kafka) -> str:
    name = frozen.topic("frozen", partitions=2)
    for partition in (0, 1):
        frozen.produce(name, points(*range(MESSAGES)), partition=partition)
    return name


@pytest.fixture
def settings(frozen: Kafka, topic: str, tmp_path: Path) -> Settings:
    lake = tmp_path / "lake"
    Ledger(lake, create=True).close()  # where there is no lake, none is made
    return make_settings(lake, frozen.bootstrap, topic, broker_timeout_s=TIMEOUT_S)


Freeze = Callable[[Any, str], None]


@pytest.fixture
def freeze_before(frozen: Kafka, topic: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Freeze]:
    """Freeze the broker when a method is called next; thaw it with the test at the latest."""

    def arrange(owner: Any, name: str) -> None:
        method = getattr(owner, name)

        def freezing(*args: Any, **more: Any) -> Any:
            monkeypatch.setattr(owner, name, method)
            frozen.freeze()
            return method(*args, **more)

        monkeypatch.setattr(owner, name, freezing)

    yield arrange
    thaw(frozen, topic)


def thaw(kafka: Kafka, topic: str) -> None:
    kafka.thaw()
    kafka.await_end(topic, MESSAGES)  # it may have lost itself as the leader


def assert_whole(lake: Path) -> None:
    assert offsets(lake) == [(1, partition, offset) for partition in (0, 1) for offset in range(MESSAGES)]
    assert next_offsets(lake) == {0: MESSAGES, 1: MESSAGES}
    assert_consistent(lake)


@pytest.mark.parametrize(
    ("owner", "step", "doing"),
    [
        (ClusterAdmin, "_overview", "listing topics"),
        (ClusterAdmin, "_known", "describing topics"),
        (ClusterAdmin, "_offsets", "looking offsets up"),
        (RangeReader, "read", "reading frozen_"),
        (RangeReader, "_batches", "reading frozen_"),
        (Execution, "_same_generation", "listing topics"),
    ],
)
def test_frozen_at(
    owner: Any,
    step: str,
    doing: str,
    frozen: Kafka,
    topic: str,
    settings: Settings,
    freeze_before: Freeze,
) -> None:
    freeze_before(owner, step)
    began = time.monotonic()
    report = drain(settings)
    assert time.monotonic() - began < 5 * TIMEOUT_S
    thaw(frozen, topic)
    assert_one_line(report, doing)
    drained(settings.model_copy(update={"broker_timeout_s": PATIENCE_S}))
    assert_whole(settings.lake)


def assert_one_line(report: DrainReport, doing: str) -> None:
    assert not report.succeeded
    (problem,) = report.problems
    assert "cluster ztf: " in problem
    assert f"no answer while {doing}" in problem or "the broker stopped answering" in problem
    assert "\n" not in problem
    assert report.total("rows") == 0


def test_many_topics_do_not_each_wait(
    frozen: Kafka, topic: str, settings: Settings, freeze_before: Freeze
) -> None:
    others = [frozen.topic("frozen") for _ in range(5)]
    freeze_before(ClusterAdmin, "_offsets")
    began = time.monotonic()
    report = drain(settings, [topic, *others])
    assert time.monotonic() - began < 3 * TIMEOUT_S
    assert_one_line(report, "listing topics")


def test_frozen_while_the_group_is_told(
    frozen: Kafka, topic: str, settings: Settings, freeze_before: Freeze, caplog: pytest.LogCaptureFixture
) -> None:
    freeze_before(GroupTeller, "_commit")
    with caplog.at_level(logging.WARNING):
        drained(settings)
    assert "the lake has them" in caplog.text
    assert_whole(settings.lake)


@pytest.mark.parametrize("ask", ["watermarks", "ends", "offsets_at"])
def test_silence_is_no_offset(
    ask: str, frozen: Kafka, topic: str, settings: Settings, freeze_before: Freeze
) -> None:
    asked: dict[str, Any] = {
        "watermarks": ([topic],),
        "ends": ([(topic, 0)],),
        "offsets_at": (topic, [0, 1], 2**42),
    }
    with Broker("ztf", settings.clusters["ztf"], timeout_s=TIMEOUT_S) as broker:
        broker.topics()
        freeze_before(ClusterAdmin, "_offsets")
        with pytest.raises(BrokerTimeoutError, match="cluster ztf: no answer while looking offsets up"):
            getattr(broker, ask)(*asked[ask])
        thaw(frozen, topic)
        assert broker.offsets_at(topic, [0, 1], 2**42) == {0: MESSAGES, 1: MESSAGES}
