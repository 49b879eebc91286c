"""What the ledger tells of nights: rows, how far each partition is drained, what is lost, what waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, select

from finkbridge.ledger import schema as s
from finkbridge.ledger.seen import first_timestamp_ms, reached_at, timestamps_around
from finkbridge.ledger.store import Ledger
from finkbridge.values import OffsetRange, TopicGeneration

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Reach:
    """How far one partition is drained, and as of when; times in Unix seconds UTC."""

    source: TopicGeneration
    partition: int
    first_offset: int
    next_offset: int
    reached_at: float | None
    """Newest look at the broker all of which is in the lake."""
    seen_at: float | None
    """Newest look."""
    seen_end: int | None
    """Where it saw the partition end."""
    ended_at: float | None
    """When it was noticed that this life of the topic is over: deleted, or recreated."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Offsets that are not in the lake and never will be, and the times between which they were sent."""

    source: TopicGeneration
    range: OffsetRange
    reason: str
    after: float | None
    """Unix seconds UTC; None: not known."""
    before: float | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Quarantined messages of one partition that wait, of one hour of Kafka's time."""

    source: TopicGeneration
    partition: int
    messages: int
    first: float | None
    """Kafka's times, Unix seconds UTC; None where it gave none."""
    last: float | None


@dataclass(frozen=True, slots=True)
class Drained:
    """Consecutive ranges of one partition that are in the lake, as one."""

    source: TopicGeneration
    range: OffsetRange
    messages: int
    rows: int
    """As they landed: what was requeued later counts as quarantined here."""
    quarantined: int
    holes: int
    """Offsets without a message, confirmed by a second look."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted in the rows of one night; times in Unix milliseconds, Kafka's."""

    rows: int
    """The counts hold as long as the night has so many: rows are only ever added."""
    alerts: int
    duplicates: int
    """Rows of an alert that the same topic has already."""
    first_ms: int | None
    last_ms: int | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """All of it, read at once."""

    nights: Mapping[tuple[str, int], int]
    """Rows of ``deliveries`` by survey and night."""
    surveys: Mapping[TopicGeneration, frozenset[str]]
    """Whose alerts each topic has delivered."""
    reaches: tuple[Reach, ...]
    lost: tuple[Lost, ...]
    waiting: tuple[Waiting, ...]


NEVER_HAD = "sent before the lake began with it"


def read_coverage(ledger: Ledger) -> Coverage:
    """Read what the ledger knows of nights, in one transaction."""
    with ledger.reading() as connection:
        sources = _sources(connection)
        partitions, successions = _partitions(connection), _successions(connection)
        reaches = tuple(_reach(row, sources, successions) for row in partitions)
        return Coverage(
            nights=_nights(connection),
            surveys=_surveys(connection, sources),
            reaches=reaches,
            lost=(*_never_had(connection, partitions, reaches), *_gaps(connection, sources)),
            waiting=_waiting(connection, sources),
        )


def read_nights(ledger: Ledger) -> dict[tuple[str, int], int]:
    """Return the rows of ``deliveries`` by survey and night, in order of the nights."""
    with ledger.reading() as connection:
        return _nights(connection)


def passed(ledger: Ledger) -> dict[tuple[TopicGeneration, int], float]:
    """Return the Kafka time that each partition's newest part begins at: all before it is drained.

    It reads every range of the ledger: for partitions whose looks do not tell.
    """
    r, c = s.segment_ranges.c, s.segments.c
    query = (
        select(c.generation_id, r.partition, func.max(r.first_timestamp_ms))
        .select_from(s.segment_ranges.join(s.segments))
        .where(r.first_timestamp_ms.is_not(None))
        .group_by(c.generation_id, r.partition)
    )
    with ledger.reading() as connection:
        sources = _sources(connection)
        return {(sources[g], p): ms / 1000 for g, p, ms in connection.execute(query)}


def drained(ledger: Ledger) -> list[Drained]:
    """Return what is in the lake of each partition: one range, or more with gaps between.

    It reads every range of the ledger.
    """
    c, r, x = s.segments.c, s.segment_ranges.c, s.gaps.c
    gaps_before = (
        select(func.count())
        .where(x.generation_id == c.generation_id, x.partition == r.partition)
        .where(x.start_offset < r.start_offset)
        .scalar_subquery()
    )
    parts = select(
        c.generation_id,
        r.partition,
        r.start_offset,
        r.end_offset,
        r.rows,
        r.quarantined,
        gaps_before.label("piece"),
    ).select_from(s.segment_ranges.join(s.segments))
    p = parts.subquery().c
    ends = func.min(p.start_offset), func.max(p.end_offset), func.sum(p.rows), func.sum(p.quarantined)
    key = (p.generation_id, p.partition, p.piece)
    with ledger.reading() as connection:
        sources = _sources(connection)
        told = connection.execute(select(*key, *ends).group_by(*key).order_by(*key)).all()
    return [
        _drained(sources[g], OffsetRange(partition, start, end), int(rows), int(bad))
        for g, partition, _, start, end, rows, bad in told
    ]


def _drained(source: TopicGeneration, span: OffsetRange, rows: int, quarantined: int) -> Drained:
    messages = rows + quarantined
    return Drained(source, span, messages, rows, quarantined, span.offsets - messages)


def read_counts(ledger: Ledger) -> dict[tuple[str, int], Counts]:
    """Return what was counted, by survey and night, whether or not it holds still."""
    with ledger.reading() as connection:
        return {(r.survey, r.night): Counts(*r[2:]) for r in connection.execute(select(s.night_counts))}


def write_counts(connection: Connection, counts: Mapping[tuple[str, int], Counts]) -> None:
    """Write counts down, in place of older ones; in a coordinator's transaction."""
    x = s.night_counts.c
    for (survey, night), mine in counts.items():
        connection.execute(delete(s.night_counts).where(x.survey == survey, x.night == night))
        row = {"survey": survey, "night": night, **asdict(mine)}
        connection.execute(insert(s.night_counts), row)


def _sources(connection: Connection) -> dict[int, TopicGeneration]:
    g = s.generations.c
    rows = connection.execute(select(g.id, g.cluster, g.topic, g.generation))
    return {row.id: TopicGeneration(row.cluster, row.topic, row.generation) for row in rows}


def _successions(connection: Connection) -> dict[TopicGeneration, float]:
    """Return when the next life of a topic was first seen."""
    g = s.generations.c
    rows = connection.execute(select(g.cluster, g.topic, g.generation, g.first_seen))
    return {TopicGeneration(r.cluster, r.topic, r.generation - 1): r.first_seen for r in rows}


def _partitions(connection: Connection) -> list[Row[Any]]:
    p, x = s.partitions.c, s.looks.c
    both = and_(p.generation_id == x.generation_id, p.partition == x.partition)
    looks = (x.first_at, x.first_ms, x.seen_at, x.seen_end, x.reached_at, x.gone_at)
    query = select(p.generation_id, p.partition, p.first_offset, p.next_offset, *looks)
    query = query.select_from(s.partitions.outerjoin(s.looks, both))
    found: list[Row[Any]] = []
    found += connection.execute(query.order_by(p.generation_id, p.partition))
    return found


def _nights(connection: Connection) -> dict[tuple[str, int], int]:
    f = s.files.c
    query = select(f.survey, f.night, func.sum(f.rows)).where(f.table == "deliveries", f.removed.is_(None))
    rows = connection.execute(query.group_by(f.survey, f.night).order_by(f.night, f.survey))
    return {(survey, night): int(count) for survey, night, count in rows}


def _surveys(
    connection: Connection, sources: Mapping[int, TopicGeneration]
) -> dict[TopicGeneration, frozenset[str]]:
    found: dict[TopicGeneration, frozenset[str]] = {}
    for generation, survey in connection.execute(select(s.generation_surveys)):
        source = sources[generation]
        found[source] = found.get(source, frozenset()) | {survey}
    return found


def _reach(
    row: Row[Any], sources: Mapping[int, TopicGeneration], successions: Mapping[TopicGeneration, float]
) -> Reach:
    source = sources[row.generation_id]
    ended = [at for at in (row.gone_at, successions.get(source)) if at is not None]
    return Reach(
        source,
        row.partition,
        row.first_offset,
        row.next_offset,
        reached_at(row),
        row.seen_at,
        row.seen_end,
        min(ended, default=None),
    )


def _never_had(connection: Connection, partitions: list[Row[Any]], reaches: Sequence[Reach]) -> list[Lost]:
    """Return what was there before the lake began with a partition."""
    reached = {(r.source, r.partition): r.reached_at for r in reaches}
    found = []
    for row, reach in zip(partitions, reaches, strict=True):
        if not row.first_offset:
            continue
        first_ms = row.first_ms
        if first_ms is None and row.next_offset > row.first_offset:
            first_ms = first_timestamp_ms(connection, row.generation_id, row.partition)
        before = row.first_at if first_ms is None else first_ms / 1000
        life = reach.source
        older = TopicGeneration(life.cluster, life.topic, life.generation - 1)
        span = OffsetRange(row.partition, 0, row.first_offset)
        found.append(Lost(life, span, NEVER_HAD, reached.get((older, row.partition)), before))
    return found


def _gaps(connection: Connection, sources: Mapping[int, TopicGeneration]) -> list[Lost]:
    query = select(s.gaps, s.commits.c.committed_at).join(s.commits).order_by(s.gaps.c.id)
    found = []
    for row in connection.execute(query).all():
        after, before = timestamps_around(connection, (row.generation_id, row.partition), row.commit)
        span = OffsetRange(row.partition, row.start_offset, row.end_offset)
        until = row.committed_at if before is None else before / 1000
        since = None if after is None else after / 1000
        found.append(Lost(sources[row.generation_id], span, row.reason, since, until))
    return found


def _waiting(connection: Connection, sources: Mapping[int, TopicGeneration]) -> tuple[Waiting, ...]:
    q = s.quarantine.c
    hour = q.timestamp_ms // HOUR_MS
    query = (
        select(q.generation_id, q.partition, func.count(), func.min(q.timestamp_ms), func.max(q.timestamp_ms))
        .where(q.state == "waiting")
        .group_by(q.generation_id, q.partition, hour)
        .order_by(q.generation_id, q.partition, func.min(q.timestamp_ms))
    )
    return tuple(
        Waiting(sources[g], p, n, *(None if ms is None else ms / 1000 for ms in times))
        for g, p, n, *times in connection.execute(query)
    )
