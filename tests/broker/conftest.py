"""A Broker on the session's Kafka."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from finkbridge.broker import Broker
from finkbridge.settings import ClusterSettings
from tests.support.kafka import Kafka


@pytest.fixture
def settings(kafka: Kafka) -> ClusterSettings:
    return ClusterSettings(servers=kafka.bootstrap, group_id="me")


@pytest.fixture
def broker(settings: ClusterSettings) -> Iterator[Broker]:
    with Broker("ztf", settings) as broker:
        yield broker
