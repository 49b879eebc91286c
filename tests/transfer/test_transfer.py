"""Whole topics through the real command into a plain folder: every field of every message, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.command import Command
from tests.support.lake import RealAlerts, same

pytestmark = pytest.mark.kafka

KEYS = {"ztf": "candid", "lsst": "diaSourceId"}


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """Return all rows below a folder, as those who read it whole would."""
    files = sorted(p for p in folder.rglob("*.parquet") if not any(x.startswith(".") for x in p.parts))
    tables = [pq.ParquetFile(file).read() for file in files]
    return list(pa.concat_tables(tables).to_pylist(maps_as_pydicts="strict")) if tables else []


def assert_same_alerts(rows: list[dict[str, Any]], real: RealAlerts, key: str, gone: set[str]) -> None:
    wanted = sorted(real.alerts, key=lambda alert: alert[key])
    rows = sorted(rows, key=lambda row: row[key])
    assert len(rows) == len(wanted)
    for row, alert in zip(rows, wanted, strict=True):
        assert row.keys() == alert.keys() - gone
        for name in row:
            assert same(row[name], alert[name]), name


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_every_field_arrives(
    command: Command, survey: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    topic = request.getfixturevalue(f"{survey}_topic")
    real: RealAlerts = request.getfixturevalue(f"real_{survey}")
    said = command.run("transfer", "-survey", survey, "-topic", topic, "-outdir", "out")
    count = len(real.alerts)
    assert f"{topic}: {count} messages = {count} rows in" in said.stdout
    assert_same_alerts(rows_in(tmp_path / "out"), real, KEYS[survey], set())
    assert pl.scan_parquet(tmp_path / "out").select(pl.len()).collect().item() == count
