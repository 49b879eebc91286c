"""The Kafka side: the only package that imports confluent_kafka."""

from __future__ import annotations

from finkbridge.broker.admin import Watermarks
from finkbridge.broker.client import Broker
from finkbridge.broker.embedded import EmbeddedBroker, embedded_process
from finkbridge.broker.failures import error_of
from finkbridge.broker.produce import Producer, create_topic

__all__ = [
    "Broker",
    "EmbeddedBroker",
    "Producer",
    "Watermarks",
    "create_topic",
    "embedded_process",
    "error_of",
]
