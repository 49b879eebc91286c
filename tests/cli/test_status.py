"""``finkbridge status``: what it prints, and its exit codes."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from finkbridge.cli.main import main
from finkbridge.cli.status import COLUMNS, PARTITION_COLUMNS, gap_lines, rows, run_line, warning
from finkbridge.ledger.summary import Gap, RunStatus
from finkbridge.status import PartitionStatus, Status, TopicStatus
from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.lake import drained, forget_landers, make_settings, real_alerts

NOW = 1_795_000_000.0
HOUR = 3600.0


def topic_status(*partitions: PartitionStatus, retention_s: float | None = 4 * 24 * HOUR) -> TopicStatus:
    gaps = tuple(Gap(1, 0, i, i + 2, "expired", NOW - i) for i in range(0, 24, 2))
    return TopicStatus("ztf", "fink_a", 1, partitions, True, 500, 2, gaps, retention_s)


UNREAD = PartitionStatus(0, 100, 130, 30, 0, NOW - 90 * HOUR)
LOST = PartitionStatus(1, 100, 130, 10, 20, NOW - 5 * HOUR)
DONE = PartitionStatus(2, 50, 50, 0, 0, None)
DOWN = PartitionStatus(3, 50, None, None, 0, None)


def status_of(topic: TopicStatus) -> Status:
    return Status(NOW, (topic,), None, ())


def row_of(topic: TopicStatus) -> dict[str, object]:
    (row,) = rows(status_of(topic))
    return dict(zip(COLUMNS, row, strict=True))


def test_rows() -> None:
    assert row_of(topic_status(UNREAD, LOST, DONE)) == {
        "cluster": "ztf",
        "topic": "fink_a",
        "messages": 500,
        "drained": 250,
        "end": 310,
        "lag": 40,
        "oldest unread": "3 d 18 h",
        "expires in": "6 h",
        "lost": 44,
        "quarantined": 2,
    }
    assert row_of(topic_status(UNREAD, retention_s=None))["expires in"] == "never"
    assert row_of(topic_status(UNREAD, retention_s=HOUR))["expires in"] == "any moment"
    down = row_of(topic_status(UNREAD, DOWN))
    assert (down["end"], down["lag"], down["expires in"]) == (None, None, "6 h")


def test_warnings() -> None:
    assert warning(topic_status(UNREAD), NOW) == (
        "fink_a: 30 offsets wait and the oldest may expire in 6 h: run finkbridge drain"
    )
    assert "may expire any moment" in warning(topic_status(UNREAD, retention_s=HOUR), NOW)
    assert warning(topic_status(UNREAD, LOST), NOW) == (
        "fink_a: 20 offsets expired before they were drained: run finkbridge drain"
    )


@pytest.mark.parametrize("clusters", [["ztf"], ["ztf", "lsst"]])
def test_warnings_name_the_cluster_where_there_are_several(
    clusters: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    topics = tuple(replace(topic_status(UNREAD), cluster=cluster) for cluster in clusters)
    monkeypatch.setattr("finkbridge.status.measure_status", lambda *_: Status(NOW, topics, None, ()))
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    named = [f"{cluster}: " if len(clusters) > 1 else "" for cluster in clusters]
    told = warning(topics[0], NOW)
    assert lines == [f"finkbridge: warning: {name}{told}" for name in named]


def test_the_newest_gaps_are_listed() -> None:
    lines = list(gap_lines(status_of(topic_status())))
    assert len(lines) == 11
    assert lines[0] == (
        "lost: fink_a partition 0 offsets [0, 2), expired (noticed "
        f"{time.strftime('%Y-%m-%dT%H:%MZ', time.gmtime(NOW))})"
    )
    assert lines[-1] == 'lost: 2 more, older: finkbridge sql "FROM gaps"'


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("running", "follow is running since 1 min 40 s ("),
        ("dead", "died; the next one finishes it first"),
        ("succeeded", "succeeded, 7 messages in 40 s"),
        ("failed", "failed, 7 messages in 40 s: cluster ztf is down"),
    ],
)
def test_the_last_run_in_a_line(state: str, said: str) -> None:
    problems = ["cluster ztf is down"] if state == "failed" else []
    ended = None if state == "running" else NOW - 60
    run = RunStatus("follow", NOW - 100, ended, state, {"messages": 7, "problems": problems})
    assert said in run_line(run, NOW)
    assert "60 s ago" not in run_line(run, NOW)
    assert run_line(None, NOW) == "no run yet"
    damaged = RunStatus("drain", NOW - 100, NOW - 40, "succeeded", {})
    assert "its report says nothing" in run_line(damaged, NOW)


@pytest.mark.kafka
def test_the_command(kafka: Kafka, shared_data: Path, tmp_path: Path) -> None:
    real = real_alerts(shared_data / "ztf")
    topic = kafka.topic("fink_stat_ztf", partitions=2)
    kafka.produce(topic, real.records[:4], partition=1)
    command = Command(tmp_path, kafka.bootstrap)
    drained(make_settings(command.lake, kafka.bootstrap, topic, drain={"max_messages": 3}))
    forget_landers()

    lines = command.run("status").stdout.splitlines()
    assert lines[0].split("  ")[0] == "cluster"
    assert lines[1].split()[:6] == ["ztf", topic, "3", "3", "4", "1"]
    assert lines[2].startswith("last run: drain, ")
    long = command.run("status", "--partitions", topic).stdout.splitlines()
    assert [line.split()[2:6] for line in long[1:3]] == [["0", "0", "0", "0"], ["1", "3", "4", "1"]]
    assert all(name in long[0] for name in PARTITION_COLUMNS)

    found = command.json("status", "--check")
    assert [(t["topic"], t["lag"], t["is_expiring"]) for t in found["topics"]] == [(topic, 1, False)]
    assert found["run"]["state"] == "succeeded"

    command.environ = {**command.environ, "FINKBRIDGE_STATUS__WARN_HOURS": "1000"}
    warned = command.run("status", "--check", code=3)
    assert warned.stderr.startswith(
        f"finkbridge: warning: {topic}: 1 offsets wait and the oldest may expire in "
    )
    command.run("status", code=0)

    with command.start("follow", "nothing_matches_*") as other:
        other.await_lock(command.lake)
        assert command.json("status")["topics"][0]["drained"] == 3, "no lock is needed"
        assert other.end(signal.SIGTERM) == 143

    command.environ = {**command.environ, "FINKBRIDGE_CLUSTERS__ZTF__SERVERS": "127.0.0.1:1"}
    down = command.run("status", code=1)
    assert down.stdout.splitlines()[1].split()[:6] == ["ztf", topic, "3", "3", "-", "-"]
    assert down.stderr.startswith("finkbridge: problem: cluster ztf: no broker answers")
    assert down.stderr.count("\n") == 1
    assert command.run("status", "fink_elsewhere_*", code=1).stdout.startswith("no topic matches\n")

    command.environ = {k: v for k, v in command.environ.items() if not k.startswith("FINKBRIDGE_CLUSTERS")}
    unasked = command.run("status", "--check", code=1)
    assert unasked.stdout.splitlines()[1].split()[:6] == ["ztf", topic, "3", "3", "-", "-"]
    assert unasked.stderr.startswith("finkbridge: problem: cluster ztf is not set, so nobody asked it ")
    assert unasked.stderr.count("\n") == 1
