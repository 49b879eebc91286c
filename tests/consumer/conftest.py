"""Consumers on the session's Kafka, each in a group of its own."""

from __future__ import annotations

import uuid

import pytest

from tests.support.kafka import Kafka


@pytest.fixture
def config(kafka: Kafka) -> dict[str, object]:
    """The dict that a script gives to its consumer."""
    return {"bootstrap.servers": kafka.bootstrap, "group.id": f"me-{uuid.uuid4().hex[:8]}"}
