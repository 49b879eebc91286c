"""Messages written to a real Kafka come back as they were sent."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from finkbridge.broker import Broker, Producer, create_topic
from finkbridge.broker.admin import ClusterAdmin
from finkbridge.errors import AuthenticationError, BrokerError, BrokerTimeoutError, UnreachableError
from finkbridge.settings import ClusterSettings
from finkbridge.values import Message, OffsetRange
from tests.support.kafka import Kafka
from tests.support.kafka_server import free_ports

pytestmark = pytest.mark.kafka


def test_sent_is_read_back_whole(kafka: Kafka, broker: Broker, settings: ClusterSettings) -> None:
    topic = kafka.topic("sent", partitions=2)
    headers = (("a", b"1"), ("none", None))
    with Producer("ztf", settings) as producer:
        producer.send(topic, b"v", key=b"k", timestamp_ms=1_700_000_000_000, headers=headers, partition=1)
        producer.send(topic, None, timestamp_ms=1_700_000_000_001, partition=1)
        producer.flush()
    (batch,) = broker.fetch(topic, OffsetRange(1, 0, 2))
    assert batch == [
        Message(1, 0, 1_700_000_000_000, 1, b"k", b"v", headers),
        Message(1, 1, 1_700_000_000_001, 1, None, None, ()),
    ]


def test_more_than_the_queue_holds(kafka: Kafka, broker: Broker, settings: ClusterSettings) -> None:
    topic = kafka.topic("many")
    small = settings.model_copy(update={"kafka": {"queue.buffering.max.messages": "50"}})
    with Producer("ztf", small) as producer:
        for number in range(2000):
            producer.send(topic, b"%d" % number)
    messages = [m for batch in broker.fetch(topic, OffsetRange(0, 0, 2000)) for m in batch]
    assert [m.value for m in messages] == [b"%d" % number for number in range(2000)]


def test_undelivered_message_raises(kafka: Kafka, settings: ClusterSettings) -> None:
    topic = kafka.topic("small", config={"max.message.bytes": "1000"})
    producer = Producer("ztf", settings)
    producer.send(topic, bytes(5000))
    with pytest.raises(BrokerError, match="MSG_SIZE_TOO_LARGE"):
        producer.flush()


def test_nobody_there_and_refused(kafka: Kafka) -> None:
    (port,) = free_ports(1)
    producer = Producer("ztf", ClusterSettings(servers=f"127.0.0.1:{port}"), timeout_s=1)
    producer.send("any", b"x")
    with pytest.raises(BrokerError):
        producer.flush()
    wrong = ClusterSettings(servers=kafka.sasl_bootstrap, username=kafka.username, password="hunter2")
    producer = Producer("ztf", wrong, timeout_s=5)
    producer.send("any", b"x")
    with pytest.raises(AuthenticationError) as caught:
        producer.flush()
    assert "hunter2" not in str(caught.value)
    with pytest.raises(UnreachableError):
        create_topic(ClusterSettings(servers=f"127.0.0.1:{port}"), "any")


def test_topic_is_created_once(kafka: Kafka, broker: Broker, settings: ClusterSettings) -> None:
    topic = kafka.topic("unused") + "_made"
    assert create_topic(settings, topic, 3, {"retention.ms": "60000"})
    assert not create_topic(settings, topic, 3)
    assert broker.topics()[topic] == 3
    assert broker.retention_ms([topic]) == {topic: 60_000}
    with pytest.raises(BrokerError):
        create_topic(settings, topic + "x", 1, {"no.such.setting": "1"})


@pytest.mark.parametrize("is_there", [False, True])
def test_created_topic_is_waited_for(
    kafka: Kafka, settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    """The controller makes it, and the brokers learn of it a moment later: also where another made it."""
    topic = kafka.topic("unused")
    topic = topic if is_there else f"{topic}_late"
    whole, looks = ClusterAdmin._overview, itertools.count(1)

    def late(self: ClusterAdmin) -> Any:
        found = whole(self)
        return found if next(looks) > 3 else found._replace(topics={})

    monkeypatch.setattr(ClusterAdmin, "_overview", late)
    assert create_topic(settings, topic, 3) is not is_there
    assert next(looks) == 5
    monkeypatch.setattr(ClusterAdmin, "_overview", lambda self: whole(self)._replace(topics={}))
    with pytest.raises(BrokerTimeoutError, match=rf"topic {topic} was made, and is not there yet: run again"):
        create_topic(settings, topic, 3, timeout_s=1)
