"""Real alerts, through a real Kafka, into a lake: every byte, every field, each exactly once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import datafusion
import fastavro
import pytest

from finkbridge.avro.archive import read_archive
from finkbridge.ledger import Ledger
from finkbridge.values import Message
from tests.support.kafka import Kafka
from tests.support.lake import (
    KEPT,
    RealAlerts,
    alive_files,
    assert_consistent,
    delivered,
    drained,
    forget_landers,
    make_settings,
    open_catalog,
    read_table,
    real_alerts,
    same,
)

pytestmark = pytest.mark.kafka

CUTOUTS = ("cutoutScience", "cutoutTemplate", "cutoutDifference")
FIRST_MS = 1_774_000_000_000


@pytest.fixture(scope="module", params=["ztf", "lsst"])
def survey(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def real(shared_data: Path, survey: str) -> RealAlerts:
    return real_alerts(shared_data / survey)


@pytest.fixture(scope="module")
def topic(kafka: Kafka, real: RealAlerts, survey: str) -> str:
    name = kafka.topic(f"fink_{survey}", config=KEPT)
    times = [FIRST_MS + i for i in range(len(real.datums))]
    kafka.produce(name, real.records, timestamps=times, headers=[("origin", b"test")])
    return name


@pytest.fixture(scope="module")
def lake(kafka: Kafka, topic: str, real: RealAlerts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with all real alerts of the survey in it."""
    lake = tmp_path_factory.mktemp("real") / "lake"
    report = drained(make_settings(lake, kafka.bootstrap, topic))
    forget_landers()
    count = len(real.datums)
    assert (report.total("planned"), report.total("rows"), report.total("messages")) == (count,) * 3
    assert (report.total("quarantined"), report.total("holes"), report.total("lag")) == (0, 0, 0)
    return lake


def expected(real: RealAlerts) -> list[dict[str, Any]]:
    """What packets must hold of each alert."""
    return [{k: v for k, v in alert.items() if k not in CUTOUTS} for alert in real.alerts]


def test_lake_is_consistent(lake: Path) -> None:
    assert_consistent(lake)


def test_every_field_arrives_in_packets(lake: Path, real: RealAlerts) -> None:
    packets = read_table(lake, "packets")
    found = packets.select([n for n in packets.column_names if not n.startswith("_")])
    rows = found.to_pylist(maps_as_pydicts="strict")
    assert len(rows) == len(real.alerts)
    for row, alert in zip(rows, expected(real), strict=True):
        assert row.keys() == alert.keys()
        for name in alert:
            assert same(row[name], alert[name]), name


def test_every_field_arrives_in_the_view(lake: Path, real: RealAlerts, survey: str) -> None:
    with open_catalog(lake) as connection:
        query = f"SELECT * FROM packets_{survey} ORDER BY _kafka_offset"
        table = connection.sql(query).to_arrow_table()
    rows = table.to_pylist(maps_as_pydicts="strict")
    assert len(rows) == len(real.alerts)
    for row, alert in zip(rows, expected(real), strict=True):
        assert same({name: row[name] for name in alert}, alert)


def archives(lake: Path) -> list[Path]:
    return sorted(lake / path for path in alive_files(lake) if path.startswith("archive/"))


def test_archive_holds_the_messages_byte_for_byte(lake: Path, real: RealAlerts) -> None:
    (path,) = archives(lake)
    messages = [
        Message(0, i, FIRST_MS + i, 1, real.key, datum, (("origin", b"test"),))
        for i, datum in enumerate(real.datums)
    ]
    archive = read_archive(path)
    assert list(archive.messages) == messages
    assert archive.schema.text == real.key
    with path.open("rb") as stream:
        blocks = [b.bytes_.getvalue() for b in fastavro.block_reader(stream)]
    assert blocks == real.datums


def test_archive_opens_in_any_reader(lake: Path, real: RealAlerts) -> None:
    (path,) = archives(lake)
    with path.open("rb") as stream:
        assert all(map(same, fastavro.reader(stream), real.alerts))
    assert datafusion.SessionContext().read_avro(str(path)).count() == len(real.alerts)


def test_every_row_knows_its_raw_bytes(lake: Path, real: RealAlerts, topic: str) -> None:
    rows = read_table(lake, "deliveries").to_pylist()
    assert len(rows) == len(real.datums)
    for offset, (row, datum) in enumerate(zip(rows, real.datums, strict=True)):
        identity = [row[k] for k in ("cluster", "topic", "generation", "kafka_partition", "kafka_offset")]
        assert identity == ["ztf", topic, 1, 0, offset]
        assert row["received"].timestamp() * 1000 == pytest.approx(FIRST_MS + offset)
        with (lake / row["archive_file"]).open("rb") as stream:
            stream.seek(row["archive_pos"])
            raw = stream.read(row["archive_len"])
        assert raw == datum
        alert: Any = fastavro.schemaless_reader(io.BytesIO(raw), real.schema, None)
        assert row["source_id"] == alert["candid" if "candid" in alert else "diaSourceId"]


def test_packets_and_deliveries_agree(lake: Path) -> None:
    keys = ["object_id", "source_id", "mjd", "healpix_29", "kafka_offset"]
    deliveries = read_table(lake, "deliveries").select(keys)
    packets = read_table(lake, "packets").select([f"_{k}" for k in keys])
    assert deliveries.to_pydict() == {k[1:]: v for k, v in packets.to_pydict().items()}


def test_engines_give_equal_tables(kafka: Kafka, lake: Path, topic: str, tmp_path: Path) -> None:
    other = tmp_path / "lake"
    drained(make_settings(other, kafka.bootstrap, topic, decode={"engine": "fastavro"}))
    assert alive_files(other) == alive_files(lake)
    for table in ("deliveries", "packets"):
        mine, theirs = read_table(lake, table), read_table(other, table)
        assert mine.schema.equals(theirs.schema, check_metadata=True)
        assert same(mine.to_pylist(), theirs.to_pylist())


def test_second_run_finds_nothing(kafka: Kafka, lake: Path, topic: str) -> None:
    before = delivered(lake)
    with Ledger(lake) as ledger:
        commit = ledger.last_commit()
    report = drained(make_settings(lake, kafka.bootstrap, topic))
    assert (report.total("planned"), report.run, report.commit) == (0, 0, commit)
    assert delivered(lake) == before
