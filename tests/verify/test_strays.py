"""What pruning leaves: whatever may be the only copy of a message, whatever number its name has."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from finkbridge.errors import NameTakenError
from finkbridge.land import Lander
from finkbridge.ledger import Ledger, coordinate
from finkbridge.ledger import schema as s
from finkbridge.values import Message, OffsetRange
from finkbridge.verify import Options, Report, verify
from tests.support.lake import alive_files, ledger_rows
from tests.support.offline import Given, messages_of, plan_of, point

MESSAGES = messages_of([point(i) for i in range(12)])


def land(
    lake: Path, *ranges: OffsetRange, commit: bool = True, messages: Sequence[Message] = MESSAGES
) -> int:
    """Land a plan in parts of one message; return its number."""
    with Ledger(lake, create=True) as ledger, coordinate(ledger) as coordinator:
        plan = plan_of(coordinator, "t", ranges, byte_limit=20)
        parts = Lander(lake, Given(messages)).land(plan)
        if commit:
            coordinator.commit_segment(plan, parts)
        return plan.number


def copy_ledger(lake: Path, to: Path) -> None:
    with closing(sqlite3.connect(lake / "ledger.db")) as old, closing(sqlite3.connect(to)) as new:
        old.backup(new)


def restore_ledger(lake: Path, copy: Path) -> None:
    for path in lake.glob("ledger.db*"):
        path.unlink()
    shutil.copy(copy, lake / "ledger.db")


def files_of(lake: Path, number: int) -> set[str]:
    return {p.relative_to(lake).as_posix() for p in lake.rglob(f"*-n{number:08d}-*")}


def pruned(lake: Path) -> Report:
    return verify(lake, None, Options(prune=True))


def test_number_that_a_restored_ledger_gave_again_deletes_nothing(tmp_path: Path) -> None:
    """The lost future's files keep their messages, which the broker has no more."""
    lake, copy = tmp_path / "lake", tmp_path / "copy.db"
    land(lake, OffsetRange(0, 0, 3))
    copy_ledger(lake, copy)
    number = land(lake, OffsetRange(0, 3, 9))
    lost = files_of(lake, number)
    restore_ledger(lake, copy)
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        coordinator.commit_gap(ledger.generations()["ztf", "t"], OffsetRange(0, 3, 9), "expired")
    assert land(lake, OffsetRange(0, 9, 12)) == number
    report = pruned(lake)
    assert report.pruned == []
    assert {x.where for x in report.findings if x.kind == "stray"} == lost
    assert all((lake / path).exists() for path in lost)


def test_archive_of_other_ranges_from_the_same_offset_is_left(tmp_path: Path) -> None:
    lake, copy = tmp_path / "lake", tmp_path / "copy.db"
    land(lake, OffsetRange(0, 0, 3))
    copy_ledger(lake, copy)
    number = land(lake, OffsetRange(0, 3, 9))
    lost = {path for path in files_of(lake, number) if path.startswith("archive/")}
    restore_ledger(lake, copy)
    with pytest.raises(NameTakenError, match="other content"):
        land(lake, OffsetRange(0, 3, 5))  # as the same plan, it would name its first part the same
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        coordinator.abandon(ledger.pending_plans())
    assert land(lake, OffsetRange(0, 3, 5)) == number + 1
    assert len(lost) == 6
    assert lost.isdisjoint(alive_files(lake))
    left = lost - set(pruned(lake).pruned)
    assert sorted(int(path.split("-o")[1][:19]) for path in left) == [5, 6, 7, 8], "they have no other copy"


def test_archive_without_a_plan_goes_only_if_all_of_it_is_committed(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    first = land(lake, OffsetRange(0, 0, 6), commit=False)
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        coordinator.abandon(ledger.pending_plans())
        with coordinator.writing() as connection:
            connection.execute(s.plan_ranges.delete().where(s.plan_ranges.c.plan == first))
            connection.execute(s.plans.delete().where(s.plans.c.number == first))
    land(lake, OffsetRange(0, 0, 3))
    gone = pruned(lake).pruned
    assert {path.split("/")[0] for path in gone} == {"archive", "deliveries", "packets"}
    left = {path for path in files_of(lake, first) if path.startswith("archive/")}
    assert sorted(int(path.split("-o")[1][:19]) for path in left) == [3, 4, 5]


def test_merged_file_without_a_commit_goes_only_if_its_rows_are_committed(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    land(lake, OffsetRange(0, 0, 3))
    (kept,) = [f for f in ledger_rows(lake, s.files) if f.table == "packets" and "-0000-" in f.path]
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        paths = [coordinator.begin_merge(kept.path.rpartition("/")[0]) for _ in range(2)]
        coordinator.forget_merges(paths)
    number = land(lake, OffsetRange(0, 3, 4), commit=False)
    (pending,) = [path for path in files_of(lake, number) if path.startswith("packets/")]
    shutil.copy(lake / kept.path, lake / paths[0])
    shutil.copy(lake / pending, lake / paths[1])
    assert pruned(lake).pruned == [paths[0]]
