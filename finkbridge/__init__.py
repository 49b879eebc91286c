"""finkbridge: the batch/stream bridge from Fink's Kafka topics to a lake of Parquet and Avro."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finkbridge import later

if TYPE_CHECKING:
    from finkbridge.frames import scan

__version__ = "0.1.0"
__all__ = ["scan"]


def __getattr__(name: str) -> Any:
    if name == "scan":  # polars takes a third of a second to load, and the command line does without
        return later.get("finkbridge.frames:scan")
    raise AttributeError(f"module 'finkbridge' has no attribute {name!r}")
