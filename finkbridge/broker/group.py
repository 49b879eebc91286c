"""Tells Kafka's lag tools how far the lake is: a courtesy, as the ledger is the only authority."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from finkbridge.access import Access
from finkbridge.broker.config import build_client, client_config, private_group
from finkbridge.broker.failures import ErrorWatch, error_of
from finkbridge.broker.reader import FORCED
from finkbridge.errors import BrokerError

LOGGER = logging.getLogger(__name__)

PATIENCE_S = 2.0
"""Longest wait for the broker to take the offsets."""
POLL_S = 0.005
"""A poll that brings the answer still lasts so long: every drain ends with one."""

Ends = Mapping[tuple[str, int], int]
"""One behind the last drained offset, by topic and partition."""


class GroupTeller:
    """Commits to ``<group_id>-finkbridge`` without ever joining it. Not for several threads.

    It is a consumer's commit, and not the admin client's: a request of the latter that meets a lost
    connection aborts the process (librdkafka issue 4605, seen in 2.16).

    Parameters
    ----------
    cluster : str
        The cluster's name, for messages.
    settings : Access
        Servers, credentials and librdkafka keys.
    """

    def __init__(self, cluster: str, settings: Access) -> None:
        self._cluster = cluster
        self._group = private_group(settings)
        self._watch = ErrorWatch(cluster)
        self._in_flight = False
        self._answers: list[tuple[KafkaError | None, dict[tuple[str, int], int]]] = []
        forced = FORCED | {"group.id": self._group, "error_cb": self._watch, "on_commit": self._answered}
        self._consumer = build_client(Consumer, cluster, client_config(settings, {}, forced))

    def close(self) -> None:
        """Give the connections back, at once even where a commit was never answered."""
        if self._in_flight:  # librdkafka would wait for the answer, a minute and longer
            threading.Thread(target=self._consumer.close, daemon=True).start()
        else:
            self._consumer.close()

    def tell(self, ends: Ends) -> bool:
        """Commit the offsets, best effort; a refusal is a warning in the log.

        Returns
        -------
        bool
            Whether the broker took them within 2 s.
        """
        if not ends:
            return True
        try:
            self._commit(ends)
        except BrokerError as refusal:
            LOGGER.warning("offsets not told to group %s (the lake has them): %s", self._group, refusal)
            return False
        return True

    def _commit(self, ends: Ends) -> None:
        self._watch.clear()
        self._answers.clear()
        self._in_flight = True
        offsets = [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as failure:
            raise error_of(failure.args[0], self._cluster) from None
        deadline = time.monotonic() + PATIENCE_S
        while not self._is_taken(ends):
            event = self._consumer.poll(POLL_S)
            if event is not None and event.error() is not None:
                raise error_of(event.error(), self._cluster)
            self._watch.raise_refusal()
            if time.monotonic() > deadline:
                raise self._watch.silence("telling the group its offsets", answered=True)

    def _is_taken(self, ends: Ends) -> bool:
        """Whether this commit, and not an earlier one, is answered; raise if by a refusal."""
        for error, answered in self._answers:
            if answered == dict(ends):
                self._in_flight = False
                if error is not None:
                    raise error_of(error, self._cluster)
                return True
        return False

    def _answered(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Keep the first error of a commit; this is librdkafka's ``on_commit``."""
        errors = [error, *(partition.error for partition in partitions)]
        told = {(partition.topic, partition.partition): partition.offset for partition in partitions}
        self._answers.append((next((e for e in errors if e is not None), None), told))
