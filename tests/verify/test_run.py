"""A lake that is whole verifies; whatever is done to it is found, in one line that says what to do."""

from __future__ import annotations

import random
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, text, update

from finkbridge import catalog, disk, layout
from finkbridge.errors import LakeAccessError, NoLakeError, SettingsError
from finkbridge.land import Lander
from finkbridge.ledger import Ledger, coordinate
from finkbridge.ledger import schema as s
from finkbridge.retire import delete_replaced
from finkbridge.values import OffsetRange
from finkbridge.verify import Report
from tests.verify.lakes import (
    Feed,
    add,
    doctor,
    files,
    merge_all,
    planned,
    point,
    the_finding,
    verified,
)

TABLES = ("archive", "deliveries", "packets", "quarantine")


@pytest.fixture(autouse=True)
def _published(lake: Path) -> None:
    publish(lake)  # the copy is in another place than the lake it is of


def publish(lake: Path) -> None:
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        catalog.publish(coordinator)


def holds(report: Report) -> None:
    assert report.findings == []
    assert report.notes == []


def test_a_whole_lake_holds(lake: Path) -> None:
    report = verified(lake)
    holds(report)
    listed = [file for table in TABLES for file in files(lake, table)]
    assert (report.files, report.bytes) == (len(listed), sum(file.bytes for file in listed))
    assert report.rows == sum(file.rows for file in files(lake, "deliveries")) == 18


def test_a_merged_lake_holds_before_and_after_the_grace_period(merged: Path) -> None:
    publish(merged)
    assert any("merged-" in file.path for file in files(merged, "packets"))
    before = verified(merged)
    holds(before)
    with Ledger(merged) as ledger, coordinate(ledger) as coordinator:
        deleted = delete_replaced(coordinator, 0)
    after = verified(merged)
    holds(after)
    assert after.files == before.files - deleted < before.files


def test_one_flipped_bit_is_found(lake: Path) -> None:
    for seed in range(24):
        dice = random.Random(seed)
        file = dice.choice(files(lake, TABLES[seed % 4]))
        path = lake / file.path
        whole = path.read_bytes()
        data = bytearray(whole)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        found = the_finding(lake)
        assert (found.kind, found.where) == ("file", file.path)
        assert found.problem.startswith("is damaged: its checksum is ")
        assert "copy" in found.remedy
        path.write_bytes(whole)


@pytest.mark.parametrize("table", TABLES)
def test_a_cut_a_longer_and_a_missing_file(lake: Path, table: str) -> None:
    file = files(lake, table)[0]
    path = lake / file.path
    whole = path.read_bytes()
    for data, problem in ((whole[:-1], "has "), (whole + b"\0", "has "), (b"", "has 0 bytes")):
        path.write_bytes(data)
        assert the_finding(lake).problem.startswith(problem)
    path.unlink()
    found = the_finding(lake)
    assert (found.where, found.problem) == (file.path, "is not there")


@pytest.mark.parametrize("table", TABLES)
def test_other_rows_than_the_ledger_says(lake: Path, table: str) -> None:
    file = files(lake, table)[0]
    doctor(lake, update(s.files).where(s.files.c.id == file.id).values(rows=file.rows + 1))
    found = verified(lake).findings
    told = f"has {file.rows} rows, and the ledger says {file.rows + 1}"
    assert told in [f.problem for f in found if f.kind == "rows"]
    assert "counts" in {f.kind for f in found}


def test_a_file_that_is_no_parquet_though_its_checksum_agrees(lake: Path) -> None:
    file = files(lake, "packets")[0]
    (lake / file.path).write_bytes(b"PAR1 and no more")
    facts = {"bytes": 16, "checksum": disk.checksum(lake / file.path)}
    doctor(lake, update(s.files).where(s.files.c.id == file.id).values(**facts))
    assert the_finding(lake).problem.startswith("is no packets file (")


def test_a_damaged_file_that_merging_replaced(merged: Path) -> None:
    publish(merged)
    with Ledger(merged) as ledger, coordinate(ledger) as coordinator:
        old = coordinator.deletable(0)[0].path
    (merged / old).write_bytes(b"x")
    assert the_finding(merged).remedy == "nothing reads it any more, and the next drain deletes it"
    (merged / old).unlink()
    report = verified(merged)
    assert report.holds
    assert report.notes == [f"{old}: was replaced by merging and is gone; the next drain notes that"]


def test_only_what_is_asked_for(lake: Path) -> None:
    ztf, lsst = ((lake / files(lake, "packets")[i].path) for i in (0, -1))
    ztf.write_bytes(b"x")
    lsst.unlink()
    everything = {f.where for f in verified(lake).findings}
    assert len(everything) == 2
    of_ztf = verified(lake, topics=["fink_*_ztf"])
    assert [f.where for f in of_ztf.findings] == [ztf.relative_to(lake).as_posix()]
    night = layout.parse_night(files(lake, "packets")[0].path)
    of_night = verified(lake, nights=[str(night)])
    assert {f.where for f in of_night.findings} == {ztf.relative_to(lake).as_posix()}
    assert 0 < of_night.files < verified(lake).files
    with pytest.raises(SettingsError, match="the lake has nothing of topic elsewhere"):
        verified(lake, topics=["elsewhere"])


def test_no_lake(tmp_path: Path) -> None:
    with pytest.raises(NoLakeError, match="there is no lake"):
        verified(tmp_path / "nowhere")


# the ledger


def cut(lake: Path, keep: float) -> None:
    path = lake / layout.LEDGER
    with sqlite3.connect(path) as connection, suppress(sqlite3.DatabaseError):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


def test_a_truncated_ledger(lake: Path) -> None:
    for keep in (0.9, 0.5, 0.1, 0.001, 0):
        cut(lake, keep)
        found = verified(lake).findings
        assert {f.kind for f in found} == {"ledger"}, keep
        assert all("finkbridge rebuild --ledger" in str(f) and "\n" not in str(f) for f in found)


def test_bytes_of_the_ledger_overwritten(lake: Path) -> None:
    cut(lake, 1)
    whole = (lake / layout.LEDGER).read_bytes()
    for seed in range(20):
        dice = random.Random(seed)
        at = dice.randrange(0, len(whole) - 4096)
        (lake / layout.LEDGER).write_bytes(whole[:at] + dice.randbytes(4096) + whole[at + 4096 :])
        assert not verified(lake).holds, f"4096 bytes at {at}"


r, c, f, q = s.segment_ranges.c, s.segments.c, s.files.c, s.quarantine.c
FIRST = (r.segment_id == 1, r.position == 0)
DOCTORED: dict[str, Any] = {
    "an end that grew": update(s.segment_ranges).where(*FIRST).values(end_offset=r.end_offset + 1),
    "an end that shrank": update(s.segment_ranges).where(*FIRST).values(end_offset=r.end_offset - 1),
    "a start that grew": update(s.segment_ranges).where(*FIRST).values(start_offset=r.start_offset + 1),
    "another partition": update(s.segment_ranges).where(*FIRST).values(partition=9),
    "another topic": update(s.segment_ranges).where(*FIRST).values(generation_id=r.generation_id + 1),
    "a range that is gone": delete(s.segment_ranges).where(*FIRST),
    "a row more": update(s.segment_ranges).where(*FIRST).values(rows=r.rows + 1),
    "a hole that is none": update(s.segment_ranges).where(*FIRST).values(holes="[[-1, 0]]"),
    "holes that are no JSON": update(s.segment_ranges).where(*FIRST).values(holes="rubbish"),
    "a segment's rows": update(s.segments).where(c.id == 1).values(rows=c.rows + 1),
    "a segment's messages": update(s.segments).where(c.id == 1).values(messages=c.messages + 1),
    "a partition's end": update(s.partitions).values(next_offset=s.partitions.c.next_offset + 1),
    "a partition that is gone": delete(s.partitions).where(s.partitions.c.partition == 0),
    "a plan that is open": update(s.plans).where(s.plans.c.number == 1).values(state="pending"),
    "a plan without ranges": delete(s.plan_ranges).where(s.plan_ranges.c.plan == 1),
    "a generation's sum": update(s.generations).values(messages=s.generations.c.messages - 1),
    "numbers given twice": update(s.numbers).values(last=1),
    "an old epoch": update(s.meta).where(s.meta.c.key == "epoch").values(value=0),
    "a file without its row": delete(s.files).where(f.id == 1),
    "a file of another night": update(s.files).where(f.table == "packets").values(night=20200101),
    "a path of nothing": update(s.files).where(f.id == 1).values(path="archive/elsewhere"),
    "a path that leaves the lake": update(s.files).where(f.id == 1).values(path="../etc/passwd"),
    "a file removed before": update(s.files).where(f.id == 1).values(removed=0),
    "a quarantine without its row": delete(s.quarantine).where(q.id == 1),
    "a quarantine in no file": update(s.quarantine).where(q.id == 1).values(path="quarantine/x/y.avro"),
    "a schema that is gone": delete(s.schemas).where(s.schemas.c.kind == "avro"),
    "a text for a number": update(s.segment_ranges).where(*FIRST).values(rows=text("'many'")),
}


def test_a_doctored_ledger(lake: Path) -> None:
    cut(lake, 1)
    whole = (lake / layout.LEDGER).read_bytes()
    for name, change in DOCTORED.items():
        (lake / layout.LEDGER).write_bytes(whole)
        with Ledger(lake) as ledger, ledger.engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            raw.execute("PRAGMA foreign_keys = OFF")
            connection.execute(change)
            connection.commit()
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        report = verified(lake)
        assert {f.kind for f in report.findings} & {"ledger", "offsets", "counts"}, name
        assert all("\n" not in str(found) for found in report.findings), name


def test_rows_that_merging_lost(merged: Path) -> None:
    publish(merged)
    (file, *_) = [x for x in files(merged, "packets") if "merged-" in x.path]
    doctor(merged, update(s.files).where(f.id == file.id).values(rows=file.rows - 1))
    problems = [x.problem for x in verified(merged).findings if x.kind == "counts"]
    assert any(p.endswith(" by -1 in replacing files") for p in problems)


# strays


def pending_files(lake: Path, state: str) -> list[str]:
    """Leave the files of a plan that no commit has."""
    feed = Feed("fink_a_ztf", [point(100), point(101)])
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        generation = ledger.generations()["ztf", feed.topic]
        start = ledger.partitions(generation.row_id)[0].next_offset
        plan = planned(coordinator, generation, (OffsetRange(0, start, 102),))
        (part,) = Lander(lake, feed).land(plan)
        if state == "abandoned":
            coordinator.abandon([plan])
    return sorted(file.path for file in part.files)


def strays(report: Report) -> list[str]:
    assert {x.kind for x in report.findings} <= {"stray"}
    return sorted(x.where for x in report.findings)


def test_abandoned_plans_are_left_as_long_as_nothing_else_has_their_messages(lake: Path) -> None:
    """A run leaves such files where the broker lost the messages before they were committed."""
    left = pending_files(lake, "abandoned")
    report = verified(lake, prune=True)
    assert (strays(report), report.pruned) == (left, [])
    assert all(x.remedy.startswith("keep it, it may be the only copy") for x in report.findings)


def test_abandoned_plans_are_pruned_once_their_offsets_have_landed(lake: Path) -> None:
    left = pending_files(lake, "abandoned")
    add(lake, Feed("fink_a_ztf", [point(100), point(101)]))
    report = verified(lake)
    assert strays(report) == left
    assert {x.remedy for x in report.findings} == {"run `finkbridge verify --prune`"}
    pruned = verified(lake, prune=True)
    holds(pruned)
    assert sorted(pruned.pruned) == left
    assert not any((lake / path).exists() for path in left)


def test_pending_plans_are_left_to_the_next_drain(lake: Path) -> None:
    left = pending_files(lake, "pending")
    report = verified(lake, prune=True)
    assert report.pruned == []
    assert strays(report) == left
    assert {x.remedy for x in report.findings} == {"run `finkbridge drain`, which finishes it"}


def test_files_that_are_being_written_are_no_strays(lake: Path) -> None:
    left = pending_files(lake, "pending")
    (lake / layout.SCRATCH / f"{'a' * 32}.avro").write_bytes(b"half")
    with Ledger(lake) as ledger, coordinate(ledger):
        report = verified(lake)
    assert report.holds
    assert report.notes[0].startswith(f"{len(left) + 1} files, such as archive/")


def test_a_ledger_that_a_dead_rebuild_left_is_ours(lake: Path) -> None:
    (lake / layout.NEW_LEDGER).mkdir(parents=True)
    (lake / layout.NEW_LEDGER / layout.LEDGER).write_bytes(b"half")
    (finding,) = verified(lake).findings
    assert "rebuild of the ledger that did not end" in finding.problem
    disk.clear_scratch(lake)  # as a drain does
    assert verified(lake).holds


def test_what_is_not_ours_is_named_and_left(lake: Path) -> None:
    archive = files(lake, "archive")[0].path
    foreign = ["packets/notes.txt", "archive/fink_a_ztf/x.avro", ".scratch/keep", f"{archive}.bak"]
    other_lake = archive.replace("-g1-", "-g7-")
    newer = archive.replace("-n0000000", "-n0000099")
    for path in (*foreign, other_lake, newer):
        (lake / path).parent.mkdir(exist_ok=True, parents=True)
        (lake / path).write_bytes(b"mine")
    (lake / "packets/link").symlink_to("/")
    report = verified(lake, prune=True)
    assert report.pruned == []
    assert strays(report) == sorted([*foreign, "packets/link", other_lake, newer])
    problems = {x.where: x.problem for x in report.findings}
    assert {problems[path] for path in (*foreign, "packets/link")} == {"is not finkbridge's"}
    assert "which in this lake is of something else" in problems[other_lake]
    assert "the ledger has given numbers up to 5 only" in problems[newer]


def test_staging_and_unfinished_merges_are_pruned(lake: Path) -> None:
    aside = lake / layout.SCRATCH / f"{'0' * 32}.parquet"
    aside.write_bytes(b"half")
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        path = coordinator.begin_merge("deliveries/ztf/night=20260322")
    (lake / path).write_bytes(b"merged")
    assert strays(verified(lake)) == [aside.relative_to(lake).as_posix(), path]
    assert len(verified(lake, prune=True).pruned) == 2
    holds(verified(lake))
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        assert coordinator.unfinished_merges() == []


def test_nothing_is_pruned_where_a_file_of_the_ledger_is_missing(lake: Path) -> None:
    left = pending_files(lake, "abandoned")
    (lake / files(lake, "packets")[0].path).unlink()
    is_left(lake, left)


def is_left(lake: Path, paths: list[str]) -> None:
    """Expect that pruning leaves files, and says why."""
    report = verified(lake, prune=True)
    assert report.pruned == []
    assert any(note.startswith("nothing was pruned, as what is left over may be") for note in report.notes)
    assert all((lake / path).exists() for path in paths)


def test_nothing_is_pruned_where_a_file_of_another_topic_is_missing(lake: Path) -> None:
    """Which a verification of one topic does not read."""
    left = pending_files(lake, "abandoned")
    (lake / next(f.path for f in files(lake, "archive") if "fink_a" not in f.path)).unlink()
    with pytest.raises(LakeAccessError, match=r"in the ledger and not in the lake.*nothing was pruned"):
        verified(lake, prune=True, topics=["fink_a_ztf"])
    assert all((lake / path).exists() for path in left)


def test_nothing_is_pruned_where_a_file_of_the_ledger_is_damaged(lake: Path) -> None:
    """What is left over may be the only whole copy of its messages."""
    left = pending_files(lake, "abandoned")
    add(lake, Feed("fink_a_ztf", [point(100), point(101)]))
    path = lake / files(lake, "archive")[-1].path
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    is_left(lake, left)
    path.write_bytes(whole)
    assert sorted(verified(lake, prune=True).pruned) == left


@pytest.mark.parametrize("table", ["archive", "quarantine", "deliveries"])
def test_nothing_is_pruned_where_the_ledger_forgot_a_file(lake: Path, table: str) -> None:
    """It looks as if its plan was committed without the file."""
    path = files(lake, table)[0].path
    with sqlite3.connect(lake / layout.LEDGER) as ledger:
        ledger.execute("delete from files where path = ?", [path])
    is_left(lake, [path])


def test_nothing_is_pruned_by_a_damaged_index(lake: Path) -> None:
    """By which the ledger would not know a file."""
    path = files(lake, "archive")[0].path
    ledger = lake / layout.LEDGER
    content = ledger.read_bytes()
    places = [at for at in range(len(content)) if content.startswith(path.encode(), at)]
    for at in places:
        ledger.write_bytes(content[:at] + bytes([content[at] ^ 2]) + content[at + 1 :])
        is_left(lake, [path])
    assert len(places) > 1, "the row, and the index"


# the catalog


def test_a_catalog_that_is_stale_elsewhere_damaged_or_gone(lake: Path) -> None:
    path = lake / layout.CATALOG
    whole = path.read_bytes()
    doctor(lake, update(s.meta).where(s.meta.c.key == "published").values(value=1))
    assert the_finding(lake).problem.startswith("lists ")
    add(lake, Feed("fink_c_ztf", [point(0)]))
    holds(verified(lake))
    path.write_bytes(whole)
    assert the_finding(lake).problem.startswith(
        "does not list 2 files of the lake, such as deliveries/other/"
    )
    path.write_bytes(b"rubbish" * 10_000)
    assert the_finding(lake).remedy == "run `finkbridge catalog`"
    path.unlink()
    assert the_finding(lake).problem == "is not there"
    publish(lake)
    holds(verified(lake))


def test_a_catalog_of_a_lake_that_was_moved(lake: Path) -> None:
    moved = lake.rename(lake.parent / "moved")
    assert the_finding(moved).problem == "was written for a lake in another place"
    publish(moved)
    merge_all(moved)
    holds(verified(moved))
