"""Fills the topics that all of the compared programs read."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.alerts import AlertFile
from finkbridge.broker.produce import Producer, create_topic
from finkbridge.settings import ClusterSettings

PARTITIONS = 4
TOPIC = "ftransfer_{survey}_bench"
"""``finkctl transfer`` takes no name that does not begin so, and wants the schema in ``<topic>_schema``."""
_CONFIG = {"max.message.bytes": "10485760", "retention.ms": "-1"}


@dataclass(frozen=True, slots=True)
class Topic:
    """A filled topic."""

    survey: str
    name: str
    messages: int
    value_bytes: int
    """Of the alerts; the writer schema on each message as its key comes on top."""
    key_bytes: int


def fill(bootstrap: str, alerts: AlertFile, times: int = 1, name: str = TOPIC) -> Topic:
    """Write a file's alerts to a new topic, `times` times over, the partitions taking turns."""
    settings, key = ClusterSettings(servers=bootstrap), alerts.key()
    topic = name.format(survey=alerts.survey)
    create_topic(settings, topic, PARTITIONS, _CONFIG)
    create_topic(settings, f"{topic}_schema", 1, _CONFIG)
    begin, messages, value_bytes = time.monotonic(), 0, 0
    with Producer(alerts.survey, settings, timeout_s=120) as producer:
        producer.send(f"{topic}_schema", b"", key)
        for _ in range(times):
            for value in alerts.values():
                producer.send(topic, value, key, partition=messages % PARTITIONS)
                messages, value_bytes = messages + 1, value_bytes + len(value)
    seconds = time.monotonic() - begin
    print(f"{topic}: {messages:,} messages, {value_bytes / 1e6:,.0f} MB of alerts, filled in {seconds:.0f} s")
    return Topic(alerts.survey, topic, messages, value_bytes, messages * len(key))
