"""When an observing night begins and ends: the inverse of the rules in `finkbridge.surveys.times`."""

from __future__ import annotations

from datetime import UTC, datetime

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
