"""Writing down what a run saw of the topics' ends: certificates of nights rest on it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from itertools import groupby

from finkbridge.backlog import Look, Search
from finkbridge.broker import Broker
from finkbridge.broker.names import is_pattern
from finkbridge.errors import BrokerError
from finkbridge.ledger import Coordinator, seen
from finkbridge.ledger.store import KnownGeneration
from finkbridge.report import TopicReport

log = logging.getLogger(__name__)

SURELY_GONE_S = 600.0
"""How long a topic must be gone before what was not drained of it counts as lost."""

Key = tuple[str, str]
"""Cluster and topic."""


def note(
    coordinator: Coordinator,
    look: Look,
    search: Search,
    generations: Mapping[Key, KnownGeneration],
    settled: Mapping[Key, TopicReport],
    brokers: Mapping[str, Broker],
) -> None:
    """Write down where partitions end, which topics are gone, and what was searched for.

    Parameters
    ----------
    coordinator
        Of the lake.
    look
        At the clusters.
    search
        By which its topics were found.
    generations
        Newest life of each topic, as settled by planning after the look.
    settled
        Topics whose life is surely that one: those that were planned without a problem. Told what an open
        transaction holds back of them: it is at the broker and cannot be drained yet.
    brokers
        By cluster.
    """
    held = _held_back(look, brokers)
    ends = {}
    for topic in (t for t in look.topics if (t.cluster, t.topic) in settled):
        key = topic.cluster, topic.topic
        for partition, marks in topic.watermarks.items():
            if (more := held.get((*key, partition))) is not None:
                ends[generations[key].row_id, partition] = marks.end + more
                settled[key].held += more
    with coordinator.ledger.reading() as connection:
        were_gone = seen.gone(connection)
    gone = [generations[key].row_id for key in _gone(look, generations, brokers, were_gone)]
    over = {*were_gone, *gone} - {row_id for row_id, _ in ends}
    searched = _searched(look, search, {key: g.row_id in over for key, g in generations.items()})
    if ends or gone or searched:
        with coordinator.writing() as connection:
            seen.note_looks(connection, ends, look.at)
            seen.note_gone(connection, gone, look.at)
            seen.note_searched(connection, searched)


def _searched(look: Look, search: Search, is_gone: Mapping[Key, bool]) -> dict[Key, float]:
    """Return when each cluster was searched for each pattern, and for each topic by its name that is gone.

    Not where it showed a topic of which the ledger knows nothing, or nothing but lives that are over: of one
    that it knows, its partitions tell how far it is drained.

    Parameters
    ----------
    look
        At the clusters.
    search
        By which its topics were found.
    is_gone
        Whether the newest life of each topic that the ledger knows is over, after the look.
    """
    shown = {*search.untold, *((t.cluster, t.topic) for t in look.topics)}
    unknown = [key for key in shown if is_gone.get(key, True)]
    return {
        (cluster, name): search.at
        for cluster, names in search.names.items()
        if cluster not in look.silent
        for name in names
        if (is_pattern(name) or is_gone.get((cluster, name), False))
        and not any(c == cluster and fnmatchcase(topic, name) for c, topic in unknown)
    }


def lost(
    coordinator: Coordinator,
    look: Look,
    generations: Mapping[Key, KnownGeneration],
    brokers: Mapping[str, Broker],
) -> list[Key]:
    """Return the topics that are surely gone, and of which more was seen than is in the lake.

    A gap cannot be taken back, and a broker that starts may know of no topic yet: it must have said so twice,
    some time apart.
    """
    missing = look.missing(generations)
    if not missing:
        return []
    with coordinator.ledger.reading() as connection:
        left = seen.left_of_gone(connection, look.at - SURELY_GONE_S)
    return [
        (cluster, topic)
        for cluster, topic in missing
        if generations[cluster, topic].row_id in left and brokers[cluster].is_gone(topic)
    ]


def _gone(
    look: Look,
    generations: Mapping[Key, KnownGeneration],
    brokers: Mapping[str, Broker],
    known: Collection[int],
) -> list[Key]:
    """Return the topics that were looked for, and of which the broker says now that there is none.

    Not those of which the ledger knows it.
    """
    unknown = [key for key in look.missing(generations) if generations[key].row_id not in known]
    return [(cluster, topic) for cluster, topic in unknown if brokers[cluster].is_gone(topic)]


def _held_back(look: Look, brokers: Mapping[str, Broker]) -> dict[tuple[str, str, int], int]:
    """Return what open transactions hold back of each cluster's, topic's and partition's offsets."""
    found: dict[tuple[str, str, int], int] = {}
    for cluster, topics in groupby(look.topics, lambda topic: topic.cluster):
        ends = {(topic.topic, p): marks.end for topic in topics for p, marks in topic.watermarks.items()}
        try:
            held = brokers[cluster].held_back(ends)
        except BrokerError as error:  # then nothing is known of these ends, and nothing written down
            log.debug("what transactions hold back is not known: %s", error)
            continue
        found |= {(cluster, *where): held.get(where, 0) for where in ends}
    return found
