"""Topics as Fink's data transfer service makes them, and commands that transfer them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.lake import KEPT, RealAlerts, real_alerts

FIRST_MS = 1_774_000_000_000
PARTITIONS = 3


@pytest.fixture(scope="session")
def real_ztf(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "ztf")


@pytest.fixture(scope="session")
def real_lsst(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "lsst")


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """Return all rows below a folder, as those who read it whole would."""
    files = sorted(p for p in folder.rglob("*.parquet") if not any(x.startswith(".") for x in p.parts))
    tables = [pq.ParquetFile(file).read() for file in files]
    return list(pa.concat_tables(tables).to_pylist(maps_as_pydicts="strict")) if tables else []


def transfer_topic(kafka: Kafka, real: RealAlerts, survey: str, prefix: str = "ftransfer") -> str:
    """Make a topic as the service does: its messages have no schema, their companion's first message has."""
    name = kafka.topic(f"{prefix}_{survey}", PARTITIONS, KEPT)
    add_schema(kafka, name, real.key)
    for number, datum in enumerate(real.datums):
        kafka.produce(name, [(None, datum)], number % PARTITIONS, [FIRST_MS + number])
    return name


def add_schema(kafka: Kafka, topic: str, key: bytes) -> None:
    companion = kafka.topic(f"{topic}_schema")
    # the fixture makes names unique: the service names it after the topic
    kafka.delete(companion)
    kafka._topics[f"{topic}_schema"] = type(kafka._topics[companion])(f"{topic}_schema", 1, config=dict(KEPT))
    kafka._create(f"{topic}_schema")
    kafka.produce(f"{topic}_schema", [(key, b"")])


@pytest.fixture(scope="session")
def ztf_topic(kafka: Kafka, real_ztf: RealAlerts) -> str:
    return transfer_topic(kafka, real_ztf, "ztf")


@pytest.fixture(scope="session")
def lsst_topic(kafka: Kafka, real_lsst: RealAlerts) -> str:
    return transfer_topic(kafka, real_lsst, "lsst")


@pytest.fixture
def command(kafka: Kafka, tmp_path: Path) -> Command:
    servers: Any = {"FINKBRIDGE_CLUSTERS__LSST__SERVERS": kafka.bootstrap}
    return Command(tmp_path, kafka.bootstrap, **servers)
