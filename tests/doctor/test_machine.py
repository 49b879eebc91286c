"""What the doctor finds on this machine: each trouble is really made."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from finkbridge import layout
from finkbridge.doctor import machine
from finkbridge.doctor.findings import Finding, limited
from finkbridge.ledger import Ledger, coordinate
from finkbridge.ledger.database import RESTORE
from finkbridge.settings import Settings, load_settings
from tests.support.offline import fill, messages_of, point

LOCAL = {"FINKBRIDGE_CLUSTERS__ZTF__SERVERS": "127.0.0.1:1"}


def states(found: list[Finding]) -> list[tuple[str, str]]:
    return [(f.check, f.state) for f in found]


def settings_of(lake: Path) -> Settings:
    return Settings.model_validate({"lake": lake})


def made_lake(folder: Path) -> Path:
    lake = folder / "lake"
    with Ledger(lake, create=True) as ledger, coordinate(ledger) as coordinator:
        generation = coordinator.add_generation("ztf", "topic", None)
        coordinator.start_partitions(generation, dict.fromkeys(range(2000), 0))
    return lake


def test_credentials_that_others_can_read(tmp_path: Path) -> None:
    folder = tmp_path / ".finkclient"
    folder.mkdir()
    file, toml = folder / "ztf_credentials.yml", tmp_path / "own.toml"
    file.write_text("servers: 127.0.0.1:1\nusername: me\npassword: hunter2-word\ngroup_id: g\n")
    toml.write_text('[clusters.lsst]\nservers = "127.0.0.1:1"\nusername = "me"\npassword = "swordfish-2"\n')
    file.chmod(0o644)
    toml.chmod(0o600)
    found = list(machine.credentials(load_settings(toml, {"HOME": str(tmp_path)})))
    assert {(f.subject, f.state) for f in found} == {(str(file), "doubtful"), (str(toml), "good")}
    (bad,) = [f for f in found if f.state == "doubtful"]
    assert (bad.said, bad.todo) == (
        "mode 0644: others on this machine can read it",
        f"chmod 600 {file}",
    )
    assert "hunter2" not in str(found)
    subprocess.run(bad.todo.split(), check=True)
    found = list(machine.credentials(load_settings(toml, {"HOME": str(tmp_path)})))
    assert {f.state for f in found} == {"good"}


def test_settings_without_clusters_or_topics(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    (none,) = machine.settings(load_settings(environ=home))
    assert (none.state, none.said) == ("bad", "no cluster is set")
    found = list(machine.settings(load_settings(environ=home | LOCAL)))
    assert [f.state for f in found] == ["good", "doubtful"]
    assert found[1].todo == "set clusters.ztf.topics, or name topics with each drain"


def test_a_lake_that_can_be_written_and_leaves_no_trace(tmp_path: Path) -> None:
    lake = made_lake(tmp_path)
    before = sorted(lake.iterdir())
    assert states(list(machine.lake(settings_of(lake))))[0] == ("lake", "good")
    assert sorted(lake.iterdir()) == before
    (new, _) = machine.lake(settings_of(tmp_path / "not" / "yet"))
    assert new.state == "good"
    assert "the first drain makes it" in new.said
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("lake", ["file", "file/below", "dangling"])
def test_a_lake_that_cannot_be_made(tmp_path: Path, lake: str) -> None:
    (tmp_path / "file").write_text("something else")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (found,) = machine.lake(settings_of(tmp_path / lake))
    assert (found.state, found.todo) == ("bad", "set `lake` to another place")
    assert found.said == f"cannot be made: {tmp_path / lake.partition('/')[0]} is there, and no folder"


def test_a_read_only_lake(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "none", str(lake)], check=False, capture_output=True
    )
    if mounted.returncode:
        lake.chmod(0o555)
    try:
        found = list(machine.lake(settings_of(lake)))
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", str(lake)], check=True)
        lake.chmod(0o755)
    if mounted.returncode and found[0].state == "good":
        pytest.skip("NOT TESTED: no file system can be mounted, and root may write anywhere")
    assert found[0].state == "bad"
    assert found[0].said.startswith("cannot be written: ")
    assert found[0].todo == "give access, or set `lake`"


def test_little_room_and_network_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 0

    class Usage:
        @property
        def free(self) -> int:
            return free

    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Usage())
    monkeypatch.setattr(machine, "file_system", lambda _: "nfs4")
    due = [(10**8, "bad"), (5 * 10**9, "doubtful"), (10**12, "good")]
    for room, state in due:
        free = room
        found = list(machine.lake(settings_of(tmp_path)))
        assert states(found) == [("lake", "bad"), ("lake", "good"), ("space", state)]
    assert "network file system (nfs4)" in found[0].said
    assert "PostgreSQL" in found[0].todo


def test_a_whole_ledger_and_none(tmp_path: Path) -> None:
    (none,) = machine.ledger(settings_of(tmp_path / "none"))
    assert (none.state, "the first drain makes it" in none.said) == ("good", True)
    (whole,) = machine.ledger(settings_of(made_lake(tmp_path)))
    assert (whole.state, whole.said) == ("good", "version 1, commit 0, whole")


def test_a_damaged_ledger(tmp_path: Path) -> None:
    lake = made_lake(tmp_path)
    path = lake / layout.LEDGER
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'partitions'"
        ).fetchone()
    connection.close()
    data = bytearray(path.read_bytes())
    data[(root - 1) * 4096 + 5 : (root - 1) * 4096 + 90] = b"\xff" * 85
    path.write_bytes(data)
    (found,) = limited("ledger", str(lake), lambda: machine.ledger(settings_of(lake)), 10)
    assert (found.check, found.state) == ("ledger", "bad")
    path.write_bytes(b"no database at all" * 400)
    (found,) = limited("ledger", str(lake), lambda: machine.ledger(settings_of(lake)), 10)
    assert (found.check, found.state) == ("ledger", "bad")
    assert "not a database" in found.said
    assert found.todo == RESTORE


@pytest.mark.parametrize("left", [None, b"", "blank"])
def test_a_lost_ledger_is_no_new_lake(tmp_path: Path, left: bytes | str | None) -> None:
    lake = tmp_path / "lake"
    Ledger(lake, create=True).close()
    (lake / "archive" / "t").mkdir(parents=True)
    (lake / "archive" / "t" / "one.avro").touch()
    if left != "blank":
        (lake / layout.LEDGER).unlink()
    if isinstance(left, bytes):
        (lake / layout.LEDGER).write_bytes(left)
    (found,) = machine.ledger(settings_of(lake))
    assert (found.state, found.todo) == (
        "bad",
        "put ledger.db back from a backup, or run finkbridge rebuild --ledger",
    )


def test_a_ledger_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / layout.LEDGER).mkdir()
    (found,) = limited("ledger", str(tmp_path), lambda: machine.ledger(settings_of(tmp_path)), 10)
    assert (found.state, found.said) == (
        "bad",
        f"{tmp_path / layout.LEDGER} is no file, where the ledger is to be",
    )


def test_a_ledger_of_a_newer_finkbridge_and_one_from_the_future(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    fill(lake, {"t": messages_of([point(1.0)])})
    with sqlite3.connect(lake / layout.LEDGER) as connection:
        connection.execute("UPDATE commits SET committed_at = ?", (time.time() + 1000,))
    connection.close()
    good, clock = machine.ledger(settings_of(lake))
    assert (good.state, clock.check, clock.state) == ("good", "clock", "bad")
    assert "in the future: it was set back" in clock.said
    with sqlite3.connect(lake / layout.LEDGER) as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE key = 'version'")
    connection.close()
    (found,) = limited("ledger", str(lake), lambda: machine.ledger(settings_of(lake)), 10)
    assert found.state == "bad"
    assert "made by a newer finkbridge" in found.said
    assert found.todo == "upgrade finkbridge"


def test_checks_end_in_time_and_keep_what_they_found() -> None:
    def slow() -> list[Finding]:
        time.sleep(5)
        return []

    def broken() -> list[Finding]:
        raise ZeroDivisionError("of no use")

    began = time.monotonic()
    (late,) = limited("lake", "there", slow, 0.1)
    assert time.monotonic() - began < 2
    assert (late.state, late.said) == ("bad", "no answer within 0.1 s")
    (failed,) = limited("lake", "there", broken, 1)
    assert (failed.state, failed.said) == ("bad", "unexpected ZeroDivisionError: of no use")


def test_a_ledger_that_contradicts_itself(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    fill(lake, {"t": messages_of([point(1.0)])})
    (whole,) = machine.ledger(settings_of(lake))
    assert whole.state == "good"
    with closing(sqlite3.connect(lake / layout.LEDGER)) as connection, connection:
        connection.execute("UPDATE schemas SET content = CAST(content || 'x' AS BLOB)")
    (found,) = machine.ledger(settings_of(lake))
    assert (found.state, found.said.startswith("contradicts itself: schema ")) == ("bad", True)
    assert "finkbridge verify" in found.todo
