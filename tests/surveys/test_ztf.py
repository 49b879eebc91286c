"""What deliveries says of ZTF's alerts."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from finkbridge.surveys import cutout_columns, deliveries_schema, describe
from finkbridge.values import UNDATED_NIGHT
from tests.surveys.avro_tables import Alerts
from tests.surveys.small import ztf_alert, ztf_table


def described(*alerts: dict[str, Any], **extra: pa.Array) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = describe(ztf_table(*alerts, **extra), "ztf").columns.to_pylist()
    return rows


def test_a_real_alert_by_hand(ztf_alerts: Alerts) -> None:
    found = describe(ztf_alerts.table, "ztf")
    row = found.columns.to_pylist()[0]
    exact = {
        "object_id": "ZTF26aamcbly",
        "source_id": 3367463101415010117,
        "ra": 267.0006792,
        "dec": -5.8633869,
        "healpix_29": 2087585446545421962,
        "band": "r",
        "is_positive": False,
        "n_det": 2,
        "class": "SN candidate",
        "simbad": "Unknown",
        "tns": "Unknown",
        "sso_name": None,
        "emitted": datetime(2026, 3, 22, 13, 28, 18, 277568, tzinfo=UTC),
        "anomaly_score": None,
        "slsn_score": None,  # -1.0
        "blazar_stats_m0": None,  # -1.0
        "roid": 0,
        "is_transient": False,
        "DR3Name": "Gaia DR3 4175170869892010752",
        "gaiaClass": None,  # 'nan'
        "vsx": None,  # 'nan'
        "spicy_class": "Unknown",
        "tracklet": None,
    }
    close = {
        "mjd": 61121.4631019,  # 2461121.9631019 - 2400000.5
        "mag": 16.44928550720215,
        "mag_err": 0.09051728248596191,
        "mag_lim": 16.859333038330078,
        "flux": -955621.2469,  # isdiffpos f: -10^((31.4 - 16.44928550720215) / 2.5)
        "flux_err": 79669.6637,  # 955621.2469 * 0.09051728248596191 * ln(10) / 2.5
        "reliability": 0.9210436940193176,  # drb
        "rb": 0.7542856931686401,
        "jdstarthist": 2461116.0104398,
        "snn_snia_vs_nonia": 0.5400142669677734,
        "mag_rate": -1.5866770026103747,
        "Plx": 0.8773999810218811,
    }
    assert {name: row[name] for name in exact} == exact
    assert {name: row[name] for name in close} == pytest.approx(close, rel=1e-7)
    assert row["mjd"] == pytest.approx(close["mjd"], abs=1e-8)
    assert found.night[0] == 20260322
    assert found.rejected == {}


def test_every_real_alert_has_what_was_sent(ztf_alerts: Alerts) -> None:
    found = describe(ztf_alerts.table, "ztf")
    assert found.columns.schema.equals(deliveries_schema("ztf"), check_metadata=True)
    assert found.columns.num_rows == len(ztf_alerts.records) == len(found.night)
    for row, alert in zip(found.columns.to_pylist(), ztf_alerts.records, strict=True):
        candidate = alert["candidate"]
        assert (row["object_id"], row["source_id"]) == (alert["objectId"], alert["candid"])
        assert row["mag"] == candidate["magpsf"]
        assert row["band"] == "?gri"[candidate["fid"]]
        assert row["is_positive"] is (candidate["isdiffpos"] in "t1")
        sign = 1 if row["is_positive"] else -1
        assert row["flux"] == pytest.approx(sign * 10 ** ((31.4 - candidate["magpsf"]) / 2.5), rel=1e-6)
        assert row["tns"] == alert["tnsclass"]
        assert row["gaiaClass"] in (None, "AGN", "Unknown")
        assert row["slsn_score"] == (None if alert["slsn_score"] == -1 else alert["slsn_score"])


def test_cutouts_and_histories_are_not_needed(ztf_alerts: Alerts) -> None:
    whole = describe(ztf_alerts.table, "ztf").columns
    less = ztf_alerts.table.drop_columns([*cutout_columns("ztf"), "prv_candidates"])
    assert describe(less, "ztf").columns.equals(whole)


def test_sign_and_band_in_all_spellings() -> None:
    rows = described(
        ztf_alert(isdiffpos="t", fid=1),
        ztf_alert(isdiffpos="1", fid=2),
        ztf_alert(isdiffpos="f", fid=3),
        ztf_alert(isdiffpos="0", fid=4),
        ztf_alert(isdiffpos="?", fid=None),
        ztf_alert(isdiffpos=None, fid=0),
    )
    assert [row["is_positive"] for row in rows] == [True, True, False, False, None, None]
    assert [row["flux"] and math.copysign(1, row["flux"]) for row in rows] == [1, 1, -1, -1, None, None]
    assert [row["band"] for row in rows] == ["g", "r", "i", None, None, None]


def test_sentinels_are_null() -> None:
    rows = described(
        ztf_alert(drb=-999.0, rb=0.5, ssdistnr=-999.0, ssnamenr="null", magpsf=-999.0),
        ztf_alert(drb=0.75, rb=0.5, ssdistnr=3.0, ssnamenr="444851", sigmapsf=math.nan),
        ztf_alert(ssdistnr=None, ssnamenr="444851", magpsf=-1e30),
        ztf_alert(ssdistnr=-1.0, ssnamenr="444851"),
    )
    assert [row["reliability"] for row in rows] == [0.5, 0.75, None, None]
    assert [row["sso_name"] for row in rows] == [None, "444851", None, None]
    assert rows[0]["mag"] is rows[0]["flux"] is rows[0]["flux_err"] is None
    assert rows[1]["mag_err"] is rows[1]["flux_err"] is None
    assert rows[1]["flux"] == pytest.approx(36307.805)
    assert rows[2]["flux"] is None


def test_fallbacks_of_tns_and_emitted() -> None:
    rows = described(
        ztf_alert(),
        ztf_alert(),
        tnsclass=pa.array(["(TNS) SN Ia", None]),
        tns=pa.array(["SN Ia", "SN II"]),
        brokerEndProcessTimestamp=pa.array(["2026-03-22 13:28:18.277568", "soon"]),
        timestamp=pa.array(["2026-03-22 11:00:00", "2026-03-22 11:00:00.5"]),
    )
    assert [row["tns"] for row in rows] == ["(TNS) SN Ia", "SN II"]
    assert rows[0]["emitted"] == datetime(2026, 3, 22, 13, 28, 18, 277568, tzinfo=UTC)
    assert rows[1]["emitted"] == datetime(2026, 3, 22, 11, 0, 0, 500000, tzinfo=UTC)


def test_sources_that_are_absent_or_of_another_type_are_null() -> None:
    (row,) = described(ztf_alert(), finkclass=pa.array([3]), mulens=pa.array(["high"]), roid=pa.array([2.5]))
    wanting = ("class", "simbad", "tns", "emitted", "mulens", "roid", "rf_kn_vs_nonkn", "DR3Name", "distnr")
    assert {row[name] for name in wanting} == {None}


@pytest.mark.parametrize(
    ("alert", "reason"),
    [
        (ztf_alert(object_id=None), "no object: objectId has no value"),
        (ztf_alert(object_id="null"), "no object: objectId has no value"),
        (ztf_alert(candid=None), "no identity: candid has no value"),
        (ztf_alert(jd=None), "no time: candidate.jd"),
        (ztf_alert(jd=math.nan), "no time: candidate.jd"),
        (ztf_alert(jd=-999.0), "no time: candidate.jd"),
        (ztf_alert(jd=0.0), "no time: candidate.jd"),
        (ztf_alert(ra=None), "no position: candidate.ra"),
        (ztf_alert(ra=360.0), "no position: candidate.ra"),
        (ztf_alert(ra=-0.001), "no position: candidate.ra"),
        (ztf_alert(ra=-999.0), "no position: candidate.ra"),
        (ztf_alert(dec=math.inf), "no position: candidate.dec"),
        (ztf_alert(dec=-90.001), "no position: candidate.dec"),
        ({"objectId": "ZTF18abcdefg", "candid": 7, "candidate": None}, "no time: candidate.jd"),
    ],
)
def test_an_alert_without_identity_time_or_position_is_rejected(alert: dict[str, Any], reason: str) -> None:
    found = describe(ztf_table(ztf_alert(), alert, ztf_alert()), "ztf")
    assert list(found.rejected) == [1]
    assert found.rejected[1].startswith(reason)
    assert found.night.tolist() == [20260322, UNDATED_NIGHT, 20260322]
    assert found.columns.num_rows == 3
    if reason.startswith("no position"):
        assert found.columns["healpix_29"][1].as_py() is None


def test_a_position_of_another_type_is_rejected() -> None:
    text = pa.array([{"jd": 2461121.75, "ra": "10.0", "dec": -20.0}])
    table = ztf_table(ztf_alert()).drop_columns(["candidate"]).append_column("candidate", text)
    assert describe(table, "ztf").rejected == {
        0: "no position: candidate.ra is missing or not in [0, 360) deg"
    }


def test_the_edges_of_the_sky_are_on_it() -> None:
    found = describe(ztf_table(ztf_alert(ra=0.0, dec=90.0), ztf_alert(ra=359.9999999, dec=-90.0)), "ztf")
    assert found.rejected == {}


def test_no_alerts() -> None:
    found = describe(ztf_table(), "ztf")
    assert found.columns.schema == deliveries_schema("ztf")
    assert (found.columns.num_rows, found.night.tolist(), found.rejected) == (0, [], {})
