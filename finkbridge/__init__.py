"""finkbridge: the batch/stream bridge from Fink's Kafka topics to a lake of Parquet and Avro."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finkbridge import later

if TYPE_CHECKING:
    from finkbridge.consumer.alerts import AlertConsumer
    from finkbridge.consumer.writing import write_alert, write_alerts
    from finkbridge.frames import scan
    from finkbridge.reader import AlertReader
    from finkbridge.register import load_credentials

__version__ = "0.1.0"
__all__ = ["AlertConsumer", "AlertReader", "load_credentials", "scan", "write_alert", "write_alerts"]

_PLACES = {
    "AlertConsumer": "finkbridge.consumer.alerts",
    "AlertReader": "finkbridge.reader",
    "load_credentials": "finkbridge.register",
    "scan": "finkbridge.frames",
    "write_alert": "finkbridge.consumer.writing",
    "write_alerts": "finkbridge.consumer.writing",
}
"""Loaded when they are asked for: polars and Arrow take a second, and the command line does without."""


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return later.get(f"{_PLACES[name]}:{name}")
    raise AttributeError(f"module 'finkbridge' has no attribute {name!r}")
