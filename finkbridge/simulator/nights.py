"""Days, nights and time scales. Times are MJD in UTC unless a name says TAI; a day is a whole MJD."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

TAI_MINUS_UTC_DAYS = 37.0 / 86400.0
"""Since 2017-01-01; no leap second is announced."""
JD_MINUS_MJD = 2400000.5
ZTF_FIRST_NIGHT = 57754
"""Day of 2017-01-01, ZTF's night 0."""
UNIX_EPOCH = 40587

_MJD_ZERO = date(1858, 11, 17)


@lru_cache(maxsize=4096)
def night_of(day: int) -> int:
    """Return the night YYYYMMDD of a whole MJD."""
    return int((_MJD_ZERO + timedelta(days=day)).strftime("%Y%m%d"))


def day_of(start: date | float) -> int:
    """Return the whole MJD of a date, or of a night given as the number YYYYMMDD.

    Raises
    ------
    ValueError
        If the number is no date.
    """
    if not isinstance(start, date):
        start = datetime.strptime(f"{int(start)}", "%Y%m%d").replace(tzinfo=UTC)
    calendar = start.date() if isinstance(start, datetime) else start
    return (calendar - _MJD_ZERO).days


def unix_ms(mjd: float) -> int:
    """Return Unix milliseconds."""
    return round((mjd - UNIX_EPOCH) * 86_400_000)


def time_text(mjd: float) -> str:
    """Return a time as Fink writes it, with microseconds and no zone."""
    return f"{datetime.fromtimestamp(unix_ms(mjd) / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"


def antisolar_ra(day: int) -> float:
    """Return the right ascension opposite the Sun at midnight, to a degree or two (degrees)."""
    return (280.5 + 0.98565 * (day - 51544.5) + 180.0) % 360.0


def moonlight(day: int) -> float:
    """Return the fraction of the Moon that is lit: 0 at new moon, 1 at full moon."""
    return 0.5 - 0.5 * math.cos(2 * math.pi * (day - 51549.76) / 29.530589)
