"""Merging aside: batches go on meanwhile, and whatever ends the process leaves the lake as it was."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from finkbridge import disk, layout, merge, merging
from finkbridge.errors import CommitConflictError, NameTakenError
from finkbridge.ledger import Coordinator, Ledger, coordinate
from finkbridge.merging import Merging
from finkbridge.retire import delete_unfinished_merges
from finkbridge.settings import MergeSettings
from tests.support.lake import alive_files
from tests.test_merge import add_packets, packets

LIMITS = MergeSettings(files=2, grace_s=0)


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[Coordinator]:
    with Ledger(tmp_path / "lake", create=True) as ledger:
        add_packets(ledger, [packets(at, 3) for at in (0, 3, 6)])
        with coordinate(ledger) as made:
            yield made


@pytest.fixture
def aside(coordinator: Coordinator) -> Iterator[Merging]:
    made = Merging(coordinator, LIMITS)
    yield made
    made.close()


def wait(aside: Merging) -> None:
    until = time.monotonic() + 20
    while not aside.is_ready():
        assert time.monotonic() < until
        time.sleep(0.05)


def failure(aside: Merging, monkeypatch: pytest.MonkeyPatch, make: Any) -> str:
    """Return what is told of a merge whose file is made by another function."""
    with monkeypatch.context() as patched:
        patched.setattr(merging, "make_politely", make)
        aside.go_on(aside=True)
        wait(aside)
        (problem,) = aside.go_on(aside=True)
    return problem


def files(coordinator: Coordinator) -> set[str]:
    return {path for path in alive_files(coordinator.ledger.lake) if path.startswith("packets")}


def on_disk(coordinator: Coordinator) -> set[str]:
    lake = coordinator.ledger.lake
    return {str(path.relative_to(lake)) for path in (lake / "packets").rglob("*.parquet")}


def test_a_merge_is_made_aside_and_committed_when_it_is_there(
    coordinator: Coordinator, aside: Merging
) -> None:
    before = files(coordinator)
    assert (aside.go_on(aside=True), files(coordinator), aside.is_ready()) == ([], before, False)
    wait(aside)
    assert (aside.go_on(aside=True), aside.is_ready()) == ([], False)
    (merged,) = files(coordinator)
    assert merged not in before
    assert coordinator.unfinished_merges() == []
    assert aside.go_on(aside=True) == []
    assert not aside.is_ready()


def test_batches_go_on_while_a_merge_is_made(
    coordinator: Coordinator, aside: Merging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "make_politely", sleep_long)
    began = time.monotonic()
    for _ in range(3):
        assert aside.go_on(aside=True) == []
    assert time.monotonic() - began < 30
    assert len(coordinator.unfinished_merges()) == 1
    aside.close()
    assert coordinator.unfinished_merges() == []
    assert len(files(coordinator)) == 3


def sleep_long(_: Any) -> None:
    time.sleep(600)


def test_what_a_killed_process_left_is_deleted_and_merged_again_later(
    coordinator: Coordinator, aside: Merging, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(coordinator)
    problem = failure(aside, monkeypatch, make_and_die)
    assert problem.endswith("merging failed and changed nothing: was killed by SIGKILL")
    assert (files(coordinator), on_disk(coordinator)) == (before, before)
    assert coordinator.unfinished_merges() == []
    assert (aside.go_on(aside=True), aside.is_ready()) == ([problem], False), "it is told as long as it lasts"
    monkeypatch.setattr(aside, "_again_at", 0.0)
    aside.go_on(aside=True)
    wait(aside)
    assert aside.go_on(aside=True) == []
    assert len(files(coordinator)) == 1


def make_and_die(begun: merge.Merge) -> None:
    merge.make(begun)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_file_that_cannot_be_read_is_told_and_the_lake_stays(
    coordinator: Coordinator, aside: Merging
) -> None:
    before = files(coordinator)
    (coordinator.ledger.lake / min(before)).write_bytes(b"no parquet")
    aside.go_on(aside=True)
    wait(aside)
    (problem,) = aside.go_on(aside=True)
    assert "merging failed and changed nothing: " in problem
    assert (files(coordinator), on_disk(coordinator)) == (before, before)


def test_files_that_changed_meanwhile_stay_as_they_are(coordinator: Coordinator, aside: Merging) -> None:
    aside.go_on(aside=True)
    wait(aside)
    assert merge.merge_crowds(coordinator, coordinator.ledger.crowds(2)) == []
    (merged,) = files(coordinator)
    (problem,) = aside.go_on(aside=True)
    assert "merging failed and changed nothing: " in problem
    assert files(coordinator) == {merged}
    assert coordinator.unfinished_merges() == []


def test_a_closed_merge_leaves_no_process_and_no_file(
    coordinator: Coordinator, aside: Merging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "make_politely", spill_and_sleep)
    aside.go_on(aside=True)
    until = time.monotonic() + 20
    while not (left := scratch(coordinator)):
        assert time.monotonic() < until
        time.sleep(0.05)
    process = psutil.Process(int(left[0].read_text()))
    aside.close()
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert scratch(coordinator) == []
    assert coordinator.unfinished_merges() == []


def spill_and_sleep(begun: merge.Merge) -> None:
    with disk.staging(begun.lake, begun.mark) as place:
        part = place.new(".part")
        part.write_text(str(os.getpid()))
        part.rename(part.with_suffix(".arrow"))
        time.sleep(600)


def scratch(coordinator: Coordinator) -> list[Path]:
    return list((coordinator.ledger.lake / layout.SCRATCH).glob("*.arrow"))


def test_a_merge_that_hangs_is_ended(
    coordinator: Coordinator, aside: Merging, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert failure(aside, monkeypatch, hang).endswith("was killed by SIGALRM")
    assert scratch(coordinator) == []


def hang(begun: merge.Merge) -> None:
    merging.PATIENCE_S = 0.5
    merge.make = spill_and_sleep  # type: ignore[assignment]
    merging.make_politely(begun)


class OddError(Exception):
    """One that cannot be made again in another process."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


@pytest.mark.parametrize("raises", ["raise_odd", "raise_value_error"])
def test_whatever_a_merge_raises_ends_only_that_merge(
    coordinator: Coordinator, aside: Merging, monkeypatch: pytest.MonkeyPatch, raises: str
) -> None:
    before = files(coordinator)
    problem = failure(aside, monkeypatch, globals()[raises])
    assert "merging failed and changed nothing: " in problem
    assert (files(coordinator), coordinator.unfinished_merges()) == (before, [])


def raise_odd(_: merge.Merge) -> None:
    raise OddError("a", "b")


def raise_value_error(_: merge.Merge) -> None:
    raise ValueError("no such column")


def test_a_failure_is_told_until_the_next_try_has_its_result(
    coordinator: Coordinator, aside: Merging, monkeypatch: pytest.MonkeyPatch
) -> None:
    (coordinator.ledger.lake / min(files(coordinator))).write_bytes(b"no parquet")
    told = []
    for _ in range(3):
        monkeypatch.setattr(aside, "_again_at", 0.0)
        told.append(aside.go_on(aside=True))
        wait(aside)
        told.append(aside.go_on(aside=True))
    assert [len(problems) for problems in told] == [0, 1, 1, 1, 1, 1]


def test_a_name_that_is_taken_stays(
    coordinator: Coordinator, aside: Merging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "make_politely", find_taken)
    aside.go_on(aside=True)
    wait(aside)
    (path,) = coordinator.unfinished_merges()
    aside.close()
    assert (coordinator.ledger.lake / path).read_bytes() == b"another's"
    assert coordinator.unfinished_merges() == []


def find_taken(begun: merge.Merge) -> None:
    begun.place.parent.mkdir(parents=True, exist_ok=True)
    begun.place.write_bytes(b"another's")
    raise NameTakenError("it is taken")


def test_after_a_takeover_no_file_is_left(coordinator: Coordinator, aside: Merging) -> None:
    before = files(coordinator)
    aside.go_on(aside=True)
    wait(aside)
    other = Coordinator(coordinator.ledger)
    delete_unfinished_merges(other)
    with pytest.raises(CommitConflictError):
        aside.go_on(aside=True)
    assert (files(coordinator), on_disk(coordinator)) == (before, before)
