"""Where everything stands: brokers held against the ledger, topic by topic, partition by partition.

Only looks, and needs no lock: it works while a drain runs. Where a cluster does not answer, it tells what the
ledger knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from finkbridge import backlog
from finkbridge.backlog import Look, Start, TopicAtBroker
from finkbridge.broker import Broker
from finkbridge.config_file import CONFIG_FILE
from finkbridge.errors import BrokerError, SettingsError
from finkbridge.lag import ledger_if_any
from finkbridge.ledger import Ledger
from finkbridge.ledger.store import KnownGeneration
from finkbridge.ledger.summary import NO_FACTS, Gap, Key, RunStatus, newest_run, read_facts
from finkbridge.settings import Settings

FOR_EVER = -1
"""Kafka's retention of topics whose messages never expire."""


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition. What only the broker knows is None where it does not answer."""

    partition: int
    drained: int
    """First offset that is not in the lake."""
    end: int | None
    lag: int | None
    """Offsets that wait at the broker."""
    lost: int
    """Offsets that expired before they were drained, and that no run has recorded yet."""
    oldest_unread_at: float | None
    """Kafka's timestamp of the oldest message that waits, Unix seconds UTC."""
    held: int = 0
    """Offsets behind the end that an open transaction of a producer holds back: nobody can read them yet."""


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """One topic, in its newest generation."""

    cluster: str
    topic: str
    generation: int | None
    """None for a topic that was never drained."""
    partitions: tuple[PartitionStatus, ...]
    is_at_broker: bool | None
    """None where the cluster does not answer."""
    messages: int
    """In the lake, over all generations; so are `quarantined` and `gaps`."""
    quarantined: int
    gaps: tuple[Gap, ...]
    retention_s: float | None
    """How long the broker keeps messages; None for ever."""

    @property
    def drained(self) -> int:
        """Sum of the first offsets that are not in the lake."""
        return sum(p.drained for p in self.partitions)

    @property
    def end(self) -> int | None:
        """Sum of the partitions' ends."""
        return _sum(p.end for p in self.partitions)

    @property
    def lag(self) -> int | None:
        """Offsets that wait at the broker."""
        return _sum(p.lag for p in self.partitions)

    @property
    def held(self) -> int:
        """Offsets that open transactions hold back."""
        return sum(p.held for p in self.partitions)

    @property
    def lost(self) -> int:
        """Offsets that were lost, recorded or not yet."""
        return sum(g.end - g.start for g in self.gaps) + sum(p.lost for p in self.partitions)

    @property
    def oldest_unread_at(self) -> float | None:
        """Kafka's timestamp of the oldest message that waits, Unix seconds UTC."""
        return min(
            (p.oldest_unread_at for p in self.partitions if p.oldest_unread_at is not None), default=None
        )

    @property
    def expires_at(self) -> float | None:
        """From when on the broker may delete the oldest message that waits, Unix seconds UTC."""
        oldest = self.oldest_unread_at
        return None if oldest is None or self.retention_s is None else oldest + self.retention_s


@dataclass(frozen=True, slots=True)
class Status:
    """All topics, the newest run, and what does not answer."""

    at: float
    """Of the look, Unix seconds UTC."""
    topics: tuple[TopicStatus, ...]
    run: RunStatus | None
    problems: tuple[str, ...]

    def expiring(self, within_s: float) -> Iterator[TopicStatus]:
        """Yield topics of which messages expire that soon, or have expired unread."""
        for topic in self.topics:
            soon = topic.expires_at is not None and topic.expires_at - self.at < within_s
            if soon or any(p.lost for p in topic.partitions):
                yield topic


def measure_status(settings: Settings, names: Sequence[str] = ()) -> Status:
    """Look at brokers and ledger.

    Parameters
    ----------
    settings
        Lake and clusters. The lake need not be there yet.
    names
        Topics and patterns; none: those of the settings, and whatever else the lake has.

    Raises
    ------
    SettingsError
        No topic is named, and the lake knows none.
    LakeError
        The ledger cannot be read.
    """
    with ExitStack() as stack:
        timeout_s = settings.broker_timeout_s
        brokers = {
            name: stack.enter_context(Broker(name, cluster, timeout_s=timeout_s))
            for name, cluster in settings.clusters.items()
        }
        return _Measuring(settings, brokers, stack.enter_context(ledger_if_any(settings))).status(names)


class _Measuring:
    """One look, at all that `Status` tells."""

    def __init__(self, settings: Settings, brokers: Mapping[str, Broker], ledger: Ledger | None) -> None:
        self._settings = settings
        self._brokers = brokers
        self._ledger = ledger
        self._facts = read_facts(ledger) if ledger else NO_FACTS
        self._problems: list[str] = []

    def status(self, names: Sequence[str]) -> Status:
        look = self._look(names)
        seen = {(t.cluster, t.topic): t for t in look.topics}
        known = [key for key in self._facts.generations if _is_named(key[1], names)]
        answering = self._brokers.keys() - look.silent
        topics = [self._topic(key, seen.get(key), answering) for key in sorted({*seen, *known})]
        topics = self._with_looks(topics)
        self._problems += map(_not_asked, sorted({cluster for cluster, _ in known} - self._brokers.keys()))
        run = newest_run(self._ledger) if self._ledger else None
        return Status(time.time(), tuple(topics), run, tuple(dict.fromkeys(self._problems)))

    def _look(self, names: Sequence[str]) -> Look:
        known, clusters = self._facts.generations, self._settings.clusters
        asked = (
            self._settings.wanted(names) if names and clusters else {c: clusters[c].topics for c in clusters}
        )
        wanted = {
            name: [*asked[name], *(t for c, t in known if c == name and _is_named(t, names))]
            for name in clusters
        }
        if not names and not known and not any(wanted.values()):
            self._settings.require_clusters()
            raise SettingsError(
                "no topics to look at: name some (patterns such as 'fink_*_ztf' work), or set topics under "
                "[clusters.<name>] in finkbridge.toml"
            )
        look = backlog.look(self._brokers, wanted)
        drained = {topic for _, topic in known}
        self._problems += look.problems
        self._problems += [str(error) for name, error in look.nowhere.items() if name not in drained]
        return look

    def _topic(self, key: Key, seen: TopicAtBroker | None, answering: set[str]) -> TopicStatus:
        cluster, topic = key
        known, facts = self._facts.generations.get(key), self._facts
        is_at_broker = seen is not None if cluster in answering else None
        try:
            partitions = self._partitions(known, seen)
            retention_s = self._retention_s(seen) if seen else None
        except BrokerError as error:
            self._problems.append(str(error))
            partitions, retention_s, is_at_broker = self._drained(known), None, None
        return TopicStatus(
            cluster=cluster,
            topic=topic,
            generation=known.source.generation if known else None,
            partitions=partitions,
            is_at_broker=is_at_broker,
            messages=facts.messages.get(key, 0),
            quarantined=facts.quarantined.get(key, 0),
            gaps=facts.gaps.get(key, ()),
            retention_s=retention_s,
        )

    def _with_looks(self, topics: Sequence[TopicStatus]) -> list[TopicStatus]:
        """Add when the oldest messages that wait were written, and what open transactions hold back."""
        first = self._ask(topics, Broker.first_timestamps_ms, lambda p: p.drained + p.lost if p.lag else None)
        held = self._ask(topics, Broker.held_back, lambda p: p.end)

        def seen(topic: TopicStatus, p: PartitionStatus) -> PartitionStatus:
            key = topic.cluster, topic.topic, p.partition
            return replace(_at(p, first.get(key)), held=held.get(key) or 0)

        return [replace(t, partitions=tuple(seen(t, p) for p in t.partitions)) for t in topics]

    def _ask(
        self,
        topics: Sequence[TopicStatus],
        ask: Callable[[Broker, dict[tuple[str, int], int]], Mapping[tuple[str, int], int | None]],
        offset_of: Callable[[PartitionStatus], int | None],
    ) -> dict[tuple[str, str, int], int | None]:
        """Ask each cluster once of all its partitions that have such an offset."""
        told: dict[tuple[str, str, int], int | None] = {}
        for cluster, broker in self._brokers.items():
            mine = ((t.topic, p) for t in topics if t.cluster == cluster for p in t.partitions)
            offsets = {(topic, p.partition): at for topic, p in mine if (at := offset_of(p)) is not None}
            try:
                found = ask(broker, offsets) if offsets else {}
            except BrokerError as error:
                self._problems.append(str(error))
            else:
                told |= {(cluster, *where): value for where, value in found.items()}
        return told

    def _drained(self, known: KnownGeneration | None) -> tuple[PartitionStatus, ...]:
        """Return what the ledger alone knows."""
        nexts = self._nexts(known)
        return tuple(PartitionStatus(p, offset, None, None, 0, None) for p, offset in nexts.items())

    def _partitions(
        self, known: KnownGeneration | None, seen: TopicAtBroker | None
    ) -> tuple[PartitionStatus, ...]:
        if seen is None:
            return self._drained(known)
        broker = self._brokers[seen.cluster]
        if known and self._ledger and backlog.same_generation(broker, seen, known, self._ledger):
            nexts = self._nexts(known)
        else:  # never drained, or another life of the topic, which is drained from its begin
            start: Start = "earliest" if known else self._settings.drain.start
            nexts = backlog.starts(broker, seen, list(seen.watermarks), start)
        return tuple(_partition(seen, p, nexts.get(p)) for p in sorted(seen.watermarks))

    def _nexts(self, known: KnownGeneration | None) -> dict[int, int]:
        if known is None or self._ledger is None:
            return {}
        return {p: row.next_offset for p, row in self._ledger.partitions(known.row_id).items()}

    def _retention_s(self, seen: TopicAtBroker) -> float | None:
        told = self._brokers[seen.cluster].retention_ms([seen.topic])[seen.topic]
        if told == FOR_EVER:
            return None
        return self._settings.status.retention_hours * 3600 if told is None else told / 1000


def _partition(seen: TopicAtBroker, partition: int, drained: int | None) -> PartitionStatus:
    low, end, _ = seen.watermarks[partition]
    at = low if drained is None else drained
    return PartitionStatus(partition, at, end, max(0, end - max(at, low)), max(0, low - at), None)


def _at(partition: PartitionStatus, first_ms: int | None) -> PartitionStatus:
    return replace(partition, oldest_unread_at=None if first_ms is None else first_ms / 1000)


def _not_asked(cluster: str) -> str:
    return (
        f"cluster {cluster} is not set, so nobody asked it what waits there: put its servers under "
        f"[clusters.{cluster}] in {CONFIG_FILE}, or name topics of other clusters"
    )


def _is_named(topic: str, names: Sequence[str]) -> bool:
    return not names or any(fnmatchcase(topic, name) for name in names)


def _sum(numbers: Iterator[int | None]) -> int | None:
    """Return the sum; None where a number is unknown."""
    listed = list(numbers)
    return None if None in listed else sum(n for n in listed if n is not None)
