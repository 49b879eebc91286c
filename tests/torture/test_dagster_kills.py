"""Dagster's runs and its daemon killed, at a small size: it gets on by itself, and the lake is exact."""

from __future__ import annotations

import pytest

from tests.support.kafka import Kafka
from tests.torture.dagster_kills import DAEMON_EVERY, torture
from tests.torture.world import World


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(1200)
def test_killed_runs_and_a_killed_daemon(kafka: Kafka) -> None:
    found = torture(World(kafka, 20261128), kills=DAEMON_EVERY)
    assert found["by_kind"]["daemon"] >= 1
    assert found["by_kind"]["run's process"] >= 1
    assert (found["lost"], found["doubled"], found["wrong"], found["strays"]) == (0, 0, 0, 0)
    assert found["messages"] == found["rows"] + found["quarantined"] > 0
