"""The lake's tables: what a row of ``deliveries`` and of ``packets`` is made of.

``deliveries``: one thin row per Kafka message, its schema fixed by us. ``packets``: the survey's alert as its
writer schema has it, without the cutouts, behind a few key columns that begin with ``_``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from finkbridge import layout, pick, surveys
from finkbridge.parquet import Style, WrittenTable, known_schema
from finkbridge.surveys import COMMON_SCHEMA, Description
from finkbridge.surveys.columns import described
from finkbridge.surveys.names import unique_names
from finkbridge.surveys.times import TIMESTAMP, is_timestamp_ms
from finkbridge.values import LandedFile, TableName, TopicGeneration

Ints = npt.NDArray[np.int64]


SOURCE_SCHEMA = pa.schema(
    [
        described("cluster", pa.string(), "", "Kafka cluster that delivered the message"),
        described("topic", pa.string(), "", "Kafka topic, one of Fink's filters"),
        described("generation", pa.int32(), "", "Life of the topic: grows when the topic is recreated"),
        described("kafka_partition", pa.int32(), "", "Partition of the topic"),
        described("kafka_offset", pa.int64(), "", "Offset in the partition"),
        described("received", TIMESTAMP, "", "Kafka's timestamp of the message, UTC, if of 1970-9999"),
    ]
)
ARCHIVE_SCHEMA = pa.schema(
    [
        described("archive_file", pa.string(), "", "File of the archive that has the message, from the lake"),
        described("archive_pos", pa.int64(), "byte", "Where the message's value begins in that file"),
        described("archive_len", pa.int64(), "byte", "Length of the message's value"),
        described("schema_id", pa.string(), "", "Fingerprint of the Avro schema it was written with"),
    ]
)
KEY_SCHEMA = pa.schema(
    [
        described("_object_id", pa.string(), "", "object_id of deliveries"),
        described("_source_id", pa.int64(), "", "source_id of deliveries"),
        described("_mjd", pa.float64(), "d", "mjd of deliveries"),
        described("_healpix_29", pa.int64(), "", "healpix_29 of deliveries"),
        described("_cluster", pa.string(), "", "cluster of deliveries"),
        described("_topic", pa.string(), "", "topic of deliveries"),
        described("_generation", pa.int32(), "", "generation of deliveries"),
        described("_kafka_partition", pa.int32(), "", "kafka_partition of deliveries"),
        described("_kafka_offset", pa.int64(), "", "kafka_offset of deliveries"),
    ]
)
EXTRA_SCHEMA = pa.schema(
    [
        described("survey", pa.string(), "", "Survey: ztf, lsst, or other"),
        described("night", pa.int32(), "", "Observing night, YYYYMMDD, by the survey's rule; from the path"),
    ]
)
"""Columns that readers see and files do not hold."""
PLACE_SCHEMA = pa.schema([*SOURCE_SCHEMA, *ARCHIVE_SCHEMA])


@dataclass(frozen=True, slots=True)
class TableStyle:
    """How the files of one table are written."""

    table: TableName
    prefix: str
    """Of the key columns' names."""
    parquet: Style


DELIVERIES = TableStyle(
    "deliveries",
    "",
    Style(
        row_group_rows=20_000,
        dictionary=("cluster", "topic", "band", "class", "simbad", "tns", "archive_file", "schema_id"),
        bloom=("object_id",),
    ),
)
PACKETS = TableStyle(
    "packets",
    "_",
    # no query prunes by the ranges of an alert's 300 leaves, which cost a tenth of the writing, and so does
    # splitting its floats, for files that are 0 % (ZTF) to 5 % (LSST) smaller on real alerts
    Style(
        row_group_rows=5_000,
        dictionary=("_cluster", "_topic"),
        bloom=("_object_id",),
        split_floats=False,
        statistics=tuple(KEY_SCHEMA.names),
        codec="lz4",  # until they are merged
    ),
)


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Where each of some messages comes from, and where it lies in the archive."""

    source: TopicGeneration
    partition: Ints
    offset: Ints
    timestamp_ms: Ints
    """Unix milliseconds; negative where there is none."""
    archive_file: str
    archive_pos: Ints
    archive_len: Ints
    schema_id: str

    @property
    def rows(self) -> int:
        """Number of messages."""
        return len(self.offset)

    def take(self, numbers: Ints) -> Origin:
        """Return some of the messages, by number."""
        names = ("partition", "offset", "timestamp_ms", "archive_pos", "archive_len")
        return replace(self, **{name: getattr(self, name)[numbers] for name in names})


@dataclass(frozen=True, slots=True, eq=False)
class NightRows:
    """The rows of one night, for one file of each table."""

    night: int
    deliveries: pa.Table
    packets: pa.Table


def delivery_fields() -> dict[str, pa.Field]:
    """Return every column of the view ``deliveries``, of whatever survey, by name."""
    own = [field for survey in surveys.SURVEYS for field in surveys.own_schema(survey)]
    first, science = list(COMMON_SCHEMA)[:2], list(COMMON_SCHEMA)[2:]
    fields = [*first, *SOURCE_SCHEMA, *science, *ARCHIVE_SCHEMA, *EXTRA_SCHEMA, *own]
    return {field.name: field for field in fields}


def empty_deliveries() -> pa.Table:
    """Return the view ``deliveries`` of an empty lake."""
    return pa.schema(list(delivery_fields().values())).empty_table()


def empty_packets() -> pa.Table:
    """Return a view of packets of an empty lake: its key columns."""
    return pa.schema([*KEY_SCHEMA, EXTRA_SCHEMA.field("night")]).empty_table()


def alert_columns(names: Sequence[str]) -> list[str]:
    """Return the columns of ``packets`` that an alert's fields become, by the rule of `unique_names`.

    Apart from each other, whatever the case, and from what every row of ``packets`` has: so ``_topic``
    becomes ``_topic_``, and ``night``, which would hide behind the partition's, ``night_``.
    """
    return unique_names(names, [*KEY_SCHEMA.names, "night"])


def places_of(origin: Origin) -> pa.Table:
    """Return where each message comes from and where it lies, as ``deliveries`` says it."""
    dated = is_timestamp_ms(origin.timestamp_ms)
    columns = [
        _constant(origin.source.cluster, origin.rows),
        _constant(origin.source.topic, origin.rows),
        pa.array(np.full(origin.rows, origin.source.generation, np.int32)),
        pa.array(origin.partition.astype(np.int32)),
        pa.array(origin.offset),
        pa.array(np.where(dated, origin.timestamp_ms, 0) * 1000, mask=~dated).cast(TIMESTAMP),
        _constant(origin.archive_file, origin.rows),
        pa.array(origin.archive_pos),
        pa.array(origin.archive_len),
        _constant(origin.schema_id, origin.rows),
    ]
    return pa.Table.from_arrays(columns, schema=PLACE_SCHEMA)


def deliveries_of(description: Description, places: pa.Table) -> pa.Table:
    """Return rows of ``deliveries``: object and detection, message, science, archive, the survey's own."""
    columns = description.columns
    first, science = ["object_id", "source_id"], COMMON_SCHEMA.names[2:]
    own = columns.column_names[len(COMMON_SCHEMA) :]
    return _concat(
        columns.select(first),
        places.select(SOURCE_SCHEMA.names),
        columns.select(science),
        places.select(ARCHIVE_SCHEMA.names),
        columns.select(own),
    )


def packets_of(alerts: pa.Table, description: Description, places: pa.Table) -> pa.Table:
    """Return rows of ``packets``: key columns, then the alert."""
    columns = description.columns
    keys = _concat(
        columns.select(["object_id", "source_id", "mjd", "healpix_29"]),
        places.select(SOURCE_SCHEMA.names).drop_columns(["received"]),
    )
    keys = pa.Table.from_arrays(keys.columns, schema=KEY_SCHEMA)
    return _concat(keys, alerts.rename_columns(alert_columns(alerts.column_names)))


def by_night(deliveries: pa.Table, packets: pa.Table, night: npt.NDArray[np.int32]) -> Iterator[NightRows]:
    """Part rows by observing night; ``deliveries`` sorted by place and time.

    ``packets`` keep the order of the messages: a segment is one row group, so that sorting it (a third of the
    time that its decoding takes) would help no query. Merging sorts them.
    """
    for one in sorted(set(night.tolist())):  # np.unique would load numpy.ma, 20 ms in each worker
        chosen = night == one
        yield NightRows(one, sort(pick.rows(deliveries, chosen), DELIVERIES), pick.rows(packets, chosen))


def order(table: pa.Table, style: TableStyle) -> pa.Array:
    """Return the row numbers that sort a table by sky position, then time."""
    keys = [(f"{style.prefix}healpix_29", "ascending"), (f"{style.prefix}mjd", "ascending")]
    return pc.sort_indices(table, sort_keys=keys)


def sort(table: pa.Table, style: TableStyle) -> pa.Table:
    """Sort rows by sky position, then time."""
    return table.take(order(table, style))


class Summary:
    """The ranges of time (UTC, MJD) and place (HEALPix order 29, nested) of tables that pass by.

    Of ``deliveries`` those of Kafka's times, too (Unix ms): a row without one counts as of 1970.
    """

    def __init__(self, style: TableStyle) -> None:
        self.style = style
        self.statistics: dict[str, float | int | None] = {}

    def watch(self, passing: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield tables on, having looked at each."""
        for table in passing:
            self._see("mjd_{}", table.column(f"{self.style.prefix}mjd"))
            self._see("healpix_{}", table.column(f"{self.style.prefix}healpix_29"))
            if self.style is DELIVERIES:
                received_us = pc.fill_null(table.column("received").cast(pa.int64()), 0)
                self._see("received_{}_ms", pc.divide(received_us, 1000))
            yield table
            del table  # or it would be there while the next one is made

    def _see(self, key: str, values: pa.ChunkedArray) -> None:
        ends = pc.min_max(values)
        for end, choose in (("min", min), ("max", max)):
            name = key.format(end)
            known = [v for v in (self.statistics.get(name), ends[end].as_py()) if v is not None]
            self.statistics[name] = choose(known, default=None)


def landed(path: str, survey: str, written: WrittenTable, schema: pa.Schema, summary: Summary) -> LandedFile:
    """Return the ledger's entry for a table's file that is written."""
    return LandedFile(
        path=path,
        table=summary.style.table,
        survey=survey,
        night=layout.parse_night(path),
        rows=written.rows,
        bytes=written.bytes,
        checksum=written.checksum,
        schema_id=known_schema(schema).schema_id,
        statistics=summary.statistics,
    )


def _constant(text: str, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), rows)


def _concat(*tables: pa.Table) -> pa.Table:
    """Put tables of the same rows side by side."""
    fields = [field for table in tables for field in table.schema]
    return pa.Table.from_arrays([c for table in tables for c in table.columns], schema=pa.schema(fields))
