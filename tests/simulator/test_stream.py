from __future__ import annotations

import itertools
from collections import Counter
from datetime import date
from statistics import mean

import pytest

from finkbridge.simulator.schemas import schema_text
from finkbridge.simulator.stream import alerts

SURVEYS = ["ztf", "lsst"]


@pytest.mark.parametrize("survey", SURVEYS)
@pytest.mark.parametrize("size", ["full", "small"])
def test_same_seed_same_bytes(survey: str, size: str) -> None:
    first, again = (list(alerts(survey, n=40, size=size, seed=9)) for _ in range(2))
    assert first == again
    other = list(alerts(survey, n=40, size=size, seed=10))
    assert {a.value for a in first}.isdisjoint(a.value for a in other)


@pytest.mark.parametrize("survey", SURVEYS)
def test_time_order_distinct_and_keyed(survey: str) -> None:
    stream = list(alerts(survey, n=400, size="small"))
    assert len(stream) == 400
    assert [a.mjd for a in stream] == sorted(a.mjd for a in stream)
    assert len({a.source_id for a in stream}) == len({a.value for a in stream}) == 400
    assert {a.key for a in stream} == {schema_text(survey)}
    assert all(a.emitted_ms > (a.mjd - 40587) * 86_400_000 for a in stream)


@pytest.mark.parametrize("survey", SURVEYS)
def test_spread_over_about_the_nights_asked_for(survey: str) -> None:
    nights = Counter(a.night for a in alerts(survey, n=600, nights=5, size="small", start=20260401))
    assert min(nights) in range(20260401, 20260404)
    assert 3 <= len(nights) <= 9


@pytest.mark.parametrize(("survey", "low", "high"), [("ztf", 45_000, 62_000), ("lsst", 190_000, 280_000)])
def test_full_size_is_real_size(survey: str, low: int, high: int) -> None:
    sizes = [len(a.value) for a in alerts(survey, n=300)]
    assert low < mean(sizes) < high


@pytest.mark.parametrize(("survey", "limit"), [("ztf", 6_000), ("lsst", 8_000)])
def test_small_is_small(survey: str, limit: int) -> None:
    assert max(len(a.value) for a in alerts(survey, n=600, size="small", nights=20)) < limit


@pytest.mark.slow
@pytest.mark.parametrize("survey", SURVEYS)
def test_without_end_new_objects_appear(survey: str) -> None:
    stream = alerts(survey, size="small")
    seen = list(itertools.islice(stream, 2000))
    early = {a.object_id for a in seen[:500]}
    assert {a.object_id for a in seen[-500:]} - early
    assert {a.kind for a in seen} == {"supernova", "variable", "asteroid", "bogus"}


def test_start_is_a_date_or_a_number() -> None:
    by_date, by_number = (
        next(alerts("ztf", n=1, size="small", start=s)) for s in (date(2025, 7, 1), 20250701)
    )
    assert by_date == by_number


@pytest.mark.parametrize(
    ("survey", "size", "start"),
    [("des", "full", 20260101), ("ztf", "huge", 20260101), ("ztf", "full", 20261301)],
)
def test_what_cannot_be_simulated(survey: str, size: str, start: int) -> None:
    with pytest.raises(ValueError, match=r"cannot simulate|does not match|unconverted"):
        alerts(survey, size=size, start=start)
