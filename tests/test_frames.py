"""polars over the lake: filters and selections reach the files, and what they rule out is never opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import finkbridge
from finkbridge.errors import SettingsError
from finkbridge.lakefiles import file_groups
from finkbridge.ledger import Ledger
from tests.support.lake import real_alerts
from tests.support.offline import fill, messages_of


@pytest.fixture
def lake(tmp_path: Path, shared_data: Path) -> Path:
    """Return a lake of a few real alerts of each survey."""
    folder = tmp_path / "lake"
    topics = {name: messages_of(real_alerts(shared_data / name).records) for name in ("ztf", "lsst")}
    fill(folder, topics)
    return folder


def empty(lake: Path, chosen: Callable[[Path], bool]) -> None:
    """Make files of ``deliveries`` such that whoever opens them fails."""
    files = [path for path in lake.glob("deliveries/**/*.parquet") if chosen(path)]
    assert files
    for path in files:
        path.write_bytes(b"")


def test_a_filter_and_a_selection_reach_the_files(lake: Path) -> None:
    frame = finkbridge.scan("deliveries", lake).filter(pl.col("mag") < 30).select("object_id")
    plan = frame.explain()
    scans = [text.partition("PLAN")[0] for text in plan.split("Parquet SCAN")[1:]]
    assert scans
    for text in scans:
        assert 'SELECTION: col("mag") < 30.0' in text
        assert "PROJECT 2/" in text, "what is selected, and what is filtered by"


def test_files_of_other_nights_are_not_opened(lake: Path) -> None:
    rows = finkbridge.scan("deliveries", lake, survey="ztf").collect()
    with Ledger(lake) as ledger:
        (paths,) = [group.paths for group in file_groups(ledger, "deliveries") if group.survey == "ztf"]
    night = int(Path(paths[-1]).parent.name.removeprefix("night="))
    empty(lake, lambda path: f"night={night}" not in str(path) and path != lake / paths[0])
    found = finkbridge.scan("deliveries", lake, survey="ztf").filter(pl.col("night") == night).collect()
    assert found.height == rows.filter(pl.col("night") == night).height > 0


def test_files_of_other_surveys_are_not_opened(lake: Path) -> None:
    empty(lake, lambda path: "deliveries/lsst" in str(path))
    assert (
        finkbridge.scan("deliveries", lake, survey="ztf").select("survey").collect()["survey"].to_list()
        == ["ztf"] * 31
    )


@pytest.mark.parametrize(("table", "survey"), [("deliveries", "rubin"), ("packets_ztf", "lsst")])
def test_a_survey_that_a_table_has_not_is_refused(lake: Path, table: str, survey: str) -> None:
    with pytest.raises(SettingsError, match=f"{table} has no survey '{survey}'"):
        finkbridge.scan(table, lake, survey=survey)
