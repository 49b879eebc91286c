"""One Kafka cluster, as the rest of finkbridge sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import Self

from finkbridge.access import Access
from finkbridge.broker.admin import ClusterAdmin, Watermarks, unknown_topic
from finkbridge.broker.group import GroupTeller
from finkbridge.broker.holes import Sweep, falls_in, span_of, sweeps
from finkbridge.broker.names import is_pattern, select
from finkbridge.broker.peek import FirstReader, epoch_ends
from finkbridge.broker.reader import BULK, PEEK, RangeReader
from finkbridge.broker.standing import Series
from finkbridge.errors import (
    BrokerTimeoutError,
    GenerationError,
    RangeExpiredError,
    UnknownTopicError,
    UnreachableError,
)
from finkbridge.values import Message, OffsetRange, TopicGeneration

PEEK_OFFSETS = 20
"""Up to so many offsets are read one by one, without fetching what lies behind them."""


class Broker:
    """One cluster: its topics, their messages by offset range, and a group's offsets.

    Not for several threads. Nothing is connected before it is needed. Every method may raise
    AuthenticationError (refused), UnreachableError (nobody there) and BrokerTimeoutError (went silent).

    Parameters
    ----------
    name : str
        The cluster's name, for messages.
    settings : Access
        Servers, credentials and librdkafka keys.
    timeout_s : float
        Seconds that an answer may take, and that a fetch may stay without progress.
    """

    def __init__(self, name: str, settings: Access, *, timeout_s: float = 10) -> None:
        self.name = name
        self._settings = settings
        self._timeout_s = timeout_s
        self._series: Series | None = None
        self._lives: dict[str, TopicGeneration] = {}
        self._ids: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give all connections back; the next call would open new ones."""
        self._close("_bulk", "_peek", "_second_look", "_group")
        self.__dict__.pop("_admin", None)

    def _close(self, *parts: str) -> None:
        for part in parts:
            if part in self.__dict__:
                self.__dict__.pop(part).close()

    @cached_property
    def _admin(self) -> ClusterAdmin:
        return ClusterAdmin(self.name, self._settings, self._timeout_s)

    @cached_property
    def _bulk(self) -> RangeReader:
        return RangeReader(self.name, self._settings, BULK, self._timeout_s)

    @cached_property
    def _second_look(self) -> RangeReader:
        """Holes are confirmed while a fetch is under way, and a reader reads one range at a time."""
        return RangeReader(self.name, self._settings, BULK, self._timeout_s)

    @cached_property
    def _group(self) -> GroupTeller:
        return GroupTeller(self.name, self._settings)

    @cached_property
    def _peek(self) -> FirstReader:
        return FirstReader(self.name, self._settings, PEEK, self._timeout_s)

    def topics(self) -> dict[str, int]:
        """Return the number of partitions of each topic, Kafka's own (``__*``) left out."""
        return self._admin.topics()

    def match(self, patterns: Sequence[str]) -> list[str]:
        """Return the topics that names and shell patterns stand for, sorted.

        Raises
        ------
        UnknownTopicError
            A plain name is not there. A pattern may match nothing.
        """
        found, absent = self.find(patterns)
        for error in absent.values():
            raise error
        return found

    def find(self, patterns: Sequence[str]) -> tuple[list[str], dict[str, UnknownTopicError]]:
        """Return the topics that names and shell patterns stand for, and the names that are not there.

        Patterns leave out what holds no alerts: see `finkbridge.broker.names`.

        One request, however many names: what a list of all topics hides, for want of rights, a question by
        name is refused too.
        """
        there = self.topics()
        names = [name for name in dict.fromkeys(patterns) if not is_pattern(name)]
        absent = {name: unknown_topic(self.name, name, there) for name in names if name not in there}
        return select(patterns, there), absent

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str | None]:
        """Return Kafka's id of each topic, new when it is recreated; None where the broker gives none.

        Readers of single messages are opened anew where one is new, as in `read_on`.
        """
        found = self._admin.topic_ids(topics)
        if any(self._ids.get(topic, topic_id) != topic_id for topic, topic_id in found.items()):
            self._close("_peek", "_second_look")
        self._ids |= found
        return found

    def is_gone(self, topic: str) -> bool:
        """Whether the broker says of this topic that there is none; False if it forbids it, or is silent."""
        return self._peek.is_gone(topic)

    def watermarks(self, topics: Sequence[str]) -> dict[tuple[str, int], Watermarks]:
        """Return the offsets ``[low, end)`` that can be read, by topic and partition.

        The end is the last stable offset, so an open transaction never makes a drain wait.
        """
        return self._admin.watermarks(topics)

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the end of each partition: one small request, for those who look often.

        As `watermarks`, but of partitions that are known to be there, and without their begin.
        """
        return self._admin.ends(partitions)

    def held_back(self, ends: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """Return how many offsets an open transaction holds back behind the end of a partition.

        Only of partitions where there are any. One small request, a second one where there may be some.
        """
        return self._admin.held_back(ends)

    def offsets_at(self, topic: str, partitions: Sequence[int], timestamp_ms: int) -> dict[int, int]:
        """Return each partition's first offset not older than a time, or its end if nothing is that new.

        Parameters
        ----------
        topic : str
            A topic that is there.
        partitions : Sequence[int]
            Partitions to look in.
        timestamp_ms : int
            Unix milliseconds UTC.

        Raises
        ------
        BrokerError
            The broker answers no lookups by time (the embedded one).
        """
        return self._admin.offsets_at(topic, partitions, timestamp_ms)

    def retention_ms(self, topics: Sequence[str]) -> dict[str, int | None]:
        """Return how long the broker keeps messages, in ms, -1 for ever; None where it does not say."""
        return self._admin.retention_ms(topics)

    def read_on(self, life: TopicGeneration, run: int) -> None:
        """Let fetches begin with what the last one read ahead, as long as they are of this life and run.

        The first of another life of a topic opens all connections anew: librdkafka remembers the epoch of a
        partition's leader, and takes a smaller one, as a recreated topic has, for old news.
        """
        if self._lives.setdefault(life.topic, life) != life:
            self.close()
            self._lives[life.topic] = life
        self._series = Series(life, run)

    def fetch(self, topic: str, span: OffsetRange) -> Iterator[list[Message]]:
        """Yield the messages of an offset range, in order, in batches of up to 100.

        The range is done when the position reaches its end, whatever its holes. Equal keys in a row are one
        object. Only one fetch at a time.

        Raises
        ------
        RangeExpiredError
            The range's start is below the offset that it carries as `low`.
        GenerationError, UnknownTopicError
            The topic ends before the range does, or is gone: recreated or deleted.
        """
        try:
            yield from self._bulk.read(topic, span, self._series)
        except (BrokerTimeoutError, UnreachableError):
            self._close("_bulk")  # its connection may wait for an answer that never comes
            raise

    def confirm_holes(self, topic: str, holes: Sequence[OffsetRange]) -> bool:
        """Whether a second look finds no message in any of the holes. Neighbours share one look.

        A `fetch` that is under way goes on undisturbed.

        Raises
        ------
        RangeExpiredError, GenerationError, UnknownTopicError
            As `fetch`: the broker can no longer tell.
        """
        return all(self._is_empty(topic, sweep) for sweep in sweeps(holes))

    def _is_empty(self, topic: str, sweep: Sweep) -> bool:
        span = span_of(sweep)
        reader = self._peek if span.offsets <= PEEK_OFFSETS else self._second_look
        with closing(reader.read(topic, span)) as batches:
            return not any(falls_in(message.offset, sweep) for batch in batches for message in batch)

    def message_at(self, topic: str, partition: int, offset: int) -> Message | None:
        """Return the message at an offset; None where it has expired, was never there, or is a hole."""
        return self.first_message(topic, OffsetRange(partition, offset, offset + 1))

    def first_message(self, topic: str, span: OffsetRange) -> Message | None:
        """Return the first message of an offset range; None where it has none, or has expired."""
        try:
            return self._first(topic, span)
        except (RangeExpiredError, GenerationError):
            return None

    def first_timestamps_ms(
        self, offsets: Mapping[tuple[str, int], int]
    ) -> dict[tuple[str, int], int | None]:
        """Return the timestamp (Unix ms) of each partition's first message at or behind an offset.

        All partitions in one go, in at most the time that an answer may take: None where there is no such
        message, the offset has expired, or no answer came in time.
        """
        return self._peek.first_timestamps_ms(offsets)

    def epoch_ends(self, topic: str, epochs: Mapping[int, int]) -> dict[int, int]:
        """Return where an epoch of each partition ended: a log that had more by then was cut there.

        All partitions in one go.

        Parameters
        ----------
        topic : str
            A topic that is there.
        epochs : Mapping[int, int]
            By partition, older ones than the present.

        Raises
        ------
        BrokerTimeoutError
            A leader does not tell, or does not show all it has yet.
        """
        return epoch_ends(self.name, self._settings, self._timeout_s, topic, epochs) if epochs else {}

    def first_key(self, topic: str) -> bytes | None:
        """Return the key of a topic's first message; None where it has none."""
        for (_, partition), (low, end, _) in self.watermarks([topic]).items():
            found = self._first(topic, OffsetRange(partition, low, end))
            if found:
                return found.key
        return None

    def schema_key(self, topic: str) -> bytes | None:
        """Return the writer schema beside a topic: the key of a message of ``<topic>_schema``; or None."""
        try:
            return self.first_key(f"{topic}_schema")
        except UnknownTopicError:
            return None

    def _first(self, topic: str, span: OffsetRange) -> Message | None:
        with closing(self._peek.read(topic, span)) as batches:
            return next((message for batch in batches for message in batch), None)

    def expect_to_tell_group(self) -> None:
        """Find the way to the group while there is other work: the end should not wait for it."""
        self._group  # noqa: B018 - it connects when it is made

    def tell_group(self, ends: Mapping[tuple[str, int], int]) -> bool:
        """Tell Kafka's group ``<group_id>-finkbridge`` what is drained, for the broker's own lag tools.

        Best effort, within 2 s: a refusal is a warning in the log.

        Returns
        -------
        bool
            Whether the broker took the offsets.
        """
        return self._group.tell(ends)
