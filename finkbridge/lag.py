"""How much there is to drain, without taking the lake's lock: brokers held against the ledger.

Only looks: neither the lake nor a topic is changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from finkbridge import backlog
from finkbridge.backlog import Start, TopicAtBroker
from finkbridge.broker import Broker
from finkbridge.errors import BrokerError, NoLakeError
from finkbridge.ledger import Ledger
from finkbridge.ledger.adopt import open_known
from finkbridge.ledger.seen import LOOK_AGAIN_S, oldest_look
from finkbridge.ledger.store import KnownGeneration
from finkbridge.settings import Settings


@dataclass(frozen=True, slots=True)
class TopicLag:
    """What one topic has that the lake does not."""

    cluster: str
    topic: str
    offsets: int
    """From the lake's end to the broker's; expired ones count, as a drain must record their gap."""


@dataclass(frozen=True, slots=True)
class Lag:
    """What all topics have that the lake does not."""

    topics: tuple[TopicLag, ...]
    pending: int
    """Plans that a dead run left: the next one finishes them first, whatever the topics of these clusters."""
    problems: tuple[str, ...]
    """One line for each cluster that does not answer and each name that is no topic."""
    warnings: tuple[str, ...] = ()
    """One line for each cluster that has pending plans and is no longer set: no run can finish them."""

    looked_at: float | None = None
    """When the topic was looked at that was not for longest, Unix seconds UTC; None where one never was.
    """

    def is_look_due(self, now: float) -> bool:
        """Whether a run should write down that nothing is new: certificates of nights rest on it."""
        return self.looked_at is not None and now - self.looked_at > LOOK_AGAIN_S

    @property
    def offsets(self) -> int:
        """Offsets to drain, over all topics."""
        return sum(topic.offsets for topic in self.topics)


def measure_lag(settings: Settings, names: Sequence[str] = ()) -> Lag:
    """Look at what there is to drain.

    Parameters
    ----------
    settings
        Lake and clusters. The lake need not be there yet.
    names
        Topics and patterns; none: those of the settings.

    Raises
    ------
    SettingsError
        There is no cluster, or no topic is named.
    LakeError
        The ledger cannot be read.
    """
    wanted = settings.wanted(names)
    with ExitStack() as stack:
        brokers = {
            name: stack.enter_context(Broker(name, cluster, timeout_s=settings.broker_timeout_s))
            for name, cluster in settings.clusters.items()
        }
        ledger = stack.enter_context(ledger_if_any(settings))
        seen = backlog.look(brokers, wanted)
        problems = [*seen.problems, *(str(error) for error in seen.nowhere.values())]
        known = ledger.generations() if ledger else {}
        lags = []
        for topic in seen.topics:
            before = known.get((topic.cluster, topic.topic))
            try:
                offsets = _offsets(brokers[topic.cluster], topic, before, ledger, settings.drain.start)
                lags.append(TopicLag(topic.cluster, topic.topic, offsets))
            except BrokerError as error:
                problems.append(str(error))
        looked_at = _looked_at(ledger, [known.get((t.cluster, t.topic)) for t in seen.topics])
        pending = Counter(plan.source.cluster for plan in ledger.pending_plans()) if ledger else Counter()
    doable = sum(count for cluster, count in pending.items() if cluster in wanted)
    warnings = [_stranded(cluster, count) for cluster, count in pending.items() if cluster not in wanted]
    return Lag(tuple(lags), doable, tuple(problems), tuple(warnings), looked_at)


def _looked_at(ledger: Ledger | None, known: Sequence[KnownGeneration | None]) -> float | None:
    rows = [generation.row_id for generation in known if generation is not None]
    if ledger is None or len(rows) < len(known):
        return None
    with ledger.reading() as connection:
        return oldest_look(connection, rows)


def _stranded(cluster: str, plans: int) -> str:
    return (
        f"cluster {cluster} is not in the settings, and what a run left waits (pending plans: {plans}): "
        f"put it back under [clusters.{cluster}]; the other clusters do not wait for it"
    )


@contextmanager
def ledger_if_any(settings: Settings) -> Iterator[Ledger | None]:
    """Open the ledger; None where there is no lake yet, which a drain will make."""
    with ExitStack() as stack:
        try:
            ledger = stack.enter_context(open_known(settings.lake, settings.ledger_url))
        except NoLakeError:
            ledger = None
        yield ledger


def _offsets(
    broker: Broker, seen: TopicAtBroker, known: KnownGeneration | None, ledger: Ledger | None, start: Start
) -> int:
    """Return the offsets that a drain would take of a topic now."""
    if known is None or ledger is None:
        nexts = backlog.starts(broker, seen, list(seen.watermarks), start)
    elif backlog.same_generation(broker, seen, known, ledger):
        nexts = {p: row.next_offset for p, row in ledger.partitions(known.row_id).items()}
    else:
        nexts = {}  # a new life of the topic: all of it
    return sum(max(0, marks.end - nexts.get(p, marks.low)) for p, marks in seen.watermarks.items())
