"""Notices that a topic was made again under its name: a member of a group would go on at its old offset.

librdkafka does not, where the new one has as many messages by then: those before would be passed over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from finkbridge.access import Access
from finkbridge.broker.admin import ClusterAdmin
from finkbridge.errors import BrokerError, UnknownTopicError

LOOK_S = 10.0
"""Between two looks."""
SILENT_S = 30.0
"""After one that got no answer: whoever polls waits for it."""
ANSWER_S = 2.0


class Lives:
    """Kafka's ids of some topics. Not for several threads.

    Parameters
    ----------
    cluster
        The cluster's name, for messages.
    settings
        Servers, credentials and librdkafka keys.
    """

    def __init__(self, cluster: str, settings: Access) -> None:
        self._cluster, self._settings = cluster, settings
        self._admin: ClusterAdmin | None = None
        self._ids: dict[str, str] = {}
        self._next_at = 0.0
        self.absent: set[str] = set()
        """Topics that were not there at the last look."""

    def renewed(self, topics: Sequence[str], *, now: bool = False) -> list[str]:
        """Return the topics that are others than at the last look, if it is time for one.

        Parameters
        ----------
        topics
            Those that are read.
        now
            Look before it is time, unless no look was answered so far.
        """
        if time.monotonic() < self._next_at and not (now and self._ids):
            return []
        try:
            found = self._look(topics)
        except BrokerError:  # which polling tells of
            self._next_at = time.monotonic() + SILENT_S
            return []
        self._next_at = time.monotonic() + LOOK_S
        new = [topic for topic, id_ in found.items() if self._ids.get(topic, id_) != id_]
        self._ids |= found
        return new

    def _look(self, topics: Sequence[str]) -> dict[str, str]:
        if self._admin is None:
            self._admin = ClusterAdmin(self._cluster, self._settings, ANSWER_S)
        try:
            ids = self._admin.topic_ids(topics)
        except UnknownTopicError:
            there = self._admin.topics()
            ids = self._admin.topic_ids([topic for topic in topics if topic in there])
        self.absent = set(topics).difference(ids)
        return {topic: id_ for topic, id_ in ids.items() if id_ is not None}
