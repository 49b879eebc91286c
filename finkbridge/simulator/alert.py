"""The alert as the simulator hands it out, and what both surveys share in making it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from finkbridge.simulator.history import BrokerTimes

SECONDS = 1.0 / 86400.0
MINUTES = 60.0 * SECONDS


@dataclass(frozen=True, slots=True)
class SimulatedAlert:
    """One message for a topic, and what is in it."""

    key: bytes
    """The writer schema as JSON."""
    value: bytes
    """The alert: a bare Avro datum."""
    object_id: str
    source_id: int
    kind: str
    """``supernova``, ``variable``, ``asteroid`` or ``bogus``."""
    mjd: float
    """Of the exposure: its start (ZTF) or midpoint (LSST), UTC."""
    night: int
    """YYYYMMDD by the survey's rule."""
    emitted_ms: int
    """When the broker was done with it, Unix milliseconds."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of an alert is sent."""

    stamp_side: int
    """Pixels."""
    history: int | None
    """Newest entries of each history; None for all."""


def broker_times(mjd: float, rng: random.Random, delay_minutes: float) -> BrokerTimes:
    """Return when Fink had an alert, if it comes `delay_minutes` after its exposure, give or take."""
    ingest = mjd + delay_minutes * MINUTES * rng.lognormvariate(0.0, 0.3)
    start = ingest + rng.uniform(20.0, 180.0) * SECONDS
    return BrokerTimes(ingest, start, start + rng.uniform(20.0, 140.0) * SECONDS)
