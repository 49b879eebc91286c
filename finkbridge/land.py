"""Steps 2-5 of the way through the house, for one planned segment: a pure function of plan and settings.

    2 fetch      offset ranges by position; holes confirmed by a second look (`finkbridge.parts`)
    3 archive    strict check; good messages to an Avro container file, bad ones to a quarantine file
    4 decode     container file -> Arrow
    5 land       Arrow -> Parquet; then all files get their final names, synced

Nothing here touches the ledger: what it returns is committed, or it never happened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from finkbridge import layout, parquet, surveys, tables
from finkbridge.avro.archive import Archive, read_archive, write_archive
from finkbridge.avro.check import REASONS, Checker, why
from finkbridge.avro.container import read_header, unwrap
from finkbridge.avro.decode import Decoder
from finkbridge.avro.quarantine import write_quarantine
from finkbridge.avro.resolve import Framing, SchemaGroup, SchemaResolver
from finkbridge.avro.schemas import WriterSchema, parse_schema
from finkbridge.disk import Staging, staging
from finkbridge.errors import DecodeError, SchemaError, UnknownTopicError
from finkbridge.layout import SegmentName
from finkbridge.parts import Account, MessageSource, Part, account, parts_of
from finkbridge.surveys.times import night_of_timestamp_ms
from finkbridge.values import (
    KnownSchema,
    LandedFile,
    LandedPart,
    Message,
    Rejected,
    Rejection,
    SegmentPlan,
    TopicGeneration,
)

Engine = Literal["auto", "fastavro"]


@dataclass(slots=True, eq=False)
class _Landing:
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
class _Stored:
    """Good messages of one writer schema, written aside as an archive file."""

    aside: Path
    file: LandedFile
    origin: tables.Origin


class Again(NamedTuple):
    """What landing messages once more left aside, and those that still cannot land."""

    files: tuple[LandedFile, ...]
    schemas: tuple[KnownSchema, ...]
    rejected: tuple[Rejected, ...]


class Lander:
    """Lands segments; keeps what is costly to make (parsed schemas, compiled checks, decoders).

    Parameters
    ----------
    lake
        Folder of the lake.
    source
        Of the messages.
    engine
        Which decoder: ``auto`` or ``fastavro``.
    schema_override
        Text of a writer schema for every message; None to find it with each message.
    """

    def __init__(
        self, lake: Path, source: MessageSource, engine: Engine = "auto", schema_override: bytes | None = None
    ) -> None:
        self._lake = lake
        self._source = source
        self._engine = engine
        override = None if schema_override is None else parse_schema(schema_override)
        self._resolver = SchemaResolver(override, self._topic_schema)
        self._decoders: dict[str, Decoder] = {}
        self._checkers: dict[str, Checker] = {}

    def land(self, plan: SegmentPlan) -> tuple[LandedPart, ...]:
        """Fetch a plan's messages and leave them on disk, ready to be committed."""
        with staging(self._lake) as place:
            landed = tuple(self._land_part(plan, part, place) for part in parts_of(plan, self._source))
            place.publish()  # all parts or none: a plan that fails half-way leaves no file in the lake
        return landed

    def land_again(
        self,
        source: TopicGeneration,
        name: SegmentName,
        messages: Sequence[Message],
        facts: Mapping[str, Any],
        place: Staging,
    ) -> Again:
        """Land messages that waited in quarantine, aside: publishing them is the caller's."""
        landing = _Landing(source, name, facts, place)
        self._land_messages(landing, list(messages))
        return Again(tuple(landing.files), tuple(landing.schemas), tuple(landing.rejected))

    def land_archived(self, archive: Archive, file: LandedFile, name: SegmentName, place: Staging) -> Again:
        """Make the tables' files of an archive file anew, aside: publishing them is the caller's.

        Raises
        ------
        DecodeError
            The messages do not give as many rows.
        """
        source = TopicGeneration(*(archive.facts[fact] for fact in ("cluster", "topic", "generation")))
        landing = _Landing(source, name, archive.facts, place)
        group = SchemaGroup(archive.schema, archive.framing, np.arange(file.rows), _datums(archive))
        stored = _Stored(self._lake / file.path, file, _origin(source, file, archive))
        alerts = self._decode(group, stored, surveys.cutout_columns(file.survey))
        description = surveys.describe(alerts, file.survey)
        if description.rejected:
            at, reason = min(description.rejected.items())
            m = archive.messages[at]
            raise DecodeError(f"{file.path}: the message at {m.partition}:{m.offset} lands no more: {reason}")
        _land_tables(landing, name, stored, alerts, description)
        return Again(tuple(landing.files), tuple(landing.schemas), ())

    def _land_part(self, plan: SegmentPlan, part: Part, place: Staging) -> LandedPart:
        accounted = account(part, plan.source.topic, self._source)
        landing = _Landing(plan.source, _name(plan, part), _facts(plan, part, accounted), place)
        self._land_messages(landing, part.messages)
        rejections = _land_quarantine(landing)
        return LandedPart(
            part=part.number,
            files=tuple(landing.files),
            counts=accounted.counts([(r.partition, r.offset) for r in rejections]),
            rejected=rejections,
            schemas=tuple(landing.schemas),
            last=accounted.last,
            bytes=accounted.bytes,
            first_timestamp_ms=accounted.first_timestamp_ms,
            last_timestamp_ms=accounted.last_timestamp_ms,
        )

    def _land_messages(self, landing: _Landing, messages: list[Message]) -> None:
        groups = self._group(landing, messages)
        messages.clear()  # the groups have them now, and give them up one by one
        for group, mine in groups:
            if refusal := self._refusal(group.schema):
                landing.rejected += [Rejected(message, refusal) for message in mine]
                continue
            self._set_bad_aside(landing, group, mine)
            self._land_group(landing, group, mine)

    def _group(self, landing: _Landing, messages: list[Message]) -> list[tuple[SchemaGroup, list[Message]]]:
        """Part messages by writer schema, each group with its own; those without a schema are rejected."""
        grouped = self._resolver.group(landing.source.topic, messages)
        landing.rejected += [Rejected(messages[i], reason) for i, reason in grouped.rejected]
        return [(group, [messages[i] for i in group.indices]) for group in grouped.groups]

    def _topic_schema(self, topic: str) -> bytes | None:
        try:
            return self._source.first_key(f"{topic}_schema")
        except UnknownTopicError:
            return None

    def _refusal(self, schema: WriterSchema) -> str:
        """Return why no message of a schema can be checked or decoded; empty if they can."""
        try:
            self._checker(schema)
            self._decoder(schema)
        except SchemaError as error:
            return str(error)
        return ""

    def _set_bad_aside(self, landing: _Landing, group: SchemaGroup, messages: list[Message]) -> None:
        verdicts = self._checker(group.schema).check(group.datums)
        bad = np.flatnonzero(verdicts.status)
        for i in bad:
            reason, at = REASONS[int(verdicts.status[i])], int(verdicts.position[i])
            landing.rejected.append(Rejected(messages[i], reason, at, why(group.schema, group.datums[i])))
        for i in reversed(bad):
            del messages[i], group.datums[i]

    def _land_group(self, landing: _Landing, group: SchemaGroup, messages: list[Message]) -> None:
        """Archive and tables of the good messages of one writer schema."""
        if not messages:
            return
        name = landing.name.with_ordinal(next(landing.ordinals))
        survey = surveys.survey_of_avro(group.schema.parsed)
        stored = _store(landing, name, group, messages, survey)
        messages.clear()
        alerts = self._decode(group, stored, surveys.cutout_columns(survey))
        description = surveys.describe(alerts, survey)
        if description.rejected:
            self._land_rest(landing, stored, description.rejected)
            return
        _keep_archive(landing, stored, group.schema)
        _land_tables(landing, name, stored, alerts, description)

    def _land_rest(self, landing: _Landing, stored: _Stored, rejected: Mapping[int, str]) -> None:
        """Begin again without alerts that have no identity, position or time; the first file is dropped."""
        messages = list(read_archive(stored.aside).messages)
        landing.rejected += [Rejected(messages[i], reason) for i, reason in rejected.items()]
        rest = [m for i, m in enumerate(messages) if i not in rejected]
        for group, mine in self._group(landing, rest):
            self._land_group(landing, group, mine)

    def _decode(self, group: SchemaGroup, stored: _Stored, dropped: Sequence[str]) -> pa.Table:
        decoder = self._decoder(group.schema)
        columns = [name for name in decoder.arrow_schema.names if name not in dropped]
        if group.framing is not Framing.BARE:
            return decoder.decode(group.datums, columns)
        group.datums.clear()  # they are in the archive file
        try:
            return decoder.decode_file(stored.aside, stored.origin.rows, columns)
        except DecodeError:
            if not decoder.bulk:
                raise
            # checked messages that the bulk engine refuses all the same must not block their topic
            self._decoders[group.schema.fingerprint] = careful = Decoder(group.schema, "fastavro")
            return careful.decode_file(stored.aside, stored.origin.rows, columns)

    def _decoder(self, schema: WriterSchema) -> Decoder:
        if schema.fingerprint not in self._decoders:
            self._decoders[schema.fingerprint] = Decoder(schema, self._engine)
        return self._decoders[schema.fingerprint]

    def _checker(self, schema: WriterSchema) -> Checker:
        if schema.fingerprint not in self._checkers:
            self._checkers[schema.fingerprint] = Checker(schema)
        return self._checkers[schema.fingerprint]


def _name(plan: SegmentPlan, part: Part) -> SegmentName:
    first, source = part.ranges[0], plan.source
    return SegmentName(
        source.topic, source.generation, first.partition, first.start, plan.number, part.number
    )


def _facts(plan: SegmentPlan, part: Part, accounted: Account) -> dict[str, Any]:
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


def _store(
    landing: _Landing, name: SegmentName, group: SchemaGroup, messages: list[Message], survey: str
) -> _Stored:
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
    return _Stored(aside, file, origin)


def _datums(archive: Archive) -> list[bytes]:
    """Return what is not in the file as the decoder wants it; bare datums are read from the file."""
    if archive.framing is Framing.BARE:
        return []
    values = [message.value or b"" for message in archive.messages]
    return [unwrap(value, read_header(value)) for value in values]


def _origin(source: TopicGeneration, file: LandedFile, archive: Archive) -> tables.Origin:
    messages, spans = archive.messages, np.array(archive.spans, np.int64).reshape(-1, 2)
    return tables.Origin(
        source=source,
        partition=np.array([m.partition for m in messages], np.int64),
        offset=np.array([m.offset for m in messages], np.int64),
        timestamp_ms=np.array([-1 if m.timestamp_ms is None else m.timestamp_ms for m in messages], np.int64),
        archive_file=file.path,
        archive_pos=spans[:, 0],
        archive_len=spans[:, 1] - spans[:, 0],
        schema_id=file.schema_id,
    )


def _keep_archive(landing: _Landing, stored: _Stored, schema: WriterSchema) -> None:
    # a night's archive would drive all else out of the system's cache, and nobody queries it
    landing.place.keep(stored.aside, stored.file.path, is_read_soon=False)
    landing.files.append(stored.file)
    landing.schemas.append(KnownSchema(schema.fingerprint, "avro", schema.text))


def _land_tables(
    landing: _Landing, name: SegmentName, stored: _Stored, alerts: pa.Table, description: surveys.Description
) -> None:
    survey, origin = stored.file.survey, stored.origin
    night = night_of_timestamp_ms(origin.timestamp_ms) if survey == "other" else description.night
    deliveries = tables.deliveries_of(description, origin)
    packets = tables.packets_of(alerts, description, origin)
    for rows in tables.by_night(deliveries, packets, night):
        path = layout.deliveries_path(name, survey, rows.night)
        _land_table(landing, path, survey, rows.deliveries, tables.DELIVERIES)
        path = layout.packets_path(name, survey, rows.night)
        _land_table(landing, path, survey, rows.packets, tables.PACKETS)


def _land_table(landing: _Landing, path: str, survey: str, rows: pa.Table, style: tables.TableStyle) -> None:
    aside = landing.place.new(".parquet")
    summary = tables.Summary(style)
    written = parquet.write(summary.watch([rows]), rows.schema, aside, style.parquet, rows.num_rows)
    landing.place.keep(aside, path)
    landing.schemas.append(parquet.known_schema(rows.schema))
    landing.files.append(tables.landed(path, survey, written, rows.schema, summary))


def _land_quarantine(landing: _Landing) -> tuple[Rejection, ...]:
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
