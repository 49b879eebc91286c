"""The real alerts of both surveys, read by fastavro."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.surveys.avro_tables import Alerts, read_alerts


@pytest.fixture(scope="session")
def ztf_alerts(shared_data: Path) -> Alerts:
    return read_alerts(shared_data / "ztf")


@pytest.fixture(scope="session")
def lsst_alerts(shared_data: Path) -> Alerts:
    return read_alerts(shared_data / "lsst")
