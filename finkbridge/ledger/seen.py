"""What runs saw of topics' ends: the facts that tell whether a night can still get alerts.

A message that was at the broker at a time T is drained once the lake has reached the end that a look at or
after T saw. Kafka's own times of what was drained tell the same, but only of partitions that had a message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, exists, insert, literal, select, update

from finkbridge.ledger import kafka_times, rows
from finkbridge.ledger import schema as s
from finkbridge.ledger.rows import chunks

LOOK_AGAIN_S = 3600.0
"""How old the newest look may get, and how often one that finds nothing new makes the catalog stale: a night
may be over by it."""

_STALE = "nights_stale"
"""Key in ``meta``: 1 if looks told, since the catalog was published, what its view of nights cannot know."""

_SEARCHED = "searched "
"""How keys in ``meta`` begin, before cluster and pattern as JSON: when that was, Unix milliseconds UTC."""

GONE = "gone "
"""How keys in ``meta`` begin, before a generation that no look has seen: when it was noticed that it is gone,
Unix milliseconds UTC."""

Ends = Mapping[tuple[int, int], int]
"""End at the broker, by generation's row id and partition."""


def note_looks(connection: Connection, ends: Ends, at: float) -> None:
    """Write down where partitions end at the broker.

    Parameters
    ----------
    connection
        In a coordinator's transaction.
    ends
        Of partitions that the ledger has. One that ends before the lake does is left out: its leader does not
        show all it has, or the broker lost messages, and then a new life of the topic begins.
    at
        When the look began, Unix seconds UTC.
    """
    known = {(row.generation_id, row.partition): row for row in _partitions(connection, ends)}
    sane = {
        key: max(end, known[key].seen_end or 0)  # it has what it showed: a new leader may not show all yet
        for key, end in ends.items()
        if key in known and end >= known[key].next_offset
    }
    new = [_look(key, end, at) for key, end in sane.items() if known[key].seen_at is None]
    if new:
        connection.execute(insert(s.looks), new)
    again = [
        _again(connection, known[key], end, at) for key, end in sane.items() if known[key].seen_at is not None
    ]
    if again:
        x = s.looks.c
        mine = and_(x.generation_id == bindparam("g"), x.partition == bindparam("p"))
        connection.execute(update(s.looks).where(mine), again)
    if any(_is_later(known[key], end, at) for key, end in sane.items()):
        _set_stale(connection, 1)


def note_gone(connection: Connection, generations: Collection[int], at: float) -> None:
    """Write down that the broker has no such topics any more; what they got since the last look is lost.

    Where no look is known, as in a ledger that was rebuilt, that is a fact of its own.
    """
    if not generations:
        return
    x = s.looks.c
    unknown = update(s.looks).where(x.generation_id.in_(generations), x.gone_at.is_(None))
    is_new = bool(connection.execute(unknown.values(gone_at=at)).rowcount)
    looked = frozenset(connection.scalars(select(x.generation_id).where(x.generation_id.in_(generations))))
    for generation in frozenset(generations) - looked - gone_unseen(connection).keys():
        rows.note_fact(connection, f"{GONE}{generation}", math.ceil(at * 1000))
        is_new = True
    if is_new:
        _set_stale(connection, 1)


def note_searched(connection: Connection, found: Mapping[tuple[str, str], float]) -> None:
    """Write down when clusters were searched for topics, by cluster and pattern."""
    known = searched(connection) if found else {}
    for key, at in found.items():
        rows.note_fact(connection, _SEARCHED + json.dumps(key), math.ceil(at * 1000))
        if key not in known or at // LOOK_AGAIN_S != known[key] // LOOK_AGAIN_S:
            _set_stale(connection, 1)


def searched(connection: Connection) -> dict[tuple[str, str], float]:
    """Return when each cluster was last searched for topics, by cluster and pattern; Unix seconds UTC."""
    m = s.meta.c
    facts = connection.execute(select(m.key, m.value).where(m.key.startswith(_SEARCHED, autoescape=True)))
    found = {}
    for fact in facts:
        cluster, pattern = json.loads(fact.key.removeprefix(_SEARCHED))
        found[cluster, pattern] = fact.value / 1000
    return found


def gone(connection: Connection) -> frozenset[int]:
    """Return the generations that are written down as gone."""
    x = s.looks.c
    seen_before = connection.scalars(select(x.generation_id).where(x.gone_at.is_not(None)))
    return frozenset(seen_before) | gone_unseen(connection).keys()


def gone_unseen(connection: Connection) -> dict[int, float]:
    """Return when it was noticed that topics are gone which no look has seen; Unix seconds UTC."""
    m = s.meta.c
    facts = connection.execute(select(m.key, m.value).where(m.key.startswith(GONE, autoescape=True)))
    found = {int(fact.key.removeprefix(GONE)): fact.value / 1000 for fact in facts}
    if not found:
        return {}
    x = s.looks.c.generation_id
    back = frozenset(connection.scalars(select(x).where(x.in_(found))))  # it was only hidden
    return {generation: at for generation, at in found.items() if generation not in back}


def ends(connection: Connection, generation_id: int) -> dict[int, int]:
    """Return where the newest look saw each partition of a generation end."""
    x = s.looks.c
    query = select(x.partition, x.seen_end).where(x.generation_id == generation_id)
    return {row.partition: row.seen_end for row in connection.execute(query)}


def left_of_gone(connection: Connection, before: float) -> frozenset[int]:
    """Return the generations that are noted as gone since before a time, with offsets that never landed."""
    p, x = s.partitions.c, s.looks.c
    both = and_(p.generation_id == x.generation_id, p.partition == x.partition)
    query = select(x.generation_id).select_from(s.partitions.join(s.looks, both))
    return frozenset(connection.scalars(query.where(x.gone_at < before, p.next_offset < x.seen_end)))


def note_surveys(connection: Connection, generation_id: int, surveys: Iterable[str]) -> None:
    """Write down whose alerts a topic delivers."""
    x = s.generation_surveys.c
    for survey in surveys:
        known = exists().where(x.generation_id == generation_id, x.survey == survey)
        row = select(literal(generation_id), literal(survey)).where(~known)
        connection.execute(insert(s.generation_surveys).from_select(["generation_id", "survey"], row))


def is_stale(connection: Connection) -> bool:
    """Whether looks told what the published view of nights cannot know."""
    return bool(connection.scalar(select(s.meta.c.value).where(s.meta.c.key == _STALE)))


def note_nights_published(connection: Connection) -> None:
    """Note that the catalog has all that looks told."""
    if is_stale(connection):
        _set_stale(connection, 0)


def oldest_look(connection: Connection, generations: Collection[int]) -> float | None:
    """Return when the partition was seen that was not seen for longest; None where one never was."""
    found = _partitions(connection, [(generation, 0) for generation in generations])
    times = [row.seen_at for row in found]
    return None if None in times else min(times, default=None)


def _partitions(connection: Connection, keys: Iterable[tuple[int, int]]) -> list[Row[Any]]:
    p, x = s.partitions.c, s.looks.c
    both = and_(p.generation_id == x.generation_id, p.partition == x.partition)
    columns = (p.generation_id, p.partition, p.first_offset, p.next_offset)
    query = select(*columns, x.first_ms, x.seen_at, x.seen_end, x.reached_at)
    generations = {generation for generation, _ in keys}
    query = query.select_from(s.partitions.outerjoin(s.looks, both))
    found: list[Row[Any]] = []
    for some in chunks(generations):
        found += connection.execute(query.where(p.generation_id.in_(some)))
    return found


def _look(key: tuple[int, int], end: int, at: float) -> dict[str, Any]:
    return {"generation_id": key[0], "partition": key[1], "first_at": at, "seen_at": at, "seen_end": end}


def _again(connection: Connection, known: Row[Any], end: int, at: float) -> dict[str, Any]:
    first_ms = known.first_ms
    if first_ms is None and 0 < known.first_offset < known.next_offset:
        first_ms = kafka_times.first_ms(connection, (known.generation_id, known.partition))
    values = {"first_ms": first_ms, "seen_at": at, "seen_end": end, "gone_at": None}
    before = reached_at(known)
    if before is not None and max(before, known.seen_at) > at:
        before = None  # a clock was wrong, and nobody knows which
    return {"g": known.generation_id, "p": known.partition, "reached_at": before, **values}


def reached_at(look: Row[Any]) -> float | None:
    """Return the time of the newest look all of which is in the lake; None if there was none."""
    if look.seen_at is not None and look.next_offset >= look.seen_end:
        return float(look.seen_at)
    return None if look.reached_at is None else float(look.reached_at)


def _set_stale(connection: Connection, value: int) -> None:
    mine = s.meta.c.key == _STALE
    if connection.execute(update(s.meta).where(mine).values(value=value)).rowcount == 0:
        connection.execute(insert(s.meta), {"key": _STALE, "value": value})


def _is_later(known: Row[Any], end: int, at: float) -> bool:
    """Whether a look that finds nothing new tells what the catalog, published before, cannot know."""
    before = reached_at(known)
    is_reached = bool(known.next_offset >= end)
    return is_reached and before is not None and at // LOOK_AGAIN_S != before // LOOK_AGAIN_S
