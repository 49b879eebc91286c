"""Writes messages in transactions that also note how far the work is: no doubles, whoever dies.

The note is the committed offset of a consumer group that is the job's own, written by the same transaction as
the messages: Kafka has both or neither. A second process of the same job fences the first one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Producer as RawProducer

from finkbridge.access import Access
from finkbridge.broker.config import build_client, client_config
from finkbridge.broker.failures import LATE, ErrorWatch, error_of
from finkbridge.broker.produce import POLL_S, PRODUCING
from finkbridge.broker.reader import FORCED
from finkbridge.errors import BrokerError
from finkbridge.values import Message


class Progress(NamedTuple):
    """How far a job is with one partition of its target."""

    next: int
    """The source's first offset that is not done."""
    start: int
    """The target's end when the job began."""
    sent: int
    """Messages done."""


class ResumableProducer:
    """Sends messages in transactions. Not for several threads.

    Parameters
    ----------
    name : str
        The cluster's name, for messages.
    settings : Access
        Servers, credentials and librdkafka keys.
    job : str
        Names the work: its transactional id, and the group that its progress is committed to.
    timeout_s : float
        Seconds that any answer may take.
    """

    def __init__(self, name: str, settings: Access, job: str, *, timeout_s: float = 30) -> None:
        self.name = name
        self._timeout_s = timeout_s
        self._watch = ErrorWatch(name)
        self._failure: Any = None
        forced = {
            "error_cb": self._watch,
            "transactional.id": job,
            "message.timeout.ms": int(timeout_s * 1000),
            "transaction.timeout.ms": int(timeout_s * 2000),
            "allow.auto.create.topics": False,
        }
        self._client = build_client(RawProducer, name, client_config(settings, PRODUCING, forced))
        group = FORCED | {"group.id": job, "error_cb": self._watch}
        self._group = build_client(Consumer, name, client_config(settings, {}, group))
        self._is_open = False

    def __enter__(self) -> Self:
        # fences an earlier process of this job, and waits until what it began is decided
        self._call(self._client.init_transactions, self._timeout_s)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._is_open:
            with suppress(KafkaException):  # the broker aborts it by itself, after its timeout
                self._client.purge()  # which one that was fenced refuses
                self._client.abort_transaction(self._timeout_s)
        self._group.close()

    def progress(self, topic: str, partitions: Iterable[int]) -> dict[int, Progress]:
        """Return how far the job is, by partition of its target; none where nothing is done."""
        asked = [TopicPartition(topic, partition) for partition in partitions]
        found = self._call(self._group.committed, asked, self._timeout_s) if asked else []
        return {p.partition: Progress(**json.loads(p.metadata)) for p in found if p.offset >= 0}

    def begin(self) -> None:
        """Begin a transaction."""
        self._call(self._client.begin_transaction)
        self._is_open = True

    def send(self, topic: str, partition: int, message: Message) -> None:
        """Queue a message, as it is: value, key, headers and, where it has one, its timestamp."""
        parts: dict[str, Any] = {"value": message.value, "key": message.key, "partition": partition}
        if message.timestamp_ms is not None:
            parts["timestamp"] = message.timestamp_ms
        if message.headers:
            parts["headers"] = list(message.headers)
        while True:
            try:
                self._client.produce(topic, on_delivery=self._delivered, **parts)
                break
            except BufferError:
                self._call(self._client.poll, POLL_S)
            except KafkaException as failure:
                raise self._error_of(failure.args[0]) from None
            self._raise_failure()
        self._call(self._client.poll, 0)
        self._raise_failure()

    def commit(self, topic: str, done: Mapping[int, Progress]) -> None:
        """Commit the transaction's messages and how far the job is, both or neither."""
        told = [
            TopicPartition(topic, partition, progress.sent, metadata=json.dumps(progress._asdict()))
            for partition, progress in done.items()
        ]
        while self._call(self._client.flush, POLL_S):
            self._raise_failure()
        self._raise_failure()
        group = self._group.consumer_group_metadata()
        self._call(self._client.send_offsets_to_transaction, told, group, self._timeout_s)
        self._call(self._client.commit_transaction, self._timeout_s)
        self._is_open = False

    def _delivered(self, error: Any, _: Any) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        self._watch.raise_refusal()
        if self._failure is not None:
            raise self._error_of(self._failure)

    def _call(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except KafkaException as failure:
            self._watch.raise_refusal()
            if failure.args[0].code() in LATE and self._watch.all_down:
                raise self._watch.silence("in a transaction", answered=True) from None
            raise self._error_of(failure.args[0]) from None

    def _error_of(self, error: KafkaError) -> BrokerError:
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001 - librdkafka's public name
            return BrokerError(
                f"cluster {self.name}: another process does the same work, or a transaction took too long "
                f"({error.str()}): run again, it goes on from there"
            )
        return error_of(error, self.name)
