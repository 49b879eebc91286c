"""What the ledger tells of nights: rows, how far each partition is drained, what is lost, what waits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, and_, case, delete, func, insert, select

from finkbridge.ledger import kafka_times
from finkbridge.ledger import schema as s
from finkbridge.ledger.delays import Delays, read_delays
from finkbridge.ledger.kafka_times import CLOCKS_APART_S, sent_by
from finkbridge.ledger.seen import gone_unseen, reached_at, searched
from finkbridge.ledger.store import Ledger
from finkbridge.ledger.succession import followed, successions
from finkbridge.values import OffsetRange, TopicGeneration

HOUR_MS = 3_600_000
NEVER = -math.inf


@dataclass(frozen=True, slots=True)
class Life:
    """From when to when a life of a topic was known; Unix seconds UTC."""

    begun_at: float
    """When it was first seen."""
    ended_at: float | None
    """When the next one was first seen, or it was noticed that it is gone though no look had seen it."""


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
    passed_at: float | None
    """Kafka's time up to which it is drained, by its newest part; None also where the newest look tells."""
    followed_at: int | None = None
    """Where the next life of the topic goes on with the same log; None: there is none, or it has another."""

    @property
    def is_followed(self) -> bool:
        """Whether the next life goes on where this one ends."""
        return self.followed_at is not None and self.followed_at >= self.next_offset

    @property
    def is_cut(self) -> bool:
        """Whether the next life goes on with other messages in place of some of this one."""
        return self.followed_at is not None and self.followed_at < self.next_offset


@dataclass(frozen=True, slots=True)
class Lost:
    """Offsets that are not in the lake and never will be, and the times between which they were sent."""

    source: TopicGeneration
    range: OffsetRange
    reason: str
    after: float | None
    """Unix seconds UTC; None: not known."""
    before: float | None
    known_at: float | None
    """When they surely had been sent, whatever Kafka's times say; None: not known."""
    begun: float
    """When the lake began with the topic, at the earliest: nights that were over by then have none of it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Quarantined messages of one partition that wait, of one hour of Kafka's time."""

    source: TopicGeneration
    partition: int
    messages: int
    first: float | None
    """Kafka's times, Unix seconds UTC; None where it gave none that can be true."""
    last: float | None
    fetched_by: float
    """When they surely had been sent."""


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
    sources: Mapping[TopicGeneration, Life]
    """All lives of topics."""
    surveys: Mapping[TopicGeneration, frozenset[str]]
    """Whose alerts each topic has delivered."""
    delays: Mapping[TopicGeneration, Delays]
    """How long after their nights they came, by Kafka's times."""
    reaches: tuple[Reach, ...]
    lost: tuple[Lost, ...]
    waiting: tuple[Waiting, ...]
    accepted: tuple[Waiting, ...]
    """Those that wait no more, as a person has seen that they can never land."""
    searched: Mapping[tuple[str, str], float]
    """When each cluster was last searched for topics, by cluster and pattern; Unix seconds UTC."""
    made_again: float | None
    """When the ledger was made again from the lake's files, as it was lost; None: it never was."""


Place = tuple[TopicGeneration, int]
"""A partition of a topic's life."""
Places = Mapping[Place, tuple[Row[Any], Reach]]
"""What the ledger has of each, and what that says."""

NEVER_HAD = "sent before the lake began with it"


def read_coverage(ledger: Ledger) -> Coverage:
    """Read what the ledger knows of nights, in one transaction."""
    with ledger.reading() as connection:
        sources = _sources(connection)
        partitions, ended = _partitions(connection), successions(connection)
        same_log, unseen = followed(connection), gone_unseen(connection)
        reaches = tuple(
            replace(
                _reach(connection, row, sources, ended, unseen.get(row.generation_id)),
                followed_at=same_log.get((row.generation_id, row.partition)),
            )
            for row in partitions
        )
        places = {(r.source, r.partition): (row, r) for row, r in zip(partitions, reaches, strict=True)}
        begins = _begins(connection, places)
        return Coverage(
            nights=_nights(connection),
            sources=_lives(connection, sources, ended, unseen),
            surveys=_surveys(connection, sources),
            delays={sources[generation]: d for generation, d in read_delays(connection).items()},
            reaches=reaches,
            lost=(
                *_never_had(connection, places, begins),
                *_gaps(connection, sources, places, begins),
            ),
            waiting=_quarantined(connection, sources, "waiting"),
            accepted=_quarantined(connection, sources, "accepted"),
            searched=searched(connection),
            made_again=_made_again(connection),
        )


def read_nights(ledger: Ledger) -> dict[tuple[str, int], int]:
    """Return the rows of ``deliveries`` by survey and night, in order of the nights."""
    with ledger.reading() as connection:
        return _nights(connection)


def drained(ledger: Ledger) -> list[Drained]:
    """Return what is in the lake of each partition: one range, or more with gaps between.

    It reads every range of the ledger.
    """
    r = s.segment_ranges.c
    key = r.generation_id, r.partition
    sums = func.min(r.start_offset), func.max(r.end_offset), func.sum(r.rows), func.sum(r.quarantined)
    whole = select(*key, *sums).group_by(*key).order_by(*key)
    found = []
    with ledger.reading() as connection:
        sources, gaps = _sources(connection), _gap_starts(connection)
        for generation, partition, *told in connection.execute(whole).all():
            pieces: Iterable[Sequence[Any]] = [told]
            if starts := gaps.get((generation, partition)):
                mine = select(*sums).where(r.generation_id == generation, r.partition == partition)
                pieces = (connection.execute(mine.where(*within)).one() for within in _between(starts))
            found += [_drained(sources[generation], partition, *p) for p in pieces if p[0] is not None]
    return found


def _gap_starts(connection: Connection) -> dict[tuple[int, int], list[int]]:
    x = s.gaps.c
    found: dict[tuple[int, int], list[int]] = {}
    for g, p, start in connection.execute(
        select(x.generation_id, x.partition, x.start_offset).order_by(x.start_offset)
    ):
        found.setdefault((g, p), []).append(start)
    return found


def _between(gaps: Sequence[int]) -> Iterator[list[ColumnElement[bool]]]:
    """Yield conditions on the ranges before, between and after gaps that start at these offsets."""
    start = s.segment_ranges.c.start_offset
    yield [start < gaps[0]]
    for gap, following in pairwise(gaps):
        yield [start > gap, start < following]
    yield [start > gaps[-1]]


def _drained(
    source: TopicGeneration, partition: int, start: int, end: int, rows: int, quarantined: int
) -> Drained:
    messages = int(rows) + int(quarantined)  # PostgreSQL sums to decimals
    span = OffsetRange(partition, start, end)
    return Drained(source, span, messages, int(rows), int(quarantined), span.offsets - messages)


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


def _lives(
    connection: Connection,
    sources: Mapping[int, TopicGeneration],
    ended: Mapping[TopicGeneration, float],
    gone: Mapping[int, float],
) -> dict[TopicGeneration, Life]:
    begun = connection.execute(select(s.generations.c.id, s.generations.c.first_seen))
    return {
        sources[generation]: Life(at, ended.get(sources[generation], gone.get(generation)))
        for generation, at in begun
    }


def _partitions(connection: Connection) -> list[Row[Any]]:
    p, x = s.partitions.c, s.looks.c
    both = and_(p.generation_id == x.generation_id, p.partition == x.partition)
    looks = (x.first_at, x.first_ms, x.seen_at, x.seen_end, x.reached_at, x.gone_at)
    first_seen = s.generations.c.first_seen
    query = select(p.generation_id, p.partition, p.first_offset, p.next_offset, first_seen, *looks)
    query = query.select_from(s.partitions.join(s.generations).outerjoin(s.looks, both))
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
    x = s.generation_surveys.c
    for generation, survey in connection.execute(select(x.generation_id, x.survey)):
        source = sources[generation]
        found[source] = found.get(source, frozenset()) | {survey}
    return found


def _reach(
    connection: Connection,
    row: Row[Any],
    sources: Mapping[int, TopicGeneration],
    ended_at: Mapping[TopicGeneration, float],
    gone_at: float | None,
) -> Reach:
    source = sources[row.generation_id]
    ended = [at for at in (row.gone_at, gone_at, ended_at.get(source)) if at is not None]
    # a look behind the end is of a clock that was wrong, and so tells nothing: nobody knows which one it was
    is_odd = bool(ended) and row.seen_at is not None and min(ended) < row.seen_at - CLOCKS_APART_S
    return Reach(
        source,
        row.partition,
        row.first_offset,
        row.next_offset,
        None if is_odd else reached_at(row),
        row.seen_at,
        row.seen_end,
        max(min(ended), row.seen_at or 0.0) if ended else None,  # it was there when it was seen
        _passed_at(connection, row),
    )


def _passed_at(connection: Connection, row: Row[Any]) -> float | None:
    if row.seen_at is not None and row.next_offset >= row.seen_end:
        return None
    return _seconds(kafka_times.newest_ms(connection, (row.generation_id, row.partition)))


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _never_had(connection: Connection, places: Places, begins: Mapping[TopicGeneration, float]) -> list[Lost]:
    """Return what was there before the lake began with a partition: not what an older life has."""
    found = []
    for (life, partition), (row, _) in places.items():
        older = places.get((_older(life), partition))
        if not row.first_offset or (older is not None and older[1].followed_at is not None):
            continue
        first_ms = _first_ms(connection, row)
        after = _left(connection, older, first_ms)
        after_ms = None if after is None else int(after * 1000)
        before = sent_by(first_ms, after_ms, row.first_at)
        span = OffsetRange(row.partition, 0, row.first_offset)
        found.append(Lost(life, span, NEVER_HAD, after, before, row.first_at, begins.get(life, NEVER)))
    return found


def _older(life: TopicGeneration) -> TopicGeneration:
    return replace(life, generation=life.generation - 1)


def _left(connection: Connection, older: tuple[Row[Any], Reach] | None, next_ms: int | None) -> float | None:
    """Return when an older life of a partition was drained to its end, or when its last messages came.

    None where there is none, or these claim to be later than those of the next life.
    """
    if older is None:
        return None
    row, reach = older
    if reach.reached_at is not None:
        return reach.reached_at
    last_ms = kafka_times.before_ms(connection, (row.generation_id, row.partition), row.next_offset)
    if last_ms is None or next_ms is None:
        return _seconds(last_ms)
    return None if last_ms > next_ms + kafka_times.DISORDER_S * 1000 else last_ms / 1000


def _first_ms(connection: Connection, row: Row[Any]) -> int | None:
    """Return the time of a partition's first messages in the lake."""
    noted: int | None = row.first_ms
    if noted is not None or row.next_offset <= row.first_offset:
        return noted
    return kafka_times.first_ms(connection, (row.generation_id, row.partition))


def _begins(connection: Connection, places: Places) -> dict[TopicGeneration, float]:
    """Return when the lake began with lives of topics, at the earliest: the first look, or the first message.

    A later one began after the last look at the one before it all of which is in the lake.
    """
    found: dict[TopicGeneration, float] = {}
    told = kafka_times.begins(connection)
    for (life, partition), (row, reach) in places.items():
        if life.generation == 1:
            looked = row.first_seen if row.first_at is None else min(row.first_at, row.first_seen)
            first = told.get((row.generation_id, partition), math.inf)
            found[life] = min(found.get(life, math.inf), looked, first)
        following = replace(life, generation=life.generation + 1)
        left = NEVER if reach.reached_at is None else reach.reached_at
        found[following] = min(found.get(following, math.inf), left)
    return found


def _made_again(connection: Connection) -> float | None:
    """Return when the ledger was made again: then it began with what it found in the lake."""
    c = s.commits.c
    first = connection.execute(select(c.kind, c.committed_at).order_by(c.number).limit(1)).one_or_none()
    return first.committed_at if first is not None and first.kind == "adopt" else None


def _gaps(
    connection: Connection,
    sources: Mapping[int, TopicGeneration],
    places: Places,
    begins: Mapping[TopicGeneration, float],
) -> list[Lost]:
    x = s.looks.c
    mine = and_(x.generation_id == s.gaps.c.generation_id, x.partition == s.gaps.c.partition)
    query = select(s.gaps, s.commits.c.committed_at, x.seen_at, x.seen_end)
    query = query.select_from(s.gaps.join(s.commits).outerjoin(s.looks, mine)).order_by(s.gaps.c.id)
    found = []
    for row in connection.execute(query).all():
        key = row.generation_id, row.partition
        since_ms = kafka_times.before_ms(connection, key, row.start_offset)
        was_seen = row.seen_end is not None and row.end_offset <= row.seen_end
        known_at = min(row.committed_at, row.seen_at) if was_seen else row.committed_at
        next_ms = kafka_times.after_ms(connection, key, row.end_offset)
        until = sent_by(next_ms, since_ms, known_at)
        span = OffsetRange(row.partition, row.start_offset, row.end_offset)
        source = sources[row.generation_id]
        begun, since = begins.get(source, NEVER), _seconds(since_ms)
        if since is None:  # nothing of this life came before: what came of the one before it did
            since = _left(connection, places.get((_older(source), row.partition)), next_ms)
        found.append(Lost(source, span, row.reason, since, until, known_at, begun))
    return found


def _quarantined(
    connection: Connection, sources: Mapping[int, TopicGeneration], state: str
) -> tuple[Waiting, ...]:
    q, r = s.quarantine.c, s.segment_ranges.c
    before = _time_of(r.first_timestamp_ms, back=0), _time_of(r.last_timestamp_ms, back=1)
    believed = case((kafka_times.can_be_true(q.timestamp_ms, *before), q.timestamp_ms))
    messages = (
        select(q.generation_id, q.partition, believed.label("at_ms"), s.plans.c.planned_at)
        .select_from(s.quarantine.join(s.segments, q.segment_id == s.segments.c.id).join(s.plans))
        .where(q.state == state)
        .subquery()
    )
    m = messages.c
    times = func.min(m.at_ms), func.max(m.at_ms)
    query = (
        select(m.generation_id, m.partition, func.count(), *times, func.max(m.planned_at))
        .group_by(m.generation_id, m.partition, m.at_ms // HOUR_MS)
        .order_by(m.generation_id, m.partition, times[0])
    )
    return tuple(
        Waiting(sources[g], p, n, _seconds(first), _seconds(last), by)
        for g, p, n, first, last, by in connection.execute(query)
    )


def _time_of(column: Column[Any], *, back: int) -> ColumnElement[Any]:
    """Return a time of the range that a quarantined message is in, or of one so many before it."""
    q, r = s.quarantine.c, s.segment_ranges.c
    same = r.generation_id == q.generation_id, r.partition == q.partition, r.start_offset <= q.offset
    nearest = select(column).where(*same).order_by(r.start_offset.desc()).limit(1).offset(back)
    return nearest.correlate(s.quarantine).scalar_subquery()
