"""What a worker finds out of one part of a plan, from its archive and quarantine files alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finkbridge import disk, surveys
from finkbridge.avro.archive import read_archive, read_schema_text
from finkbridge.avro.quarantine import read_quarantine, read_quarantine_facts
from finkbridge.avro.schemas import parse_schema
from finkbridge.errors import DecodeError
from finkbridge.landing import writer_schema
from finkbridge.layout import DataPath, SegmentName
from finkbridge.parts import message_hash
from finkbridge.values import (
    KnownSchema,
    LandedFile,
    LandedPart,
    LastMessage,
    Message,
    OffsetRange,
    RangeCount,
    Rejection,
    TopicGeneration,
)


@dataclass(frozen=True, slots=True)
class ExamineTask:
    """All that a worker needs."""

    lake: Path
    paths: tuple[str, ...]
    """Of all files of one part of one number, relative to the lake."""


@dataclass(frozen=True, slots=True)
class Examined:
    """One part as its files say; every byte of them was read and proven."""

    source: TopicGeneration
    plan: int
    planned: tuple[OffsetRange, ...] | None
    """Ranges of the whole plan; None where the files do not say."""
    landed: LandedPart
    """Without schemas and rejections, which are read again when they are needed."""
    requeued: tuple[int, int] | None
    """Plan and part in whose quarantine the messages were; None for what was fetched."""
    messages: tuple[tuple[int, int], ...]
    """Partition and offset of messages that were requeued."""
    is_whole: bool
    """Each offset is once a row, quarantined, or in a hole: no file of the part is missing."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of archive or quarantine, and what it says."""

    file: LandedFile
    facts: dict[str, Any]
    messages: tuple[Message, ...]


def examine(task: ExamineTask) -> list[Examined]:
    """Read all files of one part; there is more than one where a number was given to several plans.

    Raises
    ------
    DecodeError
        A file is damaged, cannot be read, or is not what its name says.
    """
    return examined([_read(task.lake, path) for path in task.paths])


def examined(files: Sequence[FoundFile]) -> list[Examined]:
    """Return what files of one part say together, for each that they are of.

    Raises
    ------
    DecodeError
        A header lacks what is due.
    """
    groups: dict[str, list[FoundFile]] = {}
    for file in files:
        groups.setdefault(json.dumps(file.facts, sort_keys=True), []).append(file)
    try:
        return [_examined(mine[0].facts, mine) for mine in groups.values()]
    except (KeyError, TypeError, ValueError) as error:
        path = files[0].file.path
        raise DecodeError(f"{path}: its header does not say what it is of: {error!r}") from None


def schema_in(lake: Path, path: str) -> KnownSchema:
    """Return what the ledger is told of the writer schema of an archive file."""
    return writer_schema(parse_schema(read_schema_text(lake / path)))


def rejections_in(lake: Path, path: str) -> Iterator[Rejection]:
    """Yield what the ledger is told of the messages of a quarantine file."""
    for r in read_quarantine(lake / path):
        m = r.message
        why = (r.reason, r.byte_position, r.reference)
        yield Rejection(m.partition, m.offset, m.timestamp_ms, *why, path)


def _read(lake: Path, path: str) -> FoundFile:
    where = lake / path
    try:
        size, checksum = where.stat().st_size, disk.checksum(where)
        if DataPath.parse(path).table == "quarantine":
            messages = tuple(r.message for r in read_quarantine(where))
            facts, survey, schema_id, table = read_quarantine_facts(where), "", "", "quarantine"
        else:
            archive = read_archive(where)
            messages, facts, table = archive.messages, archive.facts, "archive"
            survey, schema_id = surveys.survey_of_avro(archive.schema.parsed), archive.schema.fingerprint
    except OSError as error:
        raise DecodeError(f"{path} cannot be read: {error.strerror}") from None
    _check_name(path, facts)
    what = (survey, None, len(messages), size, checksum, schema_id)
    return FoundFile(LandedFile(path, table, *what), facts, messages)  # type: ignore[arg-type]  # one of two names


def _check_name(path: str, facts: dict[str, Any]) -> None:
    named = SegmentName.parse(path.rpartition("/")[2])
    said = tuple(facts.get(name) for name in ("generation", "plan", "part"))
    if said != (named.generation, named.plan, named.part) or path.split("/")[1] != facts.get("topic"):
        raise DecodeError(f"{path} has another name than it was written with: give it its name again")


def _examined(facts: dict[str, Any], files: Sequence[FoundFile]) -> Examined:
    source = TopicGeneration(facts["cluster"], facts["topic"], facts["generation"])
    good = [m for file in files if file.file.table == "archive" for m in file.messages]
    bad = [m for file in files if file.file.table == "quarantine" for m in file.messages]
    everything = good + bad
    times = [m.timestamp_ms for m in everything if m.timestamp_ms is not None]
    landed = LandedPart(
        part=facts["part"],
        files=tuple(file.file for file in files),
        counts=tuple(_counts(facts, good, bad)),
        rejected=(),
        schemas=(),
        last=tuple(_last(everything)),
        bytes=sum(m.size for m in everything),
        first_timestamp_ms=min(times, default=None),
        last_timestamp_ms=max(times, default=None),
    )
    requeued = facts.get("requeued")
    planned = facts.get("planned")
    return Examined(
        source,
        facts["plan"],
        None if planned is None else tuple(OffsetRange(*r) for r in planned),
        landed,
        None if requeued is None else (requeued["plan"], requeued["part"]),
        () if requeued is None else tuple((m.partition, m.offset) for m in everything),
        requeued is not None or (_is_whole(landed) and _is_each_once(everything)),
    )


def _counts(facts: dict[str, Any], good: Sequence[Message], bad: Sequence[Message]) -> Iterable[RangeCount]:
    holes = [OffsetRange(*hole) for hole in facts["holes"]]
    for span in (OffsetRange(*r) for r in facts["ranges"]):
        rows, rejected = ([m for m in some if _is_in(m, span)] for some in (good, bad))
        mine = tuple(
            h for h in holes if (h.partition, True) == (span.partition, span.start <= h.start < span.end)
        )
        times = [m.timestamp_ms for m in rows + rejected if m.timestamp_ms is not None]
        ends = min(times, default=None), max(times, default=None)
        yield RangeCount(span, len(rows), len(rejected), mine, *ends)


def _is_in(message: Message, span: OffsetRange) -> bool:
    return message.partition == span.partition and span.start <= message.offset < span.end


def _is_whole(landed: LandedPart) -> bool:
    counted = sum(count.rows + count.quarantined for count in landed.counts)
    has_all = all(count.reconciled for count in landed.counts)
    return has_all and counted == sum(file.rows for file in landed.files)


def _is_each_once(messages: Sequence[Message]) -> bool:
    return len({(m.partition, m.offset) for m in messages}) == len(messages)


def _last(messages: Iterable[Message]) -> Iterable[LastMessage]:
    newest: dict[int, Message] = {}
    for m in messages:
        if m.partition not in newest or newest[m.partition].offset < m.offset:
            newest[m.partition] = m
    return (LastMessage(m.partition, m.offset, message_hash(m)) for m in newest.values())
