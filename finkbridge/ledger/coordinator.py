"""Writing to the ledger: one coordinator at a time, every commit a compare-and-set.

A coordinator holds a lock (flock beside SQLite, an advisory lock in PostgreSQL) and an epoch that no other
has. Every transaction first checks the epoch, so a coordinator that lost its lock without noticing (frozen,
or on a machine that was cut off) cannot commit any more.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from finkbridge import layout
from finkbridge.errors import CommitConflictError, LakeAccessError, LakeBusyError, ReconciliationError
from finkbridge.ledger import schema as s
from finkbridge.ledger.store import KnownGeneration, Ledger, translated
from finkbridge.values import (
    KnownSchema,
    LandedFile,
    LandedPart,
    OffsetRange,
    SegmentPlan,
    TopicGeneration,
    covers,
)

ADVISORY_LOCK = 0x66696E6B  # "fink": one ledger a database

IDS_AT_ONCE = 10_000
"""In one statement: databases take 32,766 values at most."""

RUNS_KEPT_S = 30 * 86400.0
"""How long the ledger keeps a run's report: a service makes one every few seconds."""


@contextmanager
def coordinate(ledger: Ledger) -> Iterator[Coordinator]:
    """Hold the lake: yield the one coordinator, or raise LakeBusyError and change nothing."""
    with _flock(ledger) if ledger.is_sqlite else _advisory_lock(ledger), translated(ledger.lake):
        yield Coordinator(ledger)


class Coordinator:
    """The only writer. Made by `coordinate`."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        with self._writing(new_epoch=True) as connection:
            self.epoch = connection.scalar(select(s.meta.c.value).where(s.meta.c.key == "epoch"))
            _note_dead_runs(connection)

    def add_generation(self, cluster: str, topic: str, topic_id: str | None) -> KnownGeneration:
        """Begin the next life of a topic."""
        g = s.generations.c
        with self._writing() as connection:
            newest = connection.scalar(
                select(func.max(g.generation)).where(g.cluster == cluster, g.topic == topic)
            )
            source = TopicGeneration(cluster, topic, (newest or 0) + 1)
            row = {
                "cluster": cluster,
                "topic": topic,
                "generation": source.generation,
                "topic_id": topic_id,
                "first_seen": time.time(),
            }
            return KnownGeneration(_insert_one(connection, s.generations, row), source, topic_id)

    def note_topic_id(self, generation: KnownGeneration, topic_id: str) -> KnownGeneration:
        """Write down Kafka's id of a topic's present life, which was not known when it began."""
        g = s.generations
        with self._writing() as connection:
            connection.execute(update(g).where(g.c.id == generation.row_id).values(topic_id=topic_id))
        return replace(generation, topic_id=topic_id)

    def start_partitions(self, generation: KnownGeneration, starts: Mapping[int, int]) -> None:
        """Write down where partitions that were never drained begin."""
        rows = [
            {"generation_id": generation.row_id, "partition": p, "first_offset": o, "next_offset": o}
            for p, o in starts.items()
        ]
        if rows:
            with self._writing() as connection:
                connection.execute(insert(s.partitions), rows)

    def add_plans(
        self, generation: KnownGeneration, segments: Iterable[tuple[OffsetRange, ...]], byte_limit: int
    ) -> list[SegmentPlan]:
        """Write plans down, each with a number of its own, before anything of them is fetched."""
        with self._writing() as connection:
            made = [
                SegmentPlan(_next_number(connection, "plan"), generation.source, ranges, byte_limit)
                for ranges in segments
            ]
            if made:
                connection.execute(insert(s.plans), [_plan_row(p, generation.row_id) for p in made])
                connection.execute(insert(s.plan_ranges), [row for p in made for row in _plan_range_rows(p)])
        return made

    def begin_merge(self, folder: str) -> str:
        """Write down the path of a file that is to replace others of a folder, before it is there."""
        with self._writing() as connection:
            path = layout.merged_path(folder, _next_number(connection, "plan"), 0)
            connection.execute(insert(s.merging), {"path": path})
            return path

    def unfinished_merges(self) -> list[str]:
        """Return paths of merged files that a dead coordinator may have left, and that no commit has."""
        with self.ledger.reading() as connection:
            return list(connection.scalars(select(s.merging.c.path)))

    def forget_merges(self, paths: Iterable[str]) -> None:
        """Note that nothing is left of unfinished merges."""
        with self._writing() as connection:
            _forget_merges(connection, paths)

    def abandon(self, plans: Iterable[SegmentPlan]) -> None:
        """Close pending plans that will never be finished; their numbers are never used again."""
        with self._writing() as connection:
            for plan in plans:
                _close_plan(connection, plan, "abandoned")

    def give_up(
        self, plans: Sequence[SegmentPlan], generation: KnownGeneration, reason: str
    ) -> list[OffsetRange]:
        """Close pending plans whose messages are gone, and record one gap a partition; return the gaps.

        A gap begins at the ledger's end: what a dead run abandoned before these plans is lost with them.
        """
        ranges = sorted(r for plan in plans for r in plan.ranges)
        with self._writing() as connection:
            for plan in plans:
                _close_plan(connection, plan, "abandoned")
            nexts = _next_offsets(connection, generation.row_id)
            lost = [OffsetRange(p, nexts[p], end) for p, end in {r.partition: r.end for r in ranges}.items()]
            for gap in lost:
                self._add_gap(connection, generation, gap, reason)
        return lost

    def commit_segment(self, plan: SegmentPlan, parts: Sequence[LandedPart]) -> int:
        """Commit all that a plan left on disk, in one transaction; return the commit's number.

        Raises
        ------
        ReconciliationError
            Planned offsets are not all rows, quarantined messages or confirmed holes.
        CommitConflictError
            The ledger's end of a range is not the range's start, or the plan is closed.
        """
        reconcile(plan, parts)
        with self._writing() as connection:
            _close_plan(connection, plan, "committed")
            generation_id = _generation_id(connection, plan.source)
            commit = self._add_commit(connection, "drain")
            for part in parts:
                for count in part.counts:
                    _advance(connection, generation_id, count.range)
                _add_part(connection, _Owner(commit, plan, generation_id), part)
        return commit

    def commit_gap(self, generation: KnownGeneration, lost: OffsetRange, reason: str) -> int:
        """Record a range that can no longer be had, and go on behind it."""
        with self._writing() as connection:
            return self._add_gap(connection, generation, lost, reason)

    def commit_merge(
        self, inputs: Sequence[int], outputs: Sequence[LandedFile], schemas: Sequence[KnownSchema] = ()
    ) -> int:
        """Replace files, by row id, by others; every input must still be alive and no row may be lost."""
        f = s.files.c
        with self._writing() as connection:
            rows = connection.scalar(select(func.sum(f.rows)).where(f.id.in_(inputs), f.removed.is_(None)))
            if rows is None or int(rows) != sum(o.rows for o in outputs):
                raise ReconciliationError(
                    f"merging would turn {rows} rows into {sum(o.rows for o in outputs)}"
                )
            commit = self._add_commit(connection, "merge")
            done = connection.execute(
                update(s.files).where(f.id.in_(inputs), f.removed.is_(None)).values(removed=commit)
            )
            if done.rowcount != len(inputs):
                raise CommitConflictError("a file to merge was replaced meanwhile: nothing was changed")
            _add_schemas(connection, schemas)
            _add_files(connection, outputs, commit, None)
            _forget_merges(connection, [file.path for file in outputs])
        return commit

    def deletable(self, grace_s: float) -> Sequence[Row[Any, Any]]:
        """Return id and path of replaced files whose grace period is over and which are still on disk."""
        f = s.files.c
        query = (
            select(f.id, f.path)
            .join(s.commits, f.removed == s.commits.c.number)
            .where(s.IS_REPLACED, s.commits.c.committed_at < time.time() - grace_s)
        )
        with self.ledger.reading() as connection:
            return connection.execute(query).all()

    def mark_deleted(self, ids: Sequence[int]) -> None:
        """Note that files are gone from disk."""
        with self._writing() as connection:
            for at in range(0, len(ids), IDS_AT_ONCE):
                some = s.files.c.id.in_(ids[at : at + IDS_AT_ONCE])
                connection.execute(update(s.files).where(some).values(deleted_at=time.time()))

    def published(self) -> int:
        """Return the commit that the catalog was last published at; 0 for never."""
        with self.ledger.reading() as connection:
            return connection.scalar(select(s.meta.c.value).where(s.meta.c.key == "published")) or 0

    def note_published(self, commit: int) -> None:
        """Note that the catalog has everything up to a commit."""
        with self._writing() as connection:
            connection.execute(update(s.meta).where(s.meta.c.key == "published").values(value=commit))

    def start_run(self, kind: str) -> int:
        """Note that a run began; one that was left running is noted as dead."""
        with self._writing() as connection:
            _note_dead_runs(connection)
            _forget_old_runs(connection)
            row = {"kind": kind, "started_at": time.time(), "state": "running", "summary": "{}"}
            return _insert_one(connection, s.runs, row)

    def end_run(self, run: int, state: str, summary: Mapping[str, Any]) -> None:
        """Note how a run ended."""
        values = {"ended_at": time.time(), "state": state, "summary": json.dumps(summary)}
        with self._writing() as connection:
            connection.execute(update(s.runs).where(s.runs.c.id == run).values(**values))

    @contextmanager
    def _writing(self, *, new_epoch: bool = False) -> Iterator[Connection]:
        engine = self.ledger.engine.execution_options(finkbridge_writing=True)
        with translated(self.ledger.lake), engine.begin() as connection:
            epoch = update(s.meta).where(s.meta.c.key == "epoch")
            if new_epoch:
                connection.execute(epoch.values(value=s.meta.c.value + 1))
            elif (
                connection.execute(
                    epoch.where(s.meta.c.value == self.epoch).values(value=self.epoch)
                ).rowcount
                != 1
            ):
                raise CommitConflictError(
                    "another coordinator took this lake over: nothing was changed; see `finkbridge status`"
                )
            yield connection

    def _add_commit(self, connection: Connection, kind: str) -> int:
        number = _next_number(connection, "commit")
        row = {"number": number, "kind": kind, "epoch": self.epoch, "committed_at": time.time()}
        connection.execute(insert(s.commits), row)
        return number

    def _add_gap(
        self, connection: Connection, generation: KnownGeneration, lost: OffsetRange, reason: str
    ) -> int:
        commit = self._add_commit(connection, "gap")
        _advance(connection, generation.row_id, lost)
        row = {
            "commit": commit,
            "generation_id": generation.row_id,
            "partition": lost.partition,
            "start_offset": lost.start,
            "end_offset": lost.end,
            "reason": reason,
        }
        connection.execute(insert(s.gaps), row)
        return commit


def reconcile(plan: SegmentPlan, parts: Sequence[LandedPart]) -> None:
    """Check that planned offsets = rows + quarantined + confirmed holes, and that the files have as many."""
    name = plan.source.topic
    counts = [count for part in parts for count in part.counts]
    if strange := {c.range.partition for c in counts} - {r.partition for r in plan.ranges}:
        raise ReconciliationError(
            f"{plan.source.topic}: partitions {sorted(strange)} came back and were not planned; nothing of "
            "this segment was committed"
        )
    for planned in plan.ranges:
        mine = [c for c in counts if c.range.partition == planned.partition]
        if not covers([c.range for c in mine], planned) or not all(c.reconciled for c in mine):
            got = sum(c.rows + c.quarantined for c in mine)
            raise ReconciliationError(
                f"{name}, partition {planned.partition}: {planned.offsets} offsets were planned from "
                f"{planned.start} and only {got} messages are accounted for; nothing of this segment was "
                "committed, the next run tries again"
            )
    for part in parts:
        _check_files(name, part)


def _check_files(topic: str, part: LandedPart) -> None:
    """Check that what was written, table by table, is what was counted."""
    rows = sum(c.rows for c in part.counts)
    due = {"archive": rows, "deliveries": rows, "packets": rows}
    due["quarantine"] = sum(c.quarantined for c in part.counts)
    for table, count in due.items():
        written = sum(file.rows for file in part.files if file.table == table)
        if written != count:
            raise ReconciliationError(
                f"{topic}: {count} messages were to be in {table} and {written} are; nothing of this segment "
                "was committed, the next run tries again"
            )


@dataclass(frozen=True, slots=True)
class _Owner:
    """What a part belongs to."""

    commit: int
    plan: SegmentPlan
    generation_id: int


def _add_part(connection: Connection, owner: _Owner, part: LandedPart) -> None:
    commit, generation_id = owner.commit, owner.generation_id
    rows = sum(c.rows for c in part.counts)
    quarantined = sum(c.quarantined for c in part.counts)
    g = s.generations.c
    grown = {"messages": g.messages + rows + quarantined, "bytes": g.bytes + part.bytes}
    connection.execute(update(s.generations).where(g.id == generation_id).values(**grown))
    segment_id = _insert_one(
        connection,
        s.segments,
        {
            "commit": commit,
            "plan": owner.plan.number,
            "part": part.part,
            "generation_id": generation_id,
            "messages": rows + quarantined,
            "rows": rows,
            "quarantined": quarantined,
            "holes": sum(h.offsets for c in part.counts for h in c.holes),
            "bytes": part.bytes,
            "first_timestamp_ms": part.first_timestamp_ms,
            "last_timestamp_ms": part.last_timestamp_ms,
        },
    )
    ranges = [
        {
            "segment_id": segment_id,
            "position": position,
            "partition": c.range.partition,
            "start_offset": c.range.start,
            "end_offset": c.range.end,
            "rows": c.rows,
            "quarantined": c.quarantined,
            "holes": json.dumps([[h.start, h.end] for h in c.holes]),
        }
        for position, c in enumerate(part.counts)
    ]
    connection.execute(insert(s.segment_ranges), ranges)
    _add_schemas(connection, part.schemas)
    _add_files(connection, part.files, commit, segment_id)
    if part.rejected:
        connection.execute(
            insert(s.quarantine),
            [
                {**r._asdict(), "segment_id": segment_id, "generation_id": generation_id, "state": "waiting"}
                for r in part.rejected
            ],
        )
    for last in part.last:
        p = s.partitions.c
        partition = update(s.partitions).where(
            p.generation_id == generation_id, p.partition == last.partition
        )
        connection.execute(partition.values(last_offset=last.offset, last_hash=last.hash))


def _add_files(
    connection: Connection, files: Sequence[LandedFile], commit: int, segment_id: int | None
) -> None:
    rows = [
        {
            "path": f.path,
            "segment_id": segment_id,
            "table": f.table,
            "survey": f.survey,
            "night": f.night,
            "rows": f.rows,
            "bytes": f.bytes,
            "checksum": f.checksum,
            "schema_id": f.schema_id,
            "added": commit,
            **{k: f.statistics.get(k) for k in ("mjd_min", "mjd_max", "healpix_min", "healpix_max")},
        }
        for f in files
    ]
    if rows:
        connection.execute(insert(s.files), rows)


def _add_schemas(connection: Connection, schemas: Sequence[KnownSchema]) -> None:
    wanted = {known.schema_id: known for known in schemas}
    query = select(s.schemas.c.schema_id).where(s.schemas.c.schema_id.in_(wanted))
    for schema_id in connection.scalars(query):
        del wanted[schema_id]
    if wanted:
        now = time.time()
        connection.execute(insert(s.schemas), [{**k._asdict(), "first_seen": now} for k in wanted.values()])


def _advance(connection: Connection, generation_id: int, done: OffsetRange) -> None:
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


def _next_offsets(connection: Connection, generation_id: int) -> dict[int, int]:
    p = s.partitions.c
    rows = connection.execute(select(p.partition, p.next_offset).where(p.generation_id == generation_id))
    return {row.partition: row.next_offset for row in rows}


def _close_plan(connection: Connection, plan: SegmentPlan, state: str) -> None:
    p = s.plans.c
    closed = connection.execute(
        update(s.plans).where(p.number == plan.number, p.state == "pending").values(state=state)
    )
    if closed.rowcount != 1:
        raise CommitConflictError(f"plan {plan.number} is closed already: nothing was changed")


def _forget_merges(connection: Connection, paths: Iterable[str]) -> None:
    connection.execute(delete(s.merging).where(s.merging.c.path.in_(list(paths))))


def _note_dead_runs(connection: Connection) -> None:
    """Note that a run which did not end never will: there is one coordinator, and it is another one."""
    running = update(s.runs).where(s.runs.c.state == "running")
    connection.execute(running.values(state="dead", ended_at=time.time()))


def _forget_old_runs(connection: Connection) -> None:
    connection.execute(delete(s.runs).where(s.runs.c.started_at < time.time() - RUNS_KEPT_S))


def _generation_id(connection: Connection, source: TopicGeneration) -> int:
    g = s.generations.c
    generation_id: int = connection.execute(
        select(g.id).where(
            g.cluster == source.cluster, g.topic == source.topic, g.generation == source.generation
        )
    ).scalar_one()
    return generation_id


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


def _next_number(connection: Connection, name: str) -> int:
    n = s.numbers.c
    connection.execute(update(s.numbers).where(n.name == name).values(last=n.last + 1))
    number: int = connection.execute(select(n.last).where(n.name == name)).scalar_one()
    return number


def _insert_one(connection: Connection, table: Table, row: Mapping[str, Any]) -> int:
    key = connection.execute(insert(table), row).inserted_primary_key
    assert key is not None  # noqa: S101 - SQLAlchemy returns it for every table with a serial key
    return int(key[0])


@contextmanager
def _flock(ledger: Ledger) -> Iterator[None]:
    path = ledger.lake / layout.LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LakeAccessError(f"the lake {ledger.lake} is not writable: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
            raise _busy(ledger, f"process {holder or 'unknown'}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _advisory_lock(ledger: Ledger) -> Iterator[None]:
    with translated(ledger.lake), ledger.engine.connect() as connection:
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_LOCK}):
            raise _busy(ledger, "a process on this or another machine")
        connection.commit()  # the lock belongs to the connection, not to the transaction
        try:
            yield
        finally:
            with suppress(DBAPIError):  # a server that is gone has no lock any more
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
                connection.commit()


def _busy(ledger: Ledger, holder: str) -> LakeBusyError:
    return LakeBusyError(
        f"the lake {ledger.lake} is being written by {holder}: nothing was changed; wait for it, or end it"
    )
