"""What was posted to each channel, and up to which commit each bot has looked: a small SQLite file.

Not in the ledger, which only coordinators write. A post is noted before it is sent, so that no death of a
bot, and no second one, makes it twice.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from finkbridge.bot.alive import Alive
from finkbridge.bot.http import Wait
from finkbridge.errors import LakeAccessError, LakeBusyError, LakeVersionError

VERSION = 2
BUSY_TIMEOUT_S = 30.0

Outcome = Literal["sent", "unknown", "refused"]
Noted = Literal["open", "settled"]
"""Whether a bot is still at a post, which it may take back; or that nobody makes it any more."""

_TABLES = """
CREATE TABLE IF NOT EXISTS positions (   -- one row a bot: a channel with topics and filter
    channel TEXT NOT NULL, job TEXT NOT NULL, number INTEGER NOT NULL, committed_at REAL NOT NULL,
    PRIMARY KEY (channel, job)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS posts (       -- one row an alert; state: sending, waiting, or an Outcome
    channel TEXT NOT NULL, alert TEXT NOT NULL, state TEXT NOT NULL, noted_at REAL NOT NULL,
    bot TEXT NOT NULL DEFAULT '', PRIMARY KEY (channel, alert)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS posts_noted_at ON posts (channel, noted_at);
CREATE TABLE IF NOT EXISTS left_out (    -- one row a channel: alerts over its limit, not told of yet
    channel TEXT NOT NULL PRIMARY KEY, alerts INTEGER NOT NULL, told_at REAL NOT NULL) WITHOUT ROWID;
"""


_FROM_1 = "ALTER TABLE posts ADD COLUMN bot TEXT NOT NULL DEFAULT '';"


@dataclass(frozen=True, slots=True)
class Position:
    """A commit of the lake: all up to it has been looked at."""

    number: int
    committed_at: float
    """Unix seconds UTC: tells the commit from one of the same number in a ledger that was made again."""


class State:
    """The notes of one channel; close it, or use it in a ``with``.

    Parameters
    ----------
    path
        The file; made where there is none.
    channel
        Its name, without a secret.
    only_try
        Work on a copy in memory: nothing is written.

    Raises
    ------
    LakeAccessError
        The file cannot be used.
    """

    def __init__(self, path: Path, channel: str, *, only_try: bool = False) -> None:
        self.path, self.channel = path, channel
        self._mine: str | None = None
        """Alert that this process is posting."""
        with self._translated():
            self._db = _copy_of(path) if only_try else _connect(path)
            self._prepare()
            real = path.resolve()  # as SQLite does: by whatever name bots call the file, it is one
            self._alive = Alive(real.with_name(f"{real.name}.alive"), only_look=only_try)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._alive.close()

    def position(self, job: str) -> Position | None:
        """Return up to where a bot has looked; None for a new one."""
        query = "SELECT number, committed_at FROM positions WHERE channel = ? AND job = ?"
        row = self._ask(query, job).fetchone()
        return None if row is None else Position(*row)

    def go_back(self, job: str, position: Position) -> None:
        """Let a bot, and any other of its job, go on after a commit, wherever they are."""
        values = (job, position.number, position.committed_at)
        self._ask("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)", *values)

    def advance(self, job: str, old: Position | None, new: Position, left_out: int = 0) -> bool:
        """Note that all from one commit up to another has been looked at, and how many were over the limit.

        False, and nothing is noted, where another bot has moved the position meanwhile: what is between the
        one that it wrote and the new one may not have been looked at.
        """
        with self._translated(), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            if self.position(job) != old:
                return False
            values = (self.channel, job, new.number, new.committed_at)
            self._db.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)", values)
            if left_out:
                self._db.execute(
                    "INSERT INTO left_out VALUES (?, ?, 0) "
                    "ON CONFLICT DO UPDATE SET alerts = alerts + excluded.alerts",
                    (self.channel, left_out),
                )
        return True

    def noted(self, alert: str) -> Noted | None:
        """Return what is noted of an alert; None: it was not posted."""
        row = self._ask("SELECT state FROM posts WHERE channel = ? AND alert = ?", alert).fetchone()
        if row is None:
            return None
        return "open" if row[0] in {"sending", "waiting"} else "settled"

    def note(self, alert: str) -> bool:
        """Note that an alert is about to be posted; false where it is noted already: nobody may post it."""
        query = "INSERT OR IGNORE INTO posts VALUES (?, ?, 'sending', ?, ?)"
        added = self._ask(query, alert, time.time(), self._alive.name)
        self._mine = alert if added.rowcount else None
        return self._mine is not None

    def settle(self, alert: str, outcome: Outcome) -> None:
        """Note what became of a post."""
        self._ask("UPDATE posts SET state = ?2 WHERE channel = ?1 AND alert = ?3", outcome, alert)
        self._mine = None

    def withdraw(self, alert: str) -> None:
        """Forget a post that surely was not made; another bot's stays."""
        if alert == self._mine:
            self._ask("DELETE FROM posts WHERE channel = ? AND alert = ?", alert)
            self._mine = None

    def between_tries(self, wait: Wait) -> Wait:
        """Return a wait in which a post is noted as surely not made: if the bot dies then, it is made."""

        def waiting(seconds: float) -> bool:
            if self._mine is None:
                return wait(seconds)
            self._turn("sending", "waiting")
            is_stopped = wait(seconds)
            self._turn("waiting", "sending")
            return is_stopped

        return waiting

    def _turn(self, old: str, new: str) -> None:
        query = "UPDATE posts SET state = ?4 WHERE channel = ?1 AND alert = ?2 AND state = ?3"
        self._ask(query, self._mine, old, new)

    def give_up_unsettled(self) -> list[str]:
        """Note posts of dead bots as unknown, but for those surely not made; return those alerts."""
        query = "SELECT bot, alert FROM posts WHERE channel = ? AND state IN ('sending', 'waiting')"
        found = self._ask(query).fetchall()
        with self._translated():
            dead = {bot for bot in {bot for bot, _ in found} if not self._alive.has(bot)}
        given_up = []
        for bot, alert in found:
            if bot not in dead:
                continue
            query = "DELETE FROM posts WHERE channel = ? AND alert = ? AND bot = ? AND state = 'waiting'"
            self._ask(query, alert, bot)
            query = (
                "UPDATE posts SET state = 'unknown' "
                "WHERE channel = ? AND alert = ? AND bot = ? AND state = 'sending'"
            )
            given_up += [alert] * self._ask(query, alert, bot).rowcount
        return given_up

    def posted_since(self, moment: float) -> int:
        """Return how many alerts were posted since then, or may have been, or a line in their place."""
        query = "SELECT count(*) FROM posts WHERE channel = ? AND noted_at > ?"
        return int(self._ask(query, moment).fetchone()[0])

    def has_left_out(self, told_before: float) -> bool:
        """Whether alerts were over the limit, and that was not told since then."""
        query = "SELECT 1 FROM left_out WHERE channel = ? AND alerts > 0 AND told_at <= ?"
        return self._ask(query, told_before).fetchone() is not None

    def take_left_out(self, told_before: float) -> int:
        """Return how many alerts were over the limit, and forget them; 0 if it was told since then."""
        with self._translated(), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            query = "SELECT alerts FROM left_out WHERE channel = ? AND told_at <= ?"
            row = self._db.execute(query, (self.channel, told_before)).fetchone()
            if row is None or not row[0]:
                return 0
            told = "UPDATE left_out SET alerts = 0, told_at = ? WHERE channel = ?"
            self._db.execute(told, (time.time(), self.channel))
            return int(row[0])

    def _ask(self, query: str, *values: Any) -> sqlite3.Cursor:
        with self._translated():
            return self._db.execute(query, (self.channel, *values))

    def _prepare(self) -> None:
        if (version := self._version()) > VERSION:
            raise LakeVersionError(f"{self.path} was made by a newer finkbridge: upgrade finkbridge")
        if version == VERSION:
            return
        change = _FROM_1 if version else _TABLES
        try:
            self._db.executescript(f"BEGIN IMMEDIATE; {change} PRAGMA user_version = {VERSION}; COMMIT;")
        except sqlite3.OperationalError:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if self._version() != VERSION:  # else another bot has changed it meanwhile
                raise

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if "locked" in str(error):
                raise LakeBusyError(f"{self.path} is locked by another program: try again") from None
            raise LakeAccessError(
                f"the bot's notes {self.path} cannot be used ({error}): give access, or set bot.state to "
                "another file"
            ) from None


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    db.execute("PRAGMA synchronous = FULL")
    return db


def _copy_of(path: Path) -> sqlite3.Connection:
    memory = sqlite3.connect(":memory:", isolation_level=None)
    if path.is_file():
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
        ) as db:
            db.backup(memory)
    return memory
