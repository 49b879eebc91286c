"""What is new in the lake: what drains and requeues bring, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from finkbridge.bot import tail
from finkbridge.bot.state import Position
from finkbridge.errors import DecodeError
from finkbridge.ledger import Ledger, coordinate
from finkbridge.ledger.quarantined import Selection
from finkbridge.merge import merge_crowds
from finkbridge.quarantine.requeue import requeue
from finkbridge.rebuild import rebuild
from finkbridge.rebuild.ledger import rebuild_ledger
from finkbridge.tables import empty_deliveries
from tests.support.offline import POINT_KEY, fill, messages_of, point, settings_of

START = Position(0, 0.0)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Return a lake of two topics, filled in commits of two messages each."""
    lake = tmp_path / "lake"
    a, b = (messages_of([point(float(x)) for x in range(first, first + 6)]) for first in (0, 10))
    fill(lake, {"a": a, "b": b}, offsets=2)
    return lake


@pytest.fixture
def ledger(lake: Path) -> Iterator[Ledger]:
    with Ledger(lake) as opened:
        yield opened


def new(ledger: Ledger, position: Position) -> list[list[tuple[str, int]]]:
    """Return topic and offset of what is new, by batch."""
    return [
        [(row["topic"], row["kafka_offset"]) for row in batch.rows.to_pylist()]
        for batch in tail.batches(ledger, position)
    ]


ALL = [(topic, offset) for topic in "ab" for offset in range(6)]


def test_all_is_new_once(ledger: Ledger, lake: Path) -> None:
    (whole,) = new(ledger, START)
    assert sorted(whole) == ALL
    end = tail.end_of(ledger)
    assert new(ledger, end) == []
    fill(lake, {"a": messages_of([point(7.0)], first=6)})
    assert new(ledger, end) == [[("a", 6)]]
    assert len(new(ledger, START)[0]) == 13


def test_batches_are_of_whole_commits(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "MOST_ROWS", 3)
    batches = list(tail.batches(ledger, START))
    assert [batch.rows.num_rows for batch in batches[:3]] == [4, 4, 4]
    numbers = [batch.end.number for batch in batches]
    assert numbers == sorted(numbers)
    assert numbers[-1] == ledger.last_commit()
    assert new(ledger, batches[0].end) == new(ledger, START)[1:]
    assert all(tail.knows(ledger, batch.end) for batch in batches)


def test_columns_are_those_of_deliveries(ledger: Ledger) -> None:
    (batch,) = tail.batches(ledger, START)
    assert batch.rows.schema.names == empty_deliveries().schema.names
    assert {"topic", "survey", "night", "archive_file"} <= set(batch.rows.column_names)


def test_merging_and_rebuilding_bring_nothing_new(ledger: Ledger, lake: Path) -> None:
    end, before = tail.end_of(ledger), new(ledger, START)
    with coordinate(ledger) as coordinator:
        crowds = ledger.crowds(1)
        assert crowds
        assert merge_crowds(coordinator, crowds) == []
    assert tail.end_of(ledger).number > end.number
    assert [batch.rows.num_rows for batch in tail.batches(ledger, end)] == [0]
    assert sorted(new(ledger, START)[0]) == sorted(before[0])
    rebuild(settings_of(lake))
    assert [batch.rows.num_rows for batch in tail.batches(ledger, end)] == [0]
    assert sorted(new(ledger, START)[0]) == ALL


def test_all_that_a_new_ledger_adopted_is_new_to_it(lake: Path) -> None:
    rebuild_ledger(settings_of(lake), replace_old=True)
    with Ledger(lake) as ledger:
        assert sorted(row for batch in new(ledger, START) for row in batch) == ALL
        assert new(ledger, tail.end_of(ledger)) == []


def test_what_was_requeued_is_new(ledger: Ledger, lake: Path) -> None:
    good = messages_of([point(1.0)], first=6)
    bad = [m._replace(key=b"no schema") for m in good]
    fill(lake, {"a": bad})
    end = tail.end_of(ledger)
    assert [b.rows.num_rows for b in tail.batches(ledger, START)] == [12]
    requeue(settings_of(lake), Selection(), POINT_KEY)
    assert new(ledger, end) == [[("a", 6)]]


def test_a_moment_is_found_by_the_commits_times(ledger: Ledger) -> None:
    assert tail.before(ledger, 0.0) == START
    assert tail.before(ledger, time.time() + 60) == tail.end_of(ledger)
    (first, *_) = [batch.end for batch in tail.batches(ledger, START)]
    assert tail.before(ledger, first.committed_at).number < first.number


def test_another_ledgers_commit_is_not_known(ledger: Ledger) -> None:
    end = tail.end_of(ledger)
    assert tail.knows(ledger, START)
    assert tail.knows(ledger, end)
    assert not tail.knows(ledger, Position(end.number, end.committed_at + 1))
    assert not tail.knows(ledger, Position(end.number + 5, end.committed_at))


def test_a_damaged_file_is_one_line(ledger: Ledger, lake: Path) -> None:
    for path in lake.glob("deliveries/**/*.parquet"):
        path.write_bytes(b"junk")
    with pytest.raises(DecodeError, match="finkbridge verify") as caught:
        list(tail.batches(ledger, START))
    assert "\n" not in str(caught.value)
