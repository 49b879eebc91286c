"""Messages into a plain folder: Parquet or Avro files, in place of a lake's archive and tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from finkbridge.export.lander import ExportLander
from finkbridge.export.predictions import PredictionLander
from finkbridge.land import Lander
from finkbridge.values import Export

__all__ = ["ExportLander", "lander_of"]


def lander_of(export: Export | None) -> Callable[..., Lander]:
    """Return what makes a lander: for a plain folder, or for a lake if there is no export.

    Its arguments are those of `finkbridge.land.Lander`.
    """
    if export is None:
        return Lander
    return PredictionLander if export.format == "predictions" else partial(ExportLander, export)
