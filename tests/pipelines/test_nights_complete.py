"""The check that the newest nights are complete: a warning when one is not, with the reason."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from finkbridge.ledger import Ledger, coordinate, seen
from finkbridge.settings import Settings
from pipelines.checks import nights_complete
from tests.support.offline import POINT_KEY, TIME_MS, fill, generation_of, messages_of, point

CLOSED = TIME_MS / 1000 + 86400


def look(lake: Path, topic: str, end: int, at: float) -> None:
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator, coordinator.writing() as connection:
        seen.note_looks(connection, {(generation_of(coordinator, topic).row_id, 0): end}, at)


def test_passes_when_all_nights_that_are_over_are_complete(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    fill(lake, {"a": messages_of([point(1), point(2)])})
    look(lake, "a", 2, CLOSED)
    result = nights_complete(Settings(lake=lake))
    assert result.passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert (result.metadata["nights"].value, result.metadata["incomplete"].value) == (1, 0)


def test_warns_and_says_why(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    fill(lake, {"a": messages_of([point(1), point(2)])})
    look(lake, "a", 5, CLOSED)
    result = nights_complete(Settings(lake=lake))
    assert not result.passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert "other 20260320: a partition 0: drained up to" in str(result.metadata["why"])
    assert "3 offsets wait" in str(result.metadata["why"])
    (record,) = result.metadata["table"].records
    assert (record.data["night"], record.data["complete"]) == ("2026-03-20", False)


def test_warns_where_nothing_landed_at_all(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    fill(lake, {"a": messages_of([(POINT_KEY, b"\xff" * 9)])})
    look(lake, "a", 1, CLOSED)
    result = nights_complete(Settings(lake=lake))
    assert not result.passed
    assert "1 message in quarantine" in str(result.metadata["why"])
