"""When an observing night begins and ends: the inverse of the rules in `finkbridge.surveys.times`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np

from finkbridge.surveys.times import SECONDS_PER_DAY, utc_of_tai

_MJD_OF_UNIX_ZERO = 40587.0


def night_span(survey: str, night: int) -> tuple[float, float]:
    """Return begin and end of a night, Unix seconds UTC.

    ``ztf``: the UTC date. ``lsst``: from noon TAI to noon TAI. ``other``: the UTC date of Kafka's timestamp.

    Raises
    ------
    ValueError
        `night` is no date YYYYMMDD.
    """
    begin = datetime(night // 10000, night // 100 % 100, night % 100, tzinfo=UTC).timestamp()
    if survey == "lsst":
        noons = np.array([begin, begin + SECONDS_PER_DAY]) / SECONDS_PER_DAY + 0.5
        first, last = (utc_of_tai(noons + _MJD_OF_UNIX_ZERO) - _MJD_OF_UNIX_ZERO) * SECONDS_PER_DAY
        return round(float(first), 3), round(float(last), 3)
    return begin, begin + SECONDS_PER_DAY


def night_at(survey: str, at: float) -> int:
    """Return the night (YYYYMMDD) that a time, Unix seconds UTC, is in."""
    day = datetime.fromtimestamp(at, UTC).date()
    night = night_of_date(day)
    return night if at >= night_span(survey, night)[0] else night_of_date(day - timedelta(days=1))


def night_of_date(day: date) -> int:
    """Return a date as a night, YYYYMMDD."""
    return day.year * 10000 + day.month * 100 + day.day
