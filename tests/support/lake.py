"""Helpers for tests that drain real messages into a lake and look at what is in it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Row, select

from finkbridge import catalog, layout, task
from finkbridge.drain import drain
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.report import DrainReport
from finkbridge.settings import Settings

Record = tuple[bytes | None, bytes | None]

KEPT = {"retention.ms": "-1"}
"""For topics of messages with the real alerts' times, which the broker would soon delete as too old."""


POINT = {"type": "record", "name": "point", "fields": [{"name": "x", "type": "double"}]}
"""Writer schema of the smallest messages, which are no survey's."""


def points(*numbers: float) -> list[Record]:
    """Return messages of eight bytes each, keyed by their schema."""
    return [(json.dumps(POINT).encode(), encode(POINT, {"x": number})) for number in numbers]


class RealAlerts(NamedTuple):
    """The real alerts of one survey: what Fink's topics carry, and what fastavro reads in it."""

    schema: Any
    key: bytes
    """The writer schema as JSON: the key of every message."""
    datums: list[bytes]
    alerts: list[dict[str, Any]]

    @property
    def records(self) -> list[Record]:
        """Key and value of a message for each alert."""
        return [(self.key, datum) for datum in self.datums]


def real_alerts(folder: Path) -> RealAlerts:
    """Read the one container file of a folder; the datums are its bytes, not written anew."""
    (path,) = folder.glob("*.avro")
    datums, alerts = [], []
    with path.open("rb") as stream:
        blocks: Any = fastavro.block_reader(stream)
        key = blocks.metadata["avro.schema"].encode()
        for block in blocks:
            data = io.BytesIO(block.bytes_.getvalue())
            for _ in range(block.num_records):
                start = data.tell()
                alerts.append(fastavro.schemaless_reader(data, blocks.writer_schema, None))
                datums.append(data.getvalue()[start : data.tell()])
    return RealAlerts(blocks.writer_schema, key, datums, alerts)


def encode(schema: Any, record: Any) -> bytes:
    """Return a record as a bare datum."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), record)
    return stream.getvalue()


def make_settings(lake: Path, servers: str, *topics: str, **more: Any) -> Settings:
    """Return settings for a lake and one cluster named ``ztf``, working in this process."""
    cluster = {"servers": servers, "group_id": "test", "topics": topics}
    values = {"lake": lake, "workers": 0, "clusters": {"ztf": cluster}, **more}
    return Settings.model_validate(values)


def forget_landers() -> None:
    """Close the connections of what landed in this process, and forget it."""
    task.forget_landers()


def drained(settings: Settings, *names: str) -> DrainReport:
    """Drain and expect that all went well."""
    report = drain(settings, names)
    assert report.succeeded, report.problems
    return report


@contextmanager
def open_catalog(lake: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the published catalog for reading."""
    with duckdb.connect(str(lake / layout.CATALOG), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def sql(lake: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask the published catalog."""
    with open_catalog(lake) as connection:
        return connection.sql(query).fetchall()


def gaps(lake: Path) -> list[tuple[Any, ...]]:
    """Return generation, partition, start, end and reason of what was lost."""
    query = "SELECT generation, kafka_partition, start_offset, end_offset, reason FROM gaps ORDER BY ALL"
    return sql(lake, query)


def offsets(lake: Path) -> list[tuple[int, int, int]]:
    """Return generation, partition and offset of every delivery, in order."""
    return [(g, p, o) for _, g, p, o in delivered(lake)]


def ledger_rows(lake: Path, table: Any) -> Sequence[Row[Any]]:
    """Return all rows of a table of a lake's ledger."""
    with Ledger(lake) as ledger, ledger.reading() as connection:
        return connection.execute(select(table)).all()


def next_offsets(lake: Path) -> dict[int, int]:
    """Return where the lake ends, by partition, of a lake that knows one generation."""
    return {row.partition: row.next_offset for row in ledger_rows(lake, s.partitions)}


def data_files(lake: Path) -> set[str]:
    """Return every file of the lake that is no bookkeeping, by path."""
    own = {layout.LEDGER, layout.LOCK, layout.CATALOG, layout.BOT}
    found = (p for p in lake.rglob("*") if p.is_file())
    names = {p.relative_to(lake).as_posix() for p in found}
    return {n for n in names if n not in own and not n.startswith(f"{layout.LEDGER}-")}


def alive_files(lake: Path) -> set[str]:
    """Return the files that the ledger lists."""
    with Ledger(lake) as ledger:
        return {row.path for row in ledger.alive_files()}


def read_table(lake: Path, table: str) -> pa.Table:
    """Read the files of a table that the ledger lists, by pyarrow, in order of offset."""
    with Ledger(lake) as ledger:
        paths = [lake / row.path for row in ledger.alive_files(table)]
    prefix = "_" if table == "packets" else ""
    whole = pa.concat_tables([pq.ParquetFile(p).read() for p in paths], promote_options="permissive")
    keys = [f"{prefix}{k}" for k in ("cluster", "topic", "generation", "kafka_partition", "kafka_offset")]
    return whole.sort_by([(k, "ascending") for k in keys])


def delivered(lake: Path) -> list[tuple[Any, ...]]:
    """Return the identity of every delivery in the catalog's view, in order."""
    return sql(
        lake,
        "SELECT topic, generation, kafka_partition, kafka_offset FROM deliveries ORDER BY ALL",
    )


def assert_consistent(lake: Path) -> None:
    """Check what must hold of any lake: files are those of the ledger, whole; each delivery is there once."""
    assert data_files(lake) == alive_files(lake)
    rows = delivered(lake)
    assert len(rows) == len(set(rows))
    packets = read_table(lake, "packets") if rows else None
    assert len(rows) == (packets.num_rows if packets else 0)
    with Ledger(lake) as ledger:
        assert ledger.pending_plans() == []
        for file in ledger.alive_files():
            assert (lake / file.path).stat().st_size == file.bytes, file.path
            assert catalog.disk.checksum(lake / file.path) == file.checksum, file.path


def same(a: Any, b: Any) -> bool:
    """Whether two decoded values are equal, NaN equal to itself, and of the same kinds."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)
