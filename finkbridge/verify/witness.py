"""What the files of archive and quarantine say of themselves, against what the ledger says of them.

`finkbridge rebuild --ledger` makes a ledger of the headers of these files. Here the same conclusion is drawn,
segment by segment, and compared with the ledger that is there: a row that was changed behind everybody's back
has the files against it. Only headers are read, and the records of quarantine files; the files are those
whose checksums have proven right before.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Row, select

from finkbridge import surveys
from finkbridge.avro.archive import read_outline, value_of
from finkbridge.avro.quarantine import read_quarantine, read_quarantine_facts
from finkbridge.avro.schemas import fingerprint_of, parse_schema
from finkbridge.errors import DecodeError
from finkbridge.examine import Examined, FoundFile, examined
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.parts import message_hash
from finkbridge.values import LandedFile, Message, RangeCount, Rejected
from finkbridge.verify.findings import RESTORE, RESTORE_LEDGER, Finding
from finkbridge.verify.listed import Selection

SEGMENTS_AT_ONCE = 200

_Place = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """What the ledger says of one segment."""

    row: Row[Any]
    files: Sequence[Row[Any]]
    """Of archive and quarantine."""
    ranges: Sequence[Row[Any]]
    quarantine: Sequence[Row[Any]]


class _Last(NamedTuple):
    """Where the last message of a partition is."""

    offset: int
    path: str
    number: int
    """Among the messages of the file."""
    message: Message
    """Without its value where it is in the archive."""


@dataclass(slots=True)
class _Files:
    """Reads files, and keeps of them what is asked of all."""

    ledger: Ledger
    last: dict[_Place, _Last] = field(default_factory=dict)
    """By generation's row id and partition."""
    rejected: dict[_Place, tuple[Rejected, str]] = field(default_factory=dict)
    """Of the segment at hand: each with the path of its file."""
    _surveys: dict[str, str] = field(default_factory=dict)
    """By fingerprint of the schema."""

    def read(self, segment: _Segment) -> Iterator[FoundFile]:
        """Yield what the files of a segment say."""
        self.rejected.clear()
        for row in segment.files:
            found = self._archive(row) if row.table == "archive" else self._quarantine(row)
            for number, message in enumerate(found.messages):
                key = segment.row.generation_id, message.partition
                if key not in self.last or self.last[key].offset <= message.offset:
                    self.last[key] = _Last(message.offset, row.path, number, message)
            yield found

    def _archive(self, row: Row[Any]) -> FoundFile:
        outline = read_outline(self.ledger.lake / row.path)
        known = fingerprint_of(outline.schema_text)
        if known not in self._surveys:
            self._surveys[known] = surveys.survey_of_avro(parse_schema(outline.schema_text).parsed)
        what = (self._surveys[known], None, len(outline.messages), row.bytes, row.checksum, known)
        return FoundFile(LandedFile(row.path, "archive", *what), outline.facts, outline.messages)

    def _quarantine(self, row: Row[Any]) -> FoundFile:
        path = self.ledger.lake / row.path
        records = read_quarantine(path)
        self.rejected |= {(r.message.partition, r.message.offset): (r, row.path) for r in records}
        what = ("", None, len(records), row.bytes, row.checksum, "")
        messages = tuple(r.message for r in records)
        return FoundFile(LandedFile(row.path, "quarantine", *what), read_quarantine_facts(path), messages)

    def hash_of(self, last: _Last) -> str:
        """Return the hash of a partition's last message."""
        message = last.message
        if last.path.startswith("archive/"):
            message = message._replace(value=value_of(self.ledger.lake / last.path, last.number))
        return message_hash(message)


def check_witnesses(ledger: Ledger, selection: Selection, damaged: Collection[str]) -> Iterator[Finding]:
    """Yield each segment and partition of which the files say something else than the ledger.

    Parameters
    ----------
    ledger
        Of the lake.
    selection
        Which segments.
    damaged
        Files that a finding names already: their segments are left out, and last messages with them.
    """
    files, is_whole = _Files(ledger), selection.segments is None and not damaged
    known = _partitions(ledger)  # first: a drain may go on meanwhile
    for segment in _segments(ledger, selection):
        if any(file.path in damaged for file in segment.files):
            continue
        where = f"plan {segment.row.plan} part {segment.row.part}"
        try:
            problems = list(_problems(segment, files)) if segment.files else []
        except (DecodeError, OSError) as error:
            problems = [str(error)]
        yield from (Finding("facts", where, problem, RESTORE_LEDGER) for problem in problems)
    if is_whole:
        yield from _check_last(known, files)


def _problems(segment: _Segment, files: _Files) -> Iterator[str]:
    """Yield what the files of a segment say otherwise."""
    found = list(files.read(segment))
    parts = examined(found)
    landed = {place for part in parts if part.requeued is not None for place in part.messages}
    drained = [part for part in parts if part.requeued is None]
    yield from _of_files(segment, found)
    if len(drained) != 1:
        yield f"its files are of {len(drained)} parts"
        return
    yield from _of_part(segment, drained[0], landed)
    yield from _of_quarantine(segment, files.rejected, landed)


def _of_files(segment: _Segment, found: Sequence[FoundFile]) -> Iterator[str]:
    for row, said in zip(segment.files, found, strict=True):
        due = (said.file.survey, said.file.schema_id)
        if (row.survey, row.schema_id) != due:
            yield f"{row.path} is of {due}, and the ledger says {(row.survey, row.schema_id)}"


def _of_part(segment: _Segment, part: Examined, landed: Collection[_Place]) -> Iterator[str]:
    row, source, due = segment.row, part.source, part.landed
    told: Mapping[str, tuple[Any, Any]] = {
        "topic": (
            (source.cluster, source.topic, source.generation),
            (row.cluster, row.topic, row.generation),
        ),
        "part": (due.part, row.part),
        "times": (
            (due.first_timestamp_ms, due.last_timestamp_ms),
            (row.first_timestamp_ms, row.last_timestamp_ms),
        ),
        "ranges": ([_range(count, landed) for count in due.counts], [_range_row(r) for r in segment.ranges]),
    }
    for what, (files, ledger) in told.items():
        if files != ledger:
            yield f"the {what} that its files have are {files}, and the ledger says {ledger}"[:500]


def _range(count: RangeCount, landed: Collection[_Place]) -> tuple[Any, ...]:
    r = count.range
    moved = sum(p == r.partition and r.start <= offset < r.end for p, offset in landed)
    holes = json.dumps([[h.start, h.end] for h in count.holes])  # as the ledger has it, were it no JSON
    counts = (count.rows + moved, count.quarantined - moved)
    times = (count.first_timestamp_ms, count.last_timestamp_ms)
    return (r.partition, r.start, r.end, *counts, holes, *times)


def _range_row(r: Row[Any]) -> tuple[Any, ...]:
    counts = (r.rows, r.quarantined, r.holes)
    return (r.partition, r.start_offset, r.end_offset, *counts, r.first_timestamp_ms, r.last_timestamp_ms)


def _of_quarantine(
    segment: _Segment, rejected: Mapping[_Place, tuple[Rejected, str]], landed: Collection[_Place]
) -> Iterator[str]:
    due = {
        place: (r.message.timestamp_ms, r.reason, r.byte_position, r.reference, path, place in landed)
        for place, (r, path) in rejected.items()
    }
    told = {
        (q.partition, q.offset): (
            q.timestamp_ms, q.reason, q.byte_position, q.reference, q.path, q.state == "landed",
        )
        for q in segment.quarantine
    }  # fmt: skip
    for place in sorted(due.keys() | told.keys()):
        if due.get(place) != told.get(place):
            what = f"the quarantined message {place[0]}:{place[1]}"
            yield f"{what} is {due.get(place)} in its files, and the ledger says {told.get(place)}"[:500]


def _check_last(known: Mapping[_Place, Row[Any]], files: _Files) -> Iterator[Finding]:
    for key, row in known.items():
        last = files.last.get(key)
        if last is not None and last.offset >= row.next_offset:
            continue  # drained since
        try:
            due = None if last is None else (last.offset, files.hash_of(last))
        except (DecodeError, OSError) as error:  # it was sound a moment ago
            yield Finding("file", last.path if last else "", str(error), RESTORE)
            continue
        told = None if row.last_offset is None and row.last_hash is None else (row.last_offset, row.last_hash)
        if due != told:
            where = f"{row.topic} ({row.cluster}, generation {row.generation}), partition {key[1]}"
            problem = f"its last message is {due} in the files, and the ledger says {told}"
            yield Finding("facts", where, problem, RESTORE_LEDGER)


def _partitions(ledger: Ledger) -> dict[_Place, Row[Any]]:
    g, p = s.generations.c, s.partitions.c
    query = select(s.partitions, g.cluster, g.topic, g.generation).join(s.generations)
    with ledger.reading() as connection:
        rows = connection.execute(query.order_by(p.generation_id, p.partition))
        return {(row.generation_id, row.partition): row for row in rows}


def _segments(ledger: Ledger, selection: Selection) -> Iterator[_Segment]:
    """Yield segments, some at a time, each as of one moment."""
    c, g, last = s.segments.c, s.generations.c, 0
    source = (g.cluster, g.topic, g.generation)
    while True:
        query = select(s.segments, *source).join(s.generations).where(c.id > last).order_by(c.id)
        with ledger.reading() as connection:
            rows = connection.execute(query.limit(SEGMENTS_AT_ONCE)).all()
            mine = [r.id for r in rows if selection.segments is None or r.id in selection.segments]
            f, x, q = s.files.c, s.segment_ranges.c, s.quarantine.c
            originals = f.table.in_(("archive", "quarantine"))
            queries = (
                select(s.files).where(f.segment_id.in_(mine), originals).order_by(f.id),
                select(s.segment_ranges).where(x.segment_id.in_(mine)).order_by(x.position),
                select(s.quarantine).where(q.segment_id.in_(mine)),
            )
            parts: list[defaultdict[int, list[Row[Any]]]] = [defaultdict(list) for _ in queries]
            for query_of_part, part in zip(queries, parts, strict=True):
                for row in connection.execute(query_of_part):
                    part[row.segment_id].append(row)
        if not rows:
            return
        last = rows[-1].id
        for row in rows:
            if row.id in mine:
                yield _Segment(row, *(part[row.id] for part in parts))
