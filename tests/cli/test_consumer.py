"""``finkbridge consumer`` on a real Kafka: what it shows, what it saves, and that a kill loses nothing."""

from __future__ import annotations

import json
import re
import signal
import time
import uuid
from pathlib import Path

import pytest

from finkbridge.consumer.saving import ASIDE, UNDECODED
from tests.consumer.samples import (
    COUNTING,
    MULTI_MESSENGER,
    offsets_read,
    real,
    record,
    simulated,
    values_of,
)
from tests.support.command import Command
from tests.support.kafka import Kafka

pytestmark = pytest.mark.kafka

QUIET = ("-maxtimeout", "2")


@pytest.fixture
def group() -> str:
    return f"me-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def command(tmp_path: Path, kafka: Kafka, group: str) -> Command:
    return Command(tmp_path, kafka.bootstrap, FINKBRIDGE_CLUSTERS__ZTF__GROUP_ID=group)


def saved(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.avro"))


def test_the_table_of_the_manual(kafka: Kafka, command: Command, shared_data: Path) -> None:
    topic = kafka.topic("fink_t")
    kafka.produce(topic, real(shared_data, "ztf")[:2])
    done = command.run("consumer", "-survey", "ztf", topic, "--display", "-limit", "2")
    rule, head, below, *rows, end = done.stdout.splitlines()
    assert rule.startswith("+----")
    assert rule == below == end
    names = ["Emitted at (UTC)", "Received at (UTC)", "Topic", "objectId", "Simbad", "Magnitude"]
    assert [name.strip() for name in head.strip("|").split("|")] == names
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [cells[0][0], *cells[0][2:]] == [
        "2026-03-22 11:06:52.004",
        topic,
        "ZTF26aamcbly",
        "Unknown",
        "16.449",
    ]
    assert len(rows) == 2


def test_lsst_shows_band_flux_and_class(kafka: Kafka, command: Command, shared_data: Path) -> None:
    topic = kafka.topic("fink_t")
    kafka.produce(topic, real(shared_data, "lsst"))
    done = command.run("consumer", topic, "-limit", "7")
    assert re.search(r"\| 170028485706776685 +\| i +\| -19549.395 +\| 20.672 +\| label 11 +\|", done.stdout)
    assert re.search(r"2026-03-06 02:17:20.180 .*\| 2004 JQ12 +\| i .*\| solar system +\|", done.stdout)


def test_each_call_goes_on_with_the_next_alert(kafka: Kafka, command: Command, group: str) -> None:
    topic = kafka.topic("fink_t")
    kafka.produce(topic, simulated("ztf", 7))
    found = []
    for limit in ("1", "2", "4"):
        done = command.run("consumer", topic, "-limit", limit, "--format", "json")
        found += [json.loads(line)["alert"]["candid"] for line in done.stdout.splitlines()]
    assert len(set(found)) == 7
    assert offsets_read(kafka, group, topic) == [7]
    assert offsets_read(kafka, f"{group}-finkbridge", topic) == [-1001]


def test_save_and_display(kafka: Kafka, command: Command, shared_data: Path) -> None:
    topic, records = kafka.topic("fink_t"), real(shared_data, "ztf")
    kafka.produce(topic, records)
    options = ("--display", "--save", "-outdir", "db", "-limit", "31", "--format", "line")
    done = command.run("consumer", topic, *options)
    assert len(done.stdout.splitlines()) == 31
    files = saved(command.folder / "db")
    assert len(files) == 31
    assert "ZTF26aamcbly_3367463101415010117.avro" in files
    assert f"file=db/{files[0]}" in done.stdout
    assert "31 alerts saved in db" in done.stderr
    (file,) = (shared_data / "ztf").glob("*.avro")
    mine = [values_of(command.folder / "db" / name)[0] for name in files]
    assert sorted(map(repr, mine)) == sorted(map(repr, values_of(file)))


def test_save_alone_prints_nothing_and_proves_many_by_the_compiled_check(
    kafka: Kafka, command: Command
) -> None:
    topic = kafka.topic("fink_t")
    kafka.produce(topic, simulated("lsst", 60))
    done = command.run("consumer", topic, "--save", "-outdir", "db", "-limit", "60")
    assert done.stdout == ""
    assert len(saved(command.folder / "db")) == 60
    assert list((command.folder / "db").glob(f"{ASIDE}*")) == []


@pytest.mark.parametrize(
    ("where", "count"), [("earliest", 6), ("latest", 0), ("4", 2), ("6", 0), ("2026-01-02T00:00Z", 3)]
)
def test_start_at(kafka: Kafka, command: Command, where: str, count: int) -> None:
    topic = kafka.topic("fink_t", config={"retention.ms": "-1"})
    days = (1767225600000, 1767312000000)  # 2026-01-01 and -02
    kafka.produce(topic, simulated("ztf", 6), timestamps=[days[0]] * 3 + [days[1]] * 3)
    command.run("consumer", topic, "-limit", "3")
    with command.start("consumer", topic, "-start_at", where, *QUIET, "--format", "json") as running:
        running.await_text("No alerts received in the last 2 seconds")
        assert running.end(signal.SIGINT) == 130
        assert len(running.out.read_text().splitlines()) == count
    with command.start("consumer", topic, *QUIET, "--format", "json") as running:
        running.await_text("No alerts received in the last 2 seconds\n")
        running.end(signal.SIGTERM)
        assert running.out.read_text() == ""


def test_an_offset_behind_the_end_skips_nothing(kafka: Kafka, command: Command, group: str) -> None:
    topic = kafka.topic("fink_t", 2)
    for partition, count in enumerate((6, 2)):
        kafka.produce(topic, simulated("ztf", count), partition=partition)
    command.run("consumer", topic, "-limit", "3", "-start_at", "earliest")
    before = offsets_read(kafka, group, topic, 2)
    done = command.run("consumer", topic, "-start_at", "7", code=2)
    assert "offset 7 is behind the end of every partition, and the group stays where it is" in done.stderr
    assert "an offset up to 6, or latest" in done.stderr
    assert done.stderr.count("\n") == 1
    assert offsets_read(kafka, group, topic, 2) == before
    command.run("consumer", topic, "-limit", "8", "-start_at", "0")
    kafka.produce(topic, simulated("ztf", 1), partition=1)
    done = command.run("consumer", topic, "-limit", "3", "-start_at", "4", "--format", "json")
    told = sorted((m["partition"], m["offset"]) for m in map(json.loads, done.stdout.splitlines()))
    assert told == [(0, 4), (0, 5), (1, 2)]
    assert f"{topic} partition 1 ends at 3, before 4: it goes on where the group is" in done.stderr


def test_a_time_behind_all_messages_skips_nothing(kafka: Kafka, command: Command, group: str) -> None:
    topic = kafka.topic("fink_t", 2, config={"retention.ms": "-1"})
    day_ms = 1767225600000  # 2026-01-01
    kafka.produce(topic, simulated("ztf", 4), partition=0, timestamps=[day_ms + n for n in range(4)])
    kafka.produce(topic, simulated("ztf", 2), partition=1, timestamps=[day_ms + 60_000] * 2)
    command.run("consumer", topic, "-limit", "2", "-start_at", "earliest")
    before = offsets_read(kafka, group, topic, 2)
    done = command.run("consumer", topic, "-start_at", "2027-01-01T02:00+02:00", *QUIET, code=2)
    assert done.stderr == (
        "finkbridge: error: -start_at 2027-01-01T00:00:00Z is behind all messages (the newest is of "
        "2026-01-01T00:01:00Z), and the group stays where it is: say an earlier time, or latest\n"
    )
    assert offsets_read(kafka, group, topic, 2) == before
    done = command.run("consumer", topic, "-start_at", "2026-01-01T00:01Z", "-limit", "2", "--format", "json")
    assert {json.loads(line)["partition"] for line in done.stdout.splitlines()} == {1}
    assert offsets_read(kafka, group, topic, 2) == [4, 2]


def test_any_time_is_one_to_begin_at_where_no_message_is(kafka: Kafka, command: Command) -> None:
    topic = kafka.topic("fink_t")
    with command.start("consumer", topic, "-start_at", "2027-01-01", *QUIET) as running:
        running.await_text("No alerts received in the last 2 seconds")
        running.end(signal.SIGINT)


@pytest.mark.parametrize("where", ["yesterday", "-5", "2026-13-01"])
def test_a_bad_start_is_one_line(command: Command, where: str) -> None:
    done = command.run("consumer", "t", f"--start_at={where}", code=2)
    assert "earliest, latest" in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_runs_for_ever_and_says_when_nothing_comes(kafka: Kafka, command: Command) -> None:
    topic = kafka.topic("fink_t")
    with command.start("consumer", topic, "-maxtimeout", "1.5", "--save", "-outdir", "db") as running:
        running.await_text("No alerts received in the last 1.5 seconds", count=2)
        kafka.produce(topic, simulated("ztf", 3))
        deadline = time.monotonic() + 20
        while len(saved(command.folder / "db")) < 3:
            assert time.monotonic() < deadline, running.said()
            time.sleep(0.1)
        assert running.end(signal.SIGINT) == 130
        assert "3 alerts saved in db" in running.said()


def test_a_second_member_is_told_that_the_first_reads_all(kafka: Kafka, command: Command) -> None:
    topic = kafka.topic("fink_t")
    with command.start("consumer", topic, *QUIET) as first:
        first.await_text("No alerts received")
        done = Command(command.folder, kafka.bootstrap, **_group_of(command))
        with done.start("consumer", topic, *QUIET) as second:
            second.await_text("another member of group")
            second.end(signal.SIGTERM)
        first.end(signal.SIGTERM)


def test_to_begin_somewhere_moves_no_partition_of_another_member(kafka: Kafka, command: Command) -> None:
    topic = kafka.topic("fink_t", 2)
    for partition in (0, 1):
        kafka.produce(topic, simulated("ztf", 2), partition=partition)
    with command.start("consumer", topic, *QUIET, "--format", "line") as first:
        first.await_text("No alerts received")
        other = Command(command.folder, kafka.bootstrap, **_group_of(command))
        with other.start("consumer", topic, *QUIET, "-start_at", "earliest", "--format", "line") as second:
            second.await_text("read 1 of 2 partitions, which stay where the group is")
            second.await_text("No alerts received")
            second.end(signal.SIGTERM)
            assert second.said().count("objectid=") == 2
        first.end(signal.SIGTERM)
    done = command.run("consumer", topic, *QUIET, "-start_at", "earliest", "-limit", "4", "--format", "line")
    assert "partitions" not in done.stderr


@pytest.mark.slow
def test_a_partition_that_comes_later_is_not_moved(kafka: Kafka, command: Command) -> None:
    """Another member had it, and died: what came meanwhile is behind what nobody has read."""
    topic = kafka.topic("fink_t", 2)
    with command.start("consumer", topic, *QUIET) as first:
        first.await_text("No alerts received")
        other = Command(command.folder, kafka.bootstrap, **_group_of(command))
        with other.start("consumer", topic, *QUIET, "-start_at", "latest", "--format", "line") as second:
            second.await_text("read 1 of 2 partitions")
            second.await_text("No alerts received")
            first.process.kill()
            for partition in (0, 1):
                kafka.produce(topic, simulated("ztf", 2), partition=partition)
            second.await_text("objectid=", count=4)
            second.end(signal.SIGTERM)


def test_what_expired_before_it_was_read_is_told(kafka: Kafka, command: Command) -> None:
    topic = kafka.topic("fink_t", config={"cleanup.policy": "delete"})
    kafka.produce(topic, simulated("ztf", 5))
    command.run("consumer", topic, *QUIET, "-limit", "1")
    kafka.expire(topic, {0: 3})
    said = command.run("consumer", topic, *QUIET, "-limit", "1").stderr
    assert f"{topic} partition 0: offsets [1, 3) expired before group" in said
    assert "expired" not in command.run("consumer", topic, *QUIET, "-limit", "1").stderr


@pytest.mark.slow
def test_a_broker_that_is_silent_for_long_is_no_other_member(own_kafka: Kafka, tmp_path: Path) -> None:
    """The session is over after 10 s, and with it the member's right to its partitions."""
    topic, command = own_kafka.topic("fink_t"), Command(tmp_path, own_kafka.bootstrap)
    own_kafka.produce(topic, simulated("ztf", 1))
    with command.start("consumer", topic, "-maxtimeout", "2", "--format", "line") as running:
        running.await_text("objectid=")
        own_kafka.freeze()
        try:
            running.await_text("it goes on once a broker answers")
        finally:
            own_kafka.thaw()
        own_kafka.produce(topic, simulated("ztf", 1))
        running.await_text("objectid=", count=2)
        assert "another member" not in running.said()
        running.end(signal.SIGTERM)


def _group_of(command: Command) -> dict[str, str]:
    name = "FINKBRIDGE_CLUSTERS__ZTF__GROUP_ID"
    return {name: command.environ[name]}


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(3))
def test_a_kill_loses_nothing(kafka: Kafka, command: Command, round_: int) -> None:
    topic, count = kafka.topic("fink_t", 3), 1500
    records = simulated("ztf", count)
    for partition in range(3):
        kafka.produce(topic, records[partition::3], partition=partition)
    folder = command.folder / "db"
    with command.start("consumer", topic, "--save", "-outdir", "db") as running:
        deadline = time.monotonic() + 60
        while len(saved(folder)) < 1 + 300 * round_:
            assert time.monotonic() < deadline, running.said()
            time.sleep(0.005)
        running.process.kill()
        running.process.wait()
    before = len(saved(folder))
    assert before < count, "killed too late to tell anything"
    for name in saved(folder):
        assert len(values_of(folder / name)) == 1
    with command.start("consumer", topic, "--save", "-outdir", "db", "-maxtimeout", "15") as running:
        running.await_text("No alerts received in the last 15 seconds\n")
        assert running.end(signal.SIGINT) == 130
    found = {values_of(folder / name)[0]["candid"] for name in saved(folder)}
    assert len(found) == count
    assert len(saved(folder)) == count


def test_a_bad_message_stops_it_and_is_read_by_the_next_call(kafka: Kafka, command: Command) -> None:
    good = simulated("ztf", 3)
    topic = kafka.topic("fink_t")
    kafka.produce(topic, [*good[:2], (good[0][0], b"\x07nonsense"), good[2]])
    for _ in range(2):
        done = command.run("consumer", topic, "--save", "-outdir", "db", "-limit", "9", code=1)
        assert f"{topic} partition 0 offset 2: it does not match its writer schema" in done.stderr
        assert "leave it aside with --skip_bad" in done.stderr
        assert "-schema FILE" in done.stderr
        assert "--dump_schema" in done.stderr
    assert len(saved(command.folder / "db")) == 2
    done = command.run("consumer", topic, "--save", "-outdir", "db", "-limit", "1", "--skip_bad", code=1)
    assert f"it is kept in db/{UNDECODED}" in done.stderr
    assert "--skip_bad" not in done.stderr
    assert len(saved(command.folder / "db")) == 3
    kept = command.folder / "db" / UNDECODED / f"{topic}-0-2.value"
    assert kept.read_bytes() == b"\x07nonsense"


def test_a_wrong_schema_and_its_remedies(kafka: Kafka, command: Command) -> None:
    topic, records = kafka.topic("fink_t"), simulated("ztf", 2)
    kafka.produce(topic, records)
    (command.folder / "wrong.avsc").write_text(json.dumps(MULTI_MESSENGER))
    done = command.run("consumer", topic, "-limit", "1", "-schema", "wrong.avsc", code=1)
    assert "give the right schema with -schema FILE (--dump_schema saves the one" in done.stderr
    done = command.run("consumer", topic, "-limit", "1", "--dump_schema")
    (name,) = re.findall(r"Schema saved as (\S+)", done.stderr)
    assert (command.folder / name).read_bytes() == records[0][0]
    command.run("consumer", topic, "-limit", "1", "-schema", name)
    (command.folder / "none.avsc").write_text("{}")
    done = command.run("consumer", topic, "-schema", "none.avsc", code=2)
    assert "none.avsc is no Avro schema" in done.stderr


def test_other_topics(kafka: Kafka, command: Command) -> None:
    grb, counting = kafka.topic("fink_grb_bronze"), kafka.topic("fink_ztf_20260322")
    value = {
        "objectId": "ZTF1",
        "fink_class": "Unknown",
        "rate": -0.25,
        "observatory": "Fermi",
        "triggerId": "b1",
    }
    kafka.produce(grb, [record(MULTI_MESSENGER, value)])
    kafka.produce(counting, [record(COUNTING, {"objectId": "ZTF\x1b[31m"})])
    done = command.run("consumer", grb, "-limit", "1")
    assert "| ObjectId       | Classification     | Topic" in done.stdout
    assert re.search(r"\| ZTF1 +\| Unknown +\| \S+ \| -0.250 +\| Fermi +\| b1 +\|", done.stdout)
    done = command.run("consumer", counting, "-limit", "1", "--save", "-outdir", "db", "--display")
    assert "\x1b" not in done.stdout
    assert saved(command.folder / "db") == [f"{counting}-0-0.avro"]


def test_authentication_on_scram(kafka: Kafka, tmp_path: Path, group: str) -> None:
    topic = kafka.topic("fink_t")
    kafka.produce(topic, simulated("ztf", 1))

    def run(servers: str, code: int, **more: str) -> str:
        named = {f"FINKBRIDGE_CLUSTERS__ZTF__{key}": value for key, value in more.items()}
        command = Command(tmp_path, servers, FINKBRIDGE_CLUSTERS__ZTF__GROUP_ID=group, **named)
        done = command.run("consumer", topic, "-limit", "1", code=code)
        assert len(done.stderr.splitlines()) == (code > 0)
        return done.stderr

    user = {"USERNAME": kafka.username}
    wrong = run(kafka.sasl_bootstrap, 1, **user, PASSWORD="hunter2-wrong")
    assert "the credentials are refused" in wrong
    assert "hunter2" not in wrong
    assert "whether the cluster wants a password" in run(kafka.sasl_bootstrap, 1, **user)
    assert "leave it out (set it to null)" in run(kafka.bootstrap, 1, **user, PASSWORD=kafka.password)
    run(kafka.sasl_bootstrap, 0, **user, PASSWORD=kafka.password)


def test_no_broker_and_no_topic(kafka: Kafka, command: Command, tmp_path: Path) -> None:
    done = command.run("consumer", "fink_nope", code=1)
    assert "cluster ztf has no topic fink_nope" in done.stderr
    done = Command(tmp_path, "127.0.0.1:1").run("consumer", "fink_nope", code=1)
    assert "no broker answers" in done.stderr
    assert "no topics: name some" in command.run("consumer", code=2).stderr


def test_statistics_and_available_topics(kafka: Kafka, command: Command) -> None:
    topic = kafka.topic("fink_t", 2)
    kafka.produce(topic, simulated("ztf", 5), partition=1)
    command.run("consumer", topic, "-limit", "2")
    done = command.run("consumer", topic, "--display_statistics")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [topic, "0", "-", "0"] in rows
    assert [topic, "1", "2", "3"] in rows
    assert ["all", "of", topic, "2", "3"] in rows
    done = command.run("consumer", topic, "fink_nope", "--display_statistics", code=1)
    assert ["all", "of", topic, "2", "3"] in [line.split() for line in done.stdout.splitlines()]
    assert "problem: cluster ztf has no topic fink_nope" in done.stderr
    command.run("consumer", "fink_nope", "--display_statistics", code=1)
    assert topic in command.run("consumer", "--available_topics").stdout.splitlines()


def test_json_has_all_but_the_cutouts(kafka: Kafka, command: Command) -> None:
    topic = kafka.topic("fink_t")
    kafka.produce(topic, simulated("ztf", 1))
    (line,) = command.run("consumer", topic, "-limit", "1", "--format", "json").stdout.splitlines()
    told = json.loads(line)
    assert (told["topic"], told["partition"], told["offset"], told["kind"]) == (topic, 0, 0, "ztf")
    assert told["alert"]["objectId"] == told["summary"]["objectId"]
    assert "cutoutScience" not in told["alert"]
    options = ("-limit", "1", "--format", "json", "--cutouts", "-start_at", "earliest")
    (line,) = command.run("consumer", topic, *options).stdout.splitlines()
    assert json.loads(line)["alert"]["cutoutScience"]["stampData"]
