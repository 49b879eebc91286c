"""A lake of a million deliveries, written by finkbridge's own functions: for the benchmark of queries.

Its rows are those of simulated ZTF alerts, each used many times with another object, place and time. It has
no archive and no packets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from finkbridge import catalog, disk, layout, parquet, surveys, tables
from finkbridge.avro.decode import Decoder
from finkbridge.avro.schemas import parse_schema
from finkbridge.layout import SegmentName
from finkbridge.ledger import Coordinator, Ledger, coordinate
from finkbridge.ledger.store import KnownGeneration
from finkbridge.simulator.stream import alerts
from finkbridge.surveys.sky import healpix_29
from finkbridge.values import LandedFile, LandedPart, OffsetRange, RangeCount, TopicGeneration

TOPIC = "fink_bench_ztf"
TEMPLATE_ROWS = 2_000
FIRST_MJD = 61_000
"""2025-11-21."""
MERGED_NIGHTS, MERGED_ROWS = 90, 10_000
"""Nights of one merged file each."""
OPEN_NIGHTS, OPEN_FILES, OPEN_ROWS = 10, 30, 1_000 // 3
"""Nights of many files, as micro-batches leave them."""
OBJECTS = 100_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that go into one file."""

    night: int
    rows: pa.Table


def build(lake: Path) -> Ledger:
    """Write the lake and its catalog, and return its ledger, open."""
    ledger = Ledger(lake, None, create=True)
    with coordinate(ledger) as coordinator:
        generation = coordinator.add_generation("ztf", TOPIC, None)
        coordinator.start_partitions(generation, {0: 0})
        offset = 0
        for batch in _batches(np.random.default_rng(1)):
            offset = _commit(coordinator, generation, batch, offset)
        catalog.publish(coordinator)
    return ledger


def _batches(rng: np.random.Generator) -> Iterator[Batch]:
    template = _template()
    for day in range(MERGED_NIGHTS + OPEN_NIGHTS):
        merged = day < MERGED_NIGHTS
        files, rows = (1, MERGED_ROWS) if merged else (OPEN_FILES, OPEN_ROWS)
        for _ in range(files):
            yield Batch(_night(day), _vary(template, rng, FIRST_MJD + day, rows))


def _night(day: int) -> int:
    date = np.datetime64("1858-11-17") + np.timedelta64(FIRST_MJD + day, "D")
    return int(str(date).replace("-", ""))


def last_night() -> int:
    """Return the newest night of the lake, YYYYMMDD."""
    return _night(MERGED_NIGHTS + OPEN_NIGHTS - 1)


def _template() -> pa.Table:
    """Return rows of ``deliveries`` of simulated alerts."""
    made = list(islice(alerts("ztf", size="small", n=TEMPLATE_ROWS), TEMPLATE_ROWS))
    decoder = Decoder(parse_schema(made[0].key))
    decoded = decoder.decode([alert.value for alert in made])
    zeros = np.zeros(len(made), np.int64)
    origin = tables.Origin(
        source=TopicGeneration("ztf", TOPIC, 1),
        partition=zeros,
        offset=zeros,
        timestamp_ms=np.array([alert.emitted_ms for alert in made], np.int64),
        archive_file=f"archive/{TOPIC}/none.avro",
        archive_pos=zeros,
        archive_len=zeros,
        schema_id=decoder.schema.fingerprint,
    )
    return tables.deliveries_of(surveys.describe(decoded, "ztf"), tables.places_of(origin))


def _vary(template: pa.Table, rng: np.random.Generator, day_mjd: int, rows: int) -> pa.Table:
    """Return template rows of other objects: an object keeps its place from night to night."""
    chosen = template.take(pa.array(rng.integers(0, template.num_rows, rows)))
    serial = rng.integers(0, OBJECTS, rows)
    ra, dec = place_of(serial)
    columns = {
        "object_id": pa.array([object_name(number) for number in serial]),
        "source_id": pa.array(rng.integers(10**18, 2 * 10**18, rows)),
        "ra": pa.array(ra),
        "dec": pa.array(dec),
        "healpix_29": pa.array(healpix_29(ra, dec)),
        "mjd": pa.array(day_mjd + rng.uniform(0.1, 0.5, rows)),
    }
    for name, column in columns.items():
        at = chosen.schema.get_field_index(name)
        chosen = chosen.set_column(at, chosen.schema.field(at), column.cast(chosen.schema.field(at).type))
    return tables.sort(chosen, tables.DELIVERIES)


def object_name(serial: int) -> str:
    """Return the name of an object, in the manner of ZTF."""
    return f"ZTF25b{serial:07d}"


def place_of(serial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascension and declination (deg) of objects, even over the sphere."""
    ra = np.mod(serial * 137.50776405, 360.0)
    dec = np.degrees(np.arcsin(1.0 - (2.0 * serial + 1.0) / OBJECTS))
    return ra, dec


def _commit(coordinator: Coordinator, generation: KnownGeneration, batch: Batch, offset: int) -> int:
    """Write a batch as one file and commit it as one plan; return the next offset."""
    span = OffsetRange(0, offset, offset + batch.rows.num_rows)
    (plan,) = coordinator.add_plans(generation, [(span,)], 1)
    lake = coordinator.ledger.lake
    with disk.staging(lake) as place:
        aside, summary = place.new(".parquet"), tables.Summary(tables.DELIVERIES)
        path = layout.deliveries_path(SegmentName(TOPIC, 1, 0, offset, plan.number, 0), "ztf", batch.night)
        watched, style = summary.watch([batch.rows]), tables.DELIVERIES.parquet
        written = parquet.write(watched, batch.rows.schema, aside, style, batch.rows.num_rows)
        place.keep(aside, path)
        place.publish()
    file = tables.landed(path, "ztf", written, batch.rows.schema, summary)
    with patch("finkbridge.ledger.reconcile.check_files"):  # this lake has deliveries only
        coordinator.commit_segment(plan, [_part(file, span, batch.rows.schema)])
    return span.end


def _part(file: LandedFile, span: OffsetRange, schema: pa.Schema) -> LandedPart:
    return LandedPart(
        part=0,
        files=(file,),
        counts=(RangeCount(span, file.rows, 0, ()),),
        rejected=(),
        schemas=(parquet.known_schema(schema),),
        last=(),
        bytes=file.bytes,
        first_timestamp_ms=None,
        last_timestamp_ms=None,
    )
