"""``finkbridge follow`` as a service runs it: a real command that brokers and signals happen to."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import duckdb
import psutil
import pytest

from finkbridge import layout
from finkbridge.ledger import schema as s
from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.lake import RealAlerts, assert_consistent, delivered, ledger_rows, real_alerts

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def real(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "ztf")


def await_rows(lake: Path, count: int, seconds: float = 30) -> float:
    """Wait until a new DuckDB connection sees so many deliveries; return the seconds that took."""
    began = time.monotonic()
    while True:
        if (lake / layout.CATALOG).is_file():
            with duckdb.connect(str(lake / layout.CATALOG), read_only=True) as connection:
                ((found,),) = connection.sql("SELECT count(*) FROM deliveries").fetchall()
            if found >= count:
                return time.monotonic() - began
        assert time.monotonic() - began < seconds, found
        time.sleep(0.05)


def test_alerts_are_in_sql_within_seconds(kafka: Kafka, real: RealAlerts, tmp_path: Path) -> None:
    topic = kafka.topic("fink_soon_ztf", partitions=2)
    kafka.produce(topic, real.records[:3])
    command = Command(tmp_path, kafka.bootstrap)
    with command.start("follow", "fink_soon_*") as running:
        await_rows(command.lake, 3)
        waited = []
        for i in range(3, 8):
            kafka.produce(topic, [real.records[i]])
            waited.append(await_rows(command.lake, i + 1))
        assert min(waited) < 5, waited  # docs/performance.md has the figures of a machine that is not busy
        assert running.end(signal.SIGINT) == 130
        lines = running.out.read_text().splitlines()
    assert len(lines) == 6
    assert all(f"({topic} " in line for line in lines)
    assert lines[0].split()[1:3] == ["3", "messages,"]
    assert_consistent(command.lake)
    assert {(run.kind, run.state) for run in ledger_rows(command.lake, s.runs)} == {("follow", "succeeded")}


@pytest.mark.slow
def test_outlives_a_broker_that_dies_and_comes_back(
    own_kafka: Kafka, real: RealAlerts, tmp_path: Path
) -> None:
    topic = own_kafka.topic("fink_back_ztf")
    own_kafka.produce(topic, real.records[:3])
    command = Command(tmp_path, own_kafka.bootstrap, FINKBRIDGE_BROKER_TIMEOUT_S="2")
    with command.start("follow", topic) as running:
        await_rows(command.lake, 3)
        own_kafka.kill()
        running.await_text("problem: cluster ztf")
        time.sleep(6)
        own_kafka.start()
        running.await_text("cluster ztf answers again")
        own_kafka.produce(topic, real.records[3:5])
        await_rows(command.lake, 5)
        assert running.end(signal.SIGTERM) == 143
        said = running.err.read_text()
    assert len(said.splitlines()) <= 5, said
    assert_consistent(command.lake)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_ends_in_time_though_the_broker_is_frozen(
    own_kafka: Kafka, real: RealAlerts, tmp_path: Path, workers: str
) -> None:
    topic = own_kafka.topic("fink_cold_ztf", partitions=2)
    own_kafka.produce(topic, real.records[:3])
    settings = {"FINKBRIDGE_DRAIN__SEGMENT_BYTES": "1MB", "FINKBRIDGE_BROKER_TIMEOUT_S": "60"}
    command = Command(tmp_path, own_kafka.bootstrap, **settings)
    with command.start("follow", topic, "--workers", workers) as running:
        await_rows(command.lake, 3)
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert bool(children) == (workers != "0")
        for partition in range(2):
            own_kafka.produce(topic, real.records * 4, partition=partition)
        time.sleep(0.8)
        own_kafka.freeze()
        assert running.end(signal.SIGTERM) == 143
        psutil.wait_procs(children, timeout=5)
        assert not [child for child in children if child.is_running()]
    own_kafka.thaw()
    assert command.json("drain", topic)["succeeded"]
    rows = delivered(command.lake)
    assert len(rows) == len(set(rows)) == 3 + 2 * 4 * len(real.records)
    assert_consistent(command.lake)


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(own_kafka: Kafka, real: RealAlerts, tmp_path: Path) -> None:
    topic = own_kafka.topic("fink_twice_ztf")
    own_kafka.produce(topic, real.records[:3])
    command = Command(tmp_path, own_kafka.bootstrap, FINKBRIDGE_BROKER_TIMEOUT_S="60")
    with command.start("follow", topic, "--workers", "0") as running:
        await_rows(command.lake, 3)
        own_kafka.freeze()
        time.sleep(1)
        # a shell tells both as 130: by itself, or by the signal while Python is closing down
        assert running.end(signal.SIGINT, signal.SIGINT, within_s=3) in (130, -signal.SIGINT)


def test_ends_by_itself_when_the_lake_is_lost(kafka: Kafka, real: RealAlerts, tmp_path: Path) -> None:
    topic = kafka.topic("fink_lost_ztf")
    kafka.produce(topic, real.records[:2])
    command = Command(tmp_path, kafka.bootstrap)
    with command.start("follow", topic) as running:
        await_rows(command.lake, 2)
        for table in ("deliveries", "packets", "archive"):
            (command.lake / table).rename(command.lake / f"{table}.away")
            (command.lake / table).write_text("in the way")
        kafka.produce(topic, real.records[2:3])
        assert running.process.wait(30) == 1
        line = running.err.read_text().splitlines()[-1]
    assert line.startswith(f"finkbridge: error: the folder {command.lake} cannot be written: ")


def test_no_topic_is_one_line(kafka: Kafka, tmp_path: Path) -> None:
    done = Command(tmp_path, kafka.bootstrap).run("follow", code=2)
    assert done.stderr.startswith("finkbridge: error: no topics to drain: name some")
    assert done.stderr.count("\n") == 1
