"""A ledger that was put back from a copy gives numbers twice: nothing of the lost future is deleted."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.kafka import Kafka
from tests.support.lake import data_files, drained, make_settings, offsets, points

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen by its catalog", "found by its names"])
def test_drain_leaves_what_the_lost_future_wrote(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_seen: bool
) -> None:
    if not is_seen:
        monkeypatch.setattr("finkbridge.drain.skip_used_numbers", lambda _: None)
    topic, lake, copy = kafka.topic("fink_restored_ztf"), tmp_path / "lake", tmp_path / "copy.db"
    settings = make_settings(lake, kafka.bootstrap, topic)
    kafka.produce(topic, points(*range(3)))
    drained(settings)
    with closing(sqlite3.connect(lake / "ledger.db")) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)
    for more in (range(3, 9), range(9, 12)):
        kafka.produce(topic, points(*more))
        drained(settings)
    future = {path: (lake / path).read_bytes() for path in data_files(lake)}
    for path in lake.glob("ledger.db*"):
        path.unlink()
    shutil.copy(copy, lake / "ledger.db")

    limited = make_settings(lake, kafka.bootstrap, topic, drain={"max_messages": 2})
    assert drained(limited).total("rows") == 2  # it begins where the lost one began, and ends elsewhere
    assert drained(settings).total("rows") == 7
    assert {path: (lake / path).read_bytes() for path in future if (lake / path).exists()} == future
    assert offsets(lake) == [(1, 0, offset) for offset in range(12)]
