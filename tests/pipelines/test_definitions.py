"""Definitions load anywhere, contact nobody, and look finished."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._utils.schedules import is_valid_cron_string

from finkbridge import catalog
from finkbridge.ledger import Ledger, coordinate
from finkbridge.settings import Settings
from pipelines.assets import lake_catalog
from pipelines.checks import CHECKS
from pipelines.definitions import definitions

ROOT = Path(__file__).parents[2]


def settings(lake: Path, *topics: str) -> Settings:
    clusters = {"ztf": {"servers": "127.0.0.1:1", "topics": topics}} if topics else {}
    return Settings.model_validate({"lake": lake, "clusters": clusters})


def test_loads_with_no_environment_and_no_settings(tmp_path: Path) -> None:
    code = (
        "import dagster as dg, pipelines.definitions as d\n"
        "dg.Definitions.validate_loadable(d.defs)\n"
        "print(*sorted(k.to_user_string() for k in d.defs.resolve_all_asset_keys()))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    told = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.split() == ["catalog", "deliveries", "deliveries_by_night", "packets", "raw_archive"]
    assert not list(tmp_path.iterdir()), "loading leaves nothing behind"


def test_every_asset_is_described_owned_grouped_and_of_a_kind(tmp_path: Path) -> None:
    defs = definitions(settings(tmp_path / "lake", "fink_a_ztf"))
    specs = defs.resolve_all_asset_specs()
    assert len(specs) == 6
    for spec in specs:
        assert spec.description, spec.key
        assert spec.owners == ["team:finkbridge"], spec.key
        assert spec.group_name in {"kafka", "lake"}, spec.key
        assert spec.kinds, spec.key
        assert spec.tags, spec.key
    assert all(check.description for check in CHECKS)
    for name in ("raw_archive", "deliveries", "packets"):
        assert next(s for s in specs if s.key == dg.AssetKey(name)).freshness_policy is not None


def test_columns_of_deliveries_are_those_of_the_view_with_units(tmp_path: Path) -> None:
    defs = definitions(settings(tmp_path / "lake"))
    spec = next(s for s in defs.resolve_all_asset_specs() if s.key == dg.AssetKey("deliveries"))
    columns = spec.metadata["dagster/column_schema"].columns
    by_name = {column.name: column for column in columns}
    assert len(by_name) == len(columns)
    assert list(by_name)[:4] == ["object_id", "source_id", "cluster", "topic"]
    assert by_name["ra"].type == "double"
    assert by_name["ra"].description == "Right ascension of the detection, ICRS [deg]"
    assert by_name["flux"].description.endswith("[nJy]")
    assert {"night", "survey", "archive_pos"} <= set(by_name)
    with Ledger(tmp_path / "lake", create=True) as ledger, coordinate(ledger):
        pass
    from_view = _columns_of_view(tmp_path / "lake")
    assert set(by_name) == from_view


def test_the_lake_has_one_writer(tmp_path: Path) -> None:
    defs = definitions(settings(tmp_path / "lake", "fink_a_ztf"))
    graph = defs.resolve_asset_graph()
    drain = graph.get(dg.AssetKey("deliveries")).assets_def
    assert drain.op.pool == lake_catalog.op.pool == "lake"
    assert not drain.can_subset, "archive and tables commit together or not at all"


BAD_CRONS = [
    "every 5 minutes",
    "61 * * * *",
    "* * * *",
    "* 24 * * *",
    "*/0 * * * *",
    "* * * jon *",
]


@pytest.mark.parametrize("cron", BAD_CRONS)
def test_a_bad_cron_is_one_clear_line(cron: str) -> None:
    with pytest.raises(ValueError, match="five cron fields"):
        Settings.model_validate({"schedule": {"cron": cron}})


@pytest.mark.parametrize("cron", ["*/5 * * * *", "0,30 22-6/2 1 jan,DEC FRI-MON", "0 0 * * 7", "@daily"])
def test_dagster_takes_a_cron_that_settings_take(cron: str) -> None:
    assert Settings.model_validate({"schedule": {"cron": cron}}).schedule.cron == cron
    assert is_valid_cron_string(cron)


def _columns_of_view(lake: Path) -> set[str]:
    with Ledger(lake) as ledger, catalog.connect(ledger) as connection:
        return {row[0] for row in connection.sql("DESCRIBE deliveries").fetchall()}
