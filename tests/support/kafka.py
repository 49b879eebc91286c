"""A real Kafka for the tests: fixtures `kafka` (one per session) and `own_kafka` (one per test)."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import IsolationLevel, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from finkbridge.broker.failures import ELECTING
from tests.support.kafka_server import KafkaServer, KafkaUnavailableError

TEST_BROKER = "FINKBRIDGE_TEST_BROKER"
"""Names a broker (host:port) to test on where Java or Maven are absent."""
ANSWER_S = 30
LEADS_AGAIN_S = 60
"""A broker that was frozen may have lost itself as the leader: on a busy machine it takes its time."""
Record = tuple[bytes | None, bytes | None]
"""Key and value."""


class Kafka:
    """What tests do to a broker: topics of their own, messages, transactions, expiry.

    Parameters
    ----------
    bootstrap : str
        Address of the listener without SASL.
    server : KafkaServer or None
        The process behind it, where it is ours.
    """

    def __init__(self, bootstrap: str, server: KafkaServer | None) -> None:
        self.bootstrap = bootstrap
        self._server = server
        common = {"bootstrap.servers": bootstrap, "log_level": 0}
        self._admin = AdminClient(common)
        self._common = common | {"message.max.bytes": 10_485_760, "linger.ms": 5}
        self._producer = Producer(self._common)
        self._topics: dict[str, NewTopic] = {}

    @property
    def server(self) -> KafkaServer:
        """The broker's process; skips the test where it is not ours."""
        if self._server is None:
            pytest.skip(f"the broker of {TEST_BROKER} is not ours to stop, and its password is not known")
        return self._server

    @property
    def sasl_bootstrap(self) -> str:
        """Address of the listener with SASL (SCRAM-SHA-512)."""
        return self.server.sasl_bootstrap

    @property
    def username(self) -> str:
        """The SASL user."""
        return self.server.username

    @property
    def password(self) -> str:
        """The SASL user's password."""
        return self.server.password

    def topic(self, prefix: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Create a topic that no other test has, and return its name."""
        name = f"{prefix}_{uuid.uuid4().hex[:8]}"
        self._topics[name] = NewTopic(name, partitions, config=dict(config or {}))
        self._create(name)
        return name

    def _create(self, name: str) -> None:
        _wait(self._admin.create_topics([self._topics[name]], operation_timeout=ANSWER_S))
        self._await_topic(name, there=True)

    def delete(self, topic: str) -> None:
        """Delete a topic."""
        _wait(self._admin.delete_topics([topic], operation_timeout=ANSWER_S))
        self._await_topic(topic, there=False)

    def _await_topic(self, name: str, *, there: bool) -> None:
        """Wait until the broker itself shows it: the controller answers before, by seconds if it is busy."""
        until = time.monotonic() + ANSWER_S
        while (self._admin.list_topics(name, timeout=ANSWER_S).topics[name].error is None) != there:
            if time.monotonic() > until:
                raise TimeoutError(f"the broker does not notice that {name} was made or deleted")
            time.sleep(0.02)

    def make(self, topic: str) -> None:
        """Create again a topic that was deleted."""
        self._create(topic)

    def recreate(self, topic: str, *, partitions: int | None = None) -> None:
        """Delete a topic and create it again, maybe with other partitions: its offsets start anew."""
        self.delete(topic)
        if partitions is not None:
            self._topics[topic] = NewTopic(topic, partitions, config=dict(self._topics[topic].config))
        self._create(topic)

    def topic_id(self, topic: str) -> str:
        """Return Kafka's id of the topic."""
        told = self._admin.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_S)
        return str(told[topic].result(ANSWER_S).topic_id)

    def expire(self, topic: str, before: Mapping[int, int]) -> None:
        """Delete the messages of each partition below an offset, as retention does."""
        cuts = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
        _wait(self._admin.delete_records(cuts, request_timeout=ANSWER_S))

    def produce(
        self,
        topic: str,
        records: Sequence[Record],
        partition: int | None = None,
        timestamps: Sequence[int] | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> None:
        """Write messages and wait until all are acknowledged; timestamps in Unix ms, headers for each."""
        failures: list[Any] = []
        for number, (key, value) in enumerate(records):
            parts: dict[str, Any] = {} if partition is None else {"partition": partition}
            if timestamps is not None:
                parts["timestamp"] = timestamps[number]
            if headers is not None:
                parts["headers"] = list(headers)
            self._send(topic, key, value, {**parts, "on_delivery": lambda error, _: failures.append(error)})
        assert self._producer.flush(ANSWER_S) == 0, "the broker did not take all messages"
        assert not any(failures), failures

    def begin_anew(self) -> None:
        """Let the producer forget what it knows of topics: it learns of a new partition only by and by."""
        self._producer = Producer(self._common)

    def _send(self, topic: str, key: bytes | None, value: bytes | None, parts: dict[str, Any]) -> None:
        while True:
            try:
                self._producer.produce(topic, key=key, value=value, **parts)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def produce_transaction(
        self, topic: str, records: Sequence[Record], *, commit: bool = True, partition: int = 0
    ) -> None:
        """Write messages in one transaction, which leaves a marker; aborted messages are never read."""
        before = self._end(topic, partition)
        producer = self.open_transaction(topic, records, partition=partition)
        if commit:
            producer.commit_transaction(ANSWER_S)
        else:
            producer.abort_transaction(ANSWER_S)
        self.await_end(topic, before + len(records) + 1, partition=partition)

    def open_transaction(self, topic: str, records: Sequence[Record], *, partition: int = 0) -> Producer:
        """Write messages in a transaction and return its producer, still to be committed or aborted."""
        producer = Producer(self._common | {"transactional.id": uuid.uuid4().hex})
        producer.init_transactions(ANSWER_S)
        producer.begin_transaction()
        for key, value in records:
            producer.produce(topic, key=key, value=value, partition=partition)
        assert producer.flush(ANSWER_S) == 0, "the broker did not take all messages"
        return producer

    def await_end(self, topic: str, end: int, *, partition: int = 0) -> None:
        """Wait until all below `end` can be read: Kafka's markers come after its answer."""
        deadline = time.monotonic() + LEADS_AGAIN_S
        while self._end(topic, partition) < end:
            assert time.monotonic() < deadline, f"{topic} did not reach {end}"
            time.sleep(0.01)

    def _end(self, topic: str, partition: int) -> int:
        asked = {TopicPartition(topic, partition): OffsetSpec.latest()}
        committed = IsolationLevel.READ_COMMITTED
        (told,) = self._admin.list_offsets(
            asked, isolation_level=committed, request_timeout=ANSWER_S
        ).values()
        try:
            return int(told.result(ANSWER_S).offset)
        except KafkaException as failure:
            if failure.args[0].code() in ELECTING:  # a broker that was killed is not yet all there
                self._admin = AdminClient(self._common)  # the old one may hold on to its leader's epoch
                return -1
            raise

    def start(self) -> None:
        """Start the broker again on its folder and ports."""
        self.server.start()

    def stop(self) -> None:
        """End the broker in good order."""
        self.server.stop()

    def kill(self) -> None:
        """End the broker at once."""
        self.server.kill()

    def freeze(self) -> None:
        """Stop the broker's process where it is."""
        self.server.freeze()

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        self.server.thaw()


def _wait(futures: Mapping[Any, Any]) -> None:
    for future in futures.values():
        future.result(ANSWER_S)


def _unavailable(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"no Kafka to test on: {reason}; CI must have one")
    pytest.skip(f"NOT TESTED ON A REAL KAFKA: {reason}; install Java and Maven, or set {TEST_BROKER}")


def _own() -> Iterator[Kafka]:
    try:
        with KafkaServer() as server:
            yield Kafka(server.bootstrap, server)
    except KafkaUnavailableError as reason:
        _unavailable(str(reason))


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """Give the session's broker; every test makes topics of its own on it."""
    if named := os.environ.get(TEST_BROKER):
        yield Kafka(named, None)
    else:
        yield from _own()


@pytest.fixture
def own_kafka() -> Iterator[Kafka]:
    """Give a broker to stop, kill and freeze."""
    yield from _own()
