"""Light-curve points in SQL equal those taken from the records by plain Python."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finkbridge.surveys import LIGHTCURVE_COLUMNS, cutout_columns, describe, lightcurve_sql
from tests.surveys.avro_tables import Alerts
from tests.surveys.small import LSST, ZTF, lsst_alert, lsst_table, ztf_alert, ztf_table

Row = dict[str, Any]


def packets_of(alerts: pa.Table, survey: str) -> pa.Table:
    columns = describe(alerts, survey).columns
    packets = alerts.drop_columns([name for name in cutout_columns(survey) if name in alerts.column_names])
    packets = packets.append_column("_object_id", columns["object_id"])
    return packets.append_column("_source_id", columns["source_id"])


def points_of(packets: pa.Table, survey: str) -> list[Row]:
    with duckdb.connect() as connection:
        connection.register("packets", packets)
        found = connection.execute(lightcurve_sql(survey, packets.schema, "packets"))
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, values, strict=True)) for values in found.fetchall()]
    assert names == list(LIGHTCURVE_COLUMNS)
    return rows


def of_kind(rows: list[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind]


@pytest.fixture(scope="module")
def ztf_points(ztf_alerts: Alerts) -> list[Row]:
    return points_of(packets_of(ztf_alerts.table, "ztf"), "ztf")


@pytest.fixture(scope="module")
def lsst_points(lsst_alerts: Alerts) -> list[Row]:
    return points_of(packets_of(lsst_alerts.table, "lsst"), "lsst")


def assert_like(got: Row, want: Row, relative: float) -> None:
    """Floats agree to `relative`, anything else is equal."""
    floats = {name for name, value in want.items() if isinstance(value, float)}
    assert {name: got[name] for name in want.keys() - floats} == {
        name: want[name] for name in want.keys() - floats
    }
    assert {name: got[name] for name in floats} == pytest.approx(
        {name: want[name] for name in floats}, rel=relative
    )


def assert_points(found: list[Row], expected: list[Row]) -> None:
    assert len(found) == len(expected) > 0

    def order(row: Row) -> tuple[str, str]:
        return row["object_id"], row["point_key"]

    for got, want in zip(sorted(found, key=order), sorted(expected, key=order), strict=True):
        assert_like(got, want, 1e-6)
        assert got["mjd"] == pytest.approx(want["mjd"], abs=1e-9)


def ztf_point(object_id: str, measured: Row) -> Row:
    mag, sign = measured["magpsf"], 1 if measured["isdiffpos"] in ("t", "1") else -1
    return {
        "object_id": object_id,
        "survey": "ztf",
        "source_id": measured["candid"],
        "mjd": measured["jd"] - 2400000.5,
        "band": "?gri"[measured["fid"]],
        "mag": mag,
        "mag_err": measured["sigmapsf"],
        "mag_lim": measured["diffmaglim"],
        "flux": None if mag is None else sign * 10 ** ((31.4 - mag) / 2.5),
        "is_positive": None if mag is None else sign > 0,
        "point_key": str(measured["candid"] or -measured["pid"]),
    }


def lsst_point(object_id: str, measured: Row, key: str) -> Row:
    flux, flux_err = measured["psfFlux"], measured["psfFluxErr"]
    return {
        "object_id": object_id,
        "survey": "lsst",
        "source_id": measured.get("diaSourceId"),
        "mjd": measured["midpointMjdTai"] - 37 / 86400,
        "band": measured["band"],
        "mag": 31.4 - 2.5 * math.log10(abs(flux)),
        "mag_err": 2.5 / math.log(10) * flux_err / abs(flux),
        "mag_lim": None,
        "flux": flux,
        "flux_err": flux_err,
        "is_positive": not measured["isNegative"] if "isNegative" in measured else flux > 0,
        "point_key": key,
    }


def test_ztf_points_are_the_records(ztf_alerts: Alerts, ztf_points: list[Row]) -> None:
    alerts = [ztf_point(a["objectId"], a["candidate"]) for a in ztf_alerts.records]
    history = [(a["objectId"], p) for a in ztf_alerts.records for p in a["prv_candidates"] or []]
    detected = [ztf_point(o, p) for o, p in history if p["magpsf"] is not None]
    limits = [ztf_point(o, p) for o, p in history if p["magpsf"] is None]
    assert_points(of_kind(ztf_points, "alert"), alerts)
    assert_points(of_kind(ztf_points, "history"), detected)
    assert_points(of_kind(ztf_points, "upper_limit"), limits)
    assert len(ztf_points) == len(alerts) + len(history)


def test_lsst_points_are_the_records(lsst_alerts: Alerts, lsst_points: list[Row]) -> None:
    sources, history, forced = [], [], []
    for alert in lsst_alerts.records:
        object_id = str(alert["diaSource"]["diaObjectId"] or alert["mpc_orbits"]["designation"])
        sources.append(lsst_point(object_id, alert["diaSource"], str(alert["diaSourceId"])))
        prior, measured = alert["prvDiaSources"] or [], alert["prvDiaForcedSources"] or []
        history += [lsst_point(object_id, p, str(p["diaSourceId"])) for p in prior]
        forced += [lsst_point(object_id, p, f"forced:{p['diaForcedSourceId']}") for p in measured]
    assert_points(of_kind(lsst_points, "alert"), sources)
    assert_points(of_kind(lsst_points, "history"), history)
    assert_points(of_kind(lsst_points, "forced"), forced)
    assert len(lsst_points) == len(sources) + len(history) + len(forced)


def test_keys_tell_the_points_of_an_object_apart(ztf_points: list[Row], lsst_points: list[Row]) -> None:
    for points in (ztf_points, lsst_points):
        keys = Counter((row["object_id"], row["point_key"]) for row in points)
        assert max(keys.values()) == 1


def test_own_detections_are_as_in_deliveries(ztf_alerts: Alerts, lsst_alerts: Alerts) -> None:
    shared = [
        "object_id",
        "source_id",
        "mjd",
        "band",
        "mag",
        "mag_err",
        "mag_lim",
        "flux",
        "flux_err",
        "is_positive",
    ]
    for survey, alerts in {"ztf": ztf_alerts, "lsst": lsst_alerts}.items():
        rows = of_kind(points_of(packets_of(alerts.table, survey), survey), "alert")
        own = {row["source_id"]: {name: row[name] for name in shared} for row in rows}
        for row in describe(alerts.table, survey).columns.select(shared).to_pylist():
            assert_like(own[row["source_id"]], row, 2e-7)


def history(*points: Row, fields: Row) -> pa.Array:
    return pa.array([list(points)], pa.list_(pa.struct(fields)))


def test_the_same_point_of_two_alerts_has_one_key() -> None:
    fields = {"jd": pa.float64(), "candid": pa.int64(), "pid": pa.int64(), "magpsf": pa.float32()}
    first = {"jd": 2461100.0, "candid": 7, "pid": 70, "magpsf": 19.0}
    limit = {"jd": 2461101.0, "candid": None, "pid": 80, "magpsf": None}
    older = ztf_table(ztf_alert(candid=7), prv_candidates=history(limit, fields=fields))
    newer = ztf_table(ztf_alert(candid=9), prv_candidates=history(first, limit, fields=fields))
    rows = points_of(packets_of(pa.concat_tables([older, newer]), "ztf"), "ztf")
    assert Counter((row["point_key"], row["kind"]) for row in rows) == {
        ("7", "alert"): 1,
        ("9", "alert"): 1,
        ("7", "history"): 1,
        ("-80", "upper_limit"): 2,
    }


def test_forced_points_without_number_go_by_visit_and_detector() -> None:
    fields = {
        "visit": pa.int64(),
        "detector": pa.int32(),
        "midpointMjdTai": pa.float64(),
        "psfFlux": pa.float32(),
    }
    point = {"visit": 2026030500055, "detector": 140, "midpointMjdTai": 61105.0, "psfFlux": -10.0}
    table = lsst_table(lsst_alert(), prvDiaForcedSources=history(point, fields=fields))
    (row,) = of_kind(points_of(packets_of(table, "lsst"), "lsst"), "forced")
    assert row["point_key"] == "forced:2026030500055:140"
    assert (row["flux"], row["is_positive"], row["band"], row["source_id"]) == (-10.0, False, None, None)
    assert row["mag"] == pytest.approx(28.9)


def test_alerts_without_history_or_with_an_unusual_one() -> None:
    for extra in (
        {},
        {"prv_candidates": pa.array([None], pa.list_(ZTF.field("candidate").type))},
        {"prv_candidates": pa.array(["none"])},
        {"prv_candidates": pa.array([[1, 2]])},
    ):
        rows = points_of(packets_of(ztf_table(ztf_alert(), **extra), "ztf"), "ztf")
        assert [(row["kind"], row["mjd"]) for row in rows] == [("alert", 61121.25)]


def test_values_that_are_none_are_null_and_never_an_error() -> None:
    (ztf_row,) = points_of(
        packets_of(ztf_table(ztf_alert(magpsf=-1e5, sigmapsf=math.nan, diffmaglim=-999.0)), "ztf"), "ztf"
    )
    assert (ztf_row["flux"], ztf_row["mag_err"], ztf_row["mag_lim"]) == (None, None, None)
    for flux in (0.0, math.nan, math.inf, -999.0, None):
        (row,) = points_of(packets_of(lsst_table(lsst_alert(psfFlux=flux, psfFluxErr=1.0)), "lsst"), "lsst")
        assert row["mag"] is row["mag_err"] is None
        assert row["flux"] == (0.0 if flux == 0 else None)


def test_a_history_point_without_time_is_left_out() -> None:
    fields = {"jd": pa.float64(), "pid": pa.int64()}
    points = history(
        {"jd": None, "pid": 1}, {"jd": math.nan, "pid": 2}, {"jd": -999.0, "pid": 3}, fields=fields
    )
    rows = points_of(packets_of(ztf_table(ztf_alert(), prv_candidates=points), "ztf"), "ztf")
    assert [row["kind"] for row in rows] == ["alert"]


def test_fields_of_another_type_are_null() -> None:
    odd = pa.array(
        [{"jd": 2461121.75, "ra": 1.0, "dec": 2.0, "magpsf": "bright", "fid": "g", "isdiffpos": 1}]
    )
    table = ztf_table(ztf_alert()).drop_columns(["candidate"]).append_column("candidate", odd)
    (row,) = points_of(packets_of(table, "ztf"), "ztf")
    assert (row["mag"], row["band"], row["is_positive"], row["flux"]) == (None, None, None, None)
    assert row["mjd"] == 61121.25


def test_other_surveys_have_none() -> None:
    with pytest.raises(KeyError):
        lightcurve_sql("other", pa.schema({}), "packets")


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_the_filter_reaches_every_scan_and_only_needed_fields_are_read(
    survey: str, ztf_alerts: Alerts, lsst_alerts: Alerts, tmp_path: Path
) -> None:
    alerts = {"ztf": ztf_alerts, "lsst": lsst_alerts}[survey]
    packets = packets_of(alerts.table, survey)
    pq.write_table(packets, tmp_path / "packets.parquet")
    select = lightcurve_sql(survey, packets.schema, f"read_parquet('{tmp_path}/packets.parquet')")
    object_id = packets["_object_id"][0].as_py()
    with duckdb.connect() as connection:
        connection.execute("SET explain_output = 'optimized_only'")
        query = f"EXPLAIN (FORMAT json) SELECT * FROM ({select}) WHERE object_id = '{object_id}'"
        plan = connection.execute(query).fetchall()[0][1]
    scans = 2 if survey == "ztf" else 3
    assert plan.count("READ_PARQUET") == scans
    assert plan.count(f"_object_id = '{object_id}'") >= scans
    assert "cutout" not in plan
    assert "lc_features" not in plan


def test_schemas_made_by_hand_are_enough() -> None:
    for survey, schema in {"ztf": ZTF, "lsst": LSST}.items():
        assert points_of(packets_of(schema.empty_table(), survey), survey) == []
