"""Steps 2-5 of the way through the house, for one planned segment: a pure function of plan and settings.

    2 fetch      offset ranges by position; holes confirmed by a second look (`finkbridge.parts`)
    3 archive    strict check; good messages to an Avro container file, bad ones to a quarantine file
    4 decode     container file -> Arrow
    5 land       Arrow -> Parquet; then all files get their final names, synced

Nothing here touches the ledger: what it returns is committed, or it never happened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from finkbridge import surveys
from finkbridge.avro.archive import Archive, read_archive
from finkbridge.avro.check import REASONS, why
from finkbridge.avro.decode import Engine
from finkbridge.avro.parser import Budget
from finkbridge.avro.portions import portions, unfolding
from finkbridge.avro.resolve import Lookups, SchemaGroup, SchemaResolver
from finkbridge.avro.schemas import WriterSchema, parse_schema
from finkbridge.avro.tools import Tools
from finkbridge.deadline import deadline, untimed
from finkbridge.disk import Staging, staging
from finkbridge.errors import DecodeError, SchemaError, UnknownTopicError
from finkbridge.landing import (
    Landing,
    Stored,
    datums_of,
    facts_of,
    keep_archive,
    land_quarantine,
    land_tables,
    name_of,
    origin_of,
    store,
)
from finkbridge.layout import SegmentName
from finkbridge.parts import MessageSource, Part, account, parts_of
from finkbridge.values import (
    KnownSchema,
    LandedFile,
    LandedPart,
    Message,
    Rejected,
    SegmentPlan,
    TopicGeneration,
)

S_PER_BYTE = 1e-6
"""Time that a part may take beyond `Bounds.timeout_s`: 5 to 50 times what the slower engine needs."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What landing may take."""

    timeout_s: float
    """Seconds for a part of no size before this process is ended; a part's bytes add to it."""
    max_schemas: int | None = None
    """Writer schemas of a topic's life; messages with further ones go to quarantine."""
    max_columns: int | None = None
    """Columns of them together."""


class Again(NamedTuple):
    """What landing messages once more left aside, and those that still cannot land."""

    files: tuple[LandedFile, ...]
    schemas: tuple[KnownSchema, ...]
    rejected: tuple[Rejected, ...]


def _portions(
    landing: Landing, group: SchemaGroup, messages: list[Message]
) -> Iterator[tuple[SchemaGroup, list[Message]]]:
    """Yield a group as it fits in memory; what cannot be unwrapped is rejected."""
    for some, few, rejected in portions(group, messages):
        landing.rejected += [Rejected(message, reason) for message, reason in rejected]
        yield some, few


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
    bounds
        What landing a plan may take; None: whatever it takes.
    lookups
        Where schemas are that messages only name.
    """

    def __init__(
        self,
        lake: Path,
        source: MessageSource,
        engine: Engine = "auto",
        schema_override: bytes | None = None,
        bounds: Bounds | None = None,
        lookups: Lookups | None = None,
    ) -> None:
        self._lake = lake
        self._source = source
        self._bounds = bounds
        override = None if schema_override is None else parse_schema(schema_override)
        budget = Budget() if bounds is None else Budget(bounds.max_schemas, bounds.max_columns)
        self._resolver = SchemaResolver(override, self._topic_schema, budget, lookups)
        self._tools = Tools(engine)

    def land(
        self, plan: SegmentPlan, refusal: str = "", known_schemas: Mapping[str, int] | None = None
    ) -> tuple[LandedPart, ...]:
        """Fetch a plan's messages and leave them on disk, ready to be committed.

        Parameters
        ----------
        plan
            What to land.
        refusal
            Why all of its messages go to quarantine without being looked at; empty: they are decoded.
        known_schemas
            Fingerprints of the writer schemas of the topic's life that are in the lake already, with their
            columns.
        """
        self._resolver.begin(plan.source, known_schemas or {})
        with staging(self._lake) as place:
            landed = tuple(
                self._land_part(plan, part, place, refusal) for part in parts_of(plan, self._source)
            )
            place.publish()  # all parts or none: a plan that fails half-way leaves no file in the lake
        return landed

    def land_again(
        self,
        source: TopicGeneration,
        name: SegmentName,
        messages: Sequence[Message],
        facts: Mapping[str, Any],
        place: Staging,
        known_schemas: Mapping[str, int] | None = None,
    ) -> Again:
        """Land messages that waited in quarantine, aside: publishing them is the caller's; see `land`."""
        self._resolver.begin(source, known_schemas or {})
        landing = Landing(source, name, facts, place)
        with self._timed(f"decoding messages of {source.topic}", sum(m.size for m in messages)):
            self._land_messages(landing, list(messages))
        return Again(tuple(landing.files), tuple(landing.schemas), tuple(landing.rejected))

    def land_archived(self, archive: Archive, file: LandedFile, name: SegmentName, place: Staging) -> Again:
        """Make the tables' files of an archive file anew, aside: publishing them is the caller's.

        Raises
        ------
        DecodeError
            The messages do not give as many rows; the file is named.
        """
        origin = origin_of(file.path, archive)
        landing = Landing(origin.source, name, archive.facts, place)
        group = SchemaGroup(archive.schema, archive.framing, np.arange(file.rows), datums_of(archive))
        stored = Stored(self._lake / file.path, file, origin)
        try:
            alerts = self._decode(group, surveys.cutout_columns(file.survey))
        except DecodeError as error:
            raise DecodeError(f"{file.path}: {error}") from error
        description = surveys.describe(alerts, file.survey)
        if description.rejected:
            at, reason = min(description.rejected.items())
            m = archive.messages[at]
            raise DecodeError(f"{file.path}: the message at {m.partition}:{m.offset} lands no more: {reason}")
        land_tables(landing, name, stored, alerts, description)
        return Again(tuple(landing.files), tuple(landing.schemas), ())

    def _land_part(self, plan: SegmentPlan, part: Part, place: Staging, refusal: str) -> LandedPart:
        accounted = account(part, plan.source.topic, self._source)
        landing = Landing(plan.source, name_of(plan, part), facts_of(plan, part, accounted), place)
        if refusal:
            landing.rejected += [Rejected(message, refusal) for message in part.messages]
        else:
            doing = f"decoding plan {plan.number} of {plan.source.topic}"
            with self._timed(doing, accounted.bytes):
                self._land_messages(landing, part.messages)
        rejections = land_quarantine(landing)
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

    def _timed(self, doing: str, size: int) -> AbstractContextManager[None]:
        if self._bounds is None:
            return nullcontext()
        return deadline(self._bounds.timeout_s + size * S_PER_BYTE, doing)

    def _land_messages(self, landing: Landing, messages: list[Message]) -> None:
        groups = self._group(landing, messages)
        messages.clear()  # the groups have them now, and give them up one by one
        for group, mine in groups:
            if refusal := self._refusal(group.schema):
                landing.rejected += [Rejected(message, refusal) for message in mine]
                continue
            for some, few in _portions(landing, group, mine):
                unfolded = self._set_bad_aside(landing, some, few)
                for piece, its in unfolding(some, few, unfolded):
                    self._land_group(landing, piece, its)

    def _group(self, landing: Landing, messages: list[Message]) -> list[tuple[SchemaGroup, list[Message]]]:
        """Part messages by writer schema, each group with its own; those without a schema are rejected."""
        grouped = self._resolver.group(landing.source.topic, messages)
        landing.rejected += [Rejected(messages[i], reason) for i, reason in grouped.rejected]
        return [(group, [messages[i] for i in group.indices]) for group in grouped.groups]

    def _topic_schema(self, topic: str) -> bytes | None:
        try:
            with untimed():
                return self._source.first_key(f"{topic}_schema")
        except UnknownTopicError:
            return None

    def _refusal(self, schema: WriterSchema) -> str:
        """Return why no message of a schema can be checked or decoded; empty if they can."""
        try:
            self._tools.of(schema)
        except SchemaError as error:
            return str(error)
        return ""

    def _set_bad_aside(self, landing: Landing, group: SchemaGroup, messages: list[Message]) -> Sequence[int]:
        """Reject what the check refuses; return what each of the others takes in columns."""
        verdicts = self._tools.of(group.schema)[0].check(group.datums)
        bad = np.flatnonzero(verdicts.status)
        for i in bad:
            status, at = int(verdicts.status[i]), int(verdicts.position[i])
            opinion = why(group.schema, group.datums[i], status)
            landing.rejected.append(Rejected(messages[i], REASONS[status], at, opinion))
        for i in reversed(bad):
            del messages[i], group.datums[i]
        unfolded: list[int] = verdicts.unfolded[verdicts.status == 0].tolist()
        return unfolded

    def _land_group(self, landing: Landing, group: SchemaGroup, messages: list[Message]) -> None:
        """Archive and tables of the good messages of one writer schema."""
        if not messages:
            return
        name = landing.name.with_ordinal(next(landing.ordinals))
        survey = surveys.survey_of_avro(group.schema.parsed)
        stored = store(landing, name, group, messages, survey)
        messages.clear()
        alerts = self._decode(group, surveys.cutout_columns(survey))
        description = surveys.describe(alerts, survey)
        if description.rejected:
            self._land_rest(landing, stored, description.rejected)
            return
        keep_archive(landing, stored, group.schema)
        land_tables(landing, name, stored, alerts, description)

    def _land_rest(self, landing: Landing, stored: Stored, rejected: Mapping[int, str]) -> None:
        """Begin again without alerts that have no identity, position or time; the first file is dropped."""
        messages = list(read_archive(stored.aside).messages)
        landing.rejected += [Rejected(messages[i], reason) for i, reason in rejected.items()]
        rest = [m for i, m in enumerate(messages) if i not in rejected]
        for group, mine in self._group(landing, rest):
            for some, few in _portions(landing, group, mine):
                self._land_group(landing, some, few)

    def _decode(self, group: SchemaGroup, dropped: Sequence[str]) -> pa.Table:
        """Return the table of a group's messages, without some columns, and let their datums go."""
        _, decoder = self._tools.of(group.schema)
        columns = [name for name in decoder.arrow_schema.names if name not in dropped]
        try:
            alerts = decoder.decode(group.datums, columns)
        except DecodeError:
            if not decoder.bulk:
                raise
            # checked messages that the bulk engine refuses all the same must not block their topic
            alerts = self._tools.careful(group.schema).decode(group.datums, columns)
        group.datums.clear()
        return alerts
