"""Rubin's part of an alert: the source, its forced photometry, its object and its orbit."""

from __future__ import annotations

import math
from typing import Any

from finkbridge.simulator.alert import SECONDS
from finkbridge.simulator.designations import Designation
from finkbridge.simulator.history import Entry, History
from finkbridge.simulator.lightcurves import Asteroid
from finkbridge.simulator.nights import TAI_MINUS_UTC_DAYS, antisolar_ra, night_of
from finkbridge.simulator.objects import Measurement, SkyObject
from finkbridge.simulator.schemas.lsst import DIA_OBJECT, DIA_SOURCE
from finkbridge.simulator.sky import Visit

Row = dict[str, Any]

ARCSEC_PER_PIXEL = 0.2
DETECTOR_WIDTH, DETECTOR_HEIGHT = 4072.0, 4000.0
"""Pixels."""
ID_DAY_ZERO = 22429
"""Day at which the counter of nights in Rubin's ids is 0."""
RELIABILITY = {"supernova": (9.0, 1.5), "variable": (8.0, 1.5), "asteroid": (7.0, 2.0), "bogus": (1.2, 8.0)}
"""Parameters of the beta distribution of the reliability score, by kind."""

_NO_FLAGS = {f["name"]: False for f in DIA_SOURCE if f["type"][0] == "boolean"}
_NO_DATA = {f["name"]: 0 for f in DIA_OBJECT if f["name"].endswith("Ndata")}


def visit_id(visit: Visit) -> int:
    """Return Rubin's visit: the night YYYYMMDD and the number of the exposure."""
    return night_of(visit.day) * 100_000 + visit.number


def source_id(visit: Visit, thing: SkyObject) -> int:
    """Return a source's id: exposure, detector and a number in the image, packed in 64 bits."""
    exposure = (visit.day - ID_DAY_ZERO) * 32768 + visit.number
    return exposure << 27 | thing.detector << 19 | thing.slot % 2**19


def midpoint_tai(visit: Visit) -> float:
    """Return the middle of the exposure, MJD TAI."""
    return visit.mjd + TAI_MINUS_UTC_DAYS


def dia_source(found: Measurement, thing: SkyObject, object_id: int) -> Row:
    """Return a detection: the alert's own, and the same as a part of later histories."""
    visit, rng = found.visit, thing.rng
    moving = thing.kind == "asteroid"
    ss_object_id = None if not moving else object_id
    return {
        **_NO_FLAGS,
        "diaSourceId": source_id(visit, thing),
        "visit": visit_id(visit),
        "detector": thing.detector,
        "diaObjectId": 0 if moving else object_id,
        "ssObjectId": ss_object_id,
        "parentDiaSourceId": 0,
        "midpointMjdTai": midpoint_tai(visit),
        "band": visit.band,
        "timeProcessedMjdTai": midpoint_tai(visit) + rng.uniform(150.0, 170.0) * SECONDS,
        "bboxSize": rng.randrange(13, 30),
        "reliability": rng.betavariate(*RELIABILITY[thing.kind]),
        **_place(found, thing),
        **_brightness(found, thing),
        **_shape(found, thing),
        **_dipole(found, thing),
    }


def _place(found: Measurement, thing: SkyObject) -> Row:
    rng = thing.rng
    pixels = found.visit.fwhm / 2.355 / max(found.snr, 3.0)
    degrees = pixels * ARCSEC_PER_PIXEL / 3600.0
    return {
        "ra": found.ra,
        "raErr": degrees,
        "dec": found.dec,
        "decErr": degrees * rng.uniform(0.95, 1.05),
        "ra_dec_Cov": degrees * degrees * rng.gauss(0.0, 0.1),
        "x": rng.uniform(20.0, DETECTOR_WIDTH - 20.0),
        "xErr": pixels,
        "y": rng.uniform(20.0, DETECTOR_HEIGHT - 20.0),
        "yErr": pixels * rng.uniform(0.95, 1.05),
    }


def _brightness(found: Measurement, thing: SkyObject) -> Row:
    rng, flux, err = thing.rng, found.flux, found.flux_err
    return {
        "isNegative": not found.positive,
        "snr": found.snr,
        "psfFlux": flux,
        "psfFluxErr": err,
        "psfChi2": rng.gauss(1690.0, 60.0),
        "psfNdata": 1681,
        "apFlux": flux + rng.gauss(0.0, err),
        "apFluxErr": 2.1 * err,
        "scienceFlux": found.reference_flux + flux,
        "scienceFluxErr": 1.01 * err,
        "templateFlux": found.reference_flux + rng.gauss(0.0, 0.05 * err),
        "templateFluxErr": 0.05 * err,
    }


def _shape(found: Measurement, thing: SkyObject) -> Row:
    rng = thing.rng
    width = (found.visit.fwhm * ARCSEC_PER_PIXEL / 2.355) ** 2
    return {
        "trailFlux": found.flux * rng.uniform(1.0, 1.2),
        "trailFluxErr": 0.02 * found.flux_err,
        "trailRa": found.ra,
        "trailDec": found.dec,
        "trailLength": rng.uniform(0.5, 1.5),
        "trailAngle": rng.uniform(-90.0, 90.0),
        "trailNdata": 0,
        "ixx": width * rng.uniform(0.7, 1.1),
        "iyy": width * rng.uniform(0.7, 1.1),
        "ixy": width * rng.gauss(0.0, 0.1),
        "ixxPSF": width,
        "iyyPSF": width * 1.01,
        "ixyPSF": width * 0.02,
        "extendedness": rng.betavariate(1.0, 6.0),
    }


def _dipole(found: Measurement, thing: SkyObject) -> Row:
    """Return the fit of a dipole, tried for one bogus detection in two."""
    rng = thing.rng
    if thing.kind != "bogus" or rng.random() < 0.5:
        return {"dipoleNdata": 0}
    return {
        "isDipole": True,
        "dipoleFitAttempted": True,
        "dipoleMeanFlux": found.reference_flux,
        "dipoleMeanFluxErr": found.flux_err,
        "dipoleFluxDiff": 0.0,
        "dipoleFluxDiffErr": 2.0 * found.flux_err,
        "dipoleLength": rng.uniform(0.02, 0.12),
        "dipoleAngle": rng.uniform(-180.0, 180.0),
        "dipoleChi2": rng.lognormvariate(6.5, 1.0),
        "dipoleNdata": 2100,
    }


def forced_source(found: Measurement, thing: SkyObject, object_id: int) -> Row:
    """Return the forced photometry of a visit, with or without detection."""
    midpoint = midpoint_tai(found.visit)
    return {
        "diaForcedSourceId": source_id(found.visit, thing),
        "diaObjectId": object_id,
        "ra": thing.ra0,
        "dec": thing.dec0,
        "visit": visit_id(found.visit),
        "detector": thing.detector,
        "psfFlux": found.flux,
        "psfFluxErr": found.flux_err,
        "midpointMjdTai": midpoint,
        "scienceFlux": found.reference_flux + found.flux,
        "scienceFluxErr": 1.01 * found.flux_err,
        "band": found.visit.band,
        "timeProcessedMjdTai": midpoint + thing.rng.uniform(155.0, 175.0) * SECONDS,
    }


def dia_object(row: Row, thing: SkyObject, past: History, now: Entry, n_sources: int) -> Row:
    """Return the object as Rubin knows it after this detection: statistics in the alert's own band."""
    band, points = now.band, [*past.detections(now.band), now]
    stats = past.features(band, now)
    weight = math.fsum(point.err**-2 for point in points)
    fluxes = [point.value for point in points]
    several = len(points) > 1
    science = row["templateFlux"] + stats["weighted_mean"]
    return _NO_DATA | {
        "diaObjectId": row["diaObjectId"],
        "validityStartMjdTai": row["timeProcessedMjdTai"],
        "ra": thing.ra0,
        "raErr": row["raErr"] / math.sqrt(n_sources),
        "dec": thing.dec0,
        "decErr": row["decErr"] / math.sqrt(n_sources),
        "ra_dec_Cov": row["ra_dec_Cov"] / n_sources,
        "nDiaSources": n_sources,
        f"{band}_psfFluxMean": stats["weighted_mean"],
        f"{band}_psfFluxMeanErr": weight**-0.5,
        f"{band}_psfFluxSigma": stats["standard_deviation"] if several else None,
        f"{band}_psfFluxNdata": len(points),
        f"{band}_scienceFluxMean": science,
        f"{band}_scienceFluxMeanErr": 1.01 * weight**-0.5,
        f"{band}_psfFluxMin": min(fluxes),
        f"{band}_psfFluxMax": max(fluxes),
        f"{band}_psfFluxMaxSlope": stats["maximum_slope"] if several else None,
        f"{band}_psfFluxErrMean": math.fsum(point.err for point in points) / len(points),
    }


def solar_system(row: Row, thing: SkyObject, name: Designation, visit: Visit) -> Row:
    """Return the ephemeris and the orbit of a known asteroid."""
    elements = _elements(thing)
    sun, beta = (antisolar_ra(visit.day) + 180.0) % 360.0, thing.dec0 / 2.0
    return {
        "ssSource": {
            "diaSourceId": row["diaSourceId"],
            "ssObjectId": name.ss_object_id,
            "designation": name.text,
            "eclLambda": row["ra"],
            "eclBeta": beta,
            "elongation": abs((row["ra"] - sun + 180.0) % 360.0 - 180.0),
            "phaseAngle": 5.0,
            "topoRange": elements["a"] - 1.0,
            "topoRangeRate": 0.0,
            "helioRange": elements["a"],
            "helioRangeRate": 0.0,
            "ephRa": row["ra"] + thing.rng.gauss(0.0, 4e-6),
            "ephDec": row["dec"] + thing.rng.gauss(0.0, 4e-6),
            "ephVmag": thing.curve.mag if isinstance(thing.curve, Asteroid) else 0.0,
            "ephRate": math.hypot(*thing.drift),
            "ephRateRa": thing.drift[0],
            "ephRateDec": thing.drift[1],
            "ephOffset": abs(thing.rng.gauss(0.0, 0.02)),
            "diaDistanceRank": 1,
        },
        "mpc_orbits": elements
        | {
            "id": 0,
            "designation": name.text,
            "packed_primary_provisional_designation": name.packed,
            "unpacked_primary_provisional_designation": name.text,
            "mpc_orb_jsonb": _orbit_json(elements, name),
        },
    }


def _elements(thing: SkyObject) -> Row:
    """Return a main-belt orbit, the same in each alert of an asteroid."""
    share = (thing.serial * 0.6180339887 + thing.field.number * 0.3819660113) % 1.0
    a, e = 2.2 + share, 0.03 + 0.22 * (share * 7.0 % 1.0)
    period = 365.25 * a**1.5
    return {
        "created_at": 0,
        "updated_at": 0,
        "orbit_type_int": 11,
        "u_param": 0,
        "nopp": 6,
        "nobs_total": 120,
        "nobs_total_sel": 118,
        "arc_length_total": 5200.5,
        "arc_length_sel": 5200.5,
        "a": a,
        "q": a * (1.0 - e),
        "e": e,
        "i": 15.0 * (share * 11.0 % 1.0),
        "node": 360.0 * (share * 13.0 % 1.0),
        "argperi": 360.0 * (share * 17.0 % 1.0),
        "peri_time": 61000.0 + period * share,
        "mean_anomaly": 360.0 * (1.0 - share),
        "period": period,
        "mean_motion": 360.0 / period,
        "epoch_mjd": 61000.0,
        "h": thing.curve.mag - 3.5 if isinstance(thing.curve, Asteroid) else None,
        "g": 0.15,
        "normalized_rms": 0.5,
        "not_normalized_rms": 0.0,
        "earth_moid": 0.0,
        "fitting_datetime": 0,
    }


def _orbit_json(elements: Row, name: Designation) -> str:
    names = ("q", "e", "i", "node", "argperi", "peri_time")
    values = ", ".join(f"{elements[key]:.12f}" for key in names)
    keys = ", ".join(f'"{key}"' for key in names)
    return (
        f'{{"COM": {{"coefficient_names": [{keys}], "coefficient_values": [{values}]}}, '
        f'"designation_data": {{"unpacked_primary_provisional_designation": "{name.text}"}}}}'
    )
