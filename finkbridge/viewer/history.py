"""The points of a light curve: of one alert with its history, or of an object in the lake."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from finkbridge.surveys import photometry, ztf
from finkbridge.surveys.times import is_observation_time, mjd_of_jd, utc_of_tai

MAX_POINTS = 200_000
"""Of one light curve: a hundred times the longest history."""

LARGEST = 1e30
"""Of a number that is one: an axis to the ends of what floats hold has no ticks."""


class Point(NamedTuple):
    """One measurement; what is not known is None."""

    mjd: float
    """UTC days."""
    band: str
    kind: str
    """``alert``, ``history``, ``upper_limit`` or ``forced``, as in the lake's ``lightcurve``."""
    mag: float | None
    """AB, of the absolute difference flux."""
    mag_err: float | None
    mag_lim: float | None
    flux: float | None
    """nJy, signed."""
    flux_err: float | None
    is_positive: bool | None


def points(alert: Mapping[str, Any], survey: str) -> list[Point]:
    """Return the light curve that an alert carries, in order of time; entries without a time are left out."""
    read = {"ztf": _ztf, "lsst": _lsst, "other": _elasticc}.get(survey)
    found = [] if read is None else [p for p in read(alert) if p is not None]
    return sorted(found, key=lambda p: p.mjd)[-MAX_POINTS:]


def _ztf(alert: Mapping[str, Any]) -> Iterator[Point | None]:
    yield _ztf_point(_record(alert, "candidate"), "alert")
    for entry in _records(alert, "prv_candidates"):
        seen = number(entry.get("magpsf")) is not None
        yield _ztf_point(entry, "history" if seen else "upper_limit")


def _ztf_point(entry: Mapping[str, Any], kind: str) -> Point | None:
    mjd = _time(mjd_of_jd(_array(number(entry.get("jd")))))
    if mjd is None:
        return None
    sign = {**dict.fromkeys(ztf.BRIGHTER, 1.0), **dict.fromkeys(ztf.FAINTER, -1.0)}.get(
        str(entry.get("isdiffpos"))
    )
    mag, mag_err = _array(number(entry.get("magpsf"))), _array(number(entry.get("sigmapsf")))
    flux = photometry.flux_of_mag(mag, _array(sign))
    fid = entry.get("fid")
    return Point(
        mjd,
        ztf.BANDS.get(fid, "?") if isinstance(fid, int) else "?",
        kind,
        _finite(mag),
        _finite(mag_err),
        number(entry.get("diffmaglim")),
        _finite(flux),
        _finite(photometry.flux_err_of_mag_err(flux, mag_err)),
        None if sign is None else sign > 0,
    )


def _lsst(alert: Mapping[str, Any]) -> Iterator[Point | None]:
    yield _lsst_point(_record(alert, "diaSource"), "alert")
    for entry in _records(alert, "prvDiaSources"):
        yield _lsst_point(entry, "history")
    for entry in _records(alert, "prvDiaForcedSources"):
        yield _lsst_point(entry, "forced")


def _elasticc(alert: Mapping[str, Any]) -> Iterator[Point | None]:
    yield _elasticc_point(_record(alert, "diaSource"), "alert")
    for entry in _records(alert, "prvDiaSources"):
        yield _elasticc_point(entry, "history")
    for entry in _records(alert, "prvDiaForcedSources"):
        yield _elasticc_point(entry, "forced")


def _elasticc_point(entry: Mapping[str, Any], kind: str) -> Point | None:
    """Return a point as of LSST: its alerts have the same under older names, and fluxes of another unit."""
    flux, flux_err = number(entry.get("psFlux")), number(entry.get("psFluxErr"))
    band = entry.get("filterName")
    return _lsst_point(
        {
            "midpointMjdTai": entry.get("midPointTai"),
            "band": band.lower() if isinstance(band, str) else None,  # Y is LSST's y
            "psfFlux": None if flux is None else flux * photometry.ELASTICC_NJY,
            "psfFluxErr": None if flux_err is None else flux_err * photometry.ELASTICC_NJY,
        },
        kind,
    )


def _lsst_point(entry: Mapping[str, Any], kind: str) -> Point | None:
    mjd = _time(utc_of_tai(_array(number(entry.get("midpointMjdTai")))))
    if mjd is None:
        return None
    flux, flux_err = _array(number(entry.get("psfFlux"))), _array(number(entry.get("psfFluxErr")))
    negative, known = entry.get("isNegative"), _finite(flux)
    positive = known > 0 if known is not None else None
    return Point(
        mjd,
        band_name(entry.get("band")),
        kind,
        _finite(photometry.mag_of_flux(flux)),
        _finite(photometry.mag_err_of_flux_err(flux, flux_err)),
        None,
        known,
        _finite(flux_err),
        not negative if isinstance(negative, bool) else positive,
    )


def band_name(value: Any) -> str:
    """Return a band's name if it is one: nothing that a terminal or a plot could take for a command."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,7}", value) else "?"


def number(value: Any) -> float | None:
    """Return a field as a finite number; None for anything else, fillers included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if abs(found) < LARGEST and found != -999.0 else None


def _record(alert: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = alert.get(name)
    return found if isinstance(found, Mapping) else {}


def _records(alert: Mapping[str, Any], name: str) -> Iterable[Mapping[str, Any]]:
    found = alert.get(name)
    listed = found[:MAX_POINTS] if isinstance(found, list | tuple) else []
    return [entry for entry in listed if isinstance(entry, Mapping)]


def _array(value: float | None) -> photometry.FloatArray:
    return np.array(math.nan if value is None else value)


def _time(mjd: photometry.FloatArray) -> float | None:
    return float(mjd) if is_observation_time(mjd) else None


def _finite(value: photometry.FloatArray) -> float | None:
    return float(value) if np.abs(value) < LARGEST else None
