"""Tables made again from the archive equal what was there, row by row, whatever dies meanwhile."""

from __future__ import annotations

import importlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest

from finkbridge import quarantine, rebuild
from finkbridge.catalog import publish
from finkbridge.errors import LakeBusyError, ReconciliationError
from finkbridge.ledger import Ledger, coordinate
from finkbridge.ledger import schema as s
from finkbridge.ledger.quarantined import Selection
from finkbridge.rebuild import RebuildReport
from finkbridge.rebuild import tables as rebuild_tables
from tests.support.lake import (
    POINT,
    RealAlerts,
    alive_files,
    assert_consistent,
    data_files,
    encode,
    ledger_rows,
    real_alerts,
    same,
    sql,
)
from tests.support.offline import POINT_KEY, assert_verified, fill, messages_of, point, settings_of

MERGING = {"files": 2, "grace_s": 0}


@pytest.fixture(scope="module")
def ztf(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "ztf")


@pytest.fixture(scope="module")
def lsst(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "lsst")


def container(alerts: RealAlerts, at: int) -> bytes:
    stream = io.BytesIO()
    fastavro.writer(stream, alerts.schema, [alerts.alerts[at]], codec="deflate")
    return stream.getvalue()


def make(lake: Path, ztf: RealAlerts, lsst: RealAlerts, *, merged: bool) -> Path:
    """A lake of all kinds: both surveys, container files, other schemas, quarantine, a requeue, merges."""
    mixed = [point(1), (POINT_KEY, b"junk"), (None, encode(POINT, {"x": 9.0})), point(2)]
    wrapped = [(None, container(ztf, i)) for i in range(2)]
    topics = {
        "z": messages_of(ztf.records[:12]) + messages_of(ztf.records[12:15], partition=1, first=70),
        "l": messages_of(lsst.records[:5]),
        "w": messages_of(wrapped + ztf.records[2:4]),
        "o": messages_of(mixed),
    }
    fill(lake, topics, offsets=5, byte_limit=150_000)
    settings = settings_of(lake, merge=MERGING if merged else {"enabled": False})
    report = quarantine.requeue(settings, Selection(("o:0:2",)), POINT_KEY)
    assert report.landed == 1
    return lake


@pytest.fixture(scope="module", params=[False, True], ids=["as landed", "merged"])
def template(
    ztf: RealAlerts,
    lsst: RealAlerts,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    lake = make(tmp_path_factory.mktemp("template") / "lake", ztf, lsst, merged=request.param)
    kinds = {c.kind for c in ledger_rows(lake, s.commits)}
    assert ("merge" in kinds) == request.param
    return lake


@pytest.fixture
def lake(template: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "lake"
    shutil.copytree(template, copy)
    with Ledger(copy) as ledger, coordinate(ledger) as coordinator:
        publish(coordinator)
    return copy


def contents(lake: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table."""
    views = {"deliveries": "kafka_partition, kafka_offset"}
    views |= {f"packets_{name}": "_kafka_partition, _kafka_offset" for name in ("ztf", "lsst", "other")}
    orders = {view: f"{'' if view == 'deliveries' else '_'}topic, {keys}" for view, keys in views.items()}
    rows = {view: sql(lake, f"SELECT * FROM {view} ORDER BY {order}") for view, order in orders.items()}
    book = {
        name: sql(lake, f"SELECT * FROM {name} ORDER BY ALL") for name in ("segments", "topics", "quarantine")
    }
    return rows | book


def assert_same(lake: Path, before: dict[str, list[tuple[Any, ...]]]) -> None:
    after = contents(lake)
    for name, rows in before.items():
        assert len(rows) == len(after[name]), name
        assert all(same(list(a), list(b)) for a, b in zip(rows, after[name], strict=True)), name


def table_files(lake: Path) -> list[Path]:
    return [
        lake / f.path
        for f in ledger_rows(lake, s.files)
        if f.table in {"deliveries", "packets"} and not f.deleted_at
    ]


def run(lake: Path, **more: Any) -> RebuildReport:
    return rebuild.rebuild(settings_of(lake, merge={"enabled": False, "grace_s": 0}, **more))


def test_tables_that_are_gone_or_damaged_are_as_they_were(lake: Path) -> None:
    before = contents(lake)
    for number, path in enumerate(table_files(lake)):
        if number % 2:
            path.unlink()
        else:
            path.write_bytes(b"rubbish")
    report = run(lake)
    assert report.problems == []
    assert report.rows == len(before["deliveries"])
    assert report.commit == ledger_rows(lake, s.commits)[-1].number
    assert_same(lake, before)
    assert_consistent(lake)
    assert_verified(lake)
    assert ledger_rows(lake, s.rebuilt) == []


def test_rebuilt_tables_can_be_merged_and_rebuilt_again(lake: Path) -> None:
    before = contents(lake)
    report = rebuild.rebuild(settings_of(lake, merge=MERGING))
    assert report.problems == []
    assert ledger_rows(lake, s.commits)[-1].kind == "merge"
    assert_same(lake, before)
    assert run(lake).rows == len(before["deliveries"])
    assert_same(lake, before)
    assert_consistent(lake)


@pytest.mark.slow
def test_workers_make_the_same(lake: Path) -> None:
    before = contents(lake)
    assert run(lake, workers=2).rows == len(before["deliveries"])
    assert_same(lake, before)
    assert_consistent(lake)


def test_damaged_archive_file_is_named_and_nothing_is_replaced(lake: Path) -> None:
    before, alive = contents(lake), alive_files(lake)
    archives = [lake / f.path for f in ledger_rows(lake, s.files) if f.table == "archive"]
    whole = archives[1].read_bytes()
    archives[1].write_bytes(whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:])
    gone = archives[2].read_bytes()
    archives[2].unlink()
    report = run(lake)
    assert report.commit == 0
    assert all(any(path.name in p for p in report.problems) for path in archives[1:3])
    assert len(report.problems) == 2
    assert alive_files(lake) == alive
    assert_same(lake, before)
    archives[1].write_bytes(whole)
    archives[2].write_bytes(gone)
    report = run(lake)
    assert (report.archives, report.kept) == (2, len(archives) - 2)
    assert report.commit
    assert_same(lake, before)
    assert_consistent(lake)


class Died(BaseException):
    """As a kill."""


STEPS = [
    ("finkbridge.ledger.rebuilt", "take_numbers", 1),
    ("finkbridge.rebuild.tables", "remake", 2),
    ("finkbridge.ledger.rebuilt", "note", 2),
    ("finkbridge.disk", "sync_folder", 3),
    ("finkbridge.rebuild.tables", "_keep", 3),
    ("finkbridge.ledger.rebuilt", "_reconcile", 1),
    ("finkbridge.ledger.rebuilt", "commit_rebuild", 1),
    ("finkbridge.catalog", "_write", 1),
    ("finkbridge.drain", "delete_replaced", 1),
]


def die_at(monkeypatch: pytest.MonkeyPatch, step: tuple[str, str, int], *, after: bool) -> None:
    module, name, nth = step
    owner = importlib.import_module(module)
    original: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(1, 1000))

    def dying(*args: Any, **kwargs: Any) -> Any:
        is_it = next(calls) == nth
        if is_it and not after:
            raise Died
        result = original(*args, **kwargs)
        if is_it:
            raise Died
        return result

    monkeypatch.setattr(owner, name, dying)
    monkeypatch.setattr("finkbridge.disk.Staging.discard", lambda self: None)  # what a kill leaves stays


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS, ids=[step[1] for step in STEPS])
def test_death_at_a_step_and_a_second_try(
    lake: Path, monkeypatch: pytest.MonkeyPatch, step: Any, after: bool
) -> None:
    before = contents(lake)
    with monkeypatch.context() as patch:
        die_at(patch, step, after=after)
        with pytest.raises(Died):
            run(lake)
    if step[1] != "delete_replaced":
        assert_same(lake, before)  # a query sees each row once all the time
    report = run(lake)
    assert report.commit
    assert_same(lake, before)
    assert_consistent(lake)
    assert ledger_rows(lake, s.rebuilt) == []


def test_messages_that_land_between_two_tries_are_in_the_tables(
    lake: Path, ztf: RealAlerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        die_at(patch, ("finkbridge.rebuild.tables", "_keep", 4), after=True)
        with pytest.raises(Died):
            run(lake)
    fill(lake, {"z": messages_of(ztf.records[15:20], first=12)}, offsets=3)
    before = contents(lake)
    report = run(lake)
    assert report.kept == 4
    assert_same(lake, before)
    assert_consistent(lake)


def test_what_a_dead_rebuild_made_and_is_not_whole_is_made_again(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(lake)
    with monkeypatch.context() as patch:
        die_at(patch, ("finkbridge.rebuild.tables", "_keep", 3), after=True)
        with pytest.raises(Died):
            run(lake)
    made = [lake / row.path for row in ledger_rows(lake, s.rebuilt)]
    assert set(made) == {lake / path for path in data_files(lake) - alive_files(lake)}
    made[0].unlink()
    made[-1].write_bytes(b"short")
    assert run(lake).kept == 1
    assert_same(lake, before)
    assert_consistent(lake)


def test_files_of_another_version_are_made_again(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(lake)
    with monkeypatch.context() as patch:
        die_at(patch, ("finkbridge.ledger.rebuilt", "commit_rebuild", 1), after=False)
        patch.setattr(rebuild_tables, "__version__", "0.0.1")
        with pytest.raises(Died):
            run(lake)
    assert run(lake).kept == 0
    assert_same(lake, before)
    assert_consistent(lake)


def test_rows_that_do_not_add_up_are_refused(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = alive_files(lake)
    original = rebuild_tables.r.note

    def lossy(coordinator: Any, source: Any, made_by: str, files: Any, schemas: Any) -> None:
        original(coordinator, source, made_by, files[:-1], schemas)

    with monkeypatch.context() as patch:
        patch.setattr(rebuild_tables.r, "note", lossy)
        with pytest.raises(ReconciliationError, match="nothing was replaced"):
            run(lake)
    assert alive_files(lake) == alive


def test_only_one_coordinator_and_an_empty_lake(tmp_path: Path) -> None:
    fill(tmp_path, {"t": []})
    report = run(tmp_path)
    assert (report.rows, report.problems) == (0, [])
    with Ledger(tmp_path) as ledger, coordinate(ledger), pytest.raises(LakeBusyError):
        run(tmp_path)
