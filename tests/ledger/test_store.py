"""Opening a ledger: as one who may only read, and with a setting that is wrong."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.exc import OperationalError

from finkbridge import layout
from finkbridge.errors import LakeAccessError, SettingsError
from finkbridge.lag import ledger_if_any
from finkbridge.ledger import Ledger, coordinate
from finkbridge.ledger.adopt import refuse_to_begin
from finkbridge.ledger.database import translated
from finkbridge.settings import Settings
from finkbridge.verify.run import check_ledger

NOBODY = 65534


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Give a folder that every user may read: pytest's own are for one user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED AS ANOTHER USER: only root can become one")
@pytest.mark.parametrize("is_open", [False, True])
def test_colleagues_may_read(open_to_all: Path, is_open: bool) -> None:
    """The ledger has a log beside it while a drain has it open, and none otherwise."""
    lake = open_to_all / "it's a #lake?"
    code = (
        "import os, sys; from pathlib import Path; from finkbridge.ledger import Ledger; "
        f"os.setuid({NOBODY}); print(list(Ledger(Path(sys.argv[1])).generations()))"
    )
    with Ledger(lake, create=True) as ledger:
        with coordinate(ledger) as coordinator:
            coordinator.add_generation("ztf", "t", None)
        if not is_open:
            ledger.close()
        assert (lake / "ledger.db-wal").exists() == is_open
        told = subprocess.run(
            [sys.executable, "-c", code, str(lake)], cwd="/", capture_output=True, text=True, check=False
        )
    assert (told.stdout.strip(), told.stderr) == ("[('ztf', 't')]", "")


@pytest.mark.parametrize(
    "url", ["postgresql://u:pass-word@h:port/d", "no url pass-word", "postgres://u:pass-word@h/d",
            "postgresql+nodriver://u:pass-word@h/d", "postgresql+psycopg2://u:pass-word@h/d"]
)  # fmt: skip
def test_wrong_url_is_one_line_without_the_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match=r"finkbridge\[postgres\]") as caught:
        Ledger(tmp_path, url)
    assert "pass-word" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_looking_makes_no_tables(tmp_path: Path, database: str) -> None:
    with ledger_if_any(Settings.model_validate({"lake": tmp_path / "lake", "ledger": database})) as ledger:
        assert ledger is None
    with pytest.raises(LakeAccessError, match="there is no lake"):
        Ledger(tmp_path / "lake", database)
    engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    assert inspect(engine).get_table_names() == []
    engine.dispose()
    with Ledger(tmp_path / "new" / "lake", database, create=True):
        assert (tmp_path / "new" / "lake").is_dir()


def test_more_files_are_marked_than_a_statement_takes(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger, coordinate(ledger) as coordinator:
        coordinator.mark_deleted(list(range(300_000)))


@pytest.mark.parametrize(
    ("free", "advice"), [(1000, "its disk is full: make room"), (10**9, "look at the disk")]
)
def test_an_error_of_the_disk_says_when_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, advice: str
) -> None:
    """SQLite calls it an I/O error where it is its log that finds no room."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(LakeAccessError, match=advice), translated(tmp_path):
        raise OperationalError("", None, sqlite3.OperationalError("disk I/O error"))


@pytest.mark.parametrize(
    "report",
    [
        "",
        "{x",
        "[]",
        "7",
        "null",
        '{"problems": 7}',
        '{"problems": [7]}',
        '{"messages": "7"}',
        b"{\xff",
        "[" * 100_000,
    ],
)
def test_a_damaged_report_of_a_run_stops_nothing_and_is_found(tmp_path: Path, report: str | bytes) -> None:
    with Ledger(tmp_path / "lake", create=True) as ledger:
        with coordinate(ledger) as coordinator:
            runs = [coordinator.start_run("drain") for _ in range(2)]
            for run in runs:
                coordinator.end_run(run, "succeeded", {"messages": 1, "problems": []})
        assert ledger.damaged_reports() == []
        assert (ledger.last_run() or {})["summary"] == {"messages": 1, "problems": []}
        with closing(sqlite3.connect(tmp_path / "lake" / layout.LEDGER)) as db, db:
            change = "UPDATE runs SET summary = CAST(? AS TEXT) WHERE id = ?"
            db.execute(change, (report if isinstance(report, bytes) else report.encode(), runs[-1]))
        assert ledger.damaged_reports() == [runs[-1]]
        assert (ledger.last_run() or {})["summary"] == {}
        (finding,) = check_ledger(ledger)
        assert (finding.where, finding.problem) == (f"run {runs[-1]}", "its report is damaged")
        with coordinate(ledger) as coordinator:
            assert not coordinator.is_after_death()


def test_a_lake_whose_ledger_is_elsewhere_has_not_lost_it(tmp_path: Path) -> None:
    (tmp_path / "archive" / "t").mkdir(parents=True)
    (tmp_path / "archive" / "t" / "a.avro").touch()
    with pytest.raises(LakeAccessError, match="its ledger is lost"):
        refuse_to_begin(tmp_path)
    (tmp_path / layout.LAKE_ID).touch()
    refuse_to_begin(tmp_path)
    with pytest.raises(LakeAccessError, match="set `ledger`"):
        Ledger(tmp_path, create=True)


def test_a_file_that_was_the_ledger_before_a_database_is_not_used(tmp_path: Path) -> None:
    """It would plan what the database has, and take its files for strays."""
    Ledger(tmp_path, create=True).close()
    (tmp_path / layout.LAKE_ID).touch()
    for create in (True, False):
        with pytest.raises(
            LakeAccessError, match=r"move the older ledger\.db away, remove lake\.id and run .* --ledger$"
        ):
            Ledger(tmp_path, create=create)
