"""A bot's notes: each alert is noted once, whoever notes it."""

from __future__ import annotations

import errno
import fcntl
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from finkbridge.bot.state import Position, State
from finkbridge.errors import LakeAccessError, LakeVersionError

HERE = Position(7, 1_774_050_000.123456)


def test_an_alert_is_noted_once_in_a_channel(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    with State(path, "one") as one, State(path, "one") as same, State(path, "two") as other:
        assert one.note("ztf 1")
        assert not same.note("ztf 1")
        assert same.noted("ztf 1")
        assert not other.noted("ztf 1")
        assert other.note("ztf 1")
        same.withdraw("ztf 1")
        assert same.noted("ztf 1"), "it is not its own"
        one.withdraw("ztf 1")
        assert not same.noted("ztf 1")
        other.settle("ztf 1", "sent")
        other.withdraw("ztf 1")
        assert other.noted("ztf 1")


def test_of_many_that_note_it_at_once_one_does(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"

    def note_all(_: int) -> list[bool]:
        with State(path, "c") as state:
            return [state.note(f"ztf {number}") for number in range(20)]

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(note_all, range(4)))
    assert [sum(column) for column in zip(*found, strict=True)] == [1] * 20


def test_nobody_gives_up_what_a_living_bot_is_at(tmp_path: Path) -> None:
    with State(tmp_path / "bot.db", "c") as one, State(tmp_path / "bot.db", "c") as two:

        def looked_at(seconds: float) -> bool:
            assert two.give_up_unsettled() == []
            assert two.noted("a") == "open"
            assert not two.note("a")
            return seconds > 5

        assert one.note("a")
        assert not looked_at(0)
        assert not one.between_tries(looked_at)(1.0)
        assert not looked_at(0)
        assert one.between_tries(looked_at)(9.0), "told to stop"
        one.withdraw("a")
        assert two.noted("a") is None
        assert two.note("a")


def test_what_a_dead_bot_was_at_is_given_up_unless_it_surely_was_not_made(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    with State(path, "c") as state:
        dead = [State(path, "c"), State(path, "c"), State(path, "other")]
        for number, bot in enumerate(dead):
            assert bot.note(f"a{number}")

        def die(_: float) -> bool:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            dead[1].between_tries(die)(1.0)
        assert state.give_up_unsettled() == []
        for bot in dead:
            bot.__exit__()
        assert state.give_up_unsettled() == ["a0"]
        assert [state.noted(f"a{number}") for number in range(2)] == ["settled", None]
        assert state.give_up_unsettled() == []
        with State(path, "other") as other:
            assert other.noted("a2") == "open"
            assert other.give_up_unsettled() == ["a2"]
    assert list((tmp_path / "bot.db.alive").iterdir()) == []


def test_a_bot_that_was_killed_is_dead(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    code = (
        "import os, sys; from pathlib import Path; from finkbridge.bot.state import State\n"
        "State(Path(sys.argv[1]), 'c').note('a'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -9
    assert len(list((tmp_path / "bot.db.alive").iterdir())) == 1
    with State(path, "c") as state:
        assert len(list((tmp_path / "bot.db.alive").iterdir())) == 1, "its own"
        assert state.give_up_unsettled() == ["a"]


def test_one_file_by_two_names_is_one(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "link.db").symlink_to(tmp_path / "bot.db")
    with State(tmp_path / "bot.db", "c") as one:
        one.note("a")
        with State(tmp_path / "sub" / "link.db", "c") as other:
            assert other.give_up_unsettled() == []
            assert other.noted("a") == "open"


def test_a_dry_run_sees_who_lives(tmp_path: Path) -> None:
    with State(tmp_path / "bot.db", "c") as one:
        one.note("a")
        with State(tmp_path / "bot.db", "c", only_try=True) as other:
            assert other.give_up_unsettled() == []
    with State(tmp_path / "bot.db", "c", only_try=True) as other:
        assert other.give_up_unsettled() == ["a"]


def test_notes_of_an_older_version_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "CREATE TABLE positions (channel TEXT NOT NULL, job TEXT NOT NULL, number INTEGER NOT NULL,"
            " committed_at REAL NOT NULL, PRIMARY KEY (channel, job)) WITHOUT ROWID;"
            "CREATE TABLE posts (channel TEXT NOT NULL, alert TEXT NOT NULL, state TEXT NOT NULL,"
            " noted_at REAL NOT NULL, PRIMARY KEY (channel, alert)) WITHOUT ROWID;"
            "CREATE TABLE left_out (channel TEXT NOT NULL PRIMARY KEY, alerts INTEGER NOT NULL,"
            " told_at REAL NOT NULL) WITHOUT ROWID;"
            "INSERT INTO posts VALUES ('c', 'a', 'sent', 1.0), ('c', 'b', 'sending', 1.0);"
            "PRAGMA user_version = 1;"
        )
    with State(path, "c") as state:
        assert state.give_up_unsettled() == ["b"]
        assert [state.noted(alert) for alert in "abc"] == ["settled", "settled", None]
        assert state.note("c")


def test_positions_are_of_a_channel_and_a_job(tmp_path: Path) -> None:
    with State(tmp_path / "bot.db", "c") as state, State(tmp_path / "bot.db", "d") as other:
        assert state.position("job") is None
        assert state.advance("job", None, HERE)
        assert state.position("job") == HERE
        assert state.position("another") is None
        assert other.position("job") is None
        state.go_back("job", Position(3, 1.0))
        assert state.position("job") == Position(3, 1.0)


def test_a_position_that_another_bot_moved_is_left_alone(tmp_path: Path) -> None:
    with State(tmp_path / "bot.db", "c") as state, State(tmp_path / "bot.db", "c") as other:
        assert other.advance("job", None, HERE)
        assert not state.advance("job", None, Position(9, 9.0), 5)
        other.go_back("job", Position(1, 1.0))
        assert not state.advance("job", HERE, Position(9, 9.0), 5)
        assert state.position("job") == Position(1, 1.0)
        assert state.take_left_out(time.time() + 1) == 0
        assert state.advance("job", Position(1, 1.0), Position(9, 9.0))


def test_what_is_left_out_is_told_once_an_hour(tmp_path: Path) -> None:
    with State(tmp_path / "bot.db", "c") as state:
        now = time.time()
        assert state.take_left_out(now - 3600) == 0
        state.advance("job", None, HERE, 2)
        state.advance("job", HERE, HERE, 3)
        assert state.take_left_out(now - 3600) == 5
        state.advance("job", HERE, HERE, 4)
        assert state.take_left_out(now - 3600) == 0
        assert state.take_left_out(time.time() + 1) == 4
        assert state.take_left_out(time.time() + 1) == 0


def test_the_hour_counts_what_may_have_been_posted(tmp_path: Path) -> None:
    began = time.time() - 1
    with State(tmp_path / "bot.db", "c") as state:
        for number, outcome in enumerate(("sent", "refused", None)):
            state.note(f"a {number}")
            if outcome:
                state.settle(f"a {number}", outcome)  # type: ignore[arg-type]
        assert state.posted_since(began) == 3
        assert state.posted_since(time.time() + 1) == 0
        assert state.give_up_unsettled() == [], "it lives"


def test_trying_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    with State(path, "c", only_try=True) as state:
        assert state.note("a")
    assert list(tmp_path.iterdir()) == []
    with State(path, "c") as state:
        state.note("a")
        state.go_back("job", HERE)
    before = path.read_bytes()
    with State(path, "c", only_try=True) as state:
        assert state.noted("a")
        assert state.position("job") == HERE
        state.note("b")
        state.go_back("job", Position(9, 9.0))
    assert path.read_bytes() == before


def test_a_file_system_without_locks_keeps_nothing_of_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(LakeAccessError, match="No locks available"):
        State(tmp_path / "bot.db", "c")
    assert list((tmp_path / "bot.db.alive").iterdir()) == []


def test_files_that_cannot_be_used_are_one_line(tmp_path: Path) -> None:
    junk = tmp_path / "junk.db"
    junk.write_bytes(b"no database at all, and long enough to be looked at" * 100)
    for path in (junk, tmp_path / "nowhere" / "bot.db", tmp_path):
        for only_try in (False, True) if path == junk else (False,):
            with pytest.raises(LakeAccessError, match=r"bot's notes .* cannot be used"):
                State(path, "c", only_try=only_try)
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(LakeVersionError, match="upgrade"):
        State(newer, "c")
