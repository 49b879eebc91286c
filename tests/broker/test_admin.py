"""What a real cluster says about its topics."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from finkbridge.broker import Broker
from finkbridge.broker.admin import ClusterAdmin
from finkbridge.errors import AuthenticationError, BrokerError, SettingsError, UnknownTopicError
from finkbridge.settings import ClusterSettings
from tests.support.kafka import Kafka

pytestmark = pytest.mark.kafka


def committed(kafka: Kafka, group: str, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
    try:
        (found,) = consumer.committed([TopicPartition(topic, 0)], timeout=10)
        return int(found.offset)
    finally:
        consumer.close()


def test_topics_with_their_partitions_without_kafkas_own(kafka: Kafka, broker: Broker) -> None:
    one, three = kafka.topic("one"), kafka.topic("three", partitions=3)
    broker.tell_group({(one, 0): 0})  # makes Kafka create __consumer_offsets
    topics = broker.topics()
    assert (topics[one], topics[three]) == (1, 3)
    assert not [topic for topic in topics if topic.startswith("__")]


def test_match_names_and_patterns(kafka: Kafka, broker: Broker) -> None:
    b, a = kafka.topic("match_b_ztf"), kafka.topic("match_a_ztf")
    assert broker.match(["match_?_ztf*", a, "nothing_*"]) == sorted([a, b])
    assert broker.match(["MATCH_*"]) == []
    assert broker.match([]) == []
    with pytest.raises(UnknownTopicError, match=f"has no topic {a}x: did you mean {a}"):
        broker.match(["match_*", a + "x"])


def test_names_are_found_in_one_list(kafka: Kafka, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [kafka.topic("found") for _ in range(3)]
    lists = []
    topics = Broker.topics
    monkeypatch.setattr(Broker, "topics", lambda self: lists.append(1) or topics(self))
    found, absent = broker.find([*there, "not_1", "not_2", "nothing_*"])
    assert (found, list(absent), len(lists)) == (sorted(there), ["not_1", "not_2"], 1)
    assert str(absent["not_1"]).startswith("cluster ztf has no topic not_1: ")


def test_unknown_topic_everywhere(broker: Broker) -> None:
    for ask in (broker.topic_ids, broker.watermarks, broker.retention_ms):
        with pytest.raises(UnknownTopicError, match="has no topic qqq: check its name"):
            ask(["qqq"])
    assert broker.topic_ids([]) == broker.watermarks([]) == broker.retention_ms([]) == {}


def test_watermarks_of_many_partitions(kafka: Kafka, broker: Broker) -> None:
    topic, other = kafka.topic("marks", partitions=3), kafka.topic("marks")
    kafka.produce(topic, [(None, b"x")] * 5, partition=1)
    kafka.expire(topic, {1: 2})
    assert broker.watermarks([topic, other]) == {
        (topic, 0): (0, 0, 0),
        (topic, 1): (2, 5, 0),
        (topic, 2): (0, 0, 0),
        (other, 0): (0, 0, 0),
    }


def test_offsets_by_time(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("times", partitions=2)
    base = 1_700_000_000_000
    kafka.produce(topic, [(None, b"x")] * 4, partition=0, timestamps=[base + i * 1000 for i in range(4)])
    assert broker.offsets_at(topic, [0, 1], base) == {0: 0, 1: 0}
    assert broker.offsets_at(topic, [0], base + 1500) == {0: 2}
    assert broker.offsets_at(topic, [0], base + 9000) == {0: 4}
    assert broker.offsets_at(topic, [], base) == {}


def test_retention_of_each_topic(kafka: Kafka, broker: Broker) -> None:
    four_days = kafka.topic("kept", config={"retention.ms": "345600000"})
    for_ever = kafka.topic("kept", config={"retention.ms": "-1"})
    assert broker.retention_ms([four_days, for_ever]) == {four_days: 345_600_000, for_ever: -1}


def test_offsets_are_told_to_the_bridges_own_group_only(kafka: Kafka, broker: Broker) -> None:
    topic = kafka.topic("told")
    kafka.produce(topic, [(None, b"x")] * 5)
    assert broker.tell_group({(topic, 0): 3})
    assert broker.tell_group({})
    assert committed(kafka, "me-finkbridge", topic) == 3
    assert committed(kafka, "me", topic) == -1001  # librdkafka's word for none


def test_refused_offsets_are_a_warning(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert not broker.tell_group({("not_there", 0): 3})
    (record,) = caplog.records
    assert record.getMessage().startswith("offsets not told to group me-finkbridge (the lake has them): ")


def sasl(kafka: Kafka, password: str) -> ClusterSettings:
    return ClusterSettings(servers=kafka.sasl_bootstrap, username=kafka.username, password=password)


def test_sasl_with_the_right_password(kafka: Kafka) -> None:
    topic = kafka.topic("sasl")
    kafka.produce(topic, [(None, b"secret")])
    with Broker("ztf", sasl(kafka, kafka.password)) as broker:
        assert broker.topics()[topic] == 1
        found = broker.message_at(topic, 0, 0)
        assert found is not None
        assert found.value == b"secret"


@pytest.mark.parametrize("ask", [Broker.topics, lambda broker: broker.message_at("any", 0, 0)])
def test_wrong_password_is_told_soon_and_without_it(kafka: Kafka, ask, capfd) -> None:  # type: ignore[no-untyped-def]
    with Broker("ztf", sasl(kafka, "hunter2-wrong")) as broker:
        started = time.monotonic()
        with pytest.raises(AuthenticationError, match="cluster ztf: the credentials are refused") as caught:
            ask(broker)
        assert time.monotonic() - started < 3
        text = f"{caught.value} {caught.value!r} {broker!r}"
    assert "hunter2" not in text
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_bad_librdkafka_key_is_a_settings_error_without_secrets() -> None:
    broken = ClusterSettings(servers="a:1", kafka={"no.such.key": "x", "ssl.key.password": "hunter2"})
    with pytest.raises(SettingsError, match=r"no\.such\.key") as caught:
        Broker("ztf", broken).topics()
    assert "hunter2" not in str(caught.value)


def test_offsets_wait_for_an_election(kafka: Kafka, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = kafka.topic("election")
    kafka.produce(topic, [(None, b"a")])
    results, asked = ClusterAdmin._results, []

    def electing(self: ClusterAdmin, futures: Any, doing: str) -> Any:
        asked.append(doing)
        told = results(self, futures, doing)
        return dict.fromkeys(told, KafkaError(KafkaError.UNKNOWN_LEADER_EPOCH)) if len(asked) == 1 else told

    monkeypatch.setattr(ClusterAdmin, "_results", electing)
    assert broker.watermarks([topic]) == {(topic, 0): (0, 1, 0)}
    assert len(asked) == 3, "the low ends twice, the high ends once"


def test_election_without_end_is_an_error(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    topic, settings = kafka.topic("no_leader"), ClusterSettings(servers=kafka.bootstrap, group_id="g")
    error = KafkaError(KafkaError.LEADER_NOT_AVAILABLE)
    monkeypatch.setattr(
        ClusterAdmin, "_results", lambda _self, futures, _doing: dict.fromkeys(futures, error)
    )
    with (
        Broker("ztf", settings, timeout_s=0.5) as one,
        pytest.raises(BrokerError, match="no broker leads the partition now"),
    ):
        one.watermarks([topic])
