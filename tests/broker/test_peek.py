"""Where epochs of leaders ended: a leader is asked until it tells, or the time is up."""

from __future__ import annotations

import pytest

from finkbridge.broker import Broker, peek
from finkbridge.errors import BrokerTimeoutError
from finkbridge.settings import ClusterSettings
from tests.support.kafka import Kafka

SETTINGS = ClusterSettings(servers="127.0.0.1:1")


def test_a_leader_that_has_just_become_one_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{}, {1: 4}, {0: 3, 1: 4}])
    monkeypatch.setattr(peek, "_agreed", lambda *_: next(answers))
    assert peek.epoch_ends("ztf", SETTINGS, 30.0, "t", {0: 1, 1: 1}) == {0: 3, 1: 4}


def test_one_that_never_tells_is_an_error_that_names_its_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peek, "_agreed", lambda *_: {0: 3})
    with pytest.raises(BrokerTimeoutError, match=r"no answer to whether t partition 1 was cut .*: run again"):
        peek.epoch_ends("ztf", SETTINGS, 0.1, "t", {0: 1, 1: 1})


@pytest.mark.kafka
@pytest.mark.slow
def test_single_messages_of_a_topic_that_was_made_anew_are_read(own_kafka: Kafka) -> None:
    """Its leader's epoch is smaller than the one that librdkafka remembers."""
    topic = own_kafka.topic("anew")
    own_kafka.produce(topic, [(None, b"a")])
    own_kafka.stop()
    own_kafka.start()
    with Broker("ztf", ClusterSettings(servers=own_kafka.bootstrap)) as broker:
        before = broker.topic_ids([topic])
        assert (broker.watermarks([topic])[topic, 0].leader_epoch or 0) >= 1
        assert broker.message_at(topic, 0, 0) is not None
        own_kafka.recreate(topic)
        own_kafka.produce(topic, [(None, b"b")])
        assert broker.topic_ids([topic]) != before
        found = broker.message_at(topic, 0, 0)
        assert found is not None
        assert found.value == b"b"
