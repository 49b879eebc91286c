"""What the ledger tells of nights, on both databases, and that it is told as of one moment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import func, select

from finkbridge.blockers import Rules
from finkbridge.errors import LakeAccessError
from finkbridge.land import Lander
from finkbridge.ledger import Coordinator, Ledger, coordinate, seen
from finkbridge.ledger import schema as s
from finkbridge.ledger.coverage import drained, read_coverage
from finkbridge.nights import verdicts
from finkbridge.values import OffsetRange, Resumption
from tests.ledger.conftest import OpenLedger
from tests.support.offline import POINT_KEY, TIME_MS, Given, generation_of, messages_of, plan_of, point

SENT_AT = TIME_MS / 1000


def test_gaps_and_quarantine(open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    given = messages_of([point(0.0), (POINT_KEY, b"\xff" * 9), *(point(float(n)) for n in range(8))])
    with coordinate(ledger) as coordinator:
        for span in (OffsetRange(0, 0, 3), OffsetRange(0, 6, 10)):
            plan = plan_of(coordinator, "t", [span])
            coordinator.commit_segment(plan, Lander(ledger.lake, Given(given)).land(plan))
            if span.start == 0:
                known = generation_of(coordinator, "t")
                coordinator.commit_gap(known, OffsetRange(0, 3, 6), "expired")
    coverage = read_coverage(ledger)
    (lost,), (waiting,), (reach,) = coverage.lost, coverage.waiting, coverage.reaches
    assert (lost.after, lost.before) == ((TIME_MS + 2) / 1000, (TIME_MS + 6) / 1000)
    assert (waiting.messages, waiting.first, waiting.last) == (
        1,
        (TIME_MS + 1) / 1000,
        (TIME_MS + 1) / 1000,
    )
    assert reach.passed_at == (TIME_MS + 6) / 1000
    told = [(d.range.start, d.range.end, d.rows, d.quarantined, d.holes) for d in drained(ledger)]
    assert told == [(0, 3, 2, 1, 0), (6, 10, 4, 0, 0)]
    (verdict,) = verdicts(ledger, Rules())
    assert (verdict.rows, verdict.gaps, verdict.quarantined, verdict.complete) == (6, 1, 1, False)


@pytest.mark.parametrize("is_recreated", [False, True])
def test_a_life_that_goes_on_with_a_log_that_was_cut(open_ledger: OpenLedger, *, is_recreated: bool) -> None:
    """Partition 0 was cut and lost what was seen of it last; partition 1 goes on where it was."""
    ledger = open_ledger()
    given = [*messages_of([point(float(n)) for n in range(6)]), *messages_of([point(7.0)] * 4, partition=1)]
    with coordinate(ledger) as coordinator:
        first = coordinator.add_generation("ztf", "t", "id-1")
        plan = plan_of(coordinator, "t", [OffsetRange(0, 0, 4), OffsetRange(1, 0, 4)])
        coordinator.commit_segment(plan, Lander(ledger.lake, Given(given)).land(plan))
        look(coordinator, {(first.row_id, 0): 6, (first.row_id, 1): 4}, SENT_AT + 60)
        if is_recreated:
            coordinator.give_up([], first, "recreated")
            second = coordinator.add_generation("ztf", "t", "id-2")
            coordinator.start_partitions(second, {0: 3, 1: 4})
        else:
            second, _ = coordinator.begin_behind(first, Resumption({0: 3, 1: 4}, {}, {0: 3}), [], [], "cut")
        look(coordinator, {(second.row_id, 0): 3, (second.row_id, 1): 4}, SENT_AT + 120)
    coverage = read_coverage(ledger)
    lost = {(x.source.generation, x.range.partition): (x.range.start, x.range.end) for x in coverage.lost}
    ends = {(r.source.generation, r.partition): (r.is_followed, r.is_cut) for r in coverage.reaches}
    (verdict,) = verdicts(ledger, Rules(late_s=86400.0))
    why = [f"{blocker.why}: {blocker.todo}" for blocker in verdict.blockers]
    begun = r"t partition \d: last seen at its end 2026-03-20 23:4\d UTC, and (.*) 20\d\d"
    told = [(match[0][12], match[1]) for match in (re.match(begun, line) for line in why) if match]
    if is_recreated:
        assert lost == {(1, 0): (4, 6), (2, 0): (0, 3), (2, 1): (0, 4)}
        assert set(ends.values()) == {(False, False)}
        assert sorted(told) == [("0", "gone"), ("1", "gone")]
        return
    assert lost == {(1, 0): (4, 6)}
    assert ends == {
        (1, 0): (False, True), (1, 1): (True, False), (2, 0): (False, False), (2, 1): (False, False)
    }  # fmt: skip
    assert told == [("0", "cut by")]
    assert any("t partition 0: offsets [4, 6) cut" in line for line in why)
    assert len([line for line in why if "partition 1" in line]) == 1
    assert any(
        re.match(r"t \(generation 2\) partition 1: last seen at its end 2026-03-20", line) for line in why
    )


def look(coordinator: Coordinator, ends: seen.Ends, at: float) -> None:
    with coordinator.writing() as connection:
        seen.note_looks(connection, ends, at)


def test_a_reader_sees_the_ledger_as_of_one_moment(open_ledger: OpenLedger) -> None:
    ledger, count = open_ledger(), select(func.count()).select_from(s.generations)
    with coordinate(ledger) as coordinator:
        with ledger.reading() as connection:
            assert connection.scalar(count) == 0
            coordinator.add_generation("ztf", "t", None)
            assert connection.scalar(count) == 0
        with ledger.reading() as connection:
            assert connection.scalar(count) == 1
        coordinator.add_generation("ztf", "u", None)  # connections that were read with can be written with


def test_a_reader_cannot_write_to_postgresql(tmp_path: Path, database: str) -> None:
    with Ledger(tmp_path, database, create=True) as ledger:
        with pytest.raises(LakeAccessError, match="read-only"), ledger.reading() as connection:
            connection.execute(s.meta.update().values(value=9))
        with ledger.engine.connect() as connection:
            assert connection.get_isolation_level() == "READ COMMITTED"


def test_a_ledger_of_before_says_what_to_do(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        with ledger.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE generation_surveys DROP COLUMN after_end_s")
        with pytest.raises(LakeAccessError, match="or run finkbridge rebuild --ledger --replace"):
            read_coverage(ledger)
