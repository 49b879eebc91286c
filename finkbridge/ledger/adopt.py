"""A new ledger for a lake whose own is lost: all that its files say, in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert

from finkbridge import layout
from finkbridge.errors import CommitConflictError, LakeAccessError, LakeError, NoLakeError
from finkbridge.ledger import identity, landed, rows
from finkbridge.ledger import schema as s
from finkbridge.ledger.coordinator import Coordinator
from finkbridge.ledger.quarantined import land_entries, waiting_of
from finkbridge.ledger.rebuilt import TABLES_MISSING, tables_missing
from finkbridge.ledger.seen import note_surveys
from finkbridge.ledger.store import Ledger
from finkbridge.values import LandedPart, OffsetRange, SegmentPlan, TopicGeneration

UNKNOWN = "lost, or holes without a message: in no file when the ledger was rebuilt"


@dataclass(frozen=True, slots=True)
class AdoptedPlan:
    """A plan that was committed, or one part of it, with its parts in order."""

    plan: SegmentPlan
    parts: tuple[LandedPart, ...]
    """Without schemas and rejections."""


@dataclass(frozen=True, slots=True)
class AdoptedRequeue:
    """Messages that were sent through again from one segment's quarantine."""

    source: TopicGeneration
    places: frozenset[tuple[int, int]]
    """Partition and offset of each."""
    part: LandedPart
    """Without schemas."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """What a lake's files say."""

    plans: Sequence[AdoptedPlan]
    """Those of a partition in the order of their offsets."""
    abandoned: Sequence[SegmentPlan]
    """All their offsets are in others."""
    left: Sequence[SegmentPlan]
    """Nothing of them could be taken, and some of their offsets are in no other."""
    requeues: Sequence[AdoptedRequeue]
    """The newest first."""
    gaps: Sequence[tuple[TopicGeneration, OffsetRange]]
    last_number: int
    """The greatest one in the name of any file."""


def is_blank(ledger: Ledger) -> bool:
    """Whether a ledger knows of no topic."""
    with ledger.reading() as connection:
        return identity.is_blank(connection)


def has_archive(lake: Path) -> bool:
    """Whether there is a file of archive or quarantine in a lake."""
    folders = [lake / name for name in ("archive", "quarantine")]
    return any(path.is_file() for folder in folders for path in folder.rglob("*.avro"))


def refuse_if_lost(ledger: Ledger, *, to_rebuild: bool = False) -> None:
    """Raise LakeAccessError where a lake's ledger was lost, or made again and its tables not yet.

    A drain would begin with the topics anew, and give names to files that files of the archive have.

    Parameters
    ----------
    ledger
        It knows of nothing, and the lake has an archive: it was lost.
    to_rebuild
        The tables are about to be made: it is no hindrance that they are missing.
    """
    if is_blank(ledger) and has_archive(ledger.lake):
        raise LakeAccessError(_lost(ledger.lake, is_file=ledger.is_sqlite))
    with ledger.reading() as connection:
        if not to_rebuild and tables_missing(connection):
            raise LakeAccessError(
                f"{ledger.lake} has a new ledger, and its tables are not made yet: run finkbridge rebuild"
            )


def refuse_to_begin(lake: Path, url: str | None = None) -> None:
    """Raise LakeAccessError where the ledger's file is gone or empty: a new one would know of nothing."""
    is_elsewhere = url is not None or (lake / layout.LAKE_ID).is_file()  # which opening it tells of
    file = lake / layout.LEDGER
    is_there = file.is_file() and file.stat().st_size > 0
    if not is_elsewhere and not is_there and has_archive(lake):
        raise LakeAccessError(_lost(lake))


def open_known(lake: Path, url: str | None = None) -> Ledger:
    """Open a lake's ledger to read what is in the lake.

    Raises
    ------
    LakeAccessError
        It was lost, or made again and its tables not yet: it does not know what is there.
    NoLakeError
        There is no lake.
    """
    ledger = open_or_lost(lake, url)
    try:
        refuse_if_lost(ledger)
    except LakeError:
        ledger.close()
        raise
    return ledger


def open_or_lost(lake: Path, url: str | None = None) -> Ledger:
    """Open a lake's ledger, which may know of nothing; raise LakeAccessError where it is lost."""
    try:
        return Ledger(lake, url)
    except NoLakeError:
        if has_archive(lake):
            raise LakeAccessError(_lost(lake, is_file=url is None)) from None
        raise


def adopt(
    coordinator: Coordinator, adoption: Adoption, complete: Callable[[LandedPart], LandedPart]
) -> list[AdoptedRequeue]:
    """Fill a ledger that knows nothing yet.

    Parameters
    ----------
    coordinator
        Of the lake.
    adoption
        What its files say.
    complete
        Adds schemas and rejections to a part, read from its files: they need not be in memory all at once.

    Returns
    -------
    list
        Requeues that were not adopted: a message of theirs does not wait, as another one landed it.

    Raises
    ------
    CommitConflictError
        The ledger knows of topics.
    """
    with coordinator.writing() as connection:
        if not identity.is_blank(connection):
            raise CommitConflictError("the ledger is not empty: nothing was changed")
        rows.skip_numbers(connection, adoption.last_number)
        ids = _add_generations(connection, adoption)
        rows.note_fact(connection, TABLES_MISSING, 1)
        _add_plans(connection, adoption, ids)
        gaps = {(source, gap.partition, gap.end): gap for source, gap in adoption.gaps}
        for adopted in adoption.plans:
            source = adopted.plan.source
            for r in adopted.plan.ranges:
                if gap := gaps.get((source, r.partition, r.start)):
                    _add_gap(connection, coordinator.epoch, ids[source], gap)
            commit = rows.add_commit(connection, "adopt", coordinator.epoch)
            _add_plan(connection, commit, ids[source], adopted, complete)
        epoch = coordinator.epoch
        return [r for r in adoption.requeues if not _add_requeue(connection, epoch, r, complete)]


def _lost(lake: Path, *, is_file: bool = True) -> str:
    return f"{lake} has an archive and its ledger is lost: {put_back(is_file=is_file)}"


def put_back(*, is_file: bool) -> str:
    """Return what to do about a ledger that is lost, in the lake or in PostgreSQL."""
    what = layout.LEDGER if is_file else "its database"
    return f"put {what} back from a backup, or run finkbridge rebuild --ledger"


def _add_generations(connection: Connection, adoption: Adoption) -> dict[TopicGeneration, int]:
    """Write lives of topics and their partitions down; return the lives' row ids."""
    ends: dict[TopicGeneration, dict[int, OffsetRange]] = {}
    for adopted in adoption.plans:
        mine = ends.setdefault(adopted.plan.source, {})
        for r in adopted.plan.ranges:
            known = mine.get(r.partition, r)
            mine[r.partition] = OffsetRange(r.partition, min(known.start, r.start), max(known.end, r.end))
    ids = {}
    for source in sorted(ends):
        row = {"cluster": source.cluster, "topic": source.topic, "generation": source.generation}
        ids[source] = rows.insert_one(connection, s.generations, row | {"first_seen": time.time()})
        partitions = [
            {
                "generation_id": ids[source],
                "partition": p,
                "first_offset": span.start,
                "next_offset": span.end,
            }
            for p, span in sorted(ends[source].items())
        ]
        connection.execute(insert(s.partitions), partitions)
    return ids


def _add_plans(connection: Connection, adoption: Adoption, ids: dict[TopicGeneration, int]) -> None:
    """Write plans down, closed; of those that are not whole, the ranges of the parts that are there."""
    ranges: dict[tuple[int, TopicGeneration], list[OffsetRange]] = {}
    for adopted in adoption.plans:
        plan = adopted.plan
        ranges.setdefault((plan.number, plan.source), []).extend(plan.ranges)
    made = [SegmentPlan(number, source, tuple(r), 0) for (number, source), r in ranges.items()]
    for state, plans in (("committed", made), ("abandoned", adoption.abandoned), ("left", adoption.left)):
        for plan in plans:
            if plan.source in ids:
                rows.add_plans(connection, [plan], ids[plan.source])
                rows.close_plan(connection, plan, state)


def _add_plan(
    connection: Connection,
    commit: int,
    generation_id: int,
    adopted: AdoptedPlan,
    complete: Callable[[LandedPart], LandedPart],
) -> None:
    owner = landed.Owner(commit, adopted.plan, generation_id)
    for part in map(complete, adopted.parts):
        landed.add_part(connection, owner, part)
        note_surveys(connection, generation_id, {f.survey for f in part.files if f.table == "archive"})


def _add_gap(connection: Connection, epoch: int, generation_id: int, gap: OffsetRange) -> None:
    row: dict[str, Any] = {
        "commit": rows.add_commit(connection, "gap", epoch),
        "generation_id": generation_id,
        "partition": gap.partition,
        "start_offset": gap.start,
        "end_offset": gap.end,
        "reason": UNKNOWN,
    }
    connection.execute(insert(s.gaps), row)


def _add_requeue(
    connection: Connection, epoch: int, requeue: AdoptedRequeue, complete: Callable[[LandedPart], LandedPart]
) -> bool:
    entries = waiting_of(connection, requeue.source, requeue.places)
    if len(entries) != len(requeue.places) or len({entry.segment_id for entry in entries}) != 1:
        return False
    landed.add_schemas(connection, complete(requeue.part).schemas)
    land_entries(connection, rows.add_commit(connection, "requeue", epoch), entries, requeue.part.files)
    return True
