"""Requeue, rebuild and a ledger made again, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finkbridge import catalog, quarantine, rebuild
from finkbridge.errors import SettingsError
from finkbridge.ledger import Ledger
from finkbridge.ledger.quarantined import Selection
from finkbridge.verify import Options, verify
from tests.support.lake import POINT, encode
from tests.support.offline import POINT_KEY, fill, messages_of, point, settings_of

RECORDS = [point(0), (None, encode(POINT, {"x": 9.0})), (POINT_KEY, b"no"), (POINT_KEY, None), point(4)]


def rows(lake: Path, url: str | None) -> list[tuple[Any, ...]]:
    query = "SELECT kafka_offset, archive_file, archive_pos, archive_len FROM deliveries ORDER BY 1"
    with Ledger(lake, url) as ledger, catalog.connect(ledger) as connection:
        return connection.sql(query).fetchall()


def assert_holds(lake: Path, url: str | None) -> None:
    verify(lake, url, Options(prune=True))
    assert verify(lake, url, Options(deep=True)).findings == []


def test_requeue_accept_and_rebuild(tmp_path: Path, url: str | None) -> None:
    lake, settings = tmp_path / "lake", settings_of(tmp_path / "lake", ledger=url)
    fill(lake, {"t": messages_of(RECORDS)}, offsets=3, url=url)
    report = quarantine.requeue(settings, Selection(), POINT_KEY)
    assert (report.landed, report.waiting) == (1, 2)
    assert len(quarantine.accept(settings, Selection(("t:0:3",)))) == 1
    before = rows(lake, url)
    assert [row[0] for row in before] == [0, 1, 4]
    assert_holds(lake, url)
    for path in lake.rglob("*.parquet"):
        path.unlink()
    done = rebuild.rebuild(settings)
    assert (done.rows, done.problems) == (3, [])
    assert rows(lake, url) == before
    assert rebuild.rebuild(settings).kept == 0
    assert_holds(lake, url)


def test_ledger_made_again_in_another_database(tmp_path: Path, database: str) -> None:
    lake, settings = tmp_path / "lake", settings_of(tmp_path / "lake", ledger=database)
    fill(lake, {"t": messages_of(RECORDS)}, offsets=3)
    quarantine.requeue(settings_of(lake), Selection(), POINT_KEY)
    before = rows(lake, None)
    report = rebuild.rebuild_ledger(settings)
    assert (report.problems, report.strays) == ([], [])
    assert rows(lake, database) == before
    for replace in (False, True):
        with pytest.raises(SettingsError, match=r"nothing was changed|is for a ledger in the lake"):
            rebuild.rebuild_ledger(settings, replace_old=replace)
    assert_holds(lake, database)
