"""Kafka's times of what is in the lake, as far as they can be true.

A producer may give its messages any time. One is believed only if Kafka had times then, and if it is not
later than the plan that the message was fetched by: a message cannot tell of a time after that.
"""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, and_, bindparam, or_, select

from finkbridge.ledger import schema as s

EARLIEST_MS = 1_451_606_400_000
"""2016-01-01: messages have times since Kafka 0.10, of that year."""

CLOCKS_APART_S = 600.0
"""How far a broker's clock may be ahead of this machine's."""

DISORDER_S = 3600.0
"""How much earlier a message may be than the ones before it: producers send side by side, and again."""

RANGES_ASKED = 16
"""How many ranges beside an offset are asked for a time: the next one's may be none, or not be true."""

Key = tuple[int, int]
"""Generation's row id, and partition."""

_r, _p = s.segment_ranges.c, s.plans.c


def first_ms(connection: Connection, key: Key) -> int | None:
    """Return the time of the first messages of a partition that are in the lake."""
    return _ask(connection, _AFTER, key, 0)


def begins(connection: Connection) -> dict[Key, float]:
    """Return the time of the very first range of each partition that has any in the lake.

    Unix seconds UTC; minus infinity where it cannot be true.
    """
    found: dict[Key, float] = {}
    for generation, partition, time_ms, planned_at in connection.execute(_FIRST):
        if planned_at is not None:
            told = _believed(time_ms, planned_at)
            found[generation, partition] = -math.inf if told is None else told / 1000
    return found


def newest_ms(connection: Connection, key: Key) -> int | None:
    """Return the time that the newest part of a partition begins at: all before it is drained."""
    return _ask(connection, _NEWEST, key, 0)


def before_ms(connection: Connection, key: Key, offset: int) -> int | None:
    """Return the time of what is in the lake just before an offset."""
    return _ask(connection, _BEFORE, key, offset)


def after_ms(connection: Connection, key: Key, offset: int) -> int | None:
    """Return the time of what is in the lake from an offset on."""
    return _ask(connection, _AFTER, key, offset)


def sent_by(said_ms: int | None, since_ms: int | None, known_at: float | None) -> float | None:
    """Return when what is lost was sent, at the latest.

    Parameters
    ----------
    said_ms
        The time of what came after it.
    since_ms
        The time of what came before it.
    known_at
        When it surely was sent; None if that is not known.

    Returns
    -------
    float or None
        Unix seconds UTC: the time after it if that agrees with the others, else when it surely was sent.
    """
    if said_ms is None or (known_at is not None and said_ms / 1000 > known_at):
        return known_at
    if since_ms is None:
        return said_ms / 1000
    return known_at if said_ms < since_ms - DISORDER_S * 1000 else max(said_ms, since_ms) / 1000


def can_be_true(time_ms: ColumnElement[Any], *before_ms: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return whether a message's time is believed, given its plan and times of what came before it."""
    latest = (_p.planned_at + CLOCKS_APART_S) * 1000
    in_order = (or_(x.is_(None), x > latest, time_ms >= x - int(DISORDER_S * 1000)) for x in before_ms)
    return and_(time_ms >= EARLIEST_MS, time_ms <= latest, *in_order)


def _nearest(time: Column[Any], beside: ColumnElement[bool], order: ColumnElement[Any]) -> Select[Any]:
    ranges = s.segment_ranges.join(s.segments).join(s.plans)
    mine = and_(_r.generation_id == bindparam("g"), _r.partition == bindparam("p"), beside)
    return select(time, _p.planned_at).select_from(ranges).where(mine).order_by(order).limit(RANGES_ASKED)


def _first() -> Select[Any]:
    """Return the first range of each partition: one statement, as there may be thousands of them.

    By values alone, not joined: else SQLite would go through all ranges.
    """
    mine, here = s.partitions.c, s.segment_ranges.alias().c

    def of_first(column: ColumnElement[Any]) -> Select[Any]:
        same = here.generation_id == mine.generation_id, here.partition == mine.partition
        return select(column).where(*same).order_by(here.start_offset).limit(1).correlate(s.partitions)

    segment = of_first(here.segment_id).scalar_subquery()
    plan = select(s.segments.c.plan).where(s.segments.c.id == segment).scalar_subquery()
    planned = select(_p.planned_at).where(_p.number == plan).scalar_subquery()
    time_ms = of_first(here.first_timestamp_ms).scalar_subquery()
    return select(mine.generation_id, mine.partition, time_ms, planned)


_FIRST = _first()
_OFFSET: Any = bindparam("offset")
_BEFORE = _nearest(_r.last_timestamp_ms, _r.start_offset < _OFFSET, _r.start_offset.desc())
_AFTER = _nearest(_r.first_timestamp_ms, _r.start_offset >= _OFFSET, _r.start_offset.asc())
_NEWEST = _nearest(_r.first_timestamp_ms, _r.start_offset >= _OFFSET, _r.start_offset.desc())


def _ask(connection: Connection, query: Select[Any], key: Key, offset: int) -> int | None:
    rows = connection.execute(query, {"g": key[0], "p": key[1], "offset": offset})
    times = (_believed(time_ms, planned_at) for time_ms, planned_at in rows.all())
    return next((time_ms for time_ms in times if time_ms is not None), None)


def _believed(time_ms: int | None, planned_at: float) -> int | None:
    """Return a time, at most that of the plan; None if it cannot be true."""
    planned_ms = int(planned_at * 1000)
    if time_ms is None or not EARLIEST_MS <= time_ms <= planned_ms + CLOCKS_APART_S * 1000:
        return None
    return min(time_ms, planned_ms)
