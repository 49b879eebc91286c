"""What a member of the user's group is given where librdkafka gives errors among the messages."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from confluent_kafka import KafkaError

from finkbridge.broker.poller import Poller
from finkbridge.errors import BrokerError
from finkbridge.settings import ClusterSettings
from tests.support.kafka import Kafka

pytestmark = pytest.mark.kafka

WAIT_S = 20.0
COUNT = 6


class Refusal:
    """The event of a topic without rights, which comes among the messages of the others."""

    def error(self) -> KafkaError:
        return KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)


class Mixed:
    """A consumer that gives a refusal as its n-th event."""

    def __init__(self, consumer: Any, at: int) -> None:
        self._consumer = consumer
        self._left = at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def poll(self, timeout_s: float) -> Any:
        if self._left == 0:
            self._left = -1
            return Refusal()
        event = self._consumer.poll(timeout_s)
        self._left -= event is not None
        return event

    def consume(self, count: int, _: float) -> list[Any]:
        return [event for event in (self.poll(WAIT_S / 10) for _ in range(count)) if event is not None]


@pytest.mark.parametrize(("at", "count"), [(0, 4), (3, 1), (3, 4), (COUNT - 1, COUNT)])
def test_an_error_among_messages_is_raised_and_takes_none_of_them(kafka: Kafka, at: int, count: int) -> None:
    topic = kafka.topic("fink_poller")
    kafka.produce(topic, [(None, b"%d" % n) for n in range(COUNT)])
    poller = Poller("c", ClusterSettings(servers=kafka.bootstrap, group_id=f"g-{uuid.uuid4().hex[:8]}"))
    poller._consumer = Mixed(poller._consumer, at)
    poller.subscribe([topic])
    values: list[bytes | None] = []
    raised = []
    while len(values) < COUNT:
        try:
            found = [one.message.value for one in poller.poll(count, WAIT_S)]
            assert found, "a message was passed over"
            values += found
        except BrokerError:
            raised.append(len(values))
    poller.close()
    assert values == [b"%d" % n for n in range(COUNT)]
    assert raised == [at]
