"""Messages in quarantine as the ledger knows them: found by a selection, landed after all, or accepted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, insert, or_, select, update

from finkbridge.errors import CommitConflictError, ReconciliationError, SettingsError
from finkbridge.ledger import landed, rows, writers
from finkbridge.ledger import schema as s
from finkbridge.ledger.coordinator import Coordinator
from finkbridge.ledger.delays import note_delays
from finkbridge.ledger.seen import note_surveys
from finkbridge.ledger.store import Ledger
from finkbridge.values import KnownSchema, LandedFile, TopicGeneration

NAMED_AT_ONCE = 200
"""Messages that one query names: SQLite allows an expression to be 1,000 deep."""


NOT_LANDED = "waiting or accepted"
"""Of messages that may still land: one that was accepted as lost can be had after all."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages of the quarantine are meant; what is not said does not matter."""

    named: tuple[str, ...] = ()
    """``TOPIC:PARTITION:OFFSET``, or the number that ``quarantine list`` gives."""
    topics: tuple[str, ...] = ()
    """Names and patterns."""
    state: str | None = "waiting"
    """One of `STATES`, or `NOT_LANDED`; None for all."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message in quarantine."""

    id: int
    source: TopicGeneration
    partition: int
    offset: int
    timestamp_ms: int | None
    reason: str
    byte_position: int | None
    """Byte of the datum at which the check stopped, where it was the check that refused."""
    reference: str
    """What fastavro said."""
    path: str
    """Of the quarantine file that has the message, relative to the lake."""
    state: str
    segment_id: int
    plan: int
    part: int

    @property
    def place(self) -> str:
        """Return the name by which a command takes it."""
        return f"{self.source.topic}:{self.partition}:{self.offset}"


def find(ledger: Ledger, selection: Selection, limit: int | None = None) -> list[Entry]:
    """Return the messages of a selection, oldest first; raise SettingsError if a named one is not."""
    with ledger.reading() as connection:
        found = []
        for some in _parts(selection):
            query = _query(connection, some).order_by(s.quarantine.c.id).limit(limit)
            found += [_entry(row) for row in connection.execute(query)]
    found = sorted({entry.id: entry for entry in found}.values(), key=lambda entry: entry.id)[:limit]
    names = {name for entry in found for name in (str(entry.id), entry.place)}
    for name in selection.named if limit is None else ():
        if name not in names:
            state = f"{selection.state} " if selection.state else ""
            raise SettingsError(f"no {state}message {name} in quarantine: see finkbridge quarantine list")
    return found


def refuse_ambiguous(entries: Sequence[Entry], selection: Selection) -> None:
    """Raise SettingsError where a place that is named is of several lives of a topic, or clusters."""
    for name in selection.named:
        if len(mine := [entry for entry in entries if entry.place == name]) > 1:
            said = ", ".join(
                f"{e.id} (cluster {e.source.cluster}, generation {e.source.generation})" for e in mine
            )
            raise SettingsError(f"{name} is of several lives or clusters: name it by its number: {said}")


def segments(ledger: Ledger, selection: Selection) -> list[int]:
    """Return the row ids of the segments that have messages of a selection."""
    with ledger.reading() as connection:
        found: set[int] = set()
        for some in _parts(selection):
            query = _query(connection, some).with_only_columns(s.quarantine.c.segment_id).distinct()
            found.update(connection.scalars(query))
        return sorted(found)


def find_in_segment(ledger: Ledger, selection: Selection, segment_id: int) -> list[Entry]:
    """Return the messages of a selection that are in one segment, by partition and offset."""
    q = s.quarantine.c
    with ledger.reading() as connection:
        query = _query(connection, selection).where(q.segment_id == segment_id)
        return [_entry(row) for row in connection.execute(query.order_by(q.partition, q.offset))]


def begin_requeue(coordinator: Coordinator) -> int:
    """Return a number for the names of the files that are to come, never used again."""
    with coordinator.writing() as connection:
        return rows.next_number(connection, "plan")


def announce(coordinator: Coordinator, files: Sequence[LandedFile]) -> None:
    """Write paths down before files get these names: without a commit, the next coordinator deletes them."""
    with coordinator.writing() as connection:
        connection.execute(insert(s.merging), [{"path": file.path} for file in files])


def commit_requeue(
    coordinator: Coordinator,
    entries: Sequence[Entry],
    files: Sequence[LandedFile],
    schemas: Sequence[KnownSchema],
) -> int:
    """Commit the rows of messages of one segment that waited in quarantine, exactly once.

    Raises
    ------
    ReconciliationError
        The files do not have as many rows as there are messages.
    CommitConflictError
        One of the messages waits no more, or is counted nowhere.
    """
    for table in ("archive", "deliveries", "packets"):
        written = sum(file.rows for file in files if file.table == table)
        if written != len(entries):
            raise ReconciliationError(
                f"{len(entries)} messages were to be in {table} and {written} are: nothing was committed"
            )
    with coordinator.writing() as connection:
        commit = rows.add_commit(connection, "requeue", coordinator.epoch)
        land_entries(connection, commit, entries, files)
        landed.add_schemas(connection, schemas)
        rows.forget_merges(connection, [file.path for file in files])
    return commit


def land_entries(
    connection: Connection, commit: int, entries: Sequence[Entry], files: Sequence[LandedFile]
) -> None:
    """Move messages of one segment to landed, and count them as rows."""
    segment, count = entries[0].segment_id, len(entries)
    c = s.segments.c
    _move(connection, entries, "landed", commit)
    for entry in entries:
        _count_as_row(connection, entry)
    counts = {"rows": c.rows + count, "quarantined": c.quarantined - count}
    connection.execute(update(s.segments).where(c.id == segment).values(**counts))
    landed.add_files(connection, files, commit, segment)
    generation_id = rows.generation_id(connection, entries[0].source)
    note_surveys(connection, generation_id, {f.survey for f in files if f.table == "archive"})
    note_delays(connection, generation_id, files)
    writers.note_schemas(connection, generation_id, files)


def waiting_of(
    connection: Connection, source: TopicGeneration, places: Collection[tuple[int, int]]
) -> list[Entry]:
    """Return the messages that wait at partitions and offsets of a generation."""
    q, g = s.quarantine.c, s.generations.c
    query = _query(connection, Selection()).where(
        g.cluster == source.cluster, g.topic == source.topic, g.generation == source.generation
    )
    found: list[Entry] = []
    for some in rows.chunks({offset for _, offset in places}):
        found += map(_entry, connection.execute(query.where(q.offset.in_(some))))
    return [entry for entry in found if (entry.partition, entry.offset) in places]


def accept(coordinator: Coordinator, entries: Sequence[Entry]) -> int:
    """Note that a person has seen messages which will never land; return the commit's number."""
    with coordinator.writing() as connection:
        commit = rows.add_commit(connection, "accept", coordinator.epoch)
        _move(connection, entries, "accepted", commit)
    return commit


def _parts(selection: Selection) -> Iterator[Selection]:
    """Yield selections of fewer names: databases refuse a condition of more than a thousand parts."""
    if len(selection.named) <= NAMED_AT_ONCE:
        yield selection
        return
    for named in rows.chunks(selection.named, NAMED_AT_ONCE):
        yield replace(selection, named=tuple(named))


def _query(connection: Connection, selection: Selection) -> Select[Any]:
    g, q, c = s.generations.c, s.quarantine.c, s.segments.c
    query = select(s.quarantine, g.cluster, g.topic, g.generation, c.plan, c.part).select_from(
        s.quarantine.join(s.generations, q.generation_id == g.id).join(s.segments, q.segment_id == c.id)
    )
    if selection.state is not None:
        is_meant = q.state != "landed" if selection.state == NOT_LANDED else q.state == selection.state
        query = query.where(is_meant)
    if selection.topics:
        known = connection.execute(select(g.id, g.topic)).all()
        lives = [k.id for k in known if _matches(k.topic, selection.topics)]
        if none := [name for name in selection.topics if not any(_matches(k.topic, [name]) for k in known)]:
            raise SettingsError(f"the lake has no topic {' or '.join(none)}: see finkbridge status")
        query = query.where(q.generation_id.in_(lives))
    if selection.named:
        query = query.where(or_(*map(_is_named, selection.named)))
    return query


def _matches(topic: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(topic, pattern) for pattern in patterns)


def _is_named(name: str) -> ColumnElement[bool]:
    q = s.quarantine.c
    if _is_number(name):
        return q.id == int(name)
    topic, _, rest = name.partition(":")
    partition, _, offset = rest.partition(":")
    if not (topic and _is_number(partition) and _is_number(offset)):
        raise SettingsError(
            f"{name!r} names no message: write TOPIC:PARTITION:OFFSET, or a number that `quarantine list` "
            "gives"
        )
    return and_(s.generations.c.topic == topic, q.partition == int(partition), q.offset == int(offset))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _entry(row: Any) -> Entry:
    source = TopicGeneration(row.cluster, row.topic, row.generation)
    place = (row.id, source, row.partition, row.offset, row.timestamp_ms)
    why = (row.reason, row.byte_position, row.reference)
    return Entry(*place, *why, row.path, row.state, row.segment_id, row.plan, row.part)


def _move(connection: Connection, entries: Sequence[Entry], state: str, commit: int) -> None:
    q = s.quarantine.c
    moved = 0
    for some in rows.chunks(entry.id for entry in entries):
        movable = q.state != "landed" if state == "landed" else q.state == "waiting"
        moving = update(s.quarantine).where(q.id.in_(some), movable)
        moved += connection.execute(moving.values(state=state, settled=commit)).rowcount
    if moved != len(entries):
        raise CommitConflictError(
            "a message of these does not wait in quarantine any more: nothing was changed"
        )


def _count_as_row(connection: Connection, entry: Entry) -> None:
    r = s.segment_ranges.c
    mine = and_(
        r.segment_id == entry.segment_id,
        r.partition == entry.partition,
        r.start_offset <= entry.offset,
        r.end_offset > entry.offset,
        r.quarantined > 0,
    )
    counted = update(s.segment_ranges).where(mine).values(rows=r.rows + 1, quarantined=r.quarantined - 1)
    if connection.execute(counted).rowcount != 1:
        raise CommitConflictError(f"{entry.place} is in no range of the ledger: nothing was changed")
