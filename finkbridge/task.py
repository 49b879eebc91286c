"""What a worker process does: land one plan with tools that it keeps from plan to plan."""

from __future__ import annotations

from pathlib import Path

from finkbridge.broker.client import Broker
from finkbridge.land import Engine, Lander
from finkbridge.values import LandedPart
from finkbridge.workers import Task

_landers: dict[tuple[Path, str, str, Engine, bytes | None], Lander] = {}


def land_task(task: Task) -> tuple[LandedPart, ...]:
    """Fetch a plan's messages from its cluster and leave them on disk, ready to be committed."""
    return _lander(task).land(task.plan)


def _lander(task: Task) -> Lander:
    key = (task.lake, task.plan.source.cluster, task.cluster.servers, task.engine, task.schema_override)
    if key not in _landers:
        broker = Broker(task.plan.source.cluster, task.cluster, timeout_s=task.broker_timeout_s)
        _landers[key] = Lander(task.lake, broker, task.engine, task.schema_override)
    return _landers[key]
