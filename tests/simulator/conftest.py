"""Streams that several tests look at: made once, decoded once."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from typing import Any

import fastavro
import pytest

from finkbridge.simulator.alert import SimulatedAlert
from finkbridge.simulator.schemas import SCHEMAS
from finkbridge.simulator.stream import alerts

PARSED = {survey: fastavro.parse_schema(schema) for survey, schema in SCHEMAS.items()}


@dataclass(frozen=True)
class Decoded:
    """An alert and what fastavro reads in it."""

    alert: SimulatedAlert
    content: dict[str, Any]


def decode(survey: str, alert: SimulatedAlert) -> dict[str, Any]:
    """Decode with the reference; nothing may be left over."""
    stream = io.BytesIO(alert.value)
    content = fastavro.schemaless_reader(stream, PARSED[survey])
    assert stream.read() == b""
    return content


def make(survey: str, every: int = 1, **options: Any) -> list[Decoded]:
    chosen = itertools.islice(alerts(survey, **options), 0, None, every)
    return [Decoded(alert, decode(survey, alert)) for alert in chosen]


@pytest.fixture(scope="session")
def ztf() -> list[Decoded]:
    """A few objects over many nights."""
    return make("ztf", n=600, nights=60, seed=5)


@pytest.fixture(scope="session")
def lsst() -> list[Decoded]:
    """A few objects over a few nights; not every alert, as one is 230 kB."""
    return make("lsst", every=15, n=900, nights=4, seed=5)
