"""Ranges read from a real Kafka: holes, expiry, recreation, silence."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError

from finkbridge.broker import Broker
from finkbridge.broker.reader import UNREADABLE
from finkbridge.errors import (
    BrokerTimeoutError,
    GenerationError,
    RangeExpiredError,
    UnknownTopicError,
    UnreachableError,
)
from finkbridge.settings import ClusterSettings
from finkbridge.values import Message, OffsetRange
from tests.support import raw
from tests.support.kafka import Kafka
from tests.support.kafka_server import free_ports

pytestmark = pytest.mark.kafka


def records(*values: str) -> list[tuple[None, bytes]]:
    return [(None, value.encode()) for value in values]


def read(broker: Broker, topic: str, start: int, end: int, partition: int = 0) -> list[Message]:
    return [m for batch in broker.fetch(topic, OffsetRange(partition, start, end)) for m in batch]


def values(messages: list[Message]) -> list[tuple[int, bytes | None]]:
    return [(m.offset, m.value) for m in messages]


def test_message_comes_whole(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("whole", partitions=2)
    headers = [("a", b"1"), ("none", None)]
    kafka.produce(topic, [(b"key", b"value")], partition=1, timestamps=[1_700_000_000_123], headers=headers)
    kafka.produce(topic, [(None, None)], partition=1, timestamps=[1_700_000_000_124])
    assert read(broker, topic, 0, 2, partition=1) == [
        Message(1, 0, 1_700_000_000_123, 1, b"key", b"value", (("a", b"1"), ("none", None))),
        Message(1, 1, 1_700_000_000_124, 1, None, None, ()),
    ]


def test_message_whose_headers_cannot_be_read_comes_without_them(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("headers")
    raw.produce(kafka.bootstrap, topic, [(b"ok", b"1"), (b"bad\xff\xfename", b"2"), (b"", b"3")])
    found = [(m.value, m.headers) for m in read(broker, topic, 0, 3)]
    assert found == [(b"1", (("ok", b"h"),)), (b"2", UNREADABLE), (b"3", (("", b"h"),))]


def test_header_that_cannot_be_read_is_found_by_a_hot_loop_too(kafka: Kafka, broker: Broker) -> None:
    topic, good = kafka.topic("hot_headers"), [(b"ok", b"1")] * 300
    raw.produce(kafka.bootstrap, topic, [*good, (b"bad\xff\xfename", b"2"), *good])
    headers = [m.headers for m in read(broker, topic, 0, 601)]
    assert headers == [(("ok", b"h"),)] * 300 + [UNREADABLE] + [(("ok", b"h"),)] * 300


def test_message_without_a_time_has_none(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("timeless")
    kafka.produce(topic, records("a"), timestamps=[-1])
    (message,) = read(broker, topic, 0, 1)
    assert (message.timestamp_ms, message.timestamp_type) == (None, 1)
    assert broker.first_timestamps_ms({(topic, 0): 0}) == {(topic, 0): None}


def test_broker_timestamp_is_told_apart(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("stamped", config={"message.timestamp.type": "LogAppendTime"})
    kafka.produce(topic, records("a"), timestamps=[1000])
    (message,) = read(broker, topic, 0, 1)
    assert message.timestamp_type == 2
    assert message.timestamp_ms is not None
    assert abs(message.timestamp_ms / 1000 - time.time()) < 60


def test_nothing_at_or_behind_the_end_is_read(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("inside")
    kafka.produce(topic, [(None, b"%d" % i) for i in range(1000)])
    batches = list(broker.fetch(topic, OffsetRange(0, 250, 777)))
    assert [m.offset for batch in batches for m in batch] == list(range(250, 777))
    assert all(0 < len(batch) <= 100 for batch in batches)
    assert read(broker, topic, 5, 5) == []
    assert values(read(broker, topic, 999, 1000)) == [(999, b"999")]


def test_equal_keys_in_a_row_are_one_object(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("keys")
    keys = [b"a" * 30_000] * 150 + [b"b" * 30_000] * 3 + [None] + [b"a" * 30_000] * 2
    kafka.produce(topic, [(key, b"x") for key in keys])
    messages = read(broker, topic, 0, len(keys))
    assert [m.key for m in messages] == keys
    assert len({id(m.key) for m in messages[:150]}) == 1
    assert len({id(m.key) for m in messages[150:153]}) == 1
    assert messages[-1].key is messages[-2].key


def test_committed_transactions_leave_holes(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("committed")
    kafka.produce_transaction(topic, records("0", "1"))  # the marker takes offset 2
    kafka.produce_transaction(topic, records("3"))  # and 4, the last of the log
    started = time.monotonic()
    assert values(read(broker, topic, 0, 5)) == [(0, b"0"), (1, b"1"), (3, b"3")]
    assert values(read(broker, topic, 2, 3)) == []
    assert values(read(broker, topic, 2, 4)) == [(3, b"3")]
    assert time.monotonic() - started < 5
    assert broker.confirm_holes(topic, [OffsetRange(0, 2, 3), OffsetRange(0, 4, 5)])
    assert not broker.confirm_holes(topic, [OffsetRange(0, 2, 4)])


def test_aborted_transactions_are_holes(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("aborted")
    kafka.produce(topic, records("0"))
    kafka.produce_transaction(topic, [(None, b"x")] * 500, commit=False)
    assert broker.watermarks([topic]) == {(topic, 0): (0, 502, 0)}
    assert values(read(broker, topic, 0, 502)) == [(0, b"0")]
    kafka.produce(topic, records("502"))
    assert values(read(broker, topic, 0, 503)) == [(0, b"0"), (502, b"502")]
    assert values(read(broker, topic, 100, 200)) == []
    assert broker.confirm_holes(topic, [OffsetRange(0, 1, 502)])
    assert broker.confirm_holes(topic, [])
    assert not broker.confirm_holes(topic, [OffsetRange(0, 1, 502), OffsetRange(0, 502, 503)])
    assert not broker.confirm_holes(topic, [OffsetRange(0, 0, 502)])


def test_thousands_of_holes_are_confirmed_in_few_looks(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("markers")
    producer = kafka.open_transaction(topic, records("x"))
    for _ in range(200):
        producer.commit_transaction(30)
        producer.begin_transaction()
        producer.produce(topic, b"x")
    producer.commit_transaction(30)
    end = 402
    kafka.await_end(topic, end)
    messages = read(broker, topic, 0, end)
    holes = OffsetRange(0, 0, end).missing([m.offset for m in messages])
    assert len(messages) == len(holes) == 201
    started = time.monotonic()
    assert broker.confirm_holes(topic, holes)
    assert time.monotonic() - started < 3
    assert not broker.confirm_holes(topic, [*holes[:-1], OffsetRange(0, 400, 401)])


def test_open_transaction_is_not_waited_for(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("open")
    kafka.produce(topic, records("0"))
    producer = kafka.open_transaction(topic, records("1", "2"))
    try:
        kafka.produce(topic, records("3"))
        assert broker.watermarks([topic]) == {(topic, 0): (0, 1, 0)}
        assert values(read(broker, topic, 0, 1)) == [(0, b"0")]
    finally:
        producer.commit_transaction(30)
    kafka.await_end(topic, 5)
    assert broker.watermarks([topic]) == {(topic, 0): (0, 5, 0)}
    assert [m.offset for m in read(broker, topic, 0, 5)] == [0, 1, 2, 3]


def test_expired_start_tells_where_the_rest_begins(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("expired")
    kafka.produce(topic, records(*"0123456789"))
    kafka.expire(topic, {0: 4})
    assert broker.watermarks([topic]) == {(topic, 0): (4, 10, 0)}
    with pytest.raises(RangeExpiredError, match="begins at 4") as caught:
        read(broker, topic, 1, 10)
    assert caught.value.low == 4
    assert [m.offset for m in read(broker, topic, caught.value.low, 10)] == [4, 5, 6, 7, 8, 9]
    kafka.expire(topic, {0: 10})
    with pytest.raises(RangeExpiredError) as caught:
        read(broker, topic, 4, 10)
    assert caught.value.low == 10


def test_recreated_topic_has_another_id_and_a_shorter_log(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("recreated")
    kafka.produce(topic, records(*"0123456789"))
    before = broker.topic_ids([topic])
    assert before == {topic: kafka.topic_id(topic)}
    assert [m.offset for m in read(broker, topic, 0, 5)] == [0, 1, 2, 3, 4]
    kafka.recreate(topic)
    kafka.produce(topic, records("a", "b"))
    assert broker.topic_ids([topic]) == {topic: kafka.topic_id(topic)} != before
    for start in (0, 5):
        with pytest.raises(GenerationError, match=f"{topic} partition 0 ends at 2, before the planned 10"):
            read(broker, topic, start, 10)
    assert broker.message_at(topic, 0, 9) is None
    assert values(read(broker, topic, 0, 2)) == [(0, b"a"), (1, b"b")]


def test_deleted_topic_is_unknown(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("deleted")
    kafka.produce(topic, records("0"))
    read(broker, topic, 0, 1)
    kafka.delete(topic)
    with pytest.raises(UnknownTopicError):
        read(broker, topic, 0, 1)


def test_topic_that_never_was_is_unknown(broker: Broker) -> None:
    with pytest.raises(UnknownTopicError):
        read(broker, "never", 0, 1)


def test_gone_is_what_the_broker_says_is_no_topic(
    kafka: Kafka, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("gone")
    assert not broker.is_gone(topic)
    assert broker.is_gone("never")
    kafka.delete(topic)
    assert broker.is_gone(topic)
    forbidden = SimpleNamespace(error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    told = SimpleNamespace(topics={topic: forbidden})
    asked = SimpleNamespace(list_topics=lambda *_, **__: told, close=lambda: None)
    monkeypatch.setattr(broker._peek, "_consumer", asked)
    assert not broker.is_gone(topic)
    (port,) = free_ports(1)
    with Broker("lsst", ClusterSettings(servers=f"127.0.0.1:{port}"), timeout_s=0.5) as silent:
        assert not silent.is_gone(topic)


def test_message_larger_than_a_fetch_comes(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("big", config={"max.message.bytes": "10485760"})
    big = bytes(range(256)) * 36_000
    kafka.produce(topic, [(None, b"0"), (None, big), (None, b"2")])
    assert [m.value for m in read(broker, topic, 0, 3)] == [b"0", big, b"2"]
    assert broker.message_at(topic, 0, 1) == read(broker, topic, 1, 2)[0]


def test_single_messages_are_looked_up(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("single", partitions=2)
    assert broker.first_key(topic) is None
    kafka.produce_transaction(topic, [(b"k%d" % i, b"v%d" % i) for i in range(4)], partition=1)
    kafka.produce(topic, [(None, b"last")], partition=1, timestamps=[1_700_000_000_000])
    found = broker.message_at(topic, 1, 2)
    assert found is not None
    assert (found.key, found.value) == (b"k2", b"v2")
    assert broker.message_at(topic, 1, 4) is None
    assert broker.message_at(topic, 1, 99) is None
    assert broker.first_key(topic) == b"k0"
    kafka.expire(topic, {1: 2})
    assert broker.message_at(topic, 1, 0) is None
    assert broker.first_key(topic) == b"k2"


def test_first_timestamps_of_many_partitions_in_one_go(kafka: Kafka, broker: Broker) -> None:
    topic, other = kafka.topic("firsts", partitions=3), kafka.topic("firsts")
    assert broker.first_timestamps_ms({}) == {}
    kafka.produce_transaction(topic, [(b"k", b"hole")] * 4, commit=False, partition=1)
    kafka.produce(topic, [(None, b"x")] * 2, partition=1, timestamps=[1_000, 2_000])
    kafka.produce(topic, [(None, bytes(50_000))] * 3, partition=2, timestamps=[3_000, 4_000, 5_000])
    kafka.produce(other, [(None, b"x")] * 3, timestamps=[6_000] * 3)
    kafka.expire(other, {0: 2})
    asked = {(topic, 0): 0, (topic, 1): 0, (topic, 2): 1, (other, 0): 2}
    found = {(topic, 0): None, (topic, 1): 1_000, (topic, 2): 4_000, (other, 0): 6_000}
    assert broker.first_timestamps_ms(asked) == found
    assert broker.first_timestamps_ms({(topic, 2): 3, (other, 0): 0}) == {(topic, 2): None, (other, 0): None}
    assert broker.message_at(topic, 2, 1) is not None, "the reader reads on"


@pytest.mark.slow
def test_two_hundred_partitions_are_looked_at_in_seconds(kafka: Kafka, broker: Broker) -> None:
    topics = [kafka.topic("many", partitions=20) for _ in range(10)]
    for topic in topics:
        for partition in range(20):
            kafka.produce(topic, [(None, bytes(50_000))] * 3, partition=partition, timestamps=[1, 2, 3])
    asked = {(topic, partition): 1 for topic in topics for partition in range(20)}
    began = time.monotonic()
    assert broker.first_timestamps_ms(asked) == dict.fromkeys(asked, 2)
    assert time.monotonic() - began < 5


def test_one_range_at_a_time(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("turns")
    kafka.produce(topic, [(None, b"x")] * 300)
    first = broker.fetch(topic, OffsetRange(0, 0, 300))
    next(first)
    assert len(read(broker, topic, 0, 300)) == 300
    with pytest.raises(RuntimeError, match="one range at a time"):
        next(first)
    assert len(read(broker, topic, 100, 300)) == 200


def test_left_early_and_read_again(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("early")
    kafka.produce(topic, [(None, b"%d" % i) for i in range(300)])
    for batch in broker.fetch(topic, OffsetRange(0, 0, 300)):
        assert batch[0].offset == 0
        break
    assert [m.offset for m in read(broker, topic, 0, 300)] == list(range(300))


def test_unreachable_port_is_told_at_once(kafka: Kafka) -> None:
    (port,) = free_ports(1)
    nobody = ClusterSettings(servers=f"127.0.0.1:{port}")
    with Broker("lsst", nobody) as broker:
        started = time.monotonic()
        with pytest.raises(UnreachableError, match=r"cluster lsst: no broker answers .*refused"):
            broker.topics()
        assert time.monotonic() - started < 4
    with Broker("lsst", nobody, timeout_s=1) as broker, pytest.raises(UnreachableError):
        read(broker, "any", 0, 1)


@pytest.mark.slow
def test_frozen_broker_times_out_and_thawed_goes_on(own_kafka: Kafka) -> None:
    topic = own_kafka.topic("frozen")
    own_kafka.produce(topic, [(None, bytes(100_000))] * 1000)
    with Broker("ztf", ClusterSettings(servers=own_kafka.bootstrap), timeout_s=2) as broker:
        assert broker.topics() == {topic: 1}
        batches = broker.fetch(topic, OffsetRange(0, 0, 1000))
        count = len(next(batches))
        own_kafka.freeze()
        started = time.monotonic()
        with pytest.raises(BrokerTimeoutError, match=f"cluster ztf: no answer while reading {topic}"):
            count += sum(len(batch) for batch in batches)
        assert count < 1000
        assert time.monotonic() - started < 6
        # unreachable once librdkafka has given the connection up, which it may at any time
        silent, said = (BrokerTimeoutError, UnreachableError), "cluster ztf: no (answer while|broker answers)"
        with pytest.raises(silent, match=said):
            broker.topics()
        for ask in (broker.topic_ids, broker.watermarks, broker.retention_ms):
            with pytest.raises(silent, match=said):
                ask([topic])
        started = time.monotonic()
        assert not broker.tell_group({(topic, 0): 1})
        with Broker("ztf", ClusterSettings(servers=own_kafka.bootstrap)) as other:
            assert not other.tell_group({(topic, 0): 1})
        assert time.monotonic() - started < 6
        own_kafka.thaw()
        assert len(read(broker, topic, 0, 1000)) == 1000
        own_kafka.kill()
        with pytest.raises((BrokerTimeoutError, UnreachableError)):
            read(broker, topic, 0, 1000)
        own_kafka.start()
        assert broker.tell_group({(topic, 0): 2})
        assert len(read(broker, topic, 0, 1000)) == 1000
