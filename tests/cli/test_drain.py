"""``finkbridge drain`` as a user runs it: a real command, on a real Kafka."""

from __future__ import annotations

import os
import pty
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from finkbridge.cli import progress
from finkbridge.cli.outcome import COLUMNS, complaints, proof
from finkbridge.cli.progress import Lines, Pace
from finkbridge.report import DrainReport, TopicReport
from finkbridge.values import LandedPart, OffsetRange, RangeCount, SegmentPlan, TopicGeneration
from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.lake import (
    RealAlerts,
    assert_consistent,
    delivered,
    drained,
    forget_landers,
    make_settings,
    real_alerts,
)

HEAVY = "{'pyarrow', 'numba', 'datafusion', 'duckdb', 'polars', 'rich', 'numpy'}"
TOPIC = TopicGeneration("ztf", "fink_a_ztf", 1)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "ztf")


@pytest.fixture
def command(kafka: Kafka, tmp_path: Path) -> Command:
    return Command(tmp_path, kafka.bootstrap)


@pytest.fixture
def topic(kafka: Kafka, real: RealAlerts) -> str:
    """Real alerts in two partitions."""
    name = kafka.topic("fink_cmd_ztf", partitions=2)
    kafka.produce(name, real.records[:12], partition=0)
    kafka.produce(name, real.records[12:20], partition=1)
    return name


@pytest.mark.kafka
def test_drains_proves_it_and_then_has_nothing_to_do(command: Command, topic: str) -> None:
    done = command.run("drain", topic)
    header, row, line = done.stdout.splitlines()
    assert tuple(header.split()) == COLUMNS
    assert row.split()[:8] == ["ztf", topic, "20", "20", "0", "0", "0", "0"]
    assert line.startswith("planned 20 offsets = 20 rows + 0 quarantined + 0 holes; ")
    assert done.stderr == "20 offsets to drain\n"
    assert_consistent(command.lake)
    assert len(delivered(command.lake)) == 20

    before = snapshot(command.lake)
    again = command.run("drain", topic.replace("_ztf_", "_z*_"))
    assert re.fullmatch(r"nothing new in 1 topic \([\d.]+ s\)\n", again.stdout)
    assert again.stderr == ""
    assert snapshot(command.lake) == before


@pytest.mark.kafka
def test_nothing_new_is_quick_and_loads_no_heavy_module(command: Command, topic: str) -> None:
    command.run("drain", topic)
    code = (
        "import sys; from finkbridge.cli.main import main; assert main(sys.argv[1:]) == 0;"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, "drain", topic],
        capture_output=True, text=True, check=True, cwd=command.folder, env=command.environ,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.splitlines()[1:] == ["[]"]
    # of processor time: this test's machine may be busy
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5


@pytest.mark.kafka
def test_json_limits_and_start(kafka: Kafka, command: Command, topic: str, real: RealAlerts) -> None:
    first = command.json("drain", topic, "--max-messages", "5", "--workers", "0")
    assert (first["planned"], first["rows"], first["lag"], first["succeeded"]) == (5, 5, 15, True)
    assert [t["topic"] for t in first["topics"]] == [topic]
    second = command.json("drain", topic, "--max-bytes", "150kB")
    assert 0 < second["rows"] < 10
    assert second["lag"] == 15 - second["rows"]

    late = kafka.topic("fink_late_ztf")
    kafka.produce(late, real.records[:3])
    assert command.json("drain", late, "--start", "latest")["planned"] == 0
    kafka.produce(late, real.records[3:5])
    assert command.json("drain", late)["rows"] == 2


@pytest.mark.kafka
def test_schema_option_overrides_the_messages(kafka: Kafka, command: Command, real: RealAlerts) -> None:
    topic = kafka.topic("fink_keyless_ztf")
    kafka.produce(topic, [(None, datum) for datum in real.datums[:4]])
    schema = command.folder / "alert.avsc"
    schema.write_bytes(real.key)
    assert command.json("drain", topic, "--schema", "alert.avsc")["rows"] == 4
    done = command.run("drain", topic, "--schema", "absent.avsc", code=2)
    assert done.stderr == (
        "finkbridge: error: the schema file absent.avsc cannot be read: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("root:x:0:0:root:/root:/bin/bash", "is no Avro schema: the schema is no JSON: Expecting value"),
        ('{"type": "record"}', "is no Avro schema: the schema has a record without a name"),
        ('["null", "string"]', "is no schema of a record, and every message is one"),
    ],
)
@pytest.mark.parametrize("name", ["drain", "follow"])
def test_what_is_no_schema_is_refused_before_there_is_a_lake(
    tmp_path: Path, text: str, said: str, name: str
) -> None:
    (tmp_path / "odd.avsc").write_text(text)
    command = Command(tmp_path, "127.0.0.1:1", FINKBRIDGE_DECODE__SCHEMA_FILE="odd.avsc")
    done = command.run(name, "topic", code=2)
    assert done.stderr.startswith(f"finkbridge: error: the schema file odd.avsc {said}")
    assert done.stderr.count("\n") == 1
    assert not command.lake.exists()


def refused(command: Command, *arguments: str, name: str = "drain") -> str:
    done = command.run(name, *arguments, code=1)
    assert done.stdout == ""
    assert not command.lake.exists()
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("name", ["drain", "follow"])
def test_no_broker_leaves_no_lake(tmp_path: Path, name: str) -> None:
    line = refused(Command(tmp_path, "127.0.0.1:1"), "any", name=name)
    assert line.startswith("finkbridge: error: cluster ztf: no broker answers ")


@pytest.mark.kafka
@pytest.mark.parametrize("name", ["drain", "follow"])
def test_a_wrong_password_or_name_leaves_no_lake(kafka: Kafka, tmp_path: Path, topic: str, name: str) -> None:
    sasl = {"USERNAME": kafka.username, "PASSWORD": "wrong-horse"}
    wrong = {f"FINKBRIDGE_CLUSTERS__ZTF__{key}": value for key, value in sasl.items()}
    command = Command(tmp_path, kafka.sasl_bootstrap, **wrong)
    assert "cluster ztf: the credentials are refused" in refused(command, "fink_*", name=name)
    command = Command(tmp_path, kafka.bootstrap)
    assert f"has no topic {topic}x: did you mean {topic}" in refused(command, f"{topic}x", name=name)
    command.run("drain", topic, f"{topic}x", code=1)
    assert len(delivered(command.lake)) == 20, "what can be had is drained"


@pytest.mark.kafka
def test_a_lake_that_is_there_reports_what_fails(kafka: Kafka, command: Command, topic: str) -> None:
    command.run("drain", topic)
    report = command.json("drain", f"{topic}x", code=1)
    assert not report["succeeded"]
    assert f"has no topic {topic}x" in report["problems"][0]


@pytest.mark.kafka
def test_quarantine_is_a_warning_and_a_success(kafka: Kafka, command: Command, topic: str) -> None:
    kafka.produce(topic, [(b"{}", b"garbage")], partition=0)
    done = command.run("drain", topic)
    assert "planned 21 offsets = 20 rows + 1 quarantined + 0 holes" in done.stdout
    assert "finkbridge: warning: 1 message could not be decoded and waits in quarantine" in done.stderr
    assert "garbage" not in done.stderr
    assert topic in command.run("sql", "SELECT topic FROM quarantine").stdout


@pytest.mark.kafka
def test_expired_messages_are_a_warning(kafka: Kafka, command: Command, topic: str) -> None:
    command.run("drain", topic, "--max-messages", "6")  # three of each partition
    kafka.expire(topic, {0: 10})
    done = command.run("drain", topic)
    assert "finkbridge: warning: 7 offsets were lost before they could be drained" in done.stderr
    assert "planned 7 offsets = 7 rows" in done.stdout


@pytest.mark.kafka
def test_no_match_is_no_failure(command: Command) -> None:
    assert command.run("drain", "fink_nowhere_*").stdout == "no topic matches: nothing to drain\n"


@pytest.mark.kafka
def test_a_pattern_without_a_match_beside_others_is_named(command: Command, topic: str) -> None:
    done = command.run("drain", topic, "fink_nowhere_*")
    assert "planned 20 offsets = 20 rows" in done.stdout
    assert "finkbridge: warning: no topic matches fink_nowhere_*;" in done.stderr
    assert "no topic matches" not in command.run("drain", f"{topic[:-1]}*").stderr


def snapshot(lake: Path) -> dict[str, Any]:
    """Return what must not change: data files, offsets, commits."""
    files = {p.as_posix(): p.stat().st_size for p in lake.rglob("*") if p.suffix in (".avro", ".parquet")}
    with closing(sqlite3.connect(lake / "ledger.db")) as ledger:
        commits = ledger.execute("SELECT count(*) FROM commits").fetchone()
        offsets = ledger.execute("SELECT partition, next_offset FROM partitions ORDER BY 1").fetchall()
    return {"files": files, "offsets": offsets, "commits": commits}


def closed_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith("finkbridge: ")]
    assert len(lines) == 1, done.stderr
    assert len(done.stderr.splitlines()) <= 2, "nothing but a line of progress beside it"
    return lines[0]


@pytest.mark.kafka
class TestBadInput:
    """Each is one clear line, an exit code, and a lake as it was."""

    @pytest.fixture
    def lake(self, kafka: Kafka, command: Command, topic: str) -> dict[str, Any]:
        """A lake with the topic's first messages; more wait."""
        drained(make_settings(command.lake, kafka.bootstrap, topic, drain={"max_messages": 12}))
        forget_landers()
        return snapshot(command.lake)

    @pytest.mark.parametrize(
        ("environ", "arguments", "code", "said"),
        [
            ({"FINKBRIDGE_CLUSTERS__ZTF__SERVERS": "<closed>"}, [], 1, "cluster ztf: no broker answers"),
            ({}, ["no_such_topic"], 1, "cluster ztf has no topic no_such_topic: check its name"),
            ({"FINKBRIDGE_DRAIN__SEGMENT_BYTES": "much"}, [], 2, "drain.segment_bytes"),
            ({"FINKBRIDGE_LAEK": "x"}, [], 2, "did you mean FINKBRIDGE_LAKE?"),
            ({}, ["--start", "yesterday"], 2, "write earliest, latest, or an ISO time"),
            ({}, ["--max-bytes", "much"], 2, "not a size"),
            ({}, ["--lake", "file/lake"], 1, "the lake file/lake cannot be made: Not a directory"),
        ],
    )
    def test_one_line(
        self,
        command: Command,
        topic: str,
        lake: dict[str, Any],
        environ: dict[str, str],
        arguments: list[str],
        code: int,
        said: str,
    ) -> None:
        (command.folder / "file").write_text("in the way")
        here = {k: closed_port() if v == "<closed>" else v for k, v in environ.items()}
        command.environ = {**command.environ, **here}
        named = [] if "no_such_topic" in arguments else [topic]
        done = command.run("drain", *named, *arguments, code=code)
        assert said in only_line(done)
        assert snapshot(command.lake) == lake

    def test_no_topic_named(self, command: Command, lake: dict[str, Any]) -> None:
        assert "no topics to drain: name some" in only_line(command.run("drain", code=2))

    @pytest.mark.parametrize("name", ["drain", "follow"])
    def test_wrong_password(
        self, kafka: Kafka, command: Command, topic: str, lake: dict[str, Any], name: str
    ) -> None:
        cluster = "FINKBRIDGE_CLUSTERS__ZTF__"
        secrets = {"SERVERS": kafka.sasl_bootstrap, "USERNAME": kafka.username, "PASSWORD": "wr0ng-one"}
        command.environ = {**command.environ, **{cluster + k: v for k, v in secrets.items()}}
        done = command.run(name, topic, code=1)
        assert "cluster ztf: the credentials are refused" in only_line(done)
        assert "wr0ng-one" not in done.stdout + done.stderr
        assert snapshot(command.lake) == lake
        command.environ = {**command.environ, cluster + "PASSWORD": kafka.password}
        assert "= 8 rows" in command.run("drain", topic).stdout

    @pytest.mark.parametrize("workers", ["0", "1"])
    def test_full_disk(self, command: Command, topic: str, lake: dict[str, Any], workers: str) -> None:
        """A file may not grow beyond a limit: the system says so as it does on a full disk."""

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

        done = command.run("drain", topic, "--workers", workers, code=1, preexec_fn=limit)
        assert "cannot be written: File too large: make room or give access" in only_line(done)
        assert snapshot(command.lake) == lake
        assert "= 8 rows" in command.run("drain", topic).stdout
        assert_consistent(command.lake)

    def test_newer_lake(self, command: Command, topic: str, lake: dict[str, Any]) -> None:
        with closing(sqlite3.connect(command.lake / "ledger.db")) as ledger, ledger:
            ledger.execute("UPDATE meta SET value = 99 WHERE key = 'version'")
            ledger.execute("DROP TABLE gaps")
        done = command.run("drain", topic, code=1)
        assert "was made by a newer finkbridge (ledger version 99" in only_line(done)
        with closing(sqlite3.connect(command.lake / "ledger.db")) as ledger:
            tables = {name for (name,) in ledger.execute("SELECT name FROM sqlite_master")}
        assert "gaps" not in tables, "a newer lake is left as it is"
        assert snapshot(command.lake) == lake

    def test_lake_that_is_held(self, command: Command, topic: str, lake: dict[str, Any]) -> None:
        with command.start("follow", "nothing_matches_*") as other:
            other.await_lock(command.lake)
            done = command.run("drain", topic, code=1)
            assert f"is being written by process {other.process.pid}" in only_line(done)
            assert other.end(signal.SIGTERM) == 143
        assert snapshot(command.lake)["offsets"] == lake["offsets"]


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "number", "code"), [("0", signal.SIGINT, 130), ("2", signal.SIGTERM, 143)]
)
def test_signal_ends_it_in_time_though_the_broker_is_frozen(
    own_kafka: Kafka, real: RealAlerts, tmp_path: Path, workers: str, number: int, code: int
) -> None:
    topic = own_kafka.topic("fink_frozen_ztf", partitions=2)
    for partition in range(2):
        own_kafka.produce(topic, real.records * 6, partition=partition)
    total = 2 * 6 * len(real.records)
    settings = {"FINKBRIDGE_DRAIN__SEGMENT_BYTES": "1MB", "FINKBRIDGE_BROKER_TIMEOUT_S": "60"}
    command = Command(tmp_path, own_kafka.bootstrap, **settings)
    with command.start("drain", topic, "--workers", workers) as running:
        running.await_text("offsets to drain")
        own_kafka.freeze()
        assert running.end(number) == code
    own_kafka.thaw()
    done = command.json("drain", topic)
    assert done["succeeded"]
    rows = delivered(command.lake)
    assert len(rows) == len(set(rows)) == total
    assert_consistent(command.lake)


@pytest.mark.kafka
@pytest.mark.parametrize(("number", "after_s"), [(signal.SIGINT, 0.0), (signal.SIGKILL, 1.5)])
def test_workers_end_with_their_coordinator_and_say_nothing(
    kafka: Kafka, real: RealAlerts, tmp_path: Path, number: int, after_s: float
) -> None:
    topic = kafka.topic("fink_stopped_ztf", partitions=2)
    for partition in range(2):
        kafka.produce(topic, real.records * 4, partition=partition)
    command = Command(tmp_path, kafka.bootstrap, FINKBRIDGE_DRAIN__SEGMENT_BYTES="500kB")
    with command.start("drain", topic, "--workers", "2") as running:
        running.await_text("offsets to drain")
        time.sleep(after_s)  # while workers start, and while they work
        group = running.process.pid
        if number == signal.SIGINT:
            os.killpg(group, number)  # as a terminal does
        else:
            running.process.kill()
        assert running.process.wait(20) in {130, -number}
        assert_gone(group)
    said = [line for line in running.err.read_text().splitlines() if "offsets" not in line]
    if number == signal.SIGINT:
        assert said.pop(0) == "finkbridge: ending in order; once more to end at once"
        assert all(line.startswith("finkbridge: problem: the run was told to stop: ") for line in said)
    else:
        assert said == []
    assert command.json("drain", topic)["succeeded"]
    rows = delivered(command.lake)
    assert len(rows) == len(set(rows)) == 2 * 4 * len(real.records)


def assert_gone(group: int, within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f"processes of group {group} live on")


@pytest.mark.kafka
def test_draws_a_bar_on_a_terminal(command: Command, topic: str) -> None:
    ours, theirs = pty.openpty()
    command.run("drain", topic, "--max-messages", "4")  # so that a part of a second is enough to see it
    done = subprocess.Popen(
        [sys.executable, "-c", "import sys; from finkbridge.cli.main import main; sys.exit(main())",
         "drain", topic, "--workers", "0"],
        stdout=subprocess.PIPE, stderr=theirs, cwd=command.folder, env={**command.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    out = done.communicate(timeout=60)[0].decode()
    drawn = read_all(ours)
    assert done.returncode == 0, drawn
    assert "16 of 16 offsets" in drawn or "0 of 16 offsets" in drawn
    assert "= 16 rows" in out
    assert drawn.count("\x1b[?25h") >= drawn.count("\x1b[?25l") >= 1, "the cursor is shown again"


def read_all(descriptor: int) -> str:
    text = b""
    try:
        while block := os.read(descriptor, 65536):
            text += block
    except OSError:  # how a terminal without an other end reads
        pass
    os.close(descriptor)
    return text.decode()


def landed(offsets: int, size: int) -> tuple[LandedPart, ...]:
    count = RangeCount(OffsetRange(0, 0, offsets), offsets, 0, ())
    return (LandedPart(0, (), (count,), (), (), (), size, None, None),)


PLAN = SegmentPlan(1, TOPIC, (), 1)


def test_pace_knows_rate_and_rest() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    pace.planned = 400
    assert pace.left_s is None
    now[0] = 10.0
    pace.add(landed(100, 50_000_000))
    assert (pace.rate(), pace.left_s) == ("10/s, 5 MB/s", 30.0)


def test_lines_are_rare(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    lines = Lines(lambda: now[0])
    lines.planned(1000)
    for _ in range(9):
        now[0] += 1.0
        lines.committed(PLAN, landed(100, 1_000_000))
    now[0] += 10
    lines.committed(PLAN, landed(100, 1_000_000))
    assert capsys.readouterr().err.splitlines() == [
        "1,000 offsets to drain",
        "500 of 1,000 offsets, 100/s, 1 MB/s, 5.0 s left, now fink_a_ztf",
    ]


def test_quiet_watches_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.watching(quiet=True) as listener:
        listener.planned(3)
        listener.committed(PLAN, landed(3, 1))
    assert capsys.readouterr() == ("", "")


def test_proof_names_what_is_left() -> None:
    topic = TopicReport("ztf", "t", 1, planned=12_345, messages=12_342, rows=12_339, quarantined=2, holes=3)
    report = DrainReport(topics={("ztf", "t"): topic}, seconds=2.0)
    text = proof(report)
    assert text.startswith(
        "planned 12,345 offsets = 12,339 rows + 2 quarantined + 3 holes + 1 not drained; 2.0 s"
    )
    assert [line.partition(":")[0] for line in complaints(report)] == ["warning"]
