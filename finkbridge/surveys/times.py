"""Observation times and nights: Julian dates, TAI, UTC, and the two surveys' rules for an observing night.

A night is an int YYYYMMDD. MJD is in days; the functions take and give arrays of any one shape.
"""

from __future__ import annotations

from datetime import UTC, datetime

import erfa
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from finkbridge.values import UNDATED_NIGHT

FloatArray = npt.NDArray[np.float64]
NightArray = npt.NDArray[np.int32]

JD_OF_MJD_ZERO = 2400000.5
SECONDS_PER_DAY = 86400.0

FIRST_MJD, LAST_MJD = 41317.0, 88069.0
"""1972-01-01, since when TAI - UTC is whole seconds, and 2100-01-01: no alert is from outside, so such a
time is a filler (0, -999, 1e30), not a time."""

_MJD_ZERO = np.datetime64("1858-11-17", "D")
_LAST_TIMESTAMP_MS = 253402300800_000
"""Year 10000, where YYYYMMDD ends."""


def leap_seconds() -> list[tuple[float, int]]:
    """Return the steps of TAI - UTC since 1972, oldest first.

    Returns
    -------
    list of (float, int)
        MJD (TAI, days) from which the step holds, and TAI - UTC (s). The table is ERFA's, which comes
        with pyerfa: nothing is downloaded.
    """
    table = erfa.leap_seconds.get()
    table = table[table["year"] >= 1972]
    months = (table["year"] - 1970) * 12 + (table["month"] - 1)
    starts = (months.astype("datetime64[M]").astype("datetime64[D]") - _MJD_ZERO).astype(float)
    offsets = table["tai_utc"].astype(int)
    return [(float(s + o / SECONDS_PER_DAY), int(o)) for s, o in zip(starts, offsets, strict=True)]


_STEPS = leap_seconds()
_STEP_STARTS = np.array([start for start, _ in _STEPS])
_STEP_OFFSETS = np.array([offset for _, offset in _STEPS], dtype=np.float64)


def utc_of_tai(mjd_tai: FloatArray) -> FloatArray:
    """Return MJD (UTC, days) of MJD (TAI, days); NaN stays NaN.

    Every UTC day is 86,400 s here: during a leap second the result runs on into the next day.
    """
    step = np.clip(np.searchsorted(_STEP_STARTS, mjd_tai, side="right") - 1, 0, None)
    utc: FloatArray = mjd_tai - _STEP_OFFSETS[step] / SECONDS_PER_DAY
    return utc


def mjd_of_jd(jd: FloatArray) -> FloatArray:
    """Return MJD (days) of JD (days), both in the same time scale."""
    return jd - JD_OF_MJD_ZERO


def is_observation_time(mjd: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell which MJDs (days) can be the time of an alert; NaN and fillers cannot."""
    return np.asarray((mjd >= FIRST_MJD) & (mjd < LAST_MJD))


def ztf_night(mjd_utc: FloatArray) -> NightArray:
    """Return ZTF's observing nights: the UTC date of each start of exposure (MJD, UTC days).

    A night at Palomar lies within one UTC date. A time that is none gets `UNDATED_NIGHT`.
    """
    return _night_of_day(np.floor(mjd_utc), is_observation_time(mjd_utc))


def lsst_night(mjd_tai: FloatArray) -> NightArray:
    """Return Rubin's observing nights (``day_obs``), which change at noon TAI, of MJDs (TAI, days).

    A time that is none gets `UNDATED_NIGHT`.
    """
    return _night_of_day(np.floor(mjd_tai - 0.5), is_observation_time(mjd_tai))


def is_timestamp_ms(timestamp_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether Kafka timestamps (Unix ms) are times that tables can hold: not before 1970, nor after 9999."""
    dated: npt.NDArray[np.bool_] = (timestamp_ms >= 0) & (timestamp_ms < _LAST_TIMESTAMP_MS)
    return dated


def night_of_timestamp_ms(timestamp_ms: npt.NDArray[np.int64]) -> NightArray:
    """Return the UTC dates of Kafka timestamps (Unix ms); `UNDATED_NIGHT` for -1, Kafka's "none"."""
    dated = is_timestamp_ms(timestamp_ms)
    days = np.where(dated, timestamp_ms, 0).astype("datetime64[ms]").astype("datetime64[D]")
    return np.where(dated, _yyyymmdd(days), UNDATED_NIGHT).astype(np.int32)


def _night_of_day(mjd_day: FloatArray, dated: npt.NDArray[np.bool_]) -> NightArray:
    days = _MJD_ZERO + np.where(dated, mjd_day, 0).astype("timedelta64[D]")
    return np.where(dated, _yyyymmdd(days), UNDATED_NIGHT).astype(np.int32)


def _yyyymmdd(days: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    months = days.astype("datetime64[M]")
    month_number = months.astype(np.int64)
    year, month = 1970 + month_number // 12, 1 + month_number % 12
    date: npt.NDArray[np.int64] = year * 10000 + month * 100 + (days - months).astype(np.int64) + 1
    return date


TIMESTAMP = pa.timestamp("us", "UTC")


def parse_utc(text: pa.Array) -> pa.Array:
    """Return text like ``2026-03-22 13:28:18.277568`` as UTC timestamps (µs); null where it is no time."""
    try:
        return pc.cast(text, pa.timestamp("us")).cast(TIMESTAMP)
    except pa.ArrowInvalid:  # at least one is unusual: look at each, which is slow and rare
        return pa.array([_parse_one(value) for value in text.to_pylist()], TIMESTAMP)


def _parse_one(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # in UTC it may be of the year 0 or 10000
        return None
