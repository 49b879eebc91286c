"""A part of a segment on its way to disk: its files are written aside, and what the ledger needs noted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from finkbridge import layout, parquet, surveys, tables
from finkbridge.avro.archive import Archive, write_archive
from finkbridge.avro.quarantine import write_quarantine
from finkbridge.avro.resolve import SchemaGroup, datum_of
from finkbridge.avro.schemas import WriterSchema
from finkbridge.avro.unfold import columns_of
from finkbridge.disk import Staging
from finkbridge.layout import SegmentName
from finkbridge.parts import Account, Part
from finkbridge.surveys.times import night_of_timestamp_ms
from finkbridge.values import (
    KnownSchema,
    LandedFile,
    Message,
    Rejected,
    Rejection,
    SegmentPlan,
    TopicGeneration,
)


@dataclass(slots=True, eq=False)
class Landing:
    """A part on its way: where it goes, and what has come of it so far."""

    source: TopicGeneration
    name: SegmentName
    facts: Mapping[str, Any]
    place: Staging
    files: list[LandedFile] = field(default_factory=list)
    schemas: list[KnownSchema] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    ordinals: Iterator[int] = field(default_factory=count)
    """Of the groups that are written, so that no two share a file's name."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Good messages of one writer schema, written aside as an archive file."""

    aside: Path
    file: LandedFile
    origin: tables.Origin


def name_of(plan: SegmentPlan, part: Part) -> SegmentName:
    """Return the name of a part, without its writer schema's number."""
    first, source = part.ranges[0], plan.source
    return SegmentName(
        source.topic, source.generation, first.partition, first.start, plan.number, part.number
    )


def facts_of(plan: SegmentPlan, part: Part, accounted: Account) -> dict[str, Any]:
    """Return what a file's header says of its segment, so that the ledger could be made again from it."""
    return {
        "cluster": plan.source.cluster,
        "topic": plan.source.topic,
        "generation": plan.source.generation,
        "plan": plan.number,
        "part": part.number,
        "planned": [[r.partition, r.start, r.end] for r in plan.ranges],
        "ranges": [[r.partition, r.start, r.end] for r in part.ranges],
        "holes": [[h.partition, h.start, h.end] for found in accounted.holes.values() for h in found],
    }


def store(
    landing: Landing, name: SegmentName, group: SchemaGroup, messages: list[Message], survey: str
) -> Stored:
    """Write messages of one writer schema aside as an archive file, under the next name of the part."""
    aside = landing.place.new(".avro")
    schema_id = group.schema.fingerprint
    written = write_archive(aside, group.schema, group.framing, messages, landing.facts)
    landing.place.written(aside)
    times = np.array([-1 if m.timestamp_ms is None else m.timestamp_ms for m in messages], np.int64)
    path = layout.archive_path(name, int(times[times >= 0].min()) if (times >= 0).any() else None)
    origin = tables.Origin(
        source=landing.source,
        partition=np.array([m.partition for m in messages], np.int64),
        offset=np.array([m.offset for m in messages], np.int64),
        timestamp_ms=times,
        archive_file=path,
        archive_pos=written.positions,
        archive_len=written.lengths,
        schema_id=schema_id,
    )
    file = LandedFile(
        path, "archive", survey, None, len(messages), written.bytes, written.checksum, schema_id
    )
    return Stored(aside, file, origin)


def datums_of(archive: Archive) -> list[bytes]:
    """Return the datums of an archive file's messages."""
    return [datum_of(message.value or b"", archive.framing) for message in archive.messages]


def origin_of(path: str, archive: Archive) -> tables.Origin:
    """Return where the messages of an archive file in the lake come from, by what the file says."""
    messages, spans = archive.messages, np.array(archive.spans, np.int64).reshape(-1, 2)
    return tables.Origin(
        source=TopicGeneration(*(archive.facts[fact] for fact in ("cluster", "topic", "generation"))),
        partition=np.array([m.partition for m in messages], np.int64),
        offset=np.array([m.offset for m in messages], np.int64),
        timestamp_ms=np.array([-1 if m.timestamp_ms is None else m.timestamp_ms for m in messages], np.int64),
        archive_file=path,
        archive_pos=spans[:, 0],
        archive_len=spans[:, 1] - spans[:, 0],
        schema_id=archive.schema.fingerprint,
    )


def keep_archive(landing: Landing, stored: Stored, schema: WriterSchema) -> None:
    """Have an archive file published with the part."""
    # a night's archive would drive all else out of the system's cache, and nobody queries it
    landing.place.keep(stored.aside, stored.file.path, is_read_soon=False)
    landing.files.append(stored.file)
    landing.schemas.append(writer_schema(schema))


def writer_schema(schema: WriterSchema) -> KnownSchema:
    """Return what the ledger is told of a writer schema."""
    return KnownSchema(schema.fingerprint, "avro", schema.text, columns_of(schema.simple))


def land_tables(
    landing: Landing, name: SegmentName, stored: Stored, alerts: pa.Table, description: surveys.Description
) -> None:
    """Write the tables' files of an archive file aside, one a table and night."""
    survey, origin = stored.file.survey, stored.origin
    night = night_of_timestamp_ms(origin.timestamp_ms) if survey == "other" else description.night
    places = tables.places_of(origin)
    deliveries = tables.deliveries_of(description, places)
    packets = tables.packets_of(alerts, description, places)
    for rows in tables.by_night(deliveries, packets, night):
        path = layout.deliveries_path(name, survey, rows.night)
        _land_table(landing, path, survey, rows.deliveries, tables.DELIVERIES)
        path = layout.packets_path(name, survey, rows.night)
        _land_table(landing, path, survey, rows.packets, tables.PACKETS)


def _land_table(landing: Landing, path: str, survey: str, rows: pa.Table, style: tables.TableStyle) -> None:
    aside = landing.place.new(".parquet")
    summary = tables.Summary(style)
    written = parquet.write(summary.watch([rows]), rows.schema, aside, style.parquet, rows.num_rows)
    landing.place.keep(aside, path)
    landing.schemas.append(parquet.known_schema(rows.schema))
    landing.files.append(tables.landed(path, survey, written, rows.schema, summary))


def land_quarantine(landing: Landing) -> tuple[Rejection, ...]:
    """Write what was rejected aside, in order of offset; return what the ledger is told of it."""
    if not landing.rejected:
        return ()
    rejected = sorted(landing.rejected, key=lambda r: (r.message.partition, r.message.offset))
    path = layout.quarantine_path(landing.name)
    aside = landing.place.new(".avro")
    written = write_quarantine(aside, rejected, landing.facts)
    landing.place.keep(aside, path)
    landing.files.append(
        LandedFile(path, "quarantine", "", None, len(rejected), written.bytes, written.checksum, "")
    )
    return tuple(_rejection(r, path) for r in rejected)


def _rejection(rejected: Rejected, path: str) -> Rejection:
    m = rejected.message
    return Rejection(
        m.partition,
        m.offset,
        m.timestamp_ms,
        rejected.reason,
        rejected.byte_position,
        rejected.reference,
        path,
    )
