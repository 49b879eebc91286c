"""Draining for ever, without an orchestrator: a batch as soon as it is large or old enough.

Each cluster is looked at by a thread of its own, so one that is down holds up no other; everything else, the
batches too, is done by the caller's thread. A cluster's connections are never used by two threads at once: a
batch takes only clusters that are not being looked at.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from finkbridge import backlog, later
from finkbridge.backlog import Search
from finkbridge.broker import Broker
from finkbridge.drain import Bridge
from finkbridge.errors import AuthenticationError, BrokerError, UnknownTopicError, WorkerError
from finkbridge.execution import Silent
from finkbridge.plan import MEAN_MESSAGE_BYTES
from finkbridge.report import DrainReport
from finkbridge.settings import FollowSettings

REFRESH_S = 20.0
"""Seconds between two looks for topics and partitions that are new, recreated or gone."""

DRAIN_AGAIN_S = 3600.0
"""Seconds after which a batch runs though nothing is new: it writes that down, for certificates."""

BACKOFF_S = 1.0
"""Seconds after a failure until the cluster is looked at again; doubled with each further one."""

BACKOFF_MAX_S = 15.0
"""Longest pause: a cluster that comes back is noticed within it."""

TICK_S = 0.05
"""Seconds between two decisions; they cost nothing."""

PUBLISH_EVERY_S = 4.0
"""How often a batch that lasts, as one of a whole backlog does, publishes what it has landed."""

Pair = tuple[str, int]
"""Topic and partition."""


class Teller(Protocol):
    """Who is told what happens."""

    def batch(self, report: DrainReport) -> None:
        """Take note of a batch that ended."""

    def problem(self, line: str) -> None:
        """Take note of something that is wrong; told once for as long as it lasts."""

    def recovered(self, cluster: str) -> None:
        """Take note of a cluster that answers again."""


class Sight(NamedTuple):
    """What one look at a cluster shows."""

    topics: Mapping[str, str | None]
    """Kafka's id of each topic, by name."""
    ends: Mapping[Pair, int]
    absent: Mapping[str, str]
    """What the broker says, by name that is no topic or that it cannot tell of."""
    at: float = 0.0
    """When the look for topics began, Unix seconds UTC."""
    untold: frozenset[tuple[str, str]] = frozenset()
    """Cluster and topic of those that are there, and of which the cluster cannot tell."""


NOTHING = Sight({}, {}, {})


@dataclass(frozen=True, slots=True)
class Drained:
    """What the lake has of a cluster, as of its last batch."""

    topics: Mapping[str, str | None]
    nexts: Mapping[Pair, int]
    mean_bytes: Mapping[str, float]
    """Mean size of a message, by topic."""


def waiting_bytes(sight: Sight, drained: Drained) -> float:
    """Return an estimate of the bytes that wait at a cluster."""
    return sum(
        max(0, end - drained.nexts.get(pair, end)) * drained.mean_bytes.get(pair[0], MEAN_MESSAGE_BYTES)
        for pair, end in sight.ends.items()
    )


def has_changed(sight: Sight, drained: Drained) -> bool:
    """Whether topics or partitions are new, gone, recreated or cut: only a batch can tell what that means."""
    if sight.topics != drained.topics or sight.ends.keys() - drained.nexts.keys():
        return True
    return any(end < drained.nexts[pair] for pair, end in sight.ends.items())


def is_due(waiting: float, age_s: float, limits: FollowSettings) -> bool:
    """Whether a batch of so many bytes is closed, the oldest of which would be in the lake after `age_s`."""
    return waiting >= limits.batch_bytes or (waiting > 0 and age_s >= limits.batch_age_s)


class Lookout:
    """Looks at one cluster again and again: now and then at all, else at the ends of what it knows.

    Parameters
    ----------
    broker
        Of the cluster.
    names
        Topics and patterns.
    """

    def __init__(self, broker: Broker, names: Sequence[str]) -> None:
        self._broker = broker
        self.names = names
        self._known = NOTHING
        self._refresh_at = 0.0

    def look(self) -> Sight:
        """Return what there is now; raise BrokerError where the cluster does not tell."""
        if time.monotonic() >= self._refresh_at:
            return self._look_around()
        try:
            return self._known._replace(ends=self._broker.ends(self._known.ends))
        except UnknownTopicError:  # deleted since
            return self._look_around()

    def _look_around(self) -> Sight:
        look = backlog.look({self._broker.name: self._broker}, {self._broker.name: self.names})
        if look.silent:
            kind = AuthenticationError if look.refused else BrokerError
            raise kind("; ".join(look.problems))
        ends = {(t.topic, p): marks.end for t in look.topics for p, marks in t.watermarks.items()}
        absent = {name: str(error) for name, error in look.nowhere.items()}
        absent |= {line: line for line in look.problems}  # of single topics: the others are followed
        self._known = Sight({t.topic: t.topic_id for t in look.topics}, ends, absent, look.at, look.untold)
        self._refresh_at = time.monotonic() + REFRESH_S
        return self._known


@dataclass(slots=True)
class Watch:
    """One cluster: what was seen of it, and when it is looked at again."""

    cluster: str
    lookout: Lookout
    sight: Sight | None = None
    """None while the cluster does not answer."""
    drained: Drained | None = None
    """None before its first batch."""
    drained_at: float = field(default_factory=time.monotonic)
    """When that was; monotonic, as the other times."""
    since: float | None = None
    """When the oldest message that waits was first seen."""
    failures: int = 0
    """In a row, of looks and of batches."""
    look_at: float = 0.0
    """No look before."""
    retry_at: float = 0.0
    """No batch before."""
    told: set[str] = field(default_factory=set)
    """Problems that are known and last."""
    refusal: str = ""
    """How the cluster refused the credentials at the last look, if it did."""
    looking: Future[Sight] | None = field(default=None, repr=False)

    def fail(self) -> None:
        """Wait longer with each failure in a row."""
        pause = min(BACKOFF_MAX_S, BACKOFF_S * 2**self.failures)
        self.look_at = self.retry_at = time.monotonic() + pause
        self.failures = min(self.failures + 1, 10)

    def recover(self) -> None:
        """Forget what failed."""
        self.failures = 0
        self.told.clear()

    def take(self, sight: Sight) -> None:
        """Take note of what a look showed."""
        self.sight = sight
        if self.waiting == 0:
            self.since = None
        elif self.since is None:
            self.since = time.monotonic()

    @property
    def waiting(self) -> float:
        """Bytes that wait, estimated."""
        return waiting_bytes(self.sight, self.drained) if self.sight and self.drained else 0.0

    def is_free(self) -> bool:
        """Whether the cluster answers, nobody is at it, and it is not left alone for its failures."""
        return self.sight is not None and self.looking is None and time.monotonic() >= self.retry_at

    def is_due(self, limits: FollowSettings, batch_s: float) -> bool:
        """Whether a batch should run, which takes about `batch_s`."""
        if self.sight is None:
            return False
        is_old = time.monotonic() - self.drained_at > DRAIN_AGAIN_S
        if self.drained is None or is_old or has_changed(self.sight, self.drained):
            return True
        age_s = 0.0 if self.since is None else time.monotonic() - self.since
        return is_due(self.waiting, age_s + batch_s, limits)


def follow(bridge: Bridge, names: Sequence[str], teller: Teller) -> None:
    """Drain whenever there is something, until `bridge.stopping` is set.

    Parameters
    ----------
    bridge
        Holds lake and brokers; its settings say how large and how old a batch gets.
    names
        Topics and patterns; none: those of the settings.
    teller
        Told of batches and problems.

    Raises
    ------
    LakeError
        The lake cannot be written any more, or another coordinator took it over.
    AuthenticationError
        All clusters refuse the credentials from the first look on: waiting would not mend that. What a
        cluster refuses later it may take again.
    """
    Follower(bridge, names, teller).run()


class Follower:
    """The loop of `follow`, and what it remembers."""

    def __init__(self, bridge: Bridge, names: Sequence[str], teller: Teller) -> None:
        self._bridge = bridge
        bridge.publish_every_s = PUBLISH_EVERY_S
        bridge.is_lasting = True  # merges aside: or all that comes would wait for them, for seconds
        self._teller = teller
        self._limits = bridge.settings.follow
        self._watches = [
            Watch(cluster, Lookout(bridge.brokers[cluster], wanted))
            for cluster, wanted in bridge.settings.wanted(names).items()
            if wanted
        ]
        self._batch_s = 0.0
        self._absent: dict[str, set[str]] = {}
        self._was_answered = False
        self._unmerged: set[str] = set()

    def run(self) -> None:
        """Look and drain until told to stop."""
        while not self._bridge.stopping.is_set():
            for watch in self._watches:
                self._look(watch)
            free = [w for w in self._watches if w.is_free()]
            if any(watch.is_due(self._limits, self._batch_s) for watch in free):
                self._drain(free)
            elif self._bridge.merging.is_ready():
                self._tell_unmerged(self._bridge.publish())
            else:
                self._bridge.stopping.wait(TICK_S)

    def _look(self, watch: Watch) -> None:
        """Begin a look when it is time, and take its result when it is there."""
        if watch.looking is None:
            if time.monotonic() >= watch.look_at:
                watch.looking = _in_background(watch.lookout)
        elif watch.looking.done():
            looked, watch.looking = watch.looking, None
            try:
                self._take(watch, looked.result())
            except BrokerError as error:
                watch.sight = None
                self._end_in_vain(watch, error)
                self._fail(watch, [str(error)])

    def _end_in_vain(self, watch: Watch, error: BrokerError) -> None:
        """Raise if no cluster has ever answered but to refuse the credentials."""
        watch.refusal = str(error) if type(error) is AuthenticationError else ""
        if not self._was_answered and all(w.refusal for w in self._watches):
            raise AuthenticationError("; ".join(dict.fromkeys(w.refusal for w in self._watches)))

    def _take(self, watch: Watch, sight: Sight) -> None:
        self._was_answered = True
        if watch.sight is None and watch.failures:
            watch.recover()
            self._teller.recovered(watch.cluster)
        watch.take(sight)
        watch.look_at = time.monotonic() + self._limits.idle_s
        self._tell_absent(watch.cluster, sight.absent)

    def _fail(self, watch: Watch, problems: Iterable[str]) -> None:
        for line in problems:
            if line not in watch.told:
                watch.told.add(line)
                self._teller.problem(line)
        watch.fail()

    def _tell_absent(self, cluster: str, absent: Mapping[str, str]) -> None:
        for name in absent.keys() - self._absent.get(cluster, set()):
            self._teller.problem(absent[name])
        self._absent[cluster] = set(absent)

    def _drain(self, watches: Sequence[Watch]) -> None:
        """Run one batch over the clusters that answer."""
        wanted = {w.cluster: sorted(w.sight.topics) for w in watches if w.sight}
        try:
            report = self._bridge.run_on(wanted, Silent(), "follow", _search(watches))
        except WorkerError as error:  # too many processes, or too little memory, just now
            self._bridge.close()
            for watch in watches:
                self._fail(watch, [str(error)])
            return
        self._tell_unmerged(report.unmerged)
        if report.run:
            self._batch_s = report.seconds
            self._teller.batch(report)
        blamed = _blamed(report, wanted)
        for watch in watches:
            if watch.cluster in blamed:
                self._fail(watch, report.problems)
            else:
                watch.recover()
                self._note_drained(watch)
        later.get("finkbridge.task:land_task")  # so that the first alert need not wait for its modules

    def _tell_unmerged(self, problems: Sequence[str]) -> None:
        """Tell what cannot be merged, or shown by a view, once for as long as it lasts."""
        for line in problems:
            if line not in self._unmerged:
                self._teller.problem(line)
        self._unmerged = set(problems)

    def _note_drained(self, watch: Watch) -> None:
        sight = watch.sight or NOTHING
        ledger = self._bridge.coordinator.ledger
        generations, means = ledger.generations(), ledger.mean_message_bytes()
        mine = {t: g for (c, t), g in generations.items() if c == watch.cluster and t in sight.topics}
        nexts = {
            (topic, p): row.next_offset
            for topic, generation in mine.items()
            for p, row in ledger.partitions(generation.row_id).items()
        }
        mean_bytes = {topic: means[g.row_id] for topic, g in mine.items() if g.row_id in means}
        watch.drained, watch.drained_at = Drained(sight.topics, nexts, mean_bytes), time.monotonic()
        watch.take(sight)
        watch.look_at = 0.0


def _search(watches: Sequence[Watch]) -> Search:
    """Return how the clusters' topics were found, as of the oldest of the looks."""
    seen = [(w.cluster, w.lookout.names, w.sight) for w in watches if w.sight]
    return Search(
        {cluster: names for cluster, names, _ in seen},
        min((sight.at for *_, sight in seen), default=0.0),
        frozenset(key for *_, sight in seen for key in sight.untold),
    )


def _blamed(report: DrainReport, wanted: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the clusters that a batch failed at; all of them where the report does not tell."""
    if report.succeeded:
        return set()
    serious = set(report.problems) - set(report.unmerged)
    return {t.cluster for t in report.topics.values() if not t.reconciled} or set(wanted if serious else ())


def _in_background(lookout: Lookout) -> Future[Sight]:
    """Look in a thread that keeps no process alive: a cluster may take long to stay silent."""
    future: Future[Sight] = Future()

    def look() -> None:
        try:
            future.set_result(lookout.look())
        except BaseException as error:  # noqa: BLE001 - it is the caller's, who gets it from the future
            future.set_exception(error)

    threading.Thread(target=look, daemon=True).start()
    return future
