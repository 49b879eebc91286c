"""Writing down what a run saw of the topics' ends: certificates of nights rest on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from finkbridge.backlog import Look
from finkbridge.broker import Broker
from finkbridge.ledger import Coordinator, seen
from finkbridge.ledger.store import KnownGeneration

Key = tuple[str, str]
"""Cluster and topic."""


def note(
    coordinator: Coordinator,
    look: Look,
    generations: Mapping[Key, KnownGeneration],
    settled: Collection[Key],
    brokers: Mapping[str, Broker],
) -> None:
    """Write down where partitions end, and which topics are gone.

    Parameters
    ----------
    coordinator
        Of the lake.
    look
        At the clusters.
    generations
        Newest life of each topic, as settled by planning after the look.
    settled
        Topics whose life is surely that one: those that were planned without a problem.
    brokers
        By cluster.
    """
    ends = {
        (generations[topic.cluster, topic.topic].row_id, partition): marks.end
        for topic in look.topics
        if (topic.cluster, topic.topic) in settled
        for partition, marks in topic.watermarks.items()
    }
    gone = [
        generations[cluster, topic].row_id
        for cluster, topic in look.missing(generations)
        if brokers[cluster].is_gone(topic)
    ]
    if ends or gone:
        with coordinator.writing() as connection:
            seen.note_looks(connection, ends, look.at)
            seen.note_gone(connection, gone, look.at)
