"""A lost ledger made again from the files: the same rows, and draining goes on, nothing lost or doubled."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from finkbridge import later, quarantine, rebuild
from finkbridge.disk import clear_scratch
from finkbridge.drain import drain
from finkbridge.errors import LakeAccessError, LakeBusyError, LakeError, SettingsError
from finkbridge.land import Lander
from finkbridge.ledger import Coordinator, Ledger, coordinate
from finkbridge.ledger import quarantined as q
from finkbridge.ledger import schema as s
from finkbridge.ledger.quarantined import Selection
from finkbridge.rebuild import LedgerReport
from finkbridge.values import Message, OffsetRange
from finkbridge.verify import Options, verify
from finkbridge.verify.sample import Sample
from tests.rebuild.test_tables import Died, contents, die_at, make
from tests.support.lake import (
    POINT,
    RealAlerts,
    alive_files,
    assert_consistent,
    data_files,
    encode,
    ledger_rows,
    next_offsets,
    real_alerts,
    sql,
)
from tests.support.offline import (
    POINT_KEY,
    Given,
    assert_verified,
    fill,
    messages_of,
    plan_of,
    point,
    settings_of,
)
from tests.verify.test_strays import copy_ledger, restore_ledger

NO_KEY = (None, encode(POINT, {"x": 9.0}))


@pytest.fixture(scope="module")
def ztf(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "ztf")


@pytest.fixture(scope="module")
def lsst(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "lsst")


def lose(lake: Path) -> Path:
    """Move the ledger out of the lake."""
    away = lake.parent / "away"
    away.mkdir()
    for path in lake.glob("ledger.db*"):
        path.rename(away / path.name)
    return away


def run(lake: Path, **more: Any) -> LedgerReport:
    settings = settings_of(lake, merge={"enabled": False, "grace_s": 0})
    return rebuild.rebuild_ledger(settings, **more)


def known(lake: Path, table: Any, *columns: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(getattr(row, c) for c in columns) for row in ledger_rows(lake, table))


FACTS = {
    s.generations: ("cluster", "topic", "generation", "messages", "bytes"),
    s.partitions: ("partition", "first_offset", "next_offset", "last_offset", "last_hash"),
    s.segments: ("plan", "part", "messages", "rows", "quarantined", "holes", "bytes", "first_timestamp_ms"),
    s.segment_ranges: ("partition", "start_offset", "end_offset", "rows", "quarantined", "holes"),
    s.quarantine: (
        "partition",
        "offset",
        "timestamp_ms",
        "reason",
        "byte_position",
        "reference",
        "path",
        "state",
    ),
    s.plan_ranges: ("plan", "partition", "start_offset", "end_offset"),
    s.generation_surveys: ("survey", "after_start_s", "after_end_s"),
    s.generation_schemas: ("schema_id",),
}


def facts(lake: Path) -> dict[str, Any]:
    """Return what a new ledger must say as the old one did."""
    found: dict[str, Any] = {table.name: known(lake, table, *columns) for table, columns in FACTS.items()}
    found["archive"] = sorted(
        (f.path, f.rows, f.bytes, f.checksum, f.survey, f.schema_id)
        for f in ledger_rows(lake, s.files)
        if f.table in {"archive", "quarantine"}
    )
    found["avro"] = sorted((x.schema_id, x.content) for x in ledger_rows(lake, s.schemas) if x.kind == "avro")
    return found


def without_commits(found: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    return found | {"segments": [row[1:] for row in found["segments"]]}


def rows_of(lake: Path) -> dict[str, list[tuple[Any, ...]]]:
    return without_commits(contents(lake))


def assert_as_before(lake: Path, before: dict[str, list[tuple[Any, ...]]]) -> None:
    after = rows_of(lake)
    for name, rows in before.items():
        assert repr(after[name]) == repr(rows), name


@pytest.mark.slow
@pytest.mark.parametrize("merged", [False, True], ids=["as landed", "merged"])
def test_ledger_of_real_alerts_is_as_it_was(
    tmp_path: Path, ztf: RealAlerts, lsst: RealAlerts, merged: bool
) -> None:
    lake = make(tmp_path / "lake", ztf, lsst, merged=merged)
    before, said = rows_of(lake), facts(lake)
    lose(lake)
    report = run(lake)
    assert (report.problems, report.gaps, report.strays) == ([], [], [])
    assert report.messages == sum(row.messages for row in ledger_rows(lake, s.segments))
    assert report.tables is not None
    assert report.tables.problems == []
    assert facts(lake) == said
    assert_as_before(lake, before)
    assert report.unused_tables
    assert_verified(lake, prune=True)
    assert_consistent(lake)


RECORDS = [
    point(0),
    NO_KEY,
    (POINT_KEY, b"junk"),
    (POINT_KEY, None),
    NO_KEY,
    point(5),
    point(6),
    point(7),
    NO_KEY,
]


def small(lake: Path, messages: Sequence[Message] = ()) -> Path:
    fill(lake, {"t": messages or messages_of(RECORDS)}, offsets=4, byte_limit=20)
    return lake


def test_drain_over_an_archive_without_its_ledger_is_refused(tmp_path: Path) -> None:
    lake = small(tmp_path / "lake")
    lose(lake)
    before = data_files(lake)
    cluster = {"servers": "127.0.0.1:9", "topics": ["t"]}
    with pytest.raises(LakeAccessError, match="rebuild --ledger"):
        drain(settings_of(lake, clusters={"ztf": cluster}))
    assert data_files(lake) == before
    assert run(lake).problems == []
    with Ledger(lake) as ledger:
        assert ledger.generations()


def test_draining_goes_on_where_the_lake_ends(tmp_path: Path) -> None:
    lake = small(tmp_path / "lake")
    last = max(p.number for p in ledger_rows(lake, s.plans))
    lose(lake)
    run(lake)
    (partition,) = ledger_rows(lake, s.partitions)
    assert (partition.first_offset, partition.next_offset) == (0, 9)
    fill(lake, {"t": messages_of([*RECORDS, point(9), point(10)])}, offsets=4)
    offsets = sql(lake, "SELECT kafka_offset FROM deliveries ORDER BY 1")
    assert offsets == [(0,), (5,), (6,), (7,), (9,), (10,)]
    assert max(p.number for p in ledger_rows(lake, s.plans)) > last
    assert quarantine.requeue(settings_of(lake), Selection(), POINT_KEY).landed == 3
    assert_verified(lake, prune=True)
    assert_consistent(lake)


def test_requeued_messages_stay_landed_and_accepted_ones_wait_again(tmp_path: Path) -> None:
    lake = small(tmp_path / "lake")
    quarantine.requeue(settings_of(lake), Selection(("t:0:1",)), POINT_KEY)
    quarantine.requeue(settings_of(lake), Selection(("t:0:8",)), POINT_KEY)
    quarantine.accept(settings_of(lake), Selection(("t:0:3",)))
    before = rows_of(lake)
    lose(lake)
    assert run(lake).strays == []
    states = {row.offset: row.state for row in ledger_rows(lake, s.quarantine)}
    assert states == {1: "landed", 2: "waiting", 3: "waiting", 4: "waiting", 8: "landed"}
    after = rows_of(lake)
    assert repr(after["deliveries"]) == repr(before["deliveries"])
    assert repr(after["segments"]) == repr(before["segments"])


def test_requeue_that_was_never_committed_lands_its_messages_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files hold what would land: it counts, but not beside the one that was committed."""
    lake = small(tmp_path / "lake")
    with monkeypatch.context() as patch:
        die_at(patch, ("finkbridge.ledger.quarantined", "commit_requeue", 1), after=False)
        with pytest.raises(Died):
            quarantine.requeue(settings_of(lake), Selection(("t:0:1",)), POINT_KEY)
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:  # so that they stay
        coordinator.forget_merges(row.path for row in ledger_rows(lake, s.merging))
    quarantine.requeue(settings_of(lake), Selection(("t:0:1",)), POINT_KEY)
    lose(lake)
    report = run(lake)
    assert len(report.strays) == 1
    assert "landed by another requeue" in report.strays[0]
    assert sql(lake, "SELECT count(*) FROM deliveries WHERE kafka_offset = 1") == [(1,)]


def give_up(lake: Path, messages: Sequence[Message], *ranges: OffsetRange, commit: bool = False) -> int:
    """Land a plan, and leave it abandoned or committed; return its number."""
    with Ledger(lake, create=True) as ledger, coordinate(ledger) as coordinator:
        plan = plan_of(coordinator, "t", ranges, byte_limit=20)
        parts = Lander(lake, Given(messages)).land(plan)
        if commit:
            coordinator.commit_segment(plan, parts)
        else:
            coordinator.abandon([plan])
        return plan.number


def test_files_of_abandoned_plans_are_told_from_committed_ones(tmp_path: Path) -> None:
    lake, messages = tmp_path / "lake", messages_of(RECORDS)
    first = give_up(lake, messages, OffsetRange(0, 0, 9))
    give_up(lake, messages, OffsetRange(0, 0, 3), commit=True)
    second = give_up(lake, messages, OffsetRange(0, 3, 7))
    give_up(lake, messages, OffsetRange(0, 3, 9), commit=True)
    said = facts(lake)
    lose(lake)
    report = run(lake)
    assert {stray.partition(": ")[2] for stray in report.strays} == {
        f"plan {number} was given up: its messages are in others" for number in (first, second)
    }
    assert facts(lake) == {**said, "plan_ranges": said["plan_ranges"]}
    assert {p.number: p.state for p in ledger_rows(lake, s.plans)} == {
        1: "abandoned", 2: "committed", 3: "abandoned", 4: "committed"
    }  # fmt: skip


ALL_GOOD = [point(i) for i in range(12)]


@pytest.mark.parametrize("gone", [0, 2, 5])
def test_each_part_of_a_plan_proves_its_own_offsets(tmp_path: Path, gone: int) -> None:
    """One damaged file is moved out of the lake: all the others are the only copy of their messages."""
    lake, messages = tmp_path / "lake", messages_of(ALL_GOOD)
    give_up(lake, messages, OffsetRange(0, 0, 3), commit=True)
    torn = give_up(lake, messages, OffsetRange(0, 3, 9), commit=True)
    give_up(lake, messages, OffsetRange(0, 9, 12), commit=True)
    parts = sorted((lake / "archive").rglob(f"*-n{torn:08d}-*.avro"))
    assert len(parts) == 6
    parts[gone].unlink()
    rest = set((lake / "archive").rglob("*.avro"))
    lose(lake)
    report = run(lake)
    assert (report.problems, report.strays) == ([], [])
    assert report.gaps == [f"t (cluster ztf, generation 1), partition 0: offsets [{3 + gone}, {4 + gone})"]
    offsets = [(o,) for o in range(12) if o != 3 + gone]
    assert sql(lake, "SELECT kafka_offset FROM deliveries ORDER BY 1") == offsets
    pruned = verify(lake, None, Options(prune=True)).pruned
    assert all((lake / path).exists() for path in rest)
    lost = f"-o{3 + gone:019d}-"
    assert not any(lost in path for path in pruned)
    kinds = {x.kind for x in verify(lake, None, Options(deep=True, sample=Sample())).findings}
    assert kinds == {"stray"}  # the rows of the file that is gone are not deleted either


def test_ranges_that_were_holes_alone_are_named(tmp_path: Path) -> None:
    """They have no file: between files they are gaps, behind the last one the next drain looks again."""
    lake, messages = tmp_path / "lake", messages_of(ALL_GOOD)
    holes = [m for m in messages if not 3 <= m.offset < 6 and m.offset < 9]
    for span in (OffsetRange(0, 0, 3), OffsetRange(0, 3, 6), OffsetRange(0, 6, 9), OffsetRange(0, 9, 12)):
        give_up(lake, holes, span, commit=True)
    assert sum(row.holes for row in ledger_rows(lake, s.segments)) == 6
    lose(lake)
    report = run(lake)
    assert report.gaps == ["t (cluster ztf, generation 1), partition 0: offsets [3, 6)"]
    assert any("holes alone" in line for line in report.lost)
    (gap,) = ledger_rows(lake, s.gaps)
    assert (gap.start_offset, gap.end_offset) == (3, 6)
    assert gap.reason == "lost, or holes without a message: in no file when the ledger was rebuilt"
    assert next_offsets(lake) == {0: 9}


def test_part_without_its_quarantine_file_is_left_and_kept(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    fill(lake, {"t": messages_of([point(0), NO_KEY, point(2), point(3), NO_KEY, point(5)])}, offsets=3)
    (gone, *_) = sorted((lake / "quarantine").rglob("*.avro"))
    (kept,) = (lake / "archive").rglob("*-n00000001-*.avro")
    gone.unlink()
    lose(lake)
    report = run(lake)
    (stray,) = report.strays
    assert "is not whole" in stray
    assert kept.name in stray
    assert [(p.number, p.state) for p in ledger_rows(lake, s.plans)] == [(2, "committed"), (1, "left")]
    assert sql(lake, "SELECT kafka_offset FROM deliveries ORDER BY 1") == [(3,), (5,)]
    findings = verify(lake, None, Options(prune=True)).findings
    assert kept.exists()
    assert {x.kind for x in findings} == {"stray"}
    assert any("only copy" in x.remedy for x in findings)


def test_number_that_two_plans_have_is_given_to_one(tmp_path: Path) -> None:
    """A ledger that was restored from an older copy gives numbers again, and then it is lost, too."""
    lake, messages = tmp_path / "lake", messages_of(ALL_GOOD)
    give_up(lake, messages, OffsetRange(0, 0, 3), commit=True)
    copy_ledger(lake, tmp_path / "copy.db")
    number = give_up(lake, messages, OffsetRange(0, 3, 9), commit=True)
    restore_ledger(lake, tmp_path / "copy.db")
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        coordinator.commit_gap(ledger.generations()["ztf", "t"], OffsetRange(0, 3, 9), "expired")
    assert give_up(lake, messages, OffsetRange(0, 9, 12), commit=True) == number
    lose(lake)
    report = run(lake)
    assert (report.problems, report.gaps, report.strays) == ([], [], [])
    assert sql(lake, "SELECT kafka_offset FROM deliveries ORDER BY 1") == [(o,) for o in range(12)]
    assert_verified(lake, prune=True)
    assert_consistent(lake)
    assert give_up(lake, messages_of(ALL_GOOD + ALL_GOOD), OffsetRange(0, 12, 14), commit=True) > number + 1


def test_offsets_that_no_file_has_are_a_gap(tmp_path: Path) -> None:
    lake = small(tmp_path / "lake")
    for path in (lake / "archive").rglob("*-n00000002-*.avro"):
        path.unlink()
    for path in (lake / "quarantine").rglob("*-n00000002-*.avro"):
        path.unlink()
    lose(lake)
    report = run(lake)
    assert report.gaps == ["t (cluster ztf, generation 1), partition 0: offsets [4, 8)"]
    (gap,) = ledger_rows(lake, s.gaps)
    assert (gap.start_offset, gap.end_offset) == (4, 8)
    assert gap.reason.startswith("lost, or holes without a message")
    verify(lake, None, Options(prune=True))
    left = data_files(lake) - alive_files(lake)
    assert {path.split("-n")[1][:8] for path in left} == {"00000002"}  # rows that are nowhere else
    assert {x.where for x in verify(lake, None, Options(deep=True, sample=Sample())).findings} == left


def test_damaged_file_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    lake = small(tmp_path / "lake")
    path = next((lake / "archive").rglob("*.avro"))
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    away = lose(lake)
    report = run(lake)
    (problem,) = report.problems
    assert path.name in problem
    assert report.tables is None
    assert list(lake.glob("ledger.db*")) == []
    path.rename(away / path.name)
    assert run(lake).problems == []
    assert alive_files(lake).isdisjoint({path.relative_to(lake).as_posix()})


def test_good_ledger_stays_where_a_file_is_damaged(tmp_path: Path) -> None:
    lake = small(tmp_path / "lake")
    path = next((lake / "archive").rglob("*.avro"))
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    said = facts(lake)
    report = run(lake, replace_old=True)
    assert (len(report.problems), report.aside) == (1, "")
    assert facts(lake) == said


def test_blank_ledger_over_an_archive_is_refused(tmp_path: Path) -> None:
    lake = small(tmp_path / "lake")
    lose(lake)
    Ledger(lake, create=True).close()
    for refused in (
        lambda: rebuild.rebuild(settings_of(lake)),
        lambda: quarantine.requeue(settings_of(lake), Selection()),
        lambda: quarantine.accept(settings_of(lake), Selection()),
    ):
        with pytest.raises(LakeAccessError, match="rebuild --ledger"):
            refused()
    assert not (lake / "catalog.duckdb").exists() or sql(lake, "SELECT count(*) FROM deliveries") == [(4,)]


def test_renamed_file_is_named(tmp_path: Path) -> None:
    lake = small(tmp_path / "lake")
    path = next((lake / "archive").rglob("*-n00000001-0000-*.avro"))
    shutil.copy(path, path.with_name(path.name.replace("-n00000001-", "-n00000099-")))
    lose(lake)
    (problem,) = run(lake).problems
    assert "give it its name again" in problem


def test_a_catalog_that_cannot_be_written_hides_nothing_of_what_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full just then: the new ledger is in place."""

    def full(*_: object) -> None:
        raise LakeAccessError("the catalog cannot be written")

    lake = small(tmp_path / "lake")
    with monkeypatch.context() as patch:
        patch.setattr("finkbridge.drain.Bridge.publish", full)
        report = run(lake, replace_old=True)
    assert report.tables is not None
    assert report.tables.problems == ["the catalog cannot be written"]
    assert (lake / report.aside).is_file()


def test_ledger_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    lake = small(tmp_path / "lake")
    before, said = rows_of(lake), facts(lake)
    with pytest.raises(SettingsError, match="--replace"):
        run(lake)
    assert facts(lake) == said
    with Ledger(lake) as ledger, coordinate(ledger), pytest.raises(LakeBusyError):
        run(lake, replace_old=True)
    report = run(lake, replace_old=True)
    assert report.aside.startswith("ledger.db.20")
    assert_as_before(lake, before)
    assert facts(lake) == said
    old = tmp_path / "old"
    old.mkdir()
    shutil.copytree(lake, old / "lake")
    for suffix in ("", "-wal"):
        if (lake / f"{report.aside}{suffix}").exists():
            shutil.copy(lake / f"{report.aside}{suffix}", old / "lake" / f"ledger.db{suffix}")
    assert facts(old / "lake") == said


@pytest.mark.parametrize(
    "step",
    [
        ("finkbridge.ledger.landed", "add_part", 2),
        ("finkbridge.rebuild.exchange", "_set_aside", 1),
        ("finkbridge.rebuild.tables", "_keep", 2),
        ("finkbridge.ledger.rebuilt", "commit_rebuild", 1),
    ],
    ids=lambda step: step[1],
)
def test_good_ledger_stays_where_the_new_one_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Any
) -> None:
    """A full disk: the old ledger was set aside first, and a lake with it."""
    lake = small(tmp_path / "lake")
    before, said, files = rows_of(lake), facts(lake), data_files(lake)
    commit = [row.number for row in ledger_rows(lake, s.commits)]
    with monkeypatch.context() as patch:
        die_at(patch, step, after=False)
        with pytest.raises(Died):
            run(lake, replace_old=True)
    assert [row.number for row in ledger_rows(lake, s.commits)] == commit
    assert facts(lake) == said
    clear_scratch(lake)
    assert data_files(lake) == files
    assert_as_before(lake, before)
    assert [path.name for path in lake.glob("ledger.db.*")] == []
    assert run(lake, replace_old=True).aside
    assert_as_before(lake, before)


@pytest.mark.parametrize("links", [True, False])
def test_good_ledger_stays_where_the_exchange_fails_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    lake = small(tmp_path / "lake")
    before, said = rows_of(lake), facts(lake)

    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        if not links:
            patch.setattr("os.link", refuse)
        exchange = later.get("finkbridge.rebuild.exchange:exchange")

        def exchange_without_folder(lake: Path) -> str:
            with monkeypatch.context() as inner:
                inner.setattr("finkbridge.disk.sync_folder", refuse)
                aside: str = exchange(lake)
                return aside

        patch.setattr("finkbridge.rebuild.exchange.exchange", exchange_without_folder)
        with pytest.raises(LakeAccessError, match="Input/output error"):
            run(lake, replace_old=True)
    assert facts(lake) == said
    assert_as_before(lake, before)
    assert list(lake.glob("ledger.db.*")) == []


def test_good_ledger_stays_where_the_new_one_is_not_all_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk: what is in its log could not be moved, and without its log it is damaged."""
    lake = small(tmp_path / "lake")
    before, said = rows_of(lake), facts(lake)
    with monkeypatch.context() as patching, ExitStack() as readers:

        def adopt_beside_a_reader(coordinator: Coordinator, *rest: Any) -> None:
            path = coordinator.ledger.lake / "ledger.db"
            reader = readers.enter_context(closing(sqlite3.connect(path)))
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM files").fetchone()
            adopt(coordinator, *rest)

        adopt = later.get("finkbridge.rebuild.ledger:_adopt")
        patching.setattr("finkbridge.rebuild.ledger._adopt", adopt_beside_a_reader)
        with pytest.raises(LakeAccessError, match="is open in another program: end that"):
            run(lake, replace_old=True)
    assert facts(lake) == said
    assert_as_before(lake, before)
    assert [path.name for path in lake.glob("ledger.db.*")] == []


def test_good_ledger_gets_its_place_back_where_the_new_one_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = small(tmp_path / "lake")
    before, said = rows_of(lake), facts(lake)
    exchange = later.get("finkbridge.rebuild.exchange:exchange")

    def exchange_and_cut(lake: Path) -> str:
        aside: str = exchange(lake)
        os.truncate(lake / "ledger.db", 40_000)
        return aside

    with monkeypatch.context() as patching:
        patching.setattr("finkbridge.rebuild.exchange.exchange", exchange_and_cut)
        with pytest.raises(LakeError):
            run(lake, replace_old=True)
    assert facts(lake) == said
    assert_as_before(lake, before)


def test_new_ledger_that_is_finished_stays_when_the_end_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = small(tmp_path / "lake")
    before, said = rows_of(lake), facts(lake)

    def interrupt(_: Ledger) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patching:
        patching.setattr("finkbridge.rebuild.ledger.unfinished", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(lake, replace_old=True)
    assert len([path for path in lake.glob("ledger.db.*") if path.suffix.endswith("Z")]) == 1
    assert facts(lake) == said
    assert_as_before(lake, before)


def test_ledger_that_is_no_database_is_replaced_when_asked(tmp_path: Path) -> None:
    lake = small(tmp_path / "lake")
    before = rows_of(lake)
    lose(lake)
    (lake / "ledger.db").write_bytes(b"rubbish" * 1000)
    report = run(lake, replace_old=True)
    assert (lake / report.aside).read_bytes() == b"rubbish" * 1000
    assert_as_before(lake, before)


def test_nothing_to_make_a_ledger_from(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no archive"):
        run(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "step",
    [
        ("finkbridge.rebuild.exchange", "exchange", 1),
        ("finkbridge.rebuild.ledger", "examine", 2),
        ("finkbridge.ledger.landed", "add_part", 2),
        ("finkbridge.ledger.adopt", "_add_requeue", 1),
        ("finkbridge.rebuild.ledger", "adopt", 1),
    ],
    ids=lambda step: step[1],
)
def test_death_at_a_step_and_a_second_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Any, after: bool
) -> None:
    lake = small(tmp_path / "lake")
    quarantine.requeue(settings_of(lake), Selection(("t:0:1",)), POINT_KEY)
    before, said = rows_of(lake), facts(lake)
    with monkeypatch.context() as patch:
        die_at(patch, step, after=after)
        with pytest.raises(Died):
            run(lake, replace_old=True)
    run(lake, replace_old=True)
    assert facts(lake) == said
    assert_as_before(lake, before)


def test_tables_not_yet_made_are_made_by_the_next_rebuild(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = small(tmp_path / "lake")
    before = rows_of(lake)
    lose(lake)
    with monkeypatch.context() as patch:
        die_at(patch, ("finkbridge.rebuild.tables", "_keep", 2), after=True)
        with pytest.raises(Died):
            run(lake)
    for refused in (
        lambda: drain(settings_of(lake, clusters={"ztf": {"servers": "127.0.0.1:9", "topics": ["t"]}})),
        lambda: quarantine.requeue(settings_of(lake), Selection(), POINT_KEY),
    ):
        with pytest.raises(LakeAccessError, match=r"run finkbridge rebuild$"):
            refused()
    (said,) = [x for x in verify(lake, None).findings if x.kind != "stray"]
    assert str(said).endswith("make the tables anew with `finkbridge rebuild`")
    report = rebuild.rebuild(settings_of(lake, merge={"enabled": False, "grace_s": 0}))
    assert report.kept == 2
    assert_as_before(lake, before)
    assert quarantine.requeue(settings_of(lake), Selection(), POINT_KEY).landed == 3
    assert_verified(lake, prune=True)
    assert_consistent(lake)


def test_rows_of_quarantine_are_found_by_the_new_numbers(tmp_path: Path) -> None:
    lake = small(tmp_path / "lake")
    lose(lake)
    run(lake)
    with Ledger(lake) as ledger:
        assert [e.place for e in q.find(ledger, Selection())] == [f"t:0:{o}" for o in (1, 2, 3, 4, 8)]
