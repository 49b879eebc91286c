"""Rows of the ledger, written and changed in a transaction that somebody else began."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, delete, insert, select, update

from finkbridge.errors import CommitConflictError
from finkbridge.ledger import schema as s
from finkbridge.values import OffsetRange, SegmentPlan, TopicGeneration

RUNS_KEPT_S = 30 * 86400.0
"""How long the ledger keeps a run's report: a service makes one every few seconds."""

VALUES_AT_ONCE = 10_000
"""In one statement: databases take 32,766 values at most."""

T = TypeVar("T")


def chunks(values: Iterable[T], most: int | None = None) -> Iterator[list[T]]:
    """Yield values in lists that are short enough for ``IN (...)``, or have `most` values."""
    rest = iter(values)
    while some := list(islice(rest, most or VALUES_AT_ONCE)):
        yield some


def add_commit(connection: Connection, kind: str, epoch: int) -> int:
    """Begin a commit of a kind (``drain``, ``merge``, ``gap``) and return its number."""
    number = next_number(connection, "commit")
    row = {"number": number, "kind": kind, "epoch": epoch, "committed_at": time.time()}
    connection.execute(insert(s.commits), row)
    return number


def add_gap(connection: Connection, epoch: int, generation_id: int, lost: OffsetRange, reason: str) -> int:
    """Commit a range as lost at the broker, let the lake go on behind it, and return the commit's number."""
    commit = add_commit(connection, "gap", epoch)
    advance(connection, generation_id, lost)
    row = {
        "commit": commit,
        "generation_id": generation_id,
        "partition": lost.partition,
        "start_offset": lost.start,
        "end_offset": lost.end,
        "reason": reason,
    }
    connection.execute(insert(s.gaps), row)
    return commit


def add_partitions(
    connection: Connection, generation_id: int, starts: Mapping[int, int], epochs: Mapping[int, int]
) -> None:
    """Write down where partitions begin, and at which epochs of their leaders that was seen, if it is known.

    Raises
    ------
    ValueError
        What is no offset; nothing is written.
    """
    if wrong := {p: o for p, o in starts.items() if o < 0}:
        raise ValueError(f"not offsets that partitions begin at: {wrong}")
    belongs = {"generation_id": generation_id}
    rows = [
        {**belongs, "partition": p, "first_offset": o, "next_offset": o, "leader_epoch": epochs.get(p)}
        for p, o in starts.items()
    ]
    connection.execute(insert(s.partitions), rows)


def add_plans(connection: Connection, plans: Sequence[SegmentPlan], generation_id: int) -> None:
    """Write plans down as pending."""
    if plans:
        connection.execute(insert(s.plans), [_plan_row(plan, generation_id) for plan in plans])
        connection.execute(insert(s.plan_ranges), [row for plan in plans for row in _plan_range_rows(plan)])


def close_plan(connection: Connection, plan: SegmentPlan, state: str) -> None:
    """Close a pending plan in some other state; raise CommitConflictError if it is closed."""
    p = s.plans.c
    closed = connection.execute(
        update(s.plans).where(p.number == plan.number, p.state == "pending").values(state=state)
    )
    if closed.rowcount != 1:
        raise CommitConflictError(f"plan {plan.number} is closed already: nothing was changed")


def close_plans(connection: Connection, plans: Sequence[SegmentPlan], lost: Sequence[SegmentPlan]) -> None:
    """Close pending plans as ``abandoned``, or as ``lost`` where the broker no longer has their messages."""
    gone = {plan.number for plan in lost}
    for plan in plans:
        close_plan(connection, plan, "lost" if plan.number in gone else "abandoned")


def forget_lost(connection: Connection) -> None:
    """Have plans that are lost count as abandoned: what they left is set aside."""
    p = s.plans.c
    connection.execute(update(s.plans).where(p.state == "lost").values(state="abandoned"))


def advance(connection: Connection, generation_id: int, done: OffsetRange) -> None:
    """Move a partition's end over a range; raise CommitConflictError if it is not the range's start."""
    p = s.partitions.c
    moved = connection.execute(
        update(s.partitions)
        .where(p.generation_id == generation_id, p.partition == done.partition, p.next_offset == done.start)
        .values(next_offset=done.end)
    )
    if moved.rowcount != 1:
        raise CommitConflictError(
            f"the ledger's end of partition {done.partition} is not {done.start}: nothing was changed"
        )


def next_offsets(connection: Connection, generation_id: int) -> dict[int, int]:
    """Return where the lake ends, by partition of a generation."""
    p = s.partitions.c
    rows = connection.execute(select(p.partition, p.next_offset).where(p.generation_id == generation_id))
    return {row.partition: row.next_offset for row in rows}


def forget_merges(connection: Connection, paths: Iterable[str]) -> None:
    """Take paths off the list of merges that are under way."""
    for some in chunks(paths):
        connection.execute(delete(s.merging).where(s.merging.c.path.in_(some)))


def note_dead_runs(connection: Connection) -> None:
    """Note that a run which did not end never will: there is one coordinator, and it is another one."""
    running = update(s.runs).where(s.runs.c.state == "running")
    connection.execute(running.values(state="dead", ended_at=time.time()))


def forget_old_runs(connection: Connection) -> None:
    """Drop the reports of runs older than `RUNS_KEPT_S`."""
    connection.execute(delete(s.runs).where(s.runs.c.started_at < time.time() - RUNS_KEPT_S))


def generation_id(connection: Connection, source: TopicGeneration) -> int:
    """Return the row id of a topic's life."""
    g = s.generations.c
    generation_id: int = connection.execute(
        select(g.id).where(
            g.cluster == source.cluster, g.topic == source.topic, g.generation == source.generation
        )
    ).scalar_one()
    return generation_id


def next_number(connection: Connection, name: str) -> int:
    """Return the next number of plans or commits; none is ever used again."""
    n = s.numbers.c
    connection.execute(update(s.numbers).where(n.name == name).values(last=n.last + 1))
    number: int = connection.execute(select(n.last).where(n.name == name)).scalar_one()
    return number


def skip_numbers(connection: Connection, last: int) -> None:
    """Let the next number of a plan be greater than `last`."""
    n = s.numbers.c
    connection.execute(update(s.numbers).where(n.name == "plan", n.last < last).values(last=last))


def note_fact(connection: Connection, key: str, value: int) -> None:
    """Write a fact down, whether or not the ledger had it before."""
    m = s.meta.c
    if connection.execute(update(s.meta).where(m.key == key).values(value=value)).rowcount == 0:
        connection.execute(insert(s.meta), {"key": key, "value": value})


def insert_one(connection: Connection, table: Table, row: Mapping[str, Any]) -> int:
    """Insert a row and return its id."""
    key = connection.execute(insert(table), row).inserted_primary_key
    assert key is not None  # noqa: S101 - SQLAlchemy returns it for every table with a serial key
    return int(key[0])


def _plan_row(plan: SegmentPlan, generation_id: int) -> dict[str, Any]:
    return {
        "number": plan.number,
        "generation_id": generation_id,
        "byte_limit": plan.byte_limit,
        "state": "pending",
        "planned_at": time.time(),
    }


def _plan_range_rows(plan: SegmentPlan) -> list[dict[str, Any]]:
    return [
        {
            "plan": plan.number,
            "position": position,
            "partition": r.partition,
            "start_offset": r.start,
            "end_offset": r.end,
        }
        for position, r in enumerate(plan.ranges)
    ]
