"""What lands is kept from plan to plan, and made anew when the settings are other ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from finkbridge import task
from finkbridge.broker.client import Broker
from finkbridge.settings import ClusterSettings
from finkbridge.values import SegmentPlan, TopicGeneration
from finkbridge.workers import Task


def test_new_settings_get_new_connections_and_the_old_ones_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Broker] = []
    close = Broker.close
    monkeypatch.setattr(Broker, "close", lambda broker: (closed.append(broker), close(broker))[1])
    cluster = ClusterSettings(servers="127.0.0.1:1", group_id="a", topics=["t"])
    plan = SegmentPlan(1, TopicGeneration("ztf", "t", 1), (), 1)
    first = Task(plan, tmp_path, cluster, "auto", None, 5.0)
    try:
        lander = task._lander(first)
        assert task._lander(replace(first, plan=replace(plan, number=2))) is lander
        assert closed == []
        for other in (
            replace(first, broker_timeout_s=6.0),
            replace(first, cluster=cluster.model_copy(update={"group_id": "b"})),
            replace(first, engine="fastavro"),
        ):
            before = len(closed)
            assert task._lander(other) is not lander
            assert len(closed) == before + 1
            lander = task._lander(other)
        assert task._lander(replace(first, lake=tmp_path / "b")) is not lander
        assert len(task._landers) == 2
    finally:
        task.forget_landers()
    assert len(closed) == 5
