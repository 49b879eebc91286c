"""Times and nights: against astropy, and against the surveys' own numbers on every real measurement."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.surveys import times
from finkbridge.values import UNDATED_NIGHT
from tests.surveys.avro_tables import Alerts

MJD_ZERO = date(1858, 11, 17)
MJDS = st.floats(times.FIRST_MJD, times.LAST_MJD, exclude_max=True)


def as_int(day: date) -> int:
    return day.year * 10000 + day.month * 100 + day.day


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def ztf_measurements(alerts: Alerts) -> Iterator[dict[str, Any]]:
    for alert in alerts.records:
        yield alert["candidate"]
        yield from alert["prv_candidates"] or []


def lsst_measurements(alerts: Alerts) -> Iterator[dict[str, Any]]:
    for alert in alerts.records:
        yield alert["diaSource"]
        yield from alert["prvDiaSources"] or []
        yield from alert["prvDiaForcedSources"] or []


def test_ztf_night_equals_the_night_in_each_pid(ztf_alerts: Alerts) -> None:
    measured = list(ztf_measurements(ztf_alerts))
    nights = times.ztf_night(times.mjd_of_jd(array(*(m["jd"] for m in measured))))
    expected = [as_int(date(2017, 1, 1) + timedelta(days=m["pid"] // 10**9)) for m in measured]
    assert len(measured) > 1000
    assert nights.tolist() == expected


def test_lsst_night_equals_the_night_in_each_visit(lsst_alerts: Alerts) -> None:
    measured = list(lsst_measurements(lsst_alerts))
    nights = times.lsst_night(array(*(m["midpointMjdTai"] for m in measured)))
    assert len(measured) > 4000
    assert nights.tolist() == [m["visit"] // 100000 for m in measured]


def test_nights_turn_over_where_the_surveys_say() -> None:
    assert times.ztf_night(array(61121.999999, 61122.0)).tolist() == [20260322, 20260323]
    assert times.lsst_night(array(61105.499999, 61105.5)).tolist() == [20260305, 20260306]


@pytest.mark.parametrize("mjd", [np.nan, np.inf, -np.inf, -999.0, 0.0, -2400000.5, 1e300, times.LAST_MJD])
def test_what_is_no_time_has_no_night(mjd: float) -> None:
    assert times.ztf_night(array(mjd)).tolist() == [UNDATED_NIGHT]
    assert times.lsst_night(array(mjd)).tolist() == [UNDATED_NIGHT]
    assert not times.is_observation_time(array(mjd)).any()


@given(MJDS)
def test_ztf_night_is_the_utc_date(mjd: float) -> None:
    expected = as_int(MJD_ZERO + timedelta(days=int(mjd)))
    assert times.ztf_night(array(mjd)).tolist() == [expected]


@given(MJDS)
def test_lsst_night_is_the_date_half_a_day_before(mjd: float) -> None:
    expected = as_int(MJD_ZERO + timedelta(days=int(np.floor(mjd - 0.5))))
    night = times.lsst_night(array(mjd))
    assert night.dtype == np.int32
    assert night.tolist() == [expected]


@given(st.integers(0, 253402300799_999))
def test_night_of_a_timestamp_is_its_utc_date(milliseconds: int) -> None:
    expected = as_int((datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)).date())
    assert times.night_of_timestamp_ms(np.array([milliseconds])).tolist() == [expected]


def test_a_message_without_timestamp_has_no_night() -> None:
    assert times.night_of_timestamp_ms(np.array([-1, 2**62, 0])).tolist() == [UNDATED_NIGHT] * 2 + [19700101]


@given(st.floats(57755, 61500))
def test_utc_is_astropys(mjd_tai: float) -> None:
    expected = Time(mjd_tai, format="mjd", scale="tai").utc.mjd
    assert times.utc_of_tai(array(mjd_tai))[0] == pytest.approx(expected, abs=1e-10)


def test_utc_of_times_long_past_and_of_leap_seconds() -> None:
    # TAI - UTC was 10 s at the start of 1972, 32 s on 2005-12-31 and 33 s from 2006-01-01 on
    second = 1 / 86400
    tai = array(41400 + 10 * second, 53735.5 + 32 * second, 53736 + 33 * second, 53736 + 32.5 * second)
    utc = times.utc_of_tai(tai)
    assert utc[:3] == pytest.approx([41400.0, 53735.5, 53736.0], abs=1e-10)
    assert utc[3] == pytest.approx(53736 + 0.5 * second, abs=1e-10)
    assert np.isnan(times.utc_of_tai(array(np.nan))).all()


def test_leap_seconds_are_the_published_steps() -> None:
    steps = times.leap_seconds()
    assert steps[0] == (41317 + 10 / 86400, 10)
    assert (57754 + 37 / 86400, 37) in steps
    assert all(later > sooner for sooner, later in pairwise(steps))


def test_text_is_read_as_utc() -> None:
    text = pa.array(["2026-03-22 13:28:18.277568", None, "2026-03-22 13:28:18"])
    moment = datetime(2026, 3, 22, 13, 28, 18, 277568, tzinfo=UTC)
    assert times.parse_utc(text).to_pylist() == [moment, None, moment.replace(microsecond=0)]


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-31 00:00:00", "2026-03-22 25:00:00", "20"])
def test_text_that_is_no_time_is_null_and_spares_the_others(text: str) -> None:
    parsed = times.parse_utc(pa.array([text, "2026-03-22 13:28:18+02:00"]))
    assert parsed.type == pa.timestamp("us", "UTC")
    assert parsed.to_pylist() == [None, datetime(2026, 3, 22, 11, 28, 18, tzinfo=UTC)]


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_time_whose_utc_is_beyond_the_calendar_is_none(text: str) -> None:
    moments = times.parse_utc(pa.array([text, "2026-03-22 13:28:18+02:00"]))
    assert moments.to_pylist() == [None, datetime(2026, 3, 22, 11, 28, 18, tzinfo=UTC)]
