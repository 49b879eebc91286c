"""Gaps and holes are named, and no damage."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from finkbridge.cli.main import main
from finkbridge.ledger import Ledger, coordinate, seen
from finkbridge.ledger import schema as s
from finkbridge.values import Message, OffsetRange
from finkbridge.verify import verify
from finkbridge.verify.derived import check_derived
from finkbridge.verify.spans import NAMED, Spans
from tests.support.offline import POINT_KEY, TIME_MS, fill, point
from tests.verify.lakes import doctor


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Offsets 3-5 and 8 of partition 0 have no message; 12-19 of it were lost, and then 2 more."""
    value = point(1.0)[1]
    messages = [Message(0, o, TIME_MS + o, 1, POINT_KEY, value) for o in (0, 1, 2, 6, 7, 9, 10, 11)]
    messages += [Message(1, o, TIME_MS + o, 1, POINT_KEY, value) for o in range(3)]
    fill(tmp_path / "lake", {"t": messages}, offsets=7)
    with Ledger(tmp_path / "lake") as ledger, coordinate(ledger) as coordinator:
        known = ledger.generations()["ztf", "t"]
        coordinator.commit_gap(known, OffsetRange(0, 12, 20), "expired")
        coordinator.commit_gap(known, OffsetRange(0, 20, 22), "deleted")
    return tmp_path / "lake"


def test_looks_of_a_clock_that_was_set_back_are_no_damage(lake: Path) -> None:
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        key = (ledger.generations()["ztf", "t"].row_id, 0)
        for at in (time.time(), time.time() - 86_400):
            with coordinator.writing() as connection:
                seen.note_looks(connection, {key: 22}, at)
        with ledger.reading() as connection:
            assert list(check_derived(connection)) == []


def run(lake: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    try:
        code = main(["--lake", str(lake), *words])
    except SystemExit as end:
        code = int(str(end.code or 0))
    return int(code or 0), capsys.readouterr().out


def test_what_people_and_programs_read(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(lake, capsys, "catalog")
    code, said = run(lake, capsys, "verify")
    where = "t (ztf, generation 1), partition 0"
    assert said.splitlines()[:3] == [
        f"gap: {where}: offsets [12, 20) are lost: expired",
        f"gap: {where}: offsets [20, 22) are lost: deleted",
        f"hole: {where}: 2 ranges, the first [3, 6), have no message (4 offsets): confirmed by a second look",
    ]
    assert ": all holds: " in said.splitlines()[3]
    assert code == 0
    code, said = run(lake, capsys, "verify", "--json")
    told: dict[str, Any] = json.loads(said)
    assert [(gap["where"], gap["ranges"], gap["reason"]) for gap in told["gaps"]] == [
        (where, [[12, 20]], "expired"),
        (where, [[20, 22]], "deleted"),
    ]
    (hole,) = told["holes"]
    assert (hole["where"], hole["ranges"], hole["count"], hole["offsets"]) == (where, [[3, 6], [8, 9]], 2, 4)


def test_offsets_that_no_gap_and_no_hole_accounts_for_are_a_finding(lake: Path) -> None:
    doctor(lake, update(s.gaps).where(s.gaps.c.end_offset == 22).values(start_offset=21))
    problems = [found.problem for found in verify(lake, None).findings if found.kind == "offsets"]
    assert problems == ["offsets [20, 21) are in no segment and in no gap"]


def test_only_the_first_holes_are_named_and_all_are_counted() -> None:
    spans = Spans("hole", "t", "why")
    spans.add([(2 * n, 2 * n + 1) for n in range(NAMED + 5)])
    assert (len(spans.ranges), spans.count, spans.offsets) == (NAMED, NAMED + 5, NAMED + 5)
