"""Alerts to topics: which alert goes where, and when."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from finkbridge.broker.admin import ClusterAdmin
from finkbridge.broker.embedded import PARTITIONS
from finkbridge.broker.produce import Producer, create_topic
from finkbridge.settings import ClusterSettings
from finkbridge.simulator.alert import SimulatedAlert


@dataclass(frozen=True, slots=True)
class Feed:
    """How alerts are spread over topics and time."""

    topics: tuple[str, ...]
    overlap: float = 0.1
    """Share of the alerts that go to a second topic too, as an alert may pass two of Fink's filters."""
    rate: float = 0.0
    """Alerts a second; 0 is as fast as possible."""
    own_time: bool = False
    """Kafka's timestamp: when the alert left the simulated broker, instead of now."""

    def topics_of(self, alert: SimulatedAlert) -> tuple[str, ...]:
        """Return the topics of an alert: the same whenever it is asked."""
        rng = random.Random(alert.source_id)  # noqa: S311
        count = 2 if len(self.topics) > 1 and rng.random() < self.overlap else 1
        return tuple(rng.sample(self.topics, count))


@dataclass(slots=True)
class Sent:
    """What has been sent so far."""

    alerts: int = 0
    messages: int = 0
    value_bytes: int = 0
    seconds: float = 0.0
    interrupted: bool = False


def prepare(name: str, settings: ClusterSettings, topics: Iterable[str], partitions: int) -> dict[str, int]:
    """Create the topics where the broker allows; return the number of partitions of each.

    Raises
    ------
    BrokerError
        The cluster refuses, or does not answer.
    """
    wanted = list(topics)
    for topic in wanted:
        create_topic(settings, topic, partitions)
    known = ClusterAdmin(name, settings, 10.0).topics()
    return {topic: known.get(topic) or PARTITIONS for topic in wanted}


def send(
    producer: Producer, alerts: Iterable[SimulatedAlert], feed: Feed, partitions: Mapping[str, int]
) -> Sent:
    """Send alerts until there are no more, or until Ctrl-C; return when all are acknowledged.

    The partitions take turns: all keys are the same schema, and Kafka's own choice would be one partition.

    Raises
    ------
    BrokerError
        A message was not delivered.
    """
    sent, begin, turns = Sent(), time.monotonic(), dict.fromkeys(feed.topics, 0)
    try:
        for alert in _paced(alerts, feed.rate):
            stamp = alert.emitted_ms if feed.own_time else None
            for topic in feed.topics_of(alert):
                partition = turns[topic] % partitions[topic]
                producer.send(topic, alert.value, alert.key, timestamp_ms=stamp, partition=partition)
                turns[topic] += 1
                sent.messages += 1
            sent.alerts += 1
            sent.value_bytes += len(alert.value)
    except KeyboardInterrupt:
        sent.interrupted = True
    producer.flush()
    sent.seconds = time.monotonic() - begin
    return sent


def _paced(alerts: Iterable[SimulatedAlert], rate: float) -> Iterator[SimulatedAlert]:
    begin = time.monotonic()
    for number, alert in enumerate(alerts):
        if rate > 0.0:
            time.sleep(max(begin + number / rate - time.monotonic(), 0.0))
        yield alert
