"""The light-curve features that Fink adds to its alerts, from one band's points in time order.

Definitions as in the light-curve package of A. Lavrukhina and K. Malanchev, which Fink calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

NAN = math.nan


def features(times: Sequence[float], values: Sequence[float], errors: Sequence[float]) -> dict[str, float]:
    """Return the 26 features; NaN where there are too few points.

    Parameters
    ----------
    times
        Days, ascending.
    values, errors
        Magnitudes (ZTF) or nJy (LSST), errors positive.
    """
    if not values:
        return dict.fromkeys(NAMES, NAN)
    order = sorted(values)
    weights = [1.0 / (e * e) for e in errors]
    mean = math.fsum(values) / len(values)
    weighted = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / math.fsum(weights)
    return (
        {"mean": mean, "weighted_mean": weighted}
        | _spread(order)
        | _moments(values, mean)
        | _scatter(values, errors, weighted)
        | _trend(times, values, weights)
    )


def _quantile(order: Sequence[float], q: float) -> float:
    at = q * (len(order) - 1)
    low = int(at)
    high = min(low + 1, len(order) - 1)
    return order[low] + (at - low) * (order[high] - order[low])


def _spread(order: Sequence[float]) -> dict[str, float]:
    n, median = len(order), _quantile(order, 0.5)
    span = order[-1] - order[0]
    deviations = sorted(abs(v - median) for v in order)
    wide = _quantile(order, 0.95) - _quantile(order, 0.05)
    inner = _quantile(order, 0.9) - _quantile(order, 0.1)
    middle = _quantile(order, 0.6) - _quantile(order, 0.4)
    broad = _quantile(order, 0.8) - _quantile(order, 0.2)
    return {
        "median": median,
        "amplitude": 0.5 * span,
        "inter_percentile_range_10": inner,
        "magnitude_percentage_ratio_40_5": middle / wide if wide else NAN,
        "magnitude_percentage_ratio_20_10": broad / inner if inner else NAN,
        "median_absolute_deviation": _quantile(deviations, 0.5),
        "median_buffer_range_percentage_10": sum(d < 0.1 * 0.5 * span for d in deviations) / n,
        "percent_amplitude": max(order[-1] - median, median - order[0]),
    }


def _moments(values: Sequence[float], mean: float) -> dict[str, float]:
    n = len(values)
    offsets = [v - mean for v in values]
    std = math.sqrt(math.fsum(d * d for d in offsets) / (n - 1)) if n > 1 else NAN
    if not std > 0.0:
        return dict.fromkeys(_MOMENTS, NAN) | {"standard_deviation": std}
    total, sums = 0.0, [0.0]
    for d in offsets:
        total += d
        sums.append(total / (n * std))
    skew = kurtosis = NAN
    third = math.fsum((d / std) ** 3 for d in offsets)
    fourth = math.fsum((d / std) ** 4 for d in offsets)
    if n > 2:
        skew = n * third / ((n - 1) * (n - 2))
    if n > 3:
        bias = 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))
        kurtosis = n * (n + 1) * fourth / ((n - 1) * (n - 2) * (n - 3)) - bias
    return {
        "standard_deviation": std,
        "beyond_1_std": sum(abs(d) > std for d in offsets) / n,
        "cusum": max(sums) - min(sums),
        "kurtosis": kurtosis,
        "skew": skew,
        "mean_variance": std / mean if mean else NAN,
        "anderson_darling_normal": _anderson_darling(sorted(offsets), std) if n > 3 else NAN,
    }


def _anderson_darling(order: Sequence[float], std: float) -> float:
    n = len(order)
    below = [min(max(0.5 * math.erfc(-d / std / math.sqrt(2.0)), 1e-12), 1.0 - 1e-12) for d in order]
    total = math.fsum((2 * i + 1) * (math.log(below[i]) + math.log(1.0 - below[n - 1 - i])) for i in range(n))
    return (-n - total / n) * (1.0 + 4.0 / n - 25.0 / (n * n))


def _scatter(values: Sequence[float], errors: Sequence[float], weighted: float) -> dict[str, float]:
    n = len(values)
    if n < 2:
        return {"chi2": NAN, "stetson_K": NAN}
    pulls = [(v - weighted) / e for v, e in zip(values, errors, strict=True)]
    square = math.fsum(p * p for p in pulls)
    stetson = math.fsum(abs(p) for p in pulls) / math.sqrt(n * square) if square else NAN
    return {"chi2": square / (n - 1), "stetson_K": stetson}


def _trend(times: Sequence[float], values: Sequence[float], weights: Sequence[float]) -> dict[str, float]:
    n = len(values)
    slopes = [
        abs((values[i + 1] - values[i]) / (times[i + 1] - times[i]))
        for i in range(n - 1)
        if times[i + 1] > times[i]
    ]
    found = dict.fromkeys(_TREND, NAN) | {"maximum_slope": max(slopes, default=NAN)}
    if n < 3:
        return found
    slope, residual, width = _line(times, values, [1.0] * n)
    noise = math.sqrt(residual / (n - 2))
    found |= {
        "linear_trend": slope,
        "linear_trend_sigma": noise / math.sqrt(width),
        "linear_trend_noise": noise,
    }
    slope, residual, width = _line(times, values, weights)
    return found | {
        "linear_fit_slope": slope,
        "linear_fit_slope_sigma": 1.0 / math.sqrt(width),
        "linear_fit_reduced_chi2": residual / (n - 2),
    }


def _line(
    times: Sequence[float], values: Sequence[float], weights: Sequence[float]
) -> tuple[float, float, float]:
    """Return slope, weighted sum of squared residuals and weighted sum of squared times about the mean."""
    whole = math.fsum(weights)
    t0 = math.fsum(w * t for w, t in zip(weights, times, strict=True)) / whole
    v0 = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / whole
    rows = [(w, t - t0, v - v0) for w, t, v in zip(weights, times, values, strict=True)]
    width = math.fsum(w * t * t for w, t, _ in rows)
    slope = math.fsum(w * t * v for w, t, v in rows) / width
    return slope, math.fsum(w * (v - slope * t) ** 2 for w, t, v in rows), width


_MOMENTS = (
    "standard_deviation",
    "beyond_1_std",
    "cusum",
    "kurtosis",
    "skew",
    "mean_variance",
    "anderson_darling_normal",
)
_TREND = (
    "maximum_slope",
    "linear_trend",
    "linear_trend_sigma",
    "linear_trend_noise",
    "linear_fit_slope",
    "linear_fit_slope_sigma",
    "linear_fit_reduced_chi2",
)
NAMES = (
    "mean",
    "weighted_mean",
    "median",
    "amplitude",
    "inter_percentile_range_10",
    "magnitude_percentage_ratio_40_5",
    "magnitude_percentage_ratio_20_10",
    "median_absolute_deviation",
    "median_buffer_range_percentage_10",
    "percent_amplitude",
    "chi2",
    "stetson_K",
    *_MOMENTS,
    *_TREND,
)
