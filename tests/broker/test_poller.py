"""What a member of the user's group is given where librdkafka gives errors among the messages."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from confluent_kafka import KafkaError

from finkbridge.broker import lives
from finkbridge.broker.poller import Poller
from finkbridge.errors import BrokerError
from finkbridge.settings import ClusterSettings
from tests.support.kafka import Kafka
from tests.support.lake import KEPT

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


@pytest.fixture
def settings(kafka: Kafka) -> ClusterSettings:
    return ClusterSettings(servers=kafka.bootstrap, group_id=f"g-{uuid.uuid4().hex[:8]}")


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


def read(poller: Poller, count: int) -> list[int]:
    """Poll until so many offsets came; each is handled at once."""
    found: list[int] = []
    while len(found) < count:
        batch = poller.poll(10, WAIT_S)
        assert batch, found
        found += [one.message.offset for one in batch]
        poller.done(batch)
    return found


def test_a_topic_that_is_made_again_is_read_from_its_first_message(
    kafka: Kafka, settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it has more messages by then than the old one had: its offsets mean others."""
    monkeypatch.setattr(lives, "LOOK_S", 0.2)
    topic = kafka.topic("fink_again")
    kafka.produce(topic, [(None, b"old")] * 5)
    poller = Poller("c", settings)
    poller.subscribe([topic])
    assert read(poller, 5) == [0, 1, 2, 3, 4]
    kafka.recreate(topic)
    kafka.produce(topic, [(None, b"new")] * 40)
    seen: set[int] = set()
    while seen != set(range(40)):
        seen |= set(read(poller, 1))
    poller.close()
    assert Poller("c", settings).committed([(topic, 0)]) == {(topic, 0): 40}


def test_a_topic_that_was_made_again_is_noticed_at_the_end(kafka: Kafka, settings: ClusterSettings) -> None:
    """Else the next call would go on at the old offset."""
    topic = kafka.topic("fink_again")
    kafka.produce(topic, [(None, b"old")] * 5)
    poller = Poller("c", settings)
    poller.subscribe([topic])
    read(poller, 5)
    kafka.recreate(topic)
    kafka.produce(topic, [(None, b"new")] * 40)
    read(poller, 1)
    poller.close()
    later = Poller("c", settings)
    later.subscribe([topic])
    assert read(later, 1)[0] == 0
    later.close()


def test_what_expires_while_it_is_read_is_told(
    kafka: Kafka, settings: ClusterSettings, caplog: pytest.LogCaptureFixture
) -> None:
    topic = kafka.topic("fink_slow", config=KEPT)
    kafka.produce(topic, [(None, b"x" * 1000)] * 3000)
    slow = {"queued.min.messages": "1", "fetch.message.max.bytes": "20000"}
    poller = Poller("c", settings.model_copy(update={"kafka": {**settings.kafka, **slow}}))
    poller.subscribe([topic])
    offsets = read(poller, 10)
    kafka.expire(topic, {0: 2500})
    while offsets[-1] < 2999:
        offsets += read(poller, 1)
    poller.close()
    last = max(offset for offset in offsets if offset < 2500)
    assert offsets == [*range(last + 1), *range(2500, 3000)]
    (told,) = [record.message for record in caplog.records if "expired" in record.message]
    assert f"{topic} partition 0: offsets [{last + 1}, 2500) expired before group" in told
