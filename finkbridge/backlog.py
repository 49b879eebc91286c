"""Step 1, its looking part: what each cluster has, held against what the ledger has."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Literal

from finkbridge import later
from finkbridge.broker import Broker, Watermarks
from finkbridge.errors import (
    AuthenticationError,
    BrokerError,
    BrokerTimeoutError,
    UnknownTopicError,
    UnreachableError,
)
from finkbridge.ledger import Ledger
from finkbridge.ledger.store import KnownGeneration, LedgerPartition
from finkbridge.parts import message_hash
from finkbridge.plan import PartitionState
from finkbridge.values import LastMessage, OffsetRange, SegmentPlan

Start = datetime | Literal["earliest", "latest"]


@dataclass(frozen=True, slots=True)
class TopicAtBroker:
    """One topic as its broker shows it now."""

    cluster: str
    topic: str
    topic_id: str | None
    """Kafka's id of the topic's present life; None where the broker gives none."""
    watermarks: Mapping[int, Watermarks]


@dataclass(frozen=True, slots=True)
class Search:
    """How the topics of a run were found, before it: what it does not show of them may be gone."""

    names: Mapping[str, Sequence[str]]
    """Names and patterns, by cluster."""
    at: float
    """When it began, Unix seconds UTC."""
    untold: frozenset[tuple[str, str]]
    """Cluster and topic of those that it found and could not tell of."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the clusters shows."""

    topics: tuple[TopicAtBroker, ...] = ()
    absent: Mapping[tuple[str, str], UnknownTopicError] = field(default_factory=dict)
    """Clusters and names that are no topic there, with what the broker says."""
    problems: tuple[str, ...] = ()
    """One line for each cluster that does not answer, and for each topic that it cannot tell of."""
    silent: frozenset[str] = frozenset()
    """Clusters that do not answer."""
    wanted: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The names and patterns that it was for, by cluster."""
    at: float = 0.0
    """When it began, Unix seconds UTC: what is at the brokers by then is seen."""
    untold: frozenset[tuple[str, str]] = frozenset()
    """Cluster and topic of those that are there, and of which the cluster cannot tell."""
    refused: frozenset[str] = frozenset()
    """Clusters that do not answer, as they refuse the credentials."""

    @property
    def search(self) -> Search:
        """How its topics were found."""
        return Search(self.wanted, self.at, self.untold)

    def missing(self, known: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the known topics that were looked for and that a cluster which answers does not show."""
        found = {(topic.cluster, topic.topic) for topic in self.topics}
        return [
            (cluster, topic)
            for cluster, topic in known
            if cluster not in self.silent
            and (cluster, topic) not in found
            and any(fnmatchcase(topic, name) for name in self.wanted.get(cluster, ()))
        ]

    @property
    def nowhere(self) -> dict[str, UnknownTopicError]:
        """Names that no cluster has which answered and was asked for them, with what each of these says."""
        found = {topic.topic for topic in self.topics}
        said: dict[str, list[str]] = {}
        for (_, name), error in sorted(self.absent.items()):
            if name not in found:
                said.setdefault(name, []).append(str(error))
        return {name: UnknownTopicError("; ".join(lines)) for name, lines in said.items()}


def look(brokers: Mapping[str, Broker], wanted: Mapping[str, Sequence[str]]) -> Look:
    """Look at the topics that names and patterns stand for, on all clusters at once.

    Parameters
    ----------
    brokers
        By cluster.
    wanted
        Names and patterns, by cluster. A cluster that is down is a problem of its own topics only.
    """
    at = time.time()
    asked = [cluster for cluster in brokers if wanted.get(cluster)]
    with ThreadPoolExecutor(max(1, len(asked))) as threads:
        looks = list(threads.map(lambda c: _look_at(brokers[c], wanted[c]), asked))
    return Look(
        tuple(topic for found in looks for topic in found.topics),
        {key: error for found in looks for key, error in found.absent.items()},
        tuple(problem for found in looks for problem in found.problems),
        frozenset(cluster for found in looks for cluster in found.silent),
        wanted,
        at,
        frozenset(key for found in looks for key in found.untold),
        frozenset(cluster for found in looks for cluster in found.refused),
    )


def same_generation(broker: Broker, seen: TopicAtBroker, known: KnownGeneration, ledger: Ledger) -> bool:
    """Whether a topic still is the one that the ledger knows.

    Kafka's topic id tells. Where the broker gives none, offsets that went back tell, or a last message that
    is not the one that was committed.
    """
    if seen.topic_id is not None and known.topic_id is not None:
        return seen.topic_id == known.topic_id
    partitions = ledger.partitions(known.row_id).values()
    return all(same_partition(broker, seen, p, ledger, known.row_id) for p in partitions)


def is_there(plan: SegmentPlan, marks: Mapping[int, Watermarks]) -> bool:
    """Whether a broker has all offsets of a plan, given what it has of each partition."""
    return all(
        r.partition in marks and marks[r.partition].low <= r.start and r.end <= marks[r.partition].end
        for r in plan.ranges
    )


def is_of(broker: Broker, seen: TopicAtBroker, last: LastMessage) -> bool | None:
    """Whether a message that was fetched as of an earlier life of a topic is of its present one.

    None where nobody can tell any more: what the present life had at its offset has expired.
    """
    marks = seen.watermarks.get(last.partition)
    if marks is None or last.offset >= marks.end:
        return False
    if last.offset < marks.low:
        return None
    found = broker.message_at(seen.topic, last.partition, last.offset)
    return found is not None and message_hash(found) == last.hash


def starts(broker: Broker, seen: TopicAtBroker, partitions: Sequence[int], start: Start) -> dict[int, int]:
    """Return the first offset to drain of partitions that were never drained."""
    if start == "earliest":
        return {p: seen.watermarks[p].low for p in partitions}
    if start == "latest":
        return {p: seen.watermarks[p].end for p in partitions}
    return broker.offsets_at(seen.topic, partitions, int(start.timestamp() * 1000))


def states(seen: TopicAtBroker, nexts: Mapping[int, int]) -> Iterator[PartitionState]:
    """Yield where each partition stands; one that the broker no longer shows has nothing to drain."""
    for partition, marks in sorted(seen.watermarks.items()):
        if partition in nexts:
            yield PartitionState(partition, nexts[partition], marks.low, marks.end)


def is_down(broker: Broker, error: Exception) -> bool:
    """Whether a cluster answers nothing at all: what failed may be the leader of one partition alone."""
    if not isinstance(error, UnreachableError):
        return False
    try:
        broker.topics()
    except BrokerError:
        return True
    return False


def _look_at(broker: Broker, names: Sequence[str]) -> Look:
    try:
        there, absent = broker.find(names)
        topics, problems = _describe_each(broker, there)
    except BrokerError as error:
        silent = frozenset({broker.name})
        refused = silent if type(error) is AuthenticationError else frozenset()  # rights may be given yet
        return Look(problems=(str(error),), silent=silent, refused=refused)
    return Look(
        tuple(topics),
        {(broker.name, name): error for name, error in absent.items()},
        tuple(problems),
        untold=frozenset((broker.name, topic) for topic in {*there} - {topic.topic for topic in topics}),
    )


def _describe_each(broker: Broker, topics: list[str]) -> tuple[list[TopicAtBroker], list[str]]:
    """Return what there is of each topic; those that fail alone, as without a leader, are problems."""
    try:
        return _describe(broker, topics), []
    except UnreachableError:
        raise
    except BrokerError as error:
        if len(topics) < 2:
            return [], [f"{', '.join(topics)}: {error}"]
        if isinstance(error, BrokerTimeoutError):
            broker.topics()  # raises where all is silent: else each topic would wait in vain
    found, problems = [], []
    for topic in topics:
        described, failed = _describe_each(broker, [topic])
        found += described
        problems += failed
    return found, problems


def _describe(broker: Broker, topics: list[str]) -> list[TopicAtBroker]:
    ids, marks = broker.topic_ids(topics), broker.watermarks(topics)
    by_topic = {topic: {p: m for (t, p), m in marks.items() if t == topic} for topic in topics}
    return [TopicAtBroker(broker.name, t, ids[t], by_topic[t]) for t in topics]


def same_partition(
    broker: Broker, seen: TopicAtBroker, known: LedgerPartition, ledger: Ledger, row_id: int
) -> bool:
    """Whether what a partition has of what is in the lake is the same, as far as its last message tells."""
    marks = seen.watermarks.get(known.partition)
    if marks is None or marks.end < known.next_offset:
        return False
    if known.last_offset is None:
        return known.next_offset == known.first_offset or _same_witness(broker, seen, known, ledger, row_id)
    if known.last_offset < marks.low:
        return True
    last = broker.message_at(seen.topic, known.partition, known.last_offset)
    if last is not None:
        return message_hash(last) == known.last_hash
    return _same_witness(broker, seen, known, ledger, row_id)


def _same_witness(
    broker: Broker, seen: TopicAtBroker, known: LedgerPartition, ledger: Ledger, row_id: int
) -> bool:
    """Whether the first message that the broker still has of what is in the lake is the one in the lake.

    Asked where there is no last message any more: compaction took it, or a new life of the topic has a hole
    there.
    """
    start = max(known.first_offset, seen.watermarks[known.partition].low)
    if start >= known.next_offset:
        return True
    witness = broker.first_message(seen.topic, OffsetRange(known.partition, start, known.next_offset))
    if witness is None:
        return True  # nothing that is in the lake is at the broker, and nothing else is in its place
    kept = later.call("finkbridge.witness:kept_message", ledger, row_id, known.partition, witness.offset)
    return kept is not None and message_hash(kept) == message_hash(witness)
