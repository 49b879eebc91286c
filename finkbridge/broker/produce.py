"""Writes messages: for the simulator, and to put archived messages back on a topic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Message as RawMessage
from confluent_kafka import Producer as RawProducer

from finkbridge.access import Access
from finkbridge.broker.admin import ClusterAdmin
from finkbridge.broker.config import Config, build_client, client_config
from finkbridge.broker.failures import ErrorWatch, error_of
from finkbridge.values import Headers

PRODUCING: Config = {
    "enable.idempotence": True,
    "linger.ms": 20,
    "batch.size": 1_000_000,
    "message.max.bytes": 20_000_000,
    "queue.buffering.max.kbytes": 65_536,
    "allow.auto.create.topics": True,
}
"""In order and without doubles on a retry; 64 MB in flight at most; large alerts are welcome."""
POLL_S = 0.1


class Producer:
    """Sends messages to one cluster; every one is acknowledged, or the next call raises.

    Not for several threads.

    Parameters
    ----------
    name : str
        The cluster's name, for messages.
    settings : Access
        Servers, credentials and librdkafka keys.
    timeout_s : float
        Seconds that a message may wait for its acknowledgement.
    """

    def __init__(self, name: str, settings: Access, *, timeout_s: float = 30) -> None:
        self.name = name
        self._timeout_s = timeout_s
        self._failure: KafkaError | None = None
        self._watch = ErrorWatch(name)
        forced = {"error_cb": self._watch, "message.timeout.ms": int(timeout_s * 1000)}
        self._client = build_client(RawProducer, name, client_config(settings, PRODUCING, forced))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.flush()
        else:
            self._client.purge()

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        timestamp_ms: int | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Queue one message; wait while the queue is full.

        Parameters
        ----------
        topic, value, key, headers
            As they shall arrive.
        timestamp_ms : int or None
            Unix milliseconds UTC; None: now.
        partition : int or None
            None: by the key, as Kafka's clients do.

        Raises
        ------
        BrokerError
            A message sent before was not delivered.
        """
        parts: dict[str, Any] = {"value": value, "key": key, "on_delivery": self._delivered}
        if timestamp_ms is not None:
            parts["timestamp"] = timestamp_ms
        if headers:
            parts["headers"] = list(headers)
        if partition is not None:
            parts["partition"] = partition
        while not self._queue(topic, parts):
            self._client.poll(POLL_S)
            self._raise_failure()
        self._client.poll(0)
        self._raise_failure()

    def _queue(self, topic: str, parts: dict[str, Any]) -> bool:
        """Whether there was room for the message."""
        try:
            self._client.produce(topic, **parts)
        except BufferError:
            return False
        except KafkaException as failure:
            raise error_of(failure.args[0], self.name) from None
        return True

    def flush(self) -> None:
        """Wait until every message is acknowledged.

        Raises
        ------
        BrokerError
            One was not delivered.
        """
        while self._client.flush(POLL_S):
            self._raise_failure()
        self._raise_failure()

    def _delivered(self, error: KafkaError | None, _: RawMessage) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        self._watch.raise_refusal()
        if self._failure is not None:
            raise error_of(self._failure, self.name)


def create_topic(
    settings: Access,
    topic: str,
    partitions: int = 1,
    config: Mapping[str, str] | None = None,
    *,
    timeout_s: float = 10,
) -> bool:
    """Create a topic.

    Returns
    -------
    bool
        False if it was there before, or if the broker makes topics as they are written to (the
        embedded one).

    Raises
    ------
    BrokerError
        The cluster refuses, or does not answer.
    """
    admin = ClusterAdmin(settings.servers, settings, timeout_s)
    return admin.create(topic, partitions, config or {})
