"""Writing to the ledger: one coordinator at a time, every commit a compare-and-set.

A coordinator holds a lock (flock beside SQLite, an advisory lock in PostgreSQL) and an epoch that no other
has. Every transaction first checks the epoch, so a coordinator that lost its lock without noticing (frozen,
or on a machine that was cut off) cannot commit any more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from finkbridge import layout
from finkbridge.errors import CommitConflictError
from finkbridge.ledger import identity, landed, locks, rows, seen
from finkbridge.ledger import schema as s
from finkbridge.ledger.database import translated
from finkbridge.ledger.reconcile import reconcile
from finkbridge.ledger.store import KnownGeneration, Ledger
from finkbridge.values import (
    KnownSchema,
    LandedFile,
    LandedPart,
    OffsetRange,
    Resumption,
    SegmentPlan,
    TopicGeneration,
)


@contextmanager
def coordinate(ledger: Ledger) -> Iterator[Coordinator]:
    """Hold the lake: yield the one coordinator, or raise LakeBusyError and change nothing."""
    with locks.held(ledger), translated(ledger.lake):
        yield Coordinator(ledger)


class Coordinator:
    """The only writer. Made by `coordinate`."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        with self.writing(new_epoch=True) as connection:
            mine = select(s.meta.c.value).where(s.meta.c.key == "epoch")
            self.epoch: int = connection.execute(mine).scalar_one()
            rows.note_dead_runs(connection)
            if not ledger.is_sqlite:
                identity.settle(connection, ledger.lake)

    def is_after_death(self) -> bool:
        """Whether the newest run died, and left plans: one of them may be why."""
        run = self.ledger.last_run()
        return run is not None and run["state"] == "dead" and bool(self.ledger.pending_plans())

    def add_generation(self, cluster: str, topic: str, topic_id: str | None) -> KnownGeneration:
        """Begin the next life of a topic."""
        with self.writing() as connection:
            return _add_generation(connection, cluster, topic, topic_id)

    def begin_behind(
        self,
        old: KnownGeneration,
        found: Resumption,
        plans: Sequence[SegmentPlan],
        lost_plans: Sequence[SegmentPlan],
        reason: str,
    ) -> tuple[KnownGeneration, list[OffsetRange]]:
        """Begin a topic's next life in the middle of its log; return it, and the gaps of the old one.

        One transaction: a life that is noted without where its partitions begin would begin at the beginning.

        Parameters
        ----------
        old
            The life that is over.
        found
            Where partitions begin, and which were cut: only they have lost what was seen of them.
        plans, reason
            What is given up of the old life, and why, as in `give_up`.
        lost_plans
            Those of them whose messages the broker no longer has, as in `abandon`.
        """
        source = old.source
        with self.writing() as connection:
            rows.close_plans(connection, plans, lost_plans)
            lost = self._give_up(connection, plans, old, reason, found.cut)
            new = _add_generation(connection, source.cluster, source.topic, old.topic_id)
            rows.add_partitions(connection, new.row_id, found.starts, found.epochs)
        return new, lost

    def note_topic_id(self, generation: KnownGeneration, topic_id: str) -> KnownGeneration:
        """Write down Kafka's id of a topic's present life, which was not known when it began."""
        g = s.generations
        with self.writing() as connection:
            connection.execute(update(g).where(g.c.id == generation.row_id).values(topic_id=topic_id))
        return replace(generation, topic_id=topic_id)

    def start_partitions(
        self, generation: KnownGeneration, starts: Mapping[int, int], epochs: Mapping[int, int] | None = None
    ) -> None:
        """Write down where partitions that were never drained begin, and their leaders' epochs."""
        if starts:
            with self.writing() as connection:
                rows.add_partitions(connection, generation.row_id, starts, epochs or {})

    def note_epochs(self, generation: KnownGeneration, epochs: Mapping[int, int]) -> None:
        """Write down at which epochs of their leaders partitions have what was seen of them."""
        p = s.partitions.c
        if epochs:
            with self.writing() as connection:
                for partition, epoch in epochs.items():
                    mine = p.generation_id == generation.row_id, p.partition == partition
                    connection.execute(update(s.partitions).where(*mine).values(leader_epoch=epoch))

    def add_plans(
        self, generation: KnownGeneration, segments: Iterable[tuple[OffsetRange, ...]], byte_limit: int
    ) -> list[SegmentPlan]:
        """Write plans down, each with a number of its own, before anything of them is fetched."""
        with self.writing() as connection:
            made = [
                SegmentPlan(rows.next_number(connection, "plan"), generation.source, ranges, byte_limit)
                for ranges in segments
            ]
            rows.add_plans(connection, made, generation.row_id)
        return made

    def skip_numbers(self, last: int) -> None:
        """Give no plan a number again that is not greater than `last`."""
        with self.writing() as connection:
            rows.skip_numbers(connection, last)

    def begin_merge(self, folder: str) -> str:
        """Write down the path of a file that is to replace others of a folder, before it is there."""
        with self.writing() as connection:
            path = layout.merged_path(folder, rows.next_number(connection, "plan"), 0)
            connection.execute(insert(s.merging), {"path": path})
            return path

    def unfinished_merges(self) -> list[str]:
        """Return paths of merged files that a dead coordinator may have left, and that no commit has."""
        with self.ledger.reading() as connection:
            return list(connection.scalars(select(s.merging.c.path)))

    def forget_merges(self, paths: Iterable[str]) -> None:
        """Note that nothing is left of unfinished merges."""
        with self.writing() as connection:
            rows.forget_merges(connection, paths)

    def abandon(self, plans: Sequence[SegmentPlan], lost: Sequence[SegmentPlan] = ()) -> None:
        """Close pending plans that will never be finished; their numbers are never used again.

        Parameters
        ----------
        plans
            All of them.
        lost
            Those of them whose messages the broker no longer has: see `forget_lost`.
        """
        with self.writing() as connection:
            rows.close_plans(connection, plans, lost)

    def forget_lost(self) -> None:
        """Note that nothing of plans whose messages are lost is left where a rebuild would find it.

        Until then the ledger has them as lost (`Ledger.lost_plans`): a run may die before it has set aside
        what they left, and the next one does so.
        """
        with self.writing() as connection:
            rows.forget_lost(connection)

    def give_up(
        self, plans: Sequence[SegmentPlan], generation: KnownGeneration, reason: str
    ) -> list[OffsetRange]:
        """Close pending plans of a topic that is gone, and record one gap a partition; return the gaps.

        A gap begins at the ledger's end: what a dead run abandoned before these plans is lost with them. It
        ends where the plans do, or where the newest look saw the partition end, if that is behind it.
        """
        with self.writing() as connection:
            rows.close_plans(connection, plans, plans)
            return self._give_up(connection, plans, generation, reason, None)

    def _give_up(
        self,
        connection: Connection,
        plans: Sequence[SegmentPlan],
        generation: KnownGeneration,
        reason: str,
        partitions: Collection[int] | None,
    ) -> list[OffsetRange]:
        """Record the gaps of plans that are closed; with `partitions`, only they have lost what they had."""
        nexts = rows.next_offsets(connection, generation.row_id)
        ends: dict[int, int] = {}
        planned = [(r.partition, r.end) for plan in plans for r in plan.ranges]
        known = [*planned, *seen.ends(connection, generation.row_id).items()]
        for p, end in (x for x in known if partitions is None or x[0] in partitions):
            ends[p] = max(end, ends.get(p, 0))
        lost = [OffsetRange(p, nexts[p], end) for p, end in sorted(ends.items()) if end > nexts[p]]
        for gap in lost:
            rows.add_gap(connection, self.epoch, generation.row_id, gap, reason)
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
        with self.writing() as connection:
            rows.close_plan(connection, plan, "committed")
            generation_id = rows.generation_id(connection, plan.source)
            commit = rows.add_commit(connection, "drain", self.epoch)
            for part in parts:
                for count in part.counts:
                    rows.advance(connection, generation_id, count.range)
                landed.add_part(connection, landed.Owner(commit, plan, generation_id), part)
        return commit

    def commit_gap(self, generation: KnownGeneration, lost: OffsetRange, reason: str) -> int:
        """Record a range that can no longer be had, and go on behind it."""
        with self.writing() as connection:
            return rows.add_gap(connection, self.epoch, generation.row_id, lost, reason)

    def commit_merge(
        self, inputs: Sequence[int], outputs: Sequence[LandedFile], schemas: Sequence[KnownSchema] = ()
    ) -> int:
        """Replace files, by row id, by others; every input must still be alive and no row may be lost."""
        with self.writing() as connection:
            commit = rows.add_commit(connection, "merge", self.epoch)
            landed.remove_files(connection, inputs, commit, rows=sum(o.rows for o in outputs))
            landed.add_schemas(connection, schemas)
            landed.add_files(connection, outputs, commit, None)
            rows.forget_merges(connection, [file.path for file in outputs])
        return commit

    def deletable(self, grace_s: float) -> Sequence[Row[Any, Any]]:
        """Return id and path of replaced files whose grace period is over and which are still on disk.

        Not of those that are the only copies of their messages, whatever a damaged ledger says.
        """
        f = s.files.c
        query = (
            select(f.id, f.path)
            .join(s.commits, f.removed == s.commits.c.number)
            .where(s.IS_REPLACED, s.commits.c.committed_at < time.time() - grace_s)
            .where(f.table.not_in(("archive", "quarantine")))
        )
        with self.ledger.reading() as connection:
            return connection.execute(query).all()

    def mark_deleted(self, ids: Sequence[int]) -> None:
        """Note that files are gone from disk."""
        with self.writing() as connection:
            landed.mark_deleted(connection, ids)

    def published(self) -> int:
        """Return the commit that the catalog was last published at; 0 for never."""
        with self.ledger.reading() as connection:
            return connection.scalar(select(s.meta.c.value).where(s.meta.c.key == "published")) or 0

    def is_published(self) -> bool:
        """Whether the catalog is there, and was published at the newest commit."""
        is_there = (self.ledger.lake / layout.CATALOG).is_file()
        return is_there and self.published() == self.ledger.last_commit()

    def published_mtime_ns(self) -> int:
        """Return the time of the file that was published last, which tells it from any other; 0 for none."""
        with self.ledger.reading() as connection:
            return connection.scalar(select(s.meta.c.value).where(s.meta.c.key == "published_mtime_ns")) or 0

    def note_published(self, commit: int, mtime_ns: int = 0) -> None:
        """Note that the catalog has everything up to a commit, and the time of its file."""
        with self.writing() as connection:
            rows.note_fact(connection, "published", commit)
            rows.note_fact(connection, "published_mtime_ns", mtime_ns)

    def start_run(self, kind: str) -> int:
        """Note that a run began; one that was left running is noted as dead."""
        with self.writing() as connection:
            rows.note_dead_runs(connection)
            rows.forget_old_runs(connection)
            row = {"kind": kind, "started_at": time.time(), "state": "running", "summary": "{}"}
            return rows.insert_one(connection, s.runs, row)

    def end_run(self, run: int, state: str, summary: Mapping[str, Any]) -> None:
        """Note how a run ended."""
        values = {"ended_at": time.time(), "state": state, "summary": json.dumps(summary)}
        with self.writing() as connection:
            connection.execute(update(s.runs).where(s.runs.c.id == run).values(**values))

    def check(self) -> None:
        """Raise CommitConflictError if another coordinator took over."""
        with self.writing():
            pass

    @contextmanager
    def writing(self, *, new_epoch: bool = False) -> Iterator[Connection]:
        """Open a transaction that writes; raise CommitConflictError if another coordinator took over."""
        engine = self.ledger.engine.execution_options(finkbridge_writing=True)
        with translated(self.ledger.lake), engine.begin() as connection:
            epoch = update(s.meta).where(s.meta.c.key == "epoch")
            if new_epoch:
                connection.execute(epoch.values(value=s.meta.c.value + 1))
            else:
                mine = connection.execute(epoch.where(s.meta.c.value == self.epoch).values(value=self.epoch))
                if mine.rowcount != 1:
                    raise CommitConflictError(
                        "another coordinator took this lake over: nothing was changed; see "
                        "`finkbridge status`"
                    )
            yield connection


def _add_generation(
    connection: Connection, cluster: str, topic: str, topic_id: str | None
) -> KnownGeneration:
    g = s.generations.c
    newest = connection.scalar(select(func.max(g.generation)).where(g.cluster == cluster, g.topic == topic))
    source = TopicGeneration(cluster, topic, (newest or 0) + 1)
    row = {
        "cluster": cluster,
        "topic": topic,
        "generation": source.generation,
        "topic_id": topic_id,
        "first_seen": time.time(),
    }
    return KnownGeneration(rows.insert_one(connection, s.generations, row), source, topic_id)
