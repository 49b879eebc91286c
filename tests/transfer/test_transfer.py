"""Whole topics through the real command into a plain folder: every field of every message, each once."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from finkbridge.avro.quarantine import read_quarantine
from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.lake import KEPT, RealAlerts, encode, same
from tests.transfer.conftest import add_schema, rows_in

pytestmark = pytest.mark.kafka

KEYS = {"ztf": "candid", "lsst": "diaSourceId"}


def assert_same_alerts(rows: list[dict[str, Any]], real: RealAlerts, key: str, gone: set[str]) -> None:
    wanted = sorted(real.alerts, key=lambda alert: alert[key])
    rows = sorted(rows, key=lambda row: row[key])
    assert len(rows) == len(wanted)
    for row, alert in zip(rows, wanted, strict=True):
        assert row.keys() == alert.keys() - gone
        for name in row:
            assert same(row[name], alert[name]), name


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_every_field_arrives(
    command: Command, survey: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    topic = request.getfixturevalue(f"{survey}_topic")
    real: RealAlerts = request.getfixturevalue(f"real_{survey}")
    said = command.run("transfer", "-survey", survey, "-topic", topic, "-outdir", "out")
    count = len(real.alerts)
    assert f"{topic}: {count} messages = {count} rows in" in said.stdout
    assert_same_alerts(rows_in(tmp_path / "out"), real, KEYS[survey], set())
    assert pl.scan_parquet(tmp_path / "out").select(pl.len()).collect().item() == count


def test_partitioned_by_the_night_of_the_survey(
    command: Command, lsst_topic: str, real_lsst: RealAlerts, tmp_path: Path
) -> None:
    said = command.run("transfer", "-topic", lsst_topic, "-outdir", "out", "-partitionby", "time")
    assert "folders by observing night: " in said.stderr
    assert "Rubin's and ELAsTiCC's from noon to noon TAI" in said.stderr
    assert_same_alerts(rows_in(tmp_path / "out"), real_lsst, "diaSourceId", {"year", "month", "day"})
    for file in (tmp_path / "out").rglob("*.parquet"):
        night = "".join(part.partition("=")[2] for part in file.relative_to(tmp_path / "out").parts[:3])
        visits = {
            row["visit"] // 100_000
            for row in pq.ParquetFile(file).read(["diaSource"])["diaSource"].to_pylist()
        }
        assert visits == {int(night)}


def test_partitioned_by_a_class(command: Command, kafka: Kafka, tmp_path: Path) -> None:
    classes = ["SN candidate", None, "../x", "a/b'\"\0", "", "é" * 300, "SN candidate"]
    schema = {
        "type": "record",
        "name": "alert",
        "fields": [{"name": "n", "type": "int"}, {"name": "finkclass", "type": ["string", "null"]}],
    }
    topic = kafka.topic("fxmatch_ztf", config=KEPT)
    add_schema(kafka, topic, json.dumps(schema).encode())
    kafka.produce(topic, [(None, encode(schema, {"n": n, "finkclass": c})) for n, c in enumerate(classes)])
    command.run("transfer", "-survey", "ztf", "-topic", topic, "-outdir", "out", "-partitionby", "finkclass")
    assert {p.name for p in tmp_path.iterdir() if p.is_dir()} == {"out", ".out.finkbridge"}
    assert all(len(p.relative_to(tmp_path / "out").parts) == 2 for p in (tmp_path / "out").rglob("*.parquet"))
    table = ds.dataset(tmp_path / "out", partitioning="hive").to_table().sort_by("n")
    assert table["n"].to_pylist() == list(range(len(classes)))
    found = table["finkclass"].to_pylist()
    assert found[:4] == ["SN candidate", None, "../x", "a/b'\"\0"]
    assert (found[4], found[6]) == ("", "SN candidate")
    assert found[5].startswith("é" * 30)


@pytest.mark.parametrize("by", ["None", "time"])
def test_avro_is_every_message_byte_for_byte(
    command: Command, ztf_topic: str, real_ztf: RealAlerts, tmp_path: Path, by: str
) -> None:
    words = ["-outformat", "avro", "-partitionby", by, "-nconsumers", "2"]
    command.run("transfer", "--topic", ztf_topic, "--outdir", "out", *words)
    datums, alerts = [], []
    for file in (tmp_path / "out").rglob("*.avro"):
        with file.open("rb") as stream:
            reader: Any = fastavro.block_reader(stream)
            assert json.loads(reader.metadata["avro.schema"]) == json.loads(real_ztf.key)
            datums += [block.bytes_.getvalue() for block in reader]
        with file.open("rb") as stream:
            alerts += list(fastavro.reader(stream))
    assert sorted(datums) == sorted(real_ztf.datums)
    assert len(alerts) == len(real_ztf.alerts)


def test_again_finds_all_there_and_touches_nothing(command: Command, ztf_topic: str, tmp_path: Path) -> None:
    words = ["transfer", "-topic", ztf_topic, "-outdir", "out"]
    command.run(*words)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    told = command.json(*words)
    assert (told["succeeded"], told["proofs"][0]["counted"]["rows"], told["proofs"][0]["waiting"]) == (
        True,
        31,
        0,
    )
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == before


def test_what_is_not_decoded_is_named_and_kept(
    command: Command, kafka: Kafka, real_ztf: RealAlerts, tmp_path: Path
) -> None:
    topic = kafka.topic("ftransfer_ztf", config=KEPT)
    kafka.produce(topic, [*real_ztf.records[:3], (real_ztf.key, b"garbage")])
    said = command.run("transfer", "-topic", topic, "-outdir", "out", code=1)
    assert f"{topic}: 4 messages but 3 rows in 1 file" in said.stdout
    assert f"problem: 1 of 4 messages of {topic} cannot be decoded" in said.stderr
    assert "begin anew with --restart_from_beginning" in said.stderr
    (kept,) = (tmp_path / ".out.finkbridge" / topic).rglob("quarantine/**/*.avro")
    assert [r.message.value for r in read_quarantine(kept)] == [b"garbage"]


def test_files_that_are_gone_or_changed_are_named(command: Command, ztf_topic: str, tmp_path: Path) -> None:
    words = ["transfer", "-topic", ztf_topic, "-outdir", "out"]
    command.run(*words)
    file = min((tmp_path / "out").iterdir())
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    assert "1 files are not as they were written" in command.run(*words, code=1).stderr
    said = command.run(*words, "--restart_from_beginning", code=1).stderr
    assert "nothing is written over); without --restart_from_beginning it goes on" in said
    file.unlink()
    assert "1 files are gone" in command.run(*words, code=1).stderr
    for left in (tmp_path / "out").iterdir():
        left.unlink()
    again = command.run(*words, "--restart_from_beginning")
    assert "31 messages = 31 rows" in again.stdout
    assert "begun anew" in again.stderr


def test_files_of_a_transfer_whose_state_is_lost_are_not_doubled(
    command: Command, ztf_topic: str, tmp_path: Path
) -> None:
    words = ["transfer", "-topic", ztf_topic, "-outdir", "out", "-partitionby", "time"]
    command.run(*words)
    shutil.rmtree(tmp_path / ".out.finkbridge")
    assert "files of an earlier transfer" in command.run(*words, code=1).stderr
    assert len(rows_in(tmp_path / "out")) == 31


def test_another_style_in_the_same_folder_is_refused(command: Command, ztf_topic: str) -> None:
    command.run("transfer", "-topic", ztf_topic, "-outdir", "out", "-limit", "5")
    said = command.run("transfer", "-topic", ztf_topic, "-outdir", "out", "-outformat", "avro", code=2)
    assert "begun as 'parquet -'" in said.stderr


def test_a_folder_or_the_lake(command: Command) -> None:
    said = command.run("transfer", "-topic", "ftransfer_ztf_1", "--into-lake", "-outdir", "q", code=2).stderr
    assert "-outdir and --into-lake exclude each other" in said


def test_into_the_lake(command: Command, ztf_topic: str) -> None:
    said = command.run("transfer", "-topic", ztf_topic, "--into-lake")
    assert f"{ztf_topic}: 31 messages = 31 rows in" in said.stdout
    assert command.json("status")["topics"][0]["topic"] == ztf_topic
    assert "31 messages = 31 rows" in command.run("transfer", "-topic", ztf_topic, "--into-lake").stdout


def test_schemas_are_dumped_under_the_names_of_fink_client(
    command: Command, ztf_topic: str, real_ztf: RealAlerts, tmp_path: Path
) -> None:
    words = ["transfer", "-topic", ztf_topic, "-outdir", "out", "-limit", "3", "--dump_schemas"]
    command.run(*words)
    file = tmp_path / f"avro_schema_{ztf_topic}.json"
    assert json.loads(file.read_text()) == json.loads(real_ztf.key)
    arrow = pq.read_schema(tmp_path / f"arrow_schema_{ztf_topic}.metadata")
    assert arrow.names == list(real_ztf.alerts[0])
    file.write_text("mine")
    said = command.run(*words, code=1)
    assert "3 messages = 3 rows" in said.stdout
    assert "it is not touched" in said.stderr
    assert file.read_text() == "mine"


def test_empty_topic(command: Command, kafka: Kafka) -> None:
    topic = kafka.topic("ftransfer_ztf")
    assert "has no messages" in command.run("transfer", "-topic", topic, "-outdir", "out").stdout


def test_messages_that_come_meanwhile_come_too(
    command: Command, kafka: Kafka, real_ztf: RealAlerts, tmp_path: Path
) -> None:
    topic = kafka.topic("ftransfer_ztf", config=KEPT)
    words = ["transfer", "-topic", topic, "-outdir", "out"]
    for number in range(3):
        kafka.produce(topic, real_ztf.records[number * 5 : number * 5 + 5])
        command.run(*words)
    assert_same_alerts(
        rows_in(tmp_path / "out"), real_ztf._replace(alerts=real_ztf.alerts[:15]), "candid", set()
    )


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["-topic", "fink_sn_ztf"], 2, "is no transfer's name"),
        (["-topic", "ftransfer_../x", "-survey", "ztf"], 2, "is no transfer's name"),
        (["-topic", "ftransfer_x"], 2, "name it with -survey"),
        (["-topic", "ftransfer_x", "-survey", "desi"], 2, "no cluster 'desi'"),
        (["-topic", "ftransfer_ztf_nowhere"], 1, "ftransfer_ztf_nowhere"),
    ],
)
def test_what_cannot_be_had_leaves_nothing(
    command: Command, tmp_path: Path, words: list[str], code: int, line: str
) -> None:
    said = command.run("transfer", *words, "-outdir", "out", code=code)
    assert line in said.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_class_that_the_alerts_lack_is_refused_and_leaves_nothing(
    command: Command, lsst_topic: str, tmp_path: Path
) -> None:
    words = [
        "transfer",
        "-topic",
        lsst_topic,
        "-survey",
        "lsst",
        "-outdir",
        "out",
        "-partitionby",
        "finkclass",
    ]
    assert "they have no finkclass" in command.run(*words, code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_no_schema_or_no_such_partition_leaves_nothing(
    command: Command, kafka: Kafka, real_ztf: RealAlerts, ztf_topic: str, tmp_path: Path
) -> None:
    topic = kafka.topic("ftransfer_ztf", config=KEPT)
    kafka.produce(topic, [(None, real_ztf.datums[0])])
    said = command.run("transfer", "-topic", topic, "-outdir", "out", code=1)
    assert "no writer schema" in said.stderr
    for option in ("-batchsize=0", "-number_partitions=-3", "-nconsumers=-2"):
        assert "is not in the range" in command.run("transfer", "-topic", ztf_topic, option, code=2).stderr
    said = command.run("transfer", "-topic", ztf_topic, "-outdir", "out", "-partitionby", "classId", code=2)
    assert "they have no classId" in said.stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s.avsc").write_bytes(real_ztf.key)
    command.run("transfer", "-topic", topic, "-outdir", "out", "-schema", "s.avsc")
    assert len(rows_in(tmp_path / "out")) == 1


def test_a_finished_topic_that_is_made_anew_is_told_of(
    command: Command, kafka: Kafka, real_ztf: RealAlerts
) -> None:
    topic = kafka.topic("ftransfer_ztf", config=KEPT)
    words = ["transfer", "-topic", topic, "-outdir", "out"]
    kafka.produce(topic, real_ztf.records[:10])
    assert "was made anew" not in command.run(*words).stdout
    kafka.recreate(topic)
    kafka.produce(topic, real_ztf.records[:4])
    said = command.run(*words)
    assert "14 rows" in said.stdout
    told = f"{topic} was made anew or cut since this transfer began, and the folder has the messages of its 2"
    assert told in said.stdout + said.stderr


def test_messages_that_expire_meanwhile_are_a_named_difference(
    command: Command, kafka: Kafka, real_ztf: RealAlerts
) -> None:
    topic = kafka.topic("ftransfer_ztf", config=KEPT)
    kafka.produce(topic, real_ztf.records[:10])
    command.run("transfer", "-topic", topic, "-outdir", "out", "-limit", "4")
    kafka.expire(topic, {0: 6})
    said = command.run("transfer", "-topic", topic, "-outdir", "out", code=1)
    assert "2 messages or holes" in said.stderr


def test_messages_that_expired_before_are_a_named_difference(
    command: Command, kafka: Kafka, real_ztf: RealAlerts
) -> None:
    topic = kafka.topic("ftransfer_ztf", config=KEPT)
    kafka.produce(topic, real_ztf.records[:10])
    for expired, rows in ((6, "4 messages = 4 rows"), (10, "0 messages = 0 rows")):
        kafka.expire(topic, {0: expired})
        said = command.run("transfer", "-topic", topic, "-outdir", f"out{expired}", code=1)
        assert rows in said.stdout
        assert f"{expired} messages or holes at the beginning of {topic} had left the broker" in said.stderr


def test_what_expired_of_a_topic_that_was_made_anew_is_a_named_difference(
    command: Command, kafka: Kafka, real_ztf: RealAlerts
) -> None:
    topic = kafka.topic("ftransfer_ztf", config=KEPT)
    kafka.produce(topic, real_ztf.records[:3])
    command.run("transfer", "-topic", topic, "-outdir", "out")
    kafka.recreate(topic)
    kafka.produce(topic, real_ztf.records[:9])
    kafka.expire(topic, {0: 5})
    said = command.run("transfer", "-topic", topic, "-outdir", "out", code=1)
    assert "7 messages = 7 rows" in said.stdout
    assert f"5 messages or holes at the beginning of {topic} had left the broker" in said.stderr


def test_what_a_lake_skipped_is_a_named_difference(
    command: Command, kafka: Kafka, real_ztf: RealAlerts
) -> None:
    topic = kafka.topic("ftransfer_ztf")
    kafka.produce(topic, real_ztf.records[:4])
    later = command.environ | {"FINKBRIDGE_DRAIN__START": "latest"}
    Command(command.folder, kafka.bootstrap, **later).run("drain", topic)
    kafka.produce(topic, real_ztf.records[4:6])
    said = command.run("transfer", "-topic", topic, "--into-lake", code=1)
    assert "2 messages = 2 rows" in said.stdout
    assert f"4 messages or holes at the beginning of {topic} are at the broker" in said.stderr


def test_ctrl_c_ends_in_order_and_the_same_command_goes_on(
    command: Command, ztf_topic: str, tmp_path: Path
) -> None:
    words = ["transfer", "-topic", ztf_topic, "-outdir", "out", "-nconsumers", "0"]
    with command.start(*words) as running:
        running.await_lock(tmp_path / ".out.finkbridge" / ztf_topic)
        assert running.end(signal.SIGINT) in {0, 130}
    assert "31 messages = 31 rows" in command.run(*words).stdout
