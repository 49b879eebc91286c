"""What deliveries says of LSST's alerts."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from finkbridge.surveys import cutout_columns, deliveries_schema, describe
from finkbridge.values import UNDATED_NIGHT
from tests.surveys.avro_tables import Alerts
from tests.surveys.small import lsst_alert, lsst_table


def described(*alerts: dict[str, Any], **extra: pa.Array) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = describe(lsst_table(*alerts, **extra), "lsst").columns.to_pylist()
    return rows


def test_a_real_alert_by_hand(lsst_alerts: Alerts) -> None:
    found = describe(lsst_alerts.table, "lsst")
    row = found.columns.to_pylist()[0]
    exact = {
        "object_id": "170028485706776685",
        "source_id": 170094456272322680,
        "ra": 63.349628499442076,
        "dec": -47.18075801654059,
        "healpix_29": 2418484152886949167,
        "band": "i",
        "mag_lim": None,
        "is_positive": False,
        "n_det": 346,
        "class": "11",
        "simbad": None,
        "tns": None,
        "sso_name": None,
        "emitted": datetime(2026, 3, 6, 2, 20, 56, 306235, tzinfo=UTC),
        "visit": 2026030500055,
        "detector": 140,
        "ssObjectId": 0,
        "observation_reason": "ddf_edfs_b",
        "target_name": "ddf_edfs_b, lowdust",
        "clf_cats_class": 11,
        "clf_earlySNIa_score": None,  # -1.0
        "xm_gaiadr3_DR3Name": "Gaia DR3 4836968293033500160",
        "pred_is_cataloged": True,
        "pred_main_label_classifier": 11,
    }
    close = {
        "mag": 20.6721667,  # 31.4 - 2.5 log10(19549.39453125)
        "mag_err": 0.030868295,  # 2.5 / ln(10) * 555.803955078125 / 19549.39453125
        "flux": -19549.39453125,
        "flux_err": 555.803955078125,
        "reliability": 0.8754439353942871,
        "snr": 34.540218353271484,
        "scienceFlux": 191474.0625,
        "templateFlux": 211381.984375,
        "clf_cats_score": 0.9797419309616089,
        "misc_firstDiaSourceMjdTaiFink": 61090.04758412875,
    }
    assert {name: row[name] for name in exact} == exact
    assert {name: row[name] for name in close} == pytest.approx(close, rel=1e-7)
    assert row["mjd"] == pytest.approx(61105.093215246, abs=1e-9)  # 61105.093643486834 - 37 / 86400
    assert found.night[0] == 20260305
    assert found.rejected == {}


def test_a_real_moving_object_by_hand(lsst_alerts: Alerts) -> None:
    row = describe(lsst_alerts.table, "lsst").columns.to_pylist()[4]
    exact = {
        "object_id": "2004 JQ12",
        "source_id": 170094456480989258,
        "sso_name": "2004 JQ12",
        "ssObjectId": 21163624394469969,
        "is_positive": True,
        "n_det": None,
        "class": None,  # -1
        "clf_cats_class": None,  # -1
        "pred_is_sso": True,
        "pred_is_first": None,
    }
    assert {name: row[name] for name in exact} == exact
    assert row["mag"] == pytest.approx(20.9338373, abs=1e-6)
    assert row["mjd"] == pytest.approx(61105.095372459, abs=1e-9)


def test_every_real_alert_has_what_was_sent(lsst_alerts: Alerts) -> None:
    found = describe(lsst_alerts.table, "lsst")
    assert found.columns.schema.equals(deliveries_schema("lsst"), check_metadata=True)
    assert found.night.tolist() == [alert["diaSource"]["visit"] // 100000 for alert in lsst_alerts.records]
    for row, alert in zip(found.columns.to_pylist(), lsst_alerts.records, strict=True):
        source = alert["diaSource"]
        object_id = (
            str(source["diaObjectId"]) if source["diaObjectId"] else alert["mpc_orbits"]["designation"]
        )
        assert (row["object_id"], row["source_id"]) == (object_id, alert["diaSourceId"])
        assert (row["flux"], row["band"]) == (source["psfFlux"], source["band"])
        assert row["is_positive"] is not source["isNegative"]
        assert {name: row[f"xm_{name}"] for name in alert["xm"]} == alert["xm"]


def test_cutouts_and_histories_are_not_needed(lsst_alerts: Alerts) -> None:
    whole = describe(lsst_alerts.table, "lsst").columns
    histories = ["prvDiaSources", "prvDiaForcedSources"]
    less = lsst_alerts.table.drop_columns([*cutout_columns("lsst"), *histories])
    assert describe(less, "lsst").columns.equals(whole)


def test_the_object_is_the_first_that_has_a_name() -> None:
    rows = described(
        lsst_alert(diaObjectId=170028485706776685, mpc="2004 JQ12", ssObjectId=3),
        lsst_alert(diaObjectId=0, mpc="2004 JQ12", ss="other", ssObjectId=3),
        lsst_alert(diaObjectId=None, mpc=None, ss="2020 SJ88", ssObjectId=3),
        lsst_alert(diaObjectId=0, mpc="", ss="null", ssObjectId=21163624394469969),
    )
    names = ["170028485706776685", "2004 JQ12", "2020 SJ88", "ss:21163624394469969"]
    assert [row["object_id"] for row in rows] == names
    assert [row["sso_name"] for row in rows] == ["2004 JQ12", "2004 JQ12", None, None]


def test_sign_is_the_surveys_or_the_fluxs() -> None:
    rows = described(
        lsst_alert(isNegative=True),
        lsst_alert(isNegative=None, psfFlux=-5.0),
        lsst_alert(isNegative=None, psfFlux=5.0),
        lsst_alert(isNegative=None, psfFlux=None),
    )
    assert [row["is_positive"] for row in rows] == [False, False, True, None]


def test_a_flux_without_magnitude_is_kept() -> None:
    zero, nothing = described(
        lsst_alert(psfFlux=0.0, psfFluxErr=3.0), lsst_alert(psfFlux=math.nan, psfFluxErr=math.inf)
    )
    assert (zero["flux"], zero["flux_err"], zero["mag"], zero["mag_err"]) == (0.0, 3.0, None, None)
    assert (nothing["flux"], nothing["flux_err"], nothing["mag"], nothing["mag_err"]) == (None,) * 4


def test_the_class_may_be_a_code_or_a_name() -> None:
    for sent, expected in ((11, "11"), (-1, None), (0, "0"), ("SN", "SN"), (None, None)):
        (row,) = described(lsst_alert(), pred=pa.array([{"main_label_classifier": sent}]))
        assert row["class"] == expected


@pytest.mark.parametrize(
    ("alert", "reason"),
    [
        (lsst_alert(number=None), "no identity: diaSourceId has no value"),
        (lsst_alert(diaObjectId=0), "no object: none of diaSource.diaObjectId"),
        (lsst_alert(diaObjectId=None, ssObjectId=0), "no object: none of diaSource.diaObjectId"),
        (lsst_alert(midpointMjdTai=math.nan), "no time: diaSource.midpointMjdTai"),
        (lsst_alert(midpointMjdTai=2461105.6), "no time: diaSource.midpointMjdTai"),
        (lsst_alert(ra=400.0), "no position: diaSource.ra"),
        (lsst_alert(dec=None), "no position: diaSource.dec"),
    ],
)
def test_an_alert_without_identity_time_or_position_is_rejected(alert: dict[str, Any], reason: str) -> None:
    found = describe(lsst_table(lsst_alert(), alert), "lsst")
    assert list(found.rejected) == [1]
    assert found.rejected[1].startswith(reason)
    assert found.night.tolist() == [20260305, UNDATED_NIGHT]


def test_the_night_turns_over_at_noon_tai_not_utc() -> None:
    found = describe(
        lsst_table(lsst_alert(midpointMjdTai=61105.4999), lsst_alert(midpointMjdTai=61105.5001)), "lsst"
    )
    assert found.night.tolist() == [20260305, 20260306]


def test_no_alerts() -> None:
    found = describe(lsst_table(), "lsst")
    assert found.columns.schema == deliveries_schema("lsst")
    assert (found.columns.num_rows, found.night.tolist(), found.rejected) == (0, [], {})
