"""finkbridge: the batch/stream bridge from Fink's Kafka topics to a lake of Parquet and Avro."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finkbridge import later

if TYPE_CHECKING:
    from finkbridge.frames import scan
    from finkbridge.reader import AlertReader

__version__ = "0.1.0"
__all__ = ["AlertReader", "scan"]

_LATER = {"AlertReader": "finkbridge.reader:AlertReader", "scan": "finkbridge.frames:scan"}
"""What is loaded when it is asked for: polars and Arrow take a second, and the command line does without."""


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return later.get(_LATER[name])
    raise AttributeError(f"module 'finkbridge' has no attribute {name!r}")
