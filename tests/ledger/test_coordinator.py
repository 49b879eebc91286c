"""Every commit is a compare-and-set, and only one coordinator can make one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, select

from finkbridge.errors import (
    CommitConflictError,
    LakeAccessError,
    LakeBusyError,
    LakeVersionError,
    ReconciliationError,
)
from finkbridge.ledger import Coordinator, Ledger, coordinate, rows, schema
from finkbridge.ledger.store import KnownGeneration
from finkbridge.values import (
    KnownSchema,
    LandedFile,
    LandedPart,
    LastMessage,
    OffsetRange,
    RangeCount,
    Rejection,
    Resumption,
    SegmentPlan,
)
from tests.ledger.conftest import OpenLedger


@pytest.fixture
def coordinator(ledger: Ledger) -> Iterator[Coordinator]:
    with coordinate(ledger) as coordinator:
        yield coordinator


@pytest.fixture
def generation(coordinator: Coordinator) -> KnownGeneration:
    made = coordinator.add_generation("ztf", "topic", "id-1")
    coordinator.start_partitions(made, {0: 0, 1: 5})
    return made


def test_no_partition_begins_at_what_is_no_offset(coordinator: Coordinator) -> None:
    made = coordinator.add_generation("ztf", "silent", "id-2")
    with pytest.raises(ValueError, match=r"not offsets that partitions begin at: \{1: -1001\}"):
        coordinator.start_partitions(made, {0: 0, 1: -1001})
    assert coordinator.ledger.partitions(made.row_id) == {}


def plan(coordinator: Coordinator, generation: KnownGeneration, *ranges: OffsetRange) -> SegmentPlan:
    (made,) = coordinator.add_plans(generation, [ranges], 64)
    return made


def file(path: str, rows: int = 1, table: Any = "deliveries") -> LandedFile:
    statistics = {"mjd_min": 1.5, "mjd_max": 2.5, "healpix_min": 3, "healpix_max": 2**60}
    return LandedFile(path, table, "ztf", 20260320, rows, 100, "c0ffee", "arrow-1", statistics)


def part(plan: SegmentPlan, number: int = 0, **more: Any) -> LandedPart:
    """Return a part in which every offset of the plan is a row."""
    counts = more.get("counts", tuple(RangeCount(r, r.offsets, 0, ()) for r in plan.ranges))
    values: dict[str, Any] = {
        "part": number,
        "counts": counts,
        "files": (file(f"deliveries/{plan.number}-{number}.parquet", sum(c.rows for c in counts)),),
        "rejected": (),
        "schemas": (KnownSchema("arrow-1", "arrow", b"schema"),),
        "last": tuple(LastMessage(r.partition, r.end - 1, "hash") for r in plan.ranges),
        "bytes": 1000,
        "first_timestamp_ms": 1,
        "last_timestamp_ms": 2,
        **more,
    }
    values["files"] += written(values["counts"], f"{plan.number}-{number}")
    return LandedPart(**values)


def written(counts: Sequence[RangeCount], name: str) -> tuple[LandedFile, ...]:
    """Return the files that go with deliveries: as many rows as were counted."""
    rows, bad = sum(c.rows for c in counts), sum(c.quarantined for c in counts)
    due = {"archive": rows, "packets": rows, "quarantine": bad}
    return tuple(file(f"{table}/{name}", count, table) for table, count in due.items() if count)


def everything(ledger: Ledger) -> dict[str, list[Any]]:
    """Return all rows of all tables, but the epoch."""
    with ledger.reading() as connection:
        tables = schema.metadata.sorted_tables
        found = {t.name: [tuple(r) for r in connection.execute(select(t))] for t in tables}
    found["meta"] = [row for row in found["meta"] if row[0] != "epoch"]
    return {name: sorted(rows, key=str) for name, rows in found.items()}


def refused(ledger: Ledger, error: type[Exception], match: str, write: Callable[[], Any]) -> None:
    """Expect an error, and that nothing changed."""
    before = everything(ledger)
    with pytest.raises(error, match=match):
        write()
    assert everything(ledger) == before


def test_commit_moves_the_ends_and_lists_the_files(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration
) -> None:
    first = plan(coordinator, generation, OffsetRange(0, 0, 3), OffsetRange(1, 5, 9))
    assert ledger.pending_plans() == [first]
    assert coordinator.commit_segment(first, [part(first)]) == 1
    assert ledger.pending_plans() == []
    rows = ledger.partitions(generation.row_id)
    assert {p: (r.first_offset, r.next_offset, r.last_offset, r.last_hash) for p, r in rows.items()} == {
        0: (0, 3, 2, "hash"),
        1: (5, 9, 8, "hash"),
    }
    (listed,) = ledger.alive_files("deliveries")
    assert (listed.path, listed.rows, listed.added, listed.removed) == ("deliveries/1-0.parquet", 7, 1, None)
    assert (listed.mjd_min, listed.mjd_max, listed.healpix_min, listed.healpix_max) == (1.5, 2.5, 3, 2**60)
    assert ledger.schema_contents("arrow") == {"arrow-1": b"schema"}
    assert ledger.mean_message_bytes() == {generation.row_id: pytest.approx(1000 / 7)}
    assert ledger.last_commit() == 1


def test_parts_of_a_plan_commit_together(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration
) -> None:
    whole = plan(coordinator, generation, OffsetRange(0, 0, 4))
    halves = [
        part(whole, n, counts=(RangeCount(OffsetRange(0, a, b), b - a, 0, ()),))
        for n, a, b in ((0, 0, 3), (1, 3, 4))
    ]
    assert coordinator.commit_segment(whole, halves) == 1
    assert ledger.partitions(generation.row_id)[0].next_offset == 4
    assert {f.added for f in ledger.alive_files()} == {1}


def test_quarantine_and_holes_count(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration
) -> None:
    made = plan(coordinator, generation, OffsetRange(0, 0, 5))
    count = RangeCount(OffsetRange(0, 0, 5), 2, 1, (OffsetRange(0, 2, 4),))
    bad = Rejection(0, 1, None, "empty value", None, "", "quarantine/x.avro")
    coordinator.commit_segment(made, [part(made, counts=(count,), rejected=(bad,))])
    with ledger.reading() as connection:
        (segment,) = connection.execute(select(schema.segments))
        (waiting,) = connection.execute(select(schema.quarantine))
    assert (segment.messages, segment.rows, segment.quarantined, segment.holes) == (3, 2, 1, 2)
    assert (waiting.offset, waiting.reason, waiting.state) == (1, "empty value", "waiting")


def test_wrong_start_is_refused(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration
) -> None:
    early = plan(coordinator, generation, OffsetRange(0, 3, 5))
    refused(
        ledger,
        CommitConflictError,
        "end of partition 0 is not 3",
        lambda: coordinator.commit_segment(early, [part(early)]),
    )
    assert ledger.pending_plans() == [early]


def test_plan_commits_once(coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration) -> None:
    made = plan(coordinator, generation, OffsetRange(0, 0, 3))
    coordinator.commit_segment(made, [part(made)])
    refused(
        ledger,
        CommitConflictError,
        "plan 1 is closed already",
        lambda: coordinator.commit_segment(made, [part(made)]),
    )


def test_abandoned_plan_never_commits(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration
) -> None:
    made = plan(coordinator, generation, OffsetRange(0, 0, 3))
    coordinator.abandon([made])
    refused(ledger, CommitConflictError, "closed", lambda: coordinator.commit_segment(made, [part(made)]))
    refused(ledger, CommitConflictError, "closed", lambda: coordinator.abandon([made]))


@pytest.mark.parametrize(
    "counts",
    [
        (RangeCount(OffsetRange(0, 0, 3), 2, 0, ()),),
        (RangeCount(OffsetRange(0, 0, 2), 2, 0, ()),),
        (RangeCount(OffsetRange(0, 0, 3), 3, 1, ()),),
        (RangeCount(OffsetRange(1, 0, 3), 3, 0, ()),),
        (),
    ],
)
def test_what_does_not_add_up_is_refused(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration, counts: tuple[RangeCount, ...]
) -> None:
    made = plan(coordinator, generation, OffsetRange(0, 0, 3))
    landed = part(made, counts=counts)
    refused(
        ledger,
        ReconciliationError,
        "planned",
        lambda: coordinator.commit_segment(made, [landed]),
    )


def test_counts_of_what_was_not_planned_are_refused(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration
) -> None:
    made = plan(coordinator, generation, OffsetRange(0, 0, 3))
    more = RangeCount(OffsetRange(1, 5, 6), 1, 0, ())
    landed = part(made)
    landed = replace(landed, counts=(*landed.counts, more))
    refused(ledger, ReconciliationError, "not planned", lambda: coordinator.commit_segment(made, [landed]))


@pytest.mark.parametrize("table", ["archive", "deliveries", "packets", "quarantine"])
def test_files_with_other_rows_than_were_counted_are_refused(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration, table: str
) -> None:
    made = plan(coordinator, generation, OffsetRange(0, 0, 3))
    landed = part(made, counts=(RangeCount(OffsetRange(0, 0, 3), 2, 1, ()),))
    for change in (-1, 1):
        files = tuple(replace(f, rows=f.rows + change) if f.table == table else f for f in landed.files)
        wrong = replace(landed, files=files)
        refused(
            ledger, ReconciliationError, f"in {table}", lambda w=wrong: coordinator.commit_segment(made, [w])
        )
    none = replace(landed, files=tuple(f for f in landed.files if f.table != table))
    refused(ledger, ReconciliationError, f"in {table}", lambda: coordinator.commit_segment(made, [none]))
    coordinator.commit_segment(made, [landed])


def test_file_is_listed_once(coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration) -> None:
    made = plan(coordinator, generation, OffsetRange(0, 0, 3))
    landed = part(made, files=(file("same.parquet"), file("same.parquet", 2)))
    refused(ledger, LakeAccessError, "cannot be used", lambda: coordinator.commit_segment(made, [landed]))


def test_gap_goes_on_behind_it(coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration) -> None:
    coordinator.commit_gap(generation, OffsetRange(1, 5, 8), "expired")
    assert ledger.partitions(generation.row_id)[1].next_offset == 8
    again = OffsetRange(1, 5, 8)
    refused(
        ledger, CommitConflictError, "is not 5", lambda: coordinator.commit_gap(generation, again, "expired")
    )


def test_numbers_are_never_used_again(open_ledger: OpenLedger) -> None:
    seen = []
    for _ in range(3):
        with coordinate(open_ledger()) as coordinator:
            key = ("ztf", "topic")
            known = coordinator.ledger.generations()
            generation = known[key] if key in known else coordinator.add_generation(*key, None)
            if key not in known:
                coordinator.start_partitions(generation, {0: 0})
            made = plan(coordinator, generation, OffsetRange(0, 0, 1))
            path = coordinator.begin_merge("folder")
            coordinator.abandon([made])
            seen += [made.number, int(path.rpartition("-n")[2][:8])]
    assert seen == [1, 2, 3, 4, 5, 6]


def test_generations_grow(coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration) -> None:
    second = coordinator.add_generation("ztf", "topic", "id-2")
    assert second.source.generation == 2
    assert ledger.generations() == {("ztf", "topic"): second}
    assert coordinator.add_generation("lsst", "topic", None).source.generation == 1


def test_a_life_that_begins_behind_has_its_partitions_at_once(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [plan(coordinator, generation, OffsetRange(p, start, 9)) for p, start in ((0, 0), (1, 5))]
    found, before = Resumption({0: 3, 1: 5}, {0: 7}, {0: 3}), everything(ledger)
    with monkeypatch.context() as patch:
        patch.setattr(rows, "add_partitions", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            coordinator.begin_behind(generation, found, plans, plans[:1], "cut")
    assert everything(ledger) == before
    new, lost = coordinator.begin_behind(generation, found, plans, plans[:1], "cut")
    assert (new.source.generation, new.topic_id) == (2, "id-1")
    assert lost == [OffsetRange(0, 0, 9)]
    assert (ledger.pending_plans(), ledger.lost_plans()) == ([], plans[:1])
    coordinator.forget_lost()
    assert ledger.lost_plans() == []
    begun = ledger.partitions(new.row_id).items()
    assert {p: (row.next_offset, row.leader_epoch) for p, row in begun} == {0: (3, 7), 1: (5, None)}
    assert ledger.generations_of(new.source) == [new, generation]
    assert ledger.generations_of(generation.source) == [generation]


def test_giving_up_records_one_gap_a_partition_with_the_hole_before_it(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration
) -> None:
    """A run that died while it replanned may have left offsets which no plan has."""
    ranges = [OffsetRange(0, 3, 5), OffsetRange(0, 5, 9), OffsetRange(1, 5, 6)]
    plans = [plan(coordinator, generation, span) for span in ranges]
    lost = [OffsetRange(0, 0, 9), OffsetRange(1, 5, 6)]
    assert coordinator.give_up(plans, generation, "gone") == lost
    assert (ledger.pending_plans(), ledger.lost_plans()) == ([], plans)
    assert {p: row.next_offset for p, row in ledger.partitions(generation.row_id).items()} == {0: 9, 1: 6}
    with ledger.reading() as connection:
        gaps = connection.execute(select(schema.gaps)).all()
    assert [OffsetRange(g.partition, g.start_offset, g.end_offset) for g in gaps] == lost


def test_merge_replaces_files_or_changes_nothing(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration
) -> None:
    made = plan(coordinator, generation, OffsetRange(0, 0, 3))
    coordinator.commit_segment(made, [part(made, files=(file("a", 1), file("b", 2)))])
    ids = [f.id for f in ledger.alive_files("deliveries")]
    path = coordinator.begin_merge("folder")
    assert coordinator.unfinished_merges() == [path]
    fewer = file(path, 2)
    refused(ledger, ReconciliationError, "3 rows into 2", lambda: coordinator.commit_merge(ids, [fewer]))
    whole = file(path, 3)
    coordinator.commit_merge(ids, [whole])
    assert [f.path for f in ledger.alive_files("deliveries")] == [path]
    assert coordinator.unfinished_merges() == []
    refused(
        ledger, ReconciliationError, "0 rows into 3", lambda: coordinator.commit_merge(ids, [file("c", 3)])
    )
    assert {f.path for f in coordinator.deletable(0)} == {"a", "b"}
    assert coordinator.deletable(3600) == []
    coordinator.mark_deleted(ids)
    assert coordinator.deletable(0) == []


def test_merge_of_a_file_that_is_gone_is_refused(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration
) -> None:
    made = plan(coordinator, generation, OffsetRange(0, 0, 3))
    coordinator.commit_segment(made, [part(made, files=(file("a", 1), file("b", 2)))])
    ids = [f.id for f in ledger.alive_files("deliveries")]
    coordinator.commit_merge(ids[:1], [file("m", 1)])
    refused(
        ledger,
        CommitConflictError,
        "replaced meanwhile",
        lambda: coordinator.commit_merge(ids, [file("c", 2)]),
    )


def test_long_lists_go_in_short_statements(
    coordinator: Coordinator,
    ledger: Ledger,
    generation: KnownGeneration,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Databases take so many values in one statement, and a merge may have any number of inputs."""
    monkeypatch.setattr("finkbridge.ledger.rows.VALUES_AT_ONCE", 2)
    made = plan(coordinator, generation, OffsetRange(0, 0, 7))
    coordinator.commit_segment(made, [part(made, files=tuple(file(f"f{i}") for i in range(7)))])
    ids = [f.id for f in ledger.alive_files("deliveries")]
    schemas = [KnownSchema(f"s{i}", "arrow", b"content") for i in range(5)]
    refused(
        ledger,
        CommitConflictError,
        "replaced meanwhile",
        lambda: coordinator.commit_merge([*ids, 99], [file("c", 7)]),
    )
    with statements(ledger) as asked:
        coordinator.commit_merge(ids, [file("m", 7)], schemas)
        coordinator.commit_merge([f.id for f in ledger.alive_files("deliveries")], [file("n", 7)], schemas)
        coordinator.mark_deleted(ids)
        coordinator.forget_merges([coordinator.begin_merge("folder") for _ in range(5)])
    lists = [found[1] for sql in asked if (found := re.search(r" IN \((.*)\)", sql, re.DOTALL))]
    assert max(some.count(",") + 1 for some in lists) == 2
    assert [f.path for f in ledger.alive_files("deliveries")] == ["n"]
    assert {f.path for f in coordinator.deletable(0)} == {"m"}
    assert coordinator.unfinished_merges() == []
    assert ledger.schema_contents("arrow") == {f"s{i}": b"content" for i in range(5)} | {"arrow-1": b"schema"}


@contextmanager
def statements(ledger: Ledger) -> Iterator[list[str]]:
    """Collect the SQL that a ledger's engine runs."""
    asked: list[str] = []
    listen = (ledger.engine, "before_cursor_execute", lambda c, u, sql, *_: asked.append(sql))
    event.listen(*listen)
    yield asked
    event.remove(*listen)


def test_runs_end_or_are_dead(open_ledger: OpenLedger) -> None:
    first = open_ledger()
    with coordinate(first) as coordinator:
        coordinator.end_run(coordinator.start_run("drain"), "succeeded", {"rows": 3})
        coordinator.start_run("drain")
    with coordinate(open_ledger()):
        last = first.last_run()
    assert last is not None
    assert (last["state"], last["summary"]) == ("dead", {})


def test_one_coordinator_at_a_time(open_ledger: OpenLedger) -> None:
    winner, loser = open_ledger(), open_ledger()
    with coordinate(winner):
        before = everything(winner)
        with (
            pytest.raises(LakeBusyError, match=r"being written by .*: nothing was changed"),
            coordinate(loser),
        ):
            pass
        assert everything(winner) == before
    with coordinate(loser):
        pass


WRITES: dict[str, Callable[[Coordinator, KnownGeneration, SegmentPlan], Any]] = {
    "add_generation": lambda c, g, p: c.add_generation("ztf", "other", None),
    "begin_behind": lambda c, g, p: c.begin_behind(g, Resumption({0: 2}), [p], [p], "cut"),
    "note_topic_id": lambda c, g, p: c.note_topic_id(g, "id-2"),
    "note_epochs": lambda c, g, p: c.note_epochs(g, {0: 1}),
    "start_partitions": lambda c, g, p: c.start_partitions(g, {7: 0}),
    "skip_numbers": lambda c, g, p: c.skip_numbers(99),
    "add_plans": lambda c, g, p: c.add_plans(g, [(OffsetRange(0, 3, 4),)], 64),
    "abandon": lambda c, g, p: c.abandon([p]),
    "forget_lost": lambda c, g, p: c.forget_lost(),
    "give_up": lambda c, g, p: c.give_up([p], g, "gone"),
    "commit_segment": lambda c, g, p: c.commit_segment(p, [part(p)]),
    "commit_gap": lambda c, g, p: c.commit_gap(g, OffsetRange(1, 5, 6), "expired"),
    "begin_merge": lambda c, g, p: c.begin_merge("folder"),
    "forget_merges": lambda c, g, p: c.forget_merges(["path"]),
    "commit_merge": lambda c, g, p: c.commit_merge([1], [file("m", 1)]),
    "mark_deleted": lambda c, g, p: c.mark_deleted([1]),
    "note_published": lambda c, g, p: c.note_published(1),
    "start_run": lambda c, g, p: c.start_run("drain"),
    "end_run": lambda c, g, p: c.end_run(1, "succeeded", {}),
    "check": lambda c, g, p: c.check(),
}


def test_every_write_is_known() -> None:
    others = {
        "is_after_death",
        "is_published",
        "published",
        "published_mtime_ns",
        "deletable",
        "unfinished_merges",
        "writing",
        "epoch",
    }
    assert {name for name in vars(Coordinator) if not name.startswith("_")} - others == set(WRITES)


@pytest.mark.parametrize("write", WRITES)
def test_zombie_writes_nothing(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration, write: str
) -> None:
    made = plan(coordinator, generation, OffsetRange(0, 0, 3))
    successor = Coordinator(ledger)  # as if the first one's lock had been lost
    refused(
        ledger,
        CommitConflictError,
        "another coordinator took this lake over",
        lambda: WRITES[write](coordinator, generation, made),
    )
    WRITES["commit_segment"](successor, generation, made)


def test_newer_ledger_is_left_alone(ledger: Ledger, open_ledger: OpenLedger) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(schema.meta.update().where(schema.meta.c.key == "version").values(value=99))
    with pytest.raises(LakeVersionError, match="ledger version 99"):
        open_ledger()


def test_old_runs_are_forgotten(
    coordinator: Coordinator, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age_days in (40, 31, 29):
        with monkeypatch.context() as patch:
            now = time.time()
            patch.setattr(
                "finkbridge.ledger.coordinator.time.time", lambda now=now, d=age_days: now - d * 86400
            )
            coordinator.start_run("drain")
    newest = coordinator.start_run("drain")
    with ledger.reading() as connection:
        assert connection.scalars(select(schema.runs.c.id).order_by("id")).all() == [newest - 1, newest]


def test_no_query_of_a_run_scans_a_table(
    coordinator: Coordinator, ledger: Ledger, generation: KnownGeneration
) -> None:
    """However long a lake has been there, a run that finds nothing stays quick."""
    if not ledger.is_sqlite:
        pytest.skip("the plans of SQLite are looked at")
    asked: list[tuple[str, Any]] = []
    listen = (ledger.engine, "before_cursor_execute", lambda c, u, sql, given, *_: asked.append((sql, given)))
    event.listen(*listen)
    made = plan(coordinator, generation, OffsetRange(0, 0, 3))
    run = coordinator.start_run("drain")
    coordinator.commit_segment(made, [part(made)])
    coordinator.end_run(run, "succeeded", {})
    ledger.generations(), ledger.mean_message_bytes(), ledger.pending_plans(), ledger.last_commit()
    ledger.partitions(generation.row_id), ledger.crowds(1)
    coordinator.deletable(0), coordinator.published(), coordinator.unfinished_merges()
    event.remove(*listen)
    with ledger.engine.connect() as connection:
        for query, given in asked:
            if query.startswith(("SELECT", "UPDATE", "DELETE")):
                plan_of = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", given)
                scans = [row.detail for row in plan_of if re.match(GROWING, row.detail)]
                assert scans == [], query
    assert len(asked) > 20


GROWING = (
    r"SCAN (segments|segment_ranges|files|plans|plan_ranges|runs|commits)\b"
    r"(?!.* INDEX files_(small|replaced))"
)
"""A scan of a table that grows with the lake; those two indexes only have what is left to do."""
