"""The bot, on one page: from what is new in the lake to a channel, each alert at most once.

1. Where it goes on: the commit that it noted, or the lake's end for a new bot, or what ``--since`` says.
2. What is new since, in batches of whole commits: `finkbridge.bot.tail`.
3. The rows of its topics that its filter wants, as alerts.
4. Each that is not noted yet, below the limit of the hour and at the rate: note it, then post it. Where the
   service refuses one, a line of text in its place tells whether it is the alert's fault or the channel's.
5. Note that all up to the batch's last commit has been looked at, unless another bot is still at some of it,
   or has moved the position meanwhile (``--since``).

A bot that dies goes on with the batch it was in, and passes over what is noted. A note is taken back only
where the service surely posted nothing, as between two tries; what got no answer may have been posted, and is
not posted again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import pyarrow as pa

from finkbridge import later
from finkbridge.bot import tail
from finkbridge.bot.channels import Channel
from finkbridge.bot.filter import Filter
from finkbridge.bot.options import Counts, Options, Since
from finkbridge.bot.post import Alert, Post, Row, alerts_of, post_of
from finkbridge.bot.state import Position, State
from finkbridge.errors import (
    ChannelDownError,
    ChannelError,
    DecodeError,
    MessageRefusedError,
    NoAnswerError,
)
from finkbridge.ledger import Ledger
from finkbridge.lookup import Raw, first_readable
from finkbridge.settings import BotSettings

HOUR_S = 3600.0
DOWN_S, LONGEST_DOWN_S = 15.0, 300.0
"""Seconds between two looks at a service that is down: at first, and at most."""
UNANSWERED = 2
"""Posts without an answer, one after the other, by which a service is taken to be down."""
BEGINS = "begins with what comes from now on: --since TIME for what is there"
BEGINS_ANEW = (
    "the ledger was made again or put back since the last look: goes on with what comes from now on; --since "
    "TIME for what came meanwhile"
)
GOES_BACK_ANEW = (
    "the ledger was made again or put back since the last look: goes on with what came to it since the time "
    "that is given; --since earliest for all of it"
)
LEFT_OUT = "an alert could not be posted here: what the bot prints says which, and why"
"""In its place. Nothing that the alert says: that may be what is refused, or become a link."""

_End = Literal["done", "moved", "stopped"]
"""How a look ends: all is done; another bot moved the position meanwhile, so look again; told to stop."""


class Listener(Protocol):
    """Who is told what happens."""

    def posted(self, post: Post) -> None:
        """Take note of a post that was made."""

    def problem(self, line: str) -> None:
        """Take note of what a person should know."""


class Looked(NamedTuple):
    """What is left of a batch."""

    left_out: int
    """Alerts over the limit."""
    is_whole: bool
    """False where another bot was still at one of its alerts: that bot may die or take its note back, so that
    the batch must be looked at again."""


@dataclass(slots=True)
class Bot:
    """Posts what is new to one channel.

    Parameters
    ----------
    lake
        Folder of the lake.
    open_ledger
        Opens the lake's ledger, at each look anew.
    channel, state
        Where it posts, and its notes.
    wait
        Waits so many seconds; true as soon as it was told to stop.
    """

    lake: Path
    open_ledger: Callable[[], Ledger]
    channel: Channel
    state: State
    settings: BotSettings
    options: Options
    listener: Listener
    wait: Callable[[float], bool]
    counts: Counts = field(default_factory=Counts)
    _next_at: float = 0.0
    _unanswered: int = 0
    """Posts in a row that got no answer."""
    _unreadable: set[tuple[str, int]] = field(default_factory=set)
    """Archive file and position of messages that it has told of."""

    def begin(self) -> None:
        """Do what is done once; `once` and `forever` do so themselves.

        Raises
        ------
        SettingsError
            matplotlib is not installed, and pictures are wanted.
        """
        if self.options.pictures:
            later.get("finkbridge.viewer.figure:picture")
        with self.open_ledger() as ledger:
            if strange := _strange(ledger, self.options.topics):
                self.listener.problem(
                    f"warning: the lake has no topic {' and no '.join(map(repr, strange))}: nothing is "
                    "posted before drain or follow bring it (finkbridge status lists what is there)"
                )
            if self.options.since is not None:
                self._go_back(ledger, _since(ledger, self.options.since))

    def _go_back(self, ledger: Ledger, since: Position) -> None:
        """Go on after a commit, but not where that passes over what nobody has looked at."""
        noted = self.state.position(self.options.job)
        if noted is None or not tail.knows(ledger, noted):
            if noted is not None:
                self.listener.problem(GOES_BACK_ANEW)
            self.state.go_back(self.options.job, since)
        elif since.number < noted.number:
            self.state.go_back(self.options.job, since)

    def once(self) -> Counts:
        """Post what is new now, and return what was done.

        Raises
        ------
        ChannelError
            The service is down, or takes nothing from us. The next run goes on with the alert it stopped at.
        """
        self.begin()
        self._look()
        return self.counts

    def forever(self) -> Counts:
        """Post what is new, until told to stop; a service that is down is asked again and again.

        Raises
        ------
        ChannelError
            The service takes nothing from us.
        """
        self.begin()
        down_s = DOWN_S
        while True:
            try:
                self._look()
                pause, down_s = self.settings.poll_s, DOWN_S
            except ChannelDownError as error:
                pause = max(error.wait_s, down_s)
                down_s = min(2 * down_s, LONGEST_DOWN_S)
                if not self.wait(0):
                    self.listener.problem(f"{error}; next try in {pause:.0f} s: what is not posted yet waits")
            if self.wait(pause):
                return self.counts

    def _look(self) -> None:
        """Do steps 1 to 5 for all that is new; the ledger may be another one than at the last look."""
        if unsettled := self.state.give_up_unsettled():
            self.counts.unknown += len(unsettled)
            self.listener.problem(
                f"alerts that a bot was about to post when it died: {', '.join(unsettled)}; they may be "
                "there, and are not posted again"
            )
        with self.open_ledger() as ledger:
            end: _End = "moved"
            while end == "moved":
                at = self._position(ledger)
                end = "done" if ledger.last_commit() == at.number else self._catch_up(ledger, at)
        if end == "stopped":
            return
        self._tell_left_out()

    def _position(self, ledger: Ledger) -> Position:
        while True:
            noted = self.state.position(self.options.job)
            if noted is not None and tail.knows(ledger, noted):
                return noted
            end = tail.end_of(ledger)
            if self.state.advance(self.options.job, noted, end):  # else another bot was quicker
                self.listener.problem(BEGINS if noted is None else BEGINS_ANEW)
                return end

    def _catch_up(self, ledger: Ledger, at: Position) -> _End:
        """Post what is new, up to the newest commit."""
        is_whole = True
        with Filter(self.options.filter) as wanted:
            for batch in tail.batches(ledger, at):
                rows = wanted.wanted(_of_topics(batch.rows, self.options.topics)).to_pylist()
                looked = self._post_all(alerts_of(rows, self._readable))
                if looked is None:
                    return "stopped"
                is_whole = is_whole and looked.is_whole
                if is_whole:
                    if not self.state.advance(self.options.job, at, batch.end, looked.left_out):
                        return "moved"
                    at = batch.end
                    self.counts.left_out += looked.left_out
        return "done"

    def _post_all(self, alerts: Sequence[Alert]) -> Looked | None:
        """Post a batch; return what is left of it, or None when told to stop in the middle."""
        left_out, is_whole = 0, True
        for alert in alerts:
            if noted := self.state.noted(alert.key):
                is_whole = is_whole and noted == "settled"
                continue
            if self._is_full():
                left_out += 1
                continue
            if self._is_stopped():
                return None
            post = self._post_of(alert)
            if not self.state.note(alert.key) or not self._post(post):
                is_whole = False
        return Looked(left_out, is_whole)

    def _post(self, post: Post) -> bool:
        """Post an alert that is noted; return False if nobody knows yet what becomes of it."""
        try:
            self._send(post)
        except NoAnswerError as error:
            self.state.settle(post.key, "unknown")
            self.counts.unknown += 1
            self.listener.problem(f"{post.title}: {error}; it may be there, and is not posted again")
            self._unanswered += 1
            if self._unanswered >= UNANSWERED:  # an outage is not to cost all that waits
                raise ChannelDownError(f"{error}, {self._unanswered} times in a row") from None
        except MessageRefusedError as error:
            self._unanswered = 0
            return self._leave_out(post, error)
        except ChannelError:
            self.state.withdraw(post.key)
            raise
        else:
            self.state.settle(post.key, "sent")
            self._unanswered = 0
            self.counts.posted += 1
            self.listener.posted(post)
        return True

    def _send(self, post: Post) -> None:
        try:
            self.channel.send(post)
        except MessageRefusedError:
            if post.picture is None:
                raise
            self.channel.send(replace(post, picture=None))

    def _leave_out(self, post: Post, refusal: MessageRefusedError) -> bool:
        """Leave a refused alert out for good if the channel takes a line of text: else that is at fault."""
        if self._is_stopped():
            self.state.withdraw(post.key)
            return False
        try:
            self.channel.say(LEFT_OUT)
        except NoAnswerError:  # the line may be there
            pass
        except ChannelError as error:
            self.state.withdraw(post.key)
            if not isinstance(error, MessageRefusedError):
                raise
            raise ChannelError(
                f"{post.title} (alert {post.key}): {refusal}; and it takes no line of text either ({error}): "
                "correct its address or channel, or leave this alert out by a filter, with --since (another "
                "filter is another bot)"
            ) from None
        self.state.settle(post.key, "refused")
        self.counts.refused += 1
        self.listener.problem(f"{post.title} (alert {post.key}) is left out: {refusal}")
        return True

    def _post_of(self, alert: Alert) -> Post:
        row = alert.row
        if row["survey"] == "other":  # its names are in its record alone, and its kinds have no pictures
            return post_of(alert, self.settings, record=self._record(alert, "no names"))
        record = self._record(alert, "no picture") if self.options.pictures else None
        if record is None:
            return post_of(alert, self.settings)
        picture: bytes = later.call(
            "finkbridge.viewer.figure:picture", record, survey=row["survey"], topics=alert.topics
        )
        return post_of(alert, self.settings, picture)

    def _readable(self, row: Row) -> dict[str, Any] | None:
        """Return a message as it was received; None where it cannot be read, which is told once."""
        try:
            return first_readable(self.lake, [row], Raw.record)
        except DecodeError as error:
            place = row["archive_file"], row["archive_pos"]
            if place not in self._unreadable:
                self._unreadable.add(place)
                self.counts.unreadable += 1
                self.listener.problem(
                    f"a message of {row['topic']} is not posted, as nobody can tell whether it was: {error}; "
                    "--since posts it once it can be read"
                )
            return None

    def _record(self, alert: Alert, without: str) -> dict[str, Any] | None:
        """Return the alert as it was received, or None and a word about what goes without it."""
        try:
            return first_readable(self.lake, alert.rows, Raw.record)
        except DecodeError as error:
            self.listener.problem(f"{without}: {error}")
            return None

    def _is_full(self) -> bool:
        limit = self.options.limit
        return limit > 0 and self.state.posted_since(time.time() - HOUR_S) >= limit

    def _tell_left_out(self) -> None:
        """Say in the channel how many were left out, once an hour."""
        told_before = time.time() - HOUR_S
        if not self.state.has_left_out(told_before) or self._is_stopped():
            return
        number = self.state.take_left_out(told_before)
        if not number:  # another bot was quicker
            return
        line = f"alerts left out: {number:,} (the limit is {self.options.limit} an hour)"
        self.listener.problem(line)
        try:
            self.channel.say(line)
        except (ChannelDownError, MessageRefusedError, NoAnswerError) as error:
            self.listener.problem(f"the channel was not told: {error}")

    def _is_stopped(self) -> bool:
        """Wait for the turn of the next post, and take it; return True when told to stop before."""
        if self.wait(max(0.0, self._next_at - time.monotonic())):
            return True
        self._next_at = time.monotonic() + 60.0 / self.options.rate
        return False


def _since(ledger: Ledger, since: Since) -> Position:
    if isinstance(since, datetime):
        return tail.before(ledger, since.timestamp())
    return Position(0, 0.0) if since == "earliest" else tail.end_of(ledger)


def _strange(ledger: Ledger, patterns: Sequence[str]) -> list[str]:
    """Return the names and patterns that no topic of the lake matches."""
    there = {topic for _, topic in ledger.generations()}
    return [pattern for pattern in patterns if not any(fnmatchcase(topic, pattern) for topic in there)]


def _of_topics(rows: pa.Table, patterns: Sequence[str]) -> pa.Table:
    if not patterns or not rows.num_rows:
        return rows
    is_mine = [any(fnmatchcase(topic, p) for p in patterns) for topic in rows.column("topic").to_pylist()]
    return rows.filter(pa.array(is_mine, pa.bool_()))
