"""Begin and end of nights agree with the rules that give alerts their night."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.surveys import night_at, night_of_timestamp_ms, night_span, times

DAYS = st.dates(datetime(1980, 1, 1).date(), datetime(2099, 12, 30).date())
UNIX_ZERO_MJD = 40587.0


def test_nights_by_each_rule() -> None:
    def shown(survey: str) -> list[str]:
        return [datetime.fromtimestamp(t, UTC).isoformat() for t in night_span(survey, 20260322)]

    assert shown("ztf") == ["2026-03-22T00:00:00+00:00", "2026-03-23T00:00:00+00:00"]
    assert shown("lsst") == ["2026-03-22T11:59:23+00:00", "2026-03-23T11:59:23+00:00"]  # noon TAI
    assert shown("other") == shown("ztf")
    with pytest.raises(ValueError, match="month"):
        night_span("ztf", 20261322)


@given(DAYS, st.floats(0.001, 0.999))
def test_a_time_within_a_night_is_of_that_night(day, part: float) -> None:
    night = day.year * 10000 + day.month * 100 + day.day
    for survey in ("ztf", "lsst", "other"):
        start, end = night_span(survey, night)
        assert 86399 <= end - start <= 86401
        at = start + part * (end - start)
        assert night_at(survey, at) == night_at(survey, start) == night
        mjd_utc = at / 86400 + UNIX_ZERO_MJD
        if survey == "ztf":
            found = times.ztf_night(np.array([mjd_utc]))
        elif survey == "other":
            found = night_of_timestamp_ms(np.array([int(at * 1000)]))
        else:
            tai_utc = [s for mjd, s in times.leap_seconds() if mjd <= mjd_utc][-1]
            found = times.lsst_night(np.array([mjd_utc + tai_utc / 86400]))
        assert int(found[0]) == night
