"""A ledger in PostgreSQL is of one lake, wherever that is moved, and of no other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from finkbridge import catalog, layout, rebuild
from finkbridge.doctor import machine
from finkbridge.doctor.findings import limited
from finkbridge.drain import drain
from finkbridge.errors import LakeAccessError
from finkbridge.ledger import Ledger, coordinate
from finkbridge.ledger.adopt import open_known
from finkbridge.verify import Options, verify
from tests.support.lake import make_settings
from tests.support.offline import fill, messages_of, point, settings_of

OTHER = "of another lake"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def lake_of(folder: Path, url: str | None) -> Path:
    fill(folder, {"t": messages_of([point(0), point(1)])}, url=url)
    return folder


def execute(url: str, *statements: str) -> None:
    driver = url.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(driver, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def epoch_of(lake: Path, url: str) -> object:
    with Ledger(lake, url) as ledger, ledger.reading() as connection:
        return connection.scalar(text("SELECT value FROM meta WHERE key = 'epoch'"))


def assert_whole(lake: Path, url: str) -> None:
    assert verify(lake, url, Options(deep=True)).findings == []


@pytest.mark.parametrize("make", [lambda _: None, Path.mkdir, lambda p: lake_of(p, None)])
def test_another_lake_is_refused(tmp_path: Path, database: str, make: Callable[[Path], object]) -> None:
    lake, other = lake_of(tmp_path / "lp", database), tmp_path / "lp2"
    make(other)
    before = files(tmp_path)
    epoch = epoch_of(lake, database)
    with pytest.raises(LakeAccessError, match=OTHER) as caught:
        drain(make_settings(other, "127.0.0.1:1", "t", ledger=database))
    assert "\n" not in str(caught.value)
    for create in (False, True):
        with pytest.raises(LakeAccessError, match=OTHER):
            Ledger(other, database, create=create)
    settings = make_settings(other, "127.0.0.1:1", "t", ledger=database)
    (found,) = limited("ledger", str(other), lambda: machine.ledger(settings), 10)
    assert (found.state, found.said.partition(" than ")[0]) == ("bad", "the ledger is of another lake")
    assert found.todo.startswith("name its own with --lake")
    assert "rebuild" not in found.todo
    assert files(tmp_path) == before
    assert epoch_of(lake, database) == epoch
    assert_whole(lake, database)


def test_one_that_opened_it_while_it_was_blank_is_refused_under_the_lock(
    tmp_path: Path, database: str
) -> None:
    with Ledger(tmp_path / "b", database, create=True) as late:
        lake_of(tmp_path / "a", database)
        with pytest.raises(LakeAccessError, match=OTHER), coordinate(late):
            pass
    assert not (tmp_path / "b" / layout.LAKE_ID).exists()


def test_a_lake_may_be_moved(tmp_path: Path, database: str) -> None:
    lake = lake_of(tmp_path / "lake", database)
    moved = lake.rename(tmp_path / "moved")
    with Ledger(moved, database, create=True) as ledger, coordinate(ledger) as coordinator:
        catalog.publish(coordinator)
    assert_whole(moved, database)
    assert [p.name for p in tmp_path.iterdir()] == ["moved"]


def test_a_ledger_restored_from_a_copy(tmp_path: Path, database: str) -> None:
    lake, copy = lake_of(tmp_path / "lake", database), f"{database}_copy"
    server = database.rpartition("/")[0]
    execute(f"{server}/postgres", f"CREATE DATABASE {_name(copy)} TEMPLATE {_name(database)}")
    assert_whole(lake, copy)
    with pytest.raises(LakeAccessError, match=OTHER):
        Ledger(tmp_path / "other", copy)


def test_a_ledger_made_again(tmp_path: Path, database: str) -> None:
    lake = lake_of(tmp_path / "lake", database)
    number = (lake / layout.LAKE_ID).read_text()
    execute(database, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    lost = "its ledger is lost: put its database back from a backup, or run finkbridge rebuild --ledger"
    for broken in (rebuild.rebuild, lambda _: verify(lake, database)):
        with pytest.raises(LakeAccessError, match=lost):
            broken(settings_of(lake, ledger=database))
    Ledger(lake, database, create=True).close()  # as a drain does, which is refused then
    (told,) = machine.ledger(settings_of(lake, ledger=database))
    assert told.todo == "put its database back from a backup, or run finkbridge rebuild --ledger"
    with pytest.raises(LakeAccessError, match=lost):
        verify(lake, database)
    assert rebuild.rebuild_ledger(settings_of(lake, ledger=database)).problems == []
    verify(lake, database, Options(prune=True))
    (found,) = machine.ledger(settings_of(lake, ledger=database))
    assert found.state == "good"
    assert (lake / layout.LAKE_ID).read_text() == number
    with pytest.raises(LakeAccessError, match=OTHER):
        Ledger(tmp_path / "other", database)
    assert_whole(lake, database)


@pytest.mark.parametrize("left", [None, b"", b"\x00" * 17])
def test_a_lost_file_is_made_again_as_the_error_says(
    tmp_path: Path, database: str, left: bytes | None
) -> None:
    lake = lake_of(tmp_path / "lake", database)
    (lake / layout.LAKE_ID).unlink()
    if left is not None:
        (lake / layout.LAKE_ID).write_bytes(left)
    with pytest.raises(LakeAccessError, match=r"echo [0-9a-f]{16} > lake\.id in it$") as caught:
        Ledger(lake, database)
    (lake / layout.LAKE_ID).write_text(str(caught.value).split()[-5] + "\n")
    assert_whole(lake, database)


def test_a_ledger_that_knows_nothing_goes_with_any_lake(tmp_path: Path, database: str) -> None:
    """Also where a drain before named a wrong folder, and had nothing to drain."""
    for name in ("wrong", "right"):
        with Ledger(tmp_path / name, database, create=True) as ledger, coordinate(ledger):
            pass
    shutil.rmtree(tmp_path / "wrong")
    assert_whole(lake_of(tmp_path / "right", database), database)


def test_a_ledger_in_its_lake_needs_no_number(tmp_path: Path) -> None:
    lake = lake_of(tmp_path / "lake", None)
    assert not (lake / layout.LAKE_ID).exists()
    moved = lake.rename(tmp_path / "moved")
    with Ledger(moved, create=True) as ledger, coordinate(ledger):
        pass


def test_no_second_ledger_is_made_beside_the_one_in_a_database(tmp_path: Path, database: str) -> None:
    lake = lake_of(tmp_path / "lake", database)
    before = {name: content for name, content in files(lake).items() if name != layout.LOCK}
    for call in (
        lambda: drain(make_settings(lake, "127.0.0.1:1", "t")),
        lambda: rebuild.rebuild_ledger(settings_of(lake)),
        lambda: open_known(lake),
        lambda: Ledger(lake, create=True),
    ):
        with pytest.raises(LakeAccessError, match=r"is in a database, .*FINKBRIDGE_LEDGER"):
            call()
    (lake / layout.LOCK).unlink(missing_ok=True)
    assert files(lake) == before
