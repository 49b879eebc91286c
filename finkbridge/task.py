"""What a worker process does: land one plan with tools that it keeps from plan to plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from finkbridge.broker.client import Broker
from finkbridge.export.lander import ExportLander
from finkbridge.export.predictions import PredictionLander
from finkbridge.land import Bounds, Lander
from finkbridge.registry import lookups_of
from finkbridge.values import Export, LandedPart
from finkbridge.workers import Task

_landers: dict[tuple[Path, str], tuple[Task, Broker, Lander]] = {}
"""By lake and cluster, with the task that it was made for."""


def land_task(task: Task) -> tuple[LandedPart, ...]:
    """Fetch a plan's messages from its cluster and leave them on disk, ready to be committed."""
    return _lander(task).land(task.plan, task.refusal, task.known_schemas)


def forget_landers() -> None:
    """Close all connections to clusters."""
    while _landers:
        _, (_, broker, _) = _landers.popitem()
        broker.close()


def _lander(task: Task) -> Lander:
    """Return the lander of a task's lake and cluster, a new one if the settings are other ones by now."""
    key = (task.lake, task.plan.source.cluster)
    if key in _landers:
        before, broker, lander = _landers[key]
        changing = {name: getattr(task, name) for name in ("plan", "refusal", "known_schemas", "run")}
        if replace(before, **changing) == task:
            broker.read_on(task.plan.source, task.run)
            return lander
        del _landers[key]
        broker.close()
    broker = Broker(task.plan.source.cluster, task.cluster, timeout_s=task.broker_timeout_s)
    broker.read_on(task.plan.source, task.run)
    bounds = Bounds(task.timeout_s, task.max_schemas, task.max_columns)
    lookups = lookups_of(task.cluster, task.schema_folder)
    lander = _kind_of(task.export)(task.lake, broker, task.engine, task.schema_override, bounds, lookups)
    _landers[key] = task, broker, lander
    return lander


def _kind_of(export: Export | None) -> Callable[..., Lander]:
    """Return what makes a lander: for a plain folder, or for a lake if there is no export."""
    if export is None:
        return Lander
    return PredictionLander if export.format == "predictions" else partial(ExportLander, export)
