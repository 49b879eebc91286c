"""What a member of the user's group is given where librdkafka gives errors among the messages."""

from __future__ import annotations

import time
import uuid
from typing import Any
from unittest.mock import DEFAULT, Mock

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from finkbridge.broker import lives
from finkbridge.broker.assignment import Received
from finkbridge.broker.poller import Poller
from finkbridge.errors import BrokerError, ForbiddenError
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

    def topic(self) -> str:
        return "fink_secret"

    def partition(self) -> None:
        return None


class Gone(Refusal):
    """What librdkafka mostly gives once for a topic that was deleted."""

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def error(self) -> KafkaError:
        return KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)

    def topic(self) -> str:
        return self._topic


class Mixed:
    """A consumer that gives an error as its n-th event."""

    def __init__(self, consumer: Any, at: int, error: Any = None) -> None:
        self._consumer = consumer
        self._left = at
        self._error = error or Refusal()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def poll(self, timeout_s: float) -> Any:
        if self._left == 0:
            self._left = -1
            return self._error
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


def begun(kafka: Kafka, settings: ClusterSettings) -> tuple[str, Poller]:
    """Return a topic of five messages, and a member that is about to read it."""
    topic = kafka.topic("fink_again")
    kafka.produce(topic, [(None, b"old")] * 5)
    poller = Poller("c", settings)
    poller.subscribe([topic])
    return topic, poller


def test_a_topic_that_is_made_again_is_read_from_its_first_message(
    kafka: Kafka, settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it has more messages by then than the old one had: its offsets mean others."""
    monkeypatch.setattr(lives, "LOOK_S", 0.2)
    topic, poller = begun(kafka, settings)
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
    topic, poller = begun(kafka, settings)
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


def test_a_topic_that_is_made_again_with_fewer_partitions_is_there(
    kafka: Kafka, settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lives, "LOOK_S", 0.2)
    topic = kafka.topic("fink_fewer", 3)
    for partition in range(3):
        kafka.produce(topic, [(None, b"old")] * 5, partition=partition)
    fast = {"topic.metadata.refresh.interval.ms": "1000"}
    poller = Poller("c", settings.model_copy(update={"kafka": fast}))
    poller.subscribe([topic])
    read(poller, 15)
    kafka.recreate(topic, partitions=1)
    kafka.produce(topic, [(None, b"new")] * 20, partition=0)
    seen: set[int] = set()
    while seen != set(range(20)):
        seen |= set(read(poller, 1))
    poller.close()


def test_a_topic_that_is_deleted_is_waited_for(
    kafka: Kafka,
    settings: ClusterSettings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(lives, "LOOK_S", 0.2)
    fast = {"topic.metadata.refresh.interval.ms": "500"}
    topic, poller = begun(kafka, settings.model_copy(update={"kafka": fast}))
    read(poller, 5)
    kafka.delete(topic)
    poller._consumer = Mixed(poller._consumer, 0, Gone(topic))
    deadline = time.monotonic() + 60
    while poller.assignment.count or not poller.absent:
        assert poller.poll(10, 0.2) == []
        assert time.monotonic() < deadline, "nobody noticed"
    kafka.make(topic)
    kafka.produce(topic, [(None, b"new")] * 3)
    assert read(poller, 3) == [0, 1, 2]
    assert not poller.absent
    poller.close()
    told = [record.message for record in caplog.records if "has no topic" in record.message]
    assert told == [f"cluster c has no topic {topic} now: it is read once it is there"]


def test_a_group_of_which_the_broker_does_not_say_where_it_is_is_asked_again(
    kafka: Kafka, settings: ClusterSettings
) -> None:
    """It is not taken for one that is nowhere."""
    topic, first = begun(kafka, settings)
    assert [one.message.offset for one in first.poll(1, WAIT_S)] == [0]
    first.done(first.poll(2, WAIT_S, 1.0))
    first.close()
    poller = Poller("c", settings)
    real = poller._consumer
    failing = Mock(wraps=real)
    late = Mock(topic=topic, partition=0, offset=-1001, error=KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT))
    silent = KafkaException(KafkaError(KafkaError._TIMED_OUT))
    failing.committed.side_effect = [silent, [late], *[DEFAULT] * 9]
    poller.assignment._consumer = failing
    poller.subscribe([topic])
    assert read(poller, 2) == [3, 4]
    assert failing.committed.call_count == 3
    poller.close()


def test_a_group_that_may_not_be_read_is_an_error(kafka: Kafka, settings: ClusterSettings) -> None:
    topic, first = begun(kafka, settings)
    first.close()
    poller = Poller("c", settings)
    failing = poller.assignment._consumer = Mock(wraps=poller._consumer)
    refused = KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))
    failing.committed.side_effect = [refused, *[DEFAULT] * 9]
    poller.subscribe([topic])
    with pytest.raises(ForbiddenError):
        poller.poll(1, WAIT_S)
    assert read(poller, 5) == [0, 1, 2, 3, 4]
    poller.close()


def test_holes_cost_nothing(
    kafka: Kafka, settings: ClusterSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Each transaction leaves one; a question to the broker for each would wait for its long fetch."""
    topic = kafka.topic("fink_holes")
    for n in range(40):
        kafka.produce_transaction(topic, [(None, b"%d" % n)])
    poller = Poller("c", settings)
    poller.subscribe([topic])
    counting = poller.assignment._consumer = Counting(poller._consumer, -1)
    read(poller, 40)
    assert counting.asked == 1  # where it begins
    poller.close()
    assert not [record for record in caplog.records if "expired" in record.message]


def test_what_was_received_of_a_topic_before_it_was_made_again_moves_nobody(
    kafka: Kafka, settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lives, "LOOK_S", 0.2)
    topic, poller = begun(kafka, settings)
    old = poller.poll(10, WAIT_S, 1.0)
    assert len(old) == 5
    kafka.recreate(topic)
    while poller.assignment.is_current(old[0]):
        poller.poll(10, 0.2)
    poller.done(old)
    kafka.produce(topic, [(None, b"new")] * 9)
    poller.close()
    later = Poller("c", settings)
    later.subscribe([topic])
    assert read(later, 1)[0] == 0
    later.close()


def test_a_rebalance_leaves_what_was_not_handled_to_who_has_the_partition(
    kafka: Kafka, settings: ClusterSettings
) -> None:
    topic = kafka.topic("fink_shared", 2)
    for partition in (0, 1):
        kafka.produce(topic, [(None, b"x")] * 3, partition=partition)
    first, second = Poller("c", settings), Poller("c", settings)
    first.subscribe([topic])
    held: list[Received] = []
    while len(held) < 6:
        held += first.poll(6 - len(held), WAIT_S, 0.5)
    second.subscribe([topic])
    mine: list[Received] = []
    other: list[Received] = []
    deadline = time.monotonic() + 60
    while len(mine) < 3 or len(other) < 3:
        mine += first.poll(10, 0.2)
        other += second.poll(10, 0.2)
        assert time.monotonic() < deadline
    assert not any(first.assignment.is_current(one) for one in held)
    assert {one.place for one in mine}.isdisjoint(one.place for one in other)
    first.close()
    second.close()


class Counting(Mixed):
    """A consumer that counts the questions for where a partition begins and ends."""

    asked = 0

    def get_watermark_offsets(self, *place: Any, **how: Any) -> Any:
        self.asked += 1
        return self._consumer.get_watermark_offsets(*place, **how)


class Rebalanced(Mixed):
    """A consumer whose group takes a partition and gives it back while a batch is collected."""

    def __init__(self, poller: Poller, place: tuple[str, int]) -> None:
        super().__init__(poller._consumer, -1)
        self._poller, self._place = poller, place

    def poll(self, timeout_s: float) -> Any:
        return self._consumer.poll(timeout_s)

    def consume(self, count: int, linger_s: float) -> list[Any]:
        found: list[Any] = self._consumer.consume(count, linger_s)
        if self._place in {(event.topic(), event.partition()) for event in found}:
            assignment = self._poller.assignment
            begins = assignment._begins[self._place]
            assignment.revoked(None, [TopicPartition(*self._place)])
            assignment._begins[self._place] = begins
            self._poller._consumer = self._consumer
        return found


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_rebalance_while_a_batch_is_collected_passes_over_nothing(
    kafka: Kafka, settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch, *, is_refused: bool
) -> None:
    topic = kafka.topic("fink_batch", 2)
    for partition in (0, 1):
        kafka.produce(topic, [(None, b"x")] * 30, partition=partition)
    poller = Poller("c", settings)
    poller.subscribe([topic])
    while not poller.assignment.is_joined:
        assert poller.poll(0, 0.1) == []
    stub = poller._consumer = Rebalanced(poller, (topic, 1))
    found: list[Received] = []
    if is_refused:
        with monkeypatch.context() as patch:
            patch.setattr(poller.assignment, "_move", Mock(side_effect=BrokerError("busy")))
            with pytest.raises(BrokerError, match="busy"):
                found += list(iter(lambda: poller.poll(100, 5.0, 1.0, into=found), []))
    while batch := poller.poll(100, 5.0, 1.0):
        found += [one for one in batch if poller.assignment.is_current(one)]
    assert poller._consumer is not stub
    places = [
        (one.message.partition, one.message.offset) for one in found if poller.assignment.is_current(one)
    ]
    assert sorted(places) == [(p, n) for p in (0, 1) for n in range(30)]
    poller.close()


def test_a_partition_that_moves_leaves_the_others_where_they_are(
    kafka: Kafka, settings: ClusterSettings
) -> None:
    """Also twice in a row: librdkafka knows no position then."""
    topic = kafka.topic("fink_moves", 3)
    for partition in range(3):
        kafka.produce(topic, [(None, b"x")] * 5, partition=partition)
    poller = Poller("c", settings)
    poller.subscribe([topic])
    read(poller, 15)
    poller.assignment._move({(topic, 0): 3})
    poller.assignment._move({(topic, 1): 4})
    found: list[Received] = []
    while batch := poller.poll(10, 2.0):
        found += batch
    assert sorted((one.message.partition, one.message.offset) for one in found) == [(0, 3), (0, 4), (1, 4)]
    poller.close()


def test_a_group_begins_at_the_end_where_it_is_told_so(kafka: Kafka, settings: ClusterSettings) -> None:
    topic = kafka.topic("fink_end")
    kafka.produce(topic, [(None, b"old")] * 5)
    poller = Poller("c", settings.model_copy(update={"kafka": {"auto.offset.reset": "latest"}}))
    poller.subscribe([topic])
    while not poller.assignment.is_joined:
        assert poller.poll(10, 0.5) == []
    kafka.produce(topic, [(None, b"new")] * 2)
    assert read(poller, 2) == [5, 6]
    poller.close()


@pytest.mark.parametrize("count", [1, 2, 10])
def test_what_expired_in_several_partitions_is_told_once_of_each(
    kafka: Kafka, settings: ClusterSettings, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """To move one moves all, and librdkafka asks for what the others were about to get once more."""
    topic = kafka.topic("fink_wide", 4, KEPT)
    for partition in range(4):
        kafka.produce(topic, [(None, b"x")] * 20, partition=partition)
    first = Poller("c", settings)
    first.subscribe([topic])
    read(first, 80)
    first.close()
    for partition in range(4):
        kafka.produce(topic, [(None, b"x")] * 20, partition=partition)
    kafka.expire(topic, dict.fromkeys(range(4), 30))
    poller = Poller("c", settings)
    poller.subscribe([topic])
    places = []
    while batch := poller.poll(count, 3.0, 0.1):
        places += [(one.message.partition, one.message.offset) for one in batch]
        poller.done(batch)
    poller.close()
    assert sorted(places) == [(p, n) for p in range(4) for n in range(30, 40)]
    told = [record.message for record in caplog.records if "[20, 30) expired" in record.message]
    assert len(told) == len(set(told)) == 4
