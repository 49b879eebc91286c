from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.simulator.features import NAMES, features
from finkbridge.simulator.schemas.ztf import LC_FEATURES

VALUES = st.lists(st.integers(-1000, 1000).map(lambda n: n / 10), min_size=3, max_size=30, unique=True)


def test_names_are_the_schemas() -> None:
    assert set(NAMES) == {field["name"] for field in LC_FEATURES}
    assert set(features([1.0, 2.0], [3.0, 4.0], [0.1, 0.1])) == set(NAMES)


def test_no_points_no_features() -> None:
    assert all(math.isnan(value) for value in features([], [], []).values())


def test_one_point_has_a_mean_and_no_spread() -> None:
    found = features([1.0], [18.5], [0.1])
    assert found["mean"] == found["median"] == found["weighted_mean"] == 18.5
    assert found["amplitude"] == 0.0
    assert math.isnan(found["standard_deviation"])
    assert math.isnan(found["chi2"])


def test_a_straight_line() -> None:
    found = features([0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 5.0, 7.0], [1.0] * 4)
    assert found["linear_trend"] == found["linear_fit_slope"] == pytest.approx(2.0)
    assert found["linear_trend_noise"] == pytest.approx(0.0, abs=1e-9)
    assert found["maximum_slope"] == pytest.approx(2.0)
    assert found["linear_fit_slope_sigma"] == pytest.approx(1 / math.sqrt(5))


@given(VALUES)
def test_against_numpy(values: list[float]) -> None:
    found = features(list(map(float, range(len(values)))), values, [0.5] * len(values))
    assert found["mean"] == pytest.approx(np.mean(values), abs=1e-9)
    assert found["median"] == pytest.approx(np.median(values))
    assert found["standard_deviation"] == pytest.approx(np.std(values, ddof=1))
    assert found["amplitude"] == pytest.approx(np.ptp(values) / 2)
    assert found["inter_percentile_range_10"] == pytest.approx(
        np.quantile(values, 0.9) - np.quantile(values, 0.1), abs=1e-9
    )
    assert found["linear_trend"] == pytest.approx(np.polyfit(range(len(values)), values, 1)[0], abs=1e-6)
    assert found["stetson_K"] <= 1.0 + 1e-9
