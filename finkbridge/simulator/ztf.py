"""ZTF's part of an alert: the candidate, its neighbours and the history as ZTF's pipeline writes them."""

from __future__ import annotations

import math
import random
from functools import lru_cache
from typing import Any

from finkbridge.simulator.lightcurves import mag_of
from finkbridge.simulator.nights import JD_MINUS_MJD, ZTF_FIRST_NIGHT, night_of
from finkbridge.simulator.objects import Measurement, SkyObject
from finkbridge.simulator.sky import Visit

Row = dict[str, Any]

FID = {"g": 1, "r": 2, "i": 3}
MISSING = -999.0
ARCSEC_PER_PIXEL = 1.01
AXIS = 3072
"""Pixels along one side of a readout channel."""
GOODNESS = {
    "supernova": (0.85, 0.985),
    "variable": (0.87, 0.99),
    "asteroid": (0.8, 0.97),
    "bogus": (0.22, 0.12),
}
"""Typical rb and drb by kind."""


def pid(visit: Visit, detector: int) -> int:
    """Return the processing id: night number, fraction of the day, readout channel and a fixed 15."""
    night, fraction = visit.day - ZTF_FIRST_NIGHT, int((visit.mjd % 1.0) * 1e5)
    return night * 10**9 + fraction * 10**4 + detector * 100 + 15


def candid(found: Measurement, thing: SkyObject) -> int:
    """Return the alert's id: the processing id, the sign of the difference and a number in the image."""
    sign = 15_000 if found.positive else 10_000
    return pid(found.visit, thing.detector) * 10**6 + sign + thing.slot % 1000


def object_name(year: int, number: int) -> str:
    """Return ZTF's name for a place: the year of its first alert and seven letters that tell `number`."""
    letters, rest = "", number * 7_919_003 % 26**5
    for _ in range(5):
        rest, letter = divmod(rest, 26)
        letters = chr(ord("a") + letter) + letters
    return f"ZTF{year % 100:02d}aa{letters}"


@lru_cache(maxsize=1 << 14)
def exposure(visit: Visit, detector: int) -> Row:
    """Return what all entries of one image share: an upper limit is nothing more."""
    rng = random.Random(visit.number * 64 + detector)  # noqa: S311
    fid, fraction = FID[visit.band], int((visit.mjd % 1.0) * 1e6)
    night, quadrant = night_of(visit.day), f"c{detector // 4 + 1:02d}_o_q{detector % 4 + 1}"
    folder = f"/ztf/archive/sci/{night // 10000}/{night % 10000:04d}/{fraction:06d}"
    image = f"ztf_{night}{fraction:06d}_{visit.field.number:06d}_z{visit.band}_{quadrant}_scimrefdiffimg.fits"
    return {
        "jd": round(visit.mjd + JD_MINUS_MJD, 7),
        "fid": fid,
        "pid": pid(visit, detector),
        "diffmaglim": visit.limit_mag,
        "pdiffimfilename": f"{folder}/{image}.fz",
        "programpi": "Prince" if visit.number % 16 == 0 else "Kasliwal/Graham",
        "programid": 1,
        "nid": visit.day - ZTF_FIRST_NIGHT,
        "rcid": detector,
        "field": visit.field.number,
        "magzpsci": {"g": 26.3, "r": 26.2, "i": 25.6}[visit.band] + rng.gauss(0.0, 0.06),
        "magzpsciunc": rng.uniform(2e-6, 4e-5),
        "magzpscirms": rng.uniform(0.018, 0.06),
        "clrcoeff": {"g": -0.05, "r": 0.1, "i": 0.01}[visit.band] + rng.gauss(0.0, 0.015),
        "clrcounc": rng.uniform(3e-6, 6e-5),
        "rbversion": "t17_f5_c3",
    }


def detection(found: Measurement, thing: SkyObject, around: Row) -> Row:
    """Return what the candidate and its later entry in a history share; `around` is from `neighbours`."""
    return {
        **exposure(found.visit, thing.detector),
        **_place(found, thing),
        **_brightness(found, thing),
        **_shape(found, thing),
        **_reference_source(found, thing, around),
    }


def _place(found: Measurement, thing: SkyObject) -> Row:
    rng = thing.rng
    x = 150.0 + (thing.slot * 937.7 + thing.detector * 61.3) % (AXIS - 300.0) + rng.gauss(0.0, 4.0)
    y = 150.0 + (thing.slot * 571.3 + thing.serial * 89.1) % (AXIS - 300.0) + rng.gauss(0.0, 4.0)
    return {
        "candid": candid(found, thing),
        "isdiffpos": "t" if found.positive else "f",
        "tblid": thing.slot % 1000,
        "xpos": x,
        "ypos": y,
        "ra": round(found.ra, 7),
        "dec": round(found.dec, 7),
        "mindtoedge": min(x, y, AXIS - x, AXIS - y),
        "nneg": rng.randrange(8),
        "nbad": 0,
    }


def _brightness(found: Measurement, thing: SkyObject) -> Row:
    rng = thing.rng
    mag, err = mag_of(abs(found.flux)), 1.0857 / found.snr
    aperture = mag + rng.gauss(0.0, 0.4 * err)
    return {
        "magpsf": mag,
        "sigmapsf": err,
        "chipsf": rng.lognormvariate(0.2, 0.5),
        "magap": aperture,
        "sigmagap": 1.6 * err,
        "magapbig": aperture + rng.gauss(0.0, 0.3 * err),
        "sigmagapbig": 2.0 * err,
        "magdiff": aperture - mag,
        "magfromlim": found.visit.limit_mag - aperture,
        "sky": rng.gauss(0.1, 0.6),
        "scorr": found.snr * rng.uniform(0.97, 1.05),
    }


def _shape(found: Measurement, thing: SkyObject) -> Row:
    rng, fwhm = thing.rng, found.visit.fwhm
    bogus = thing.kind == "bogus"
    elongation = 1.0 + abs(rng.gauss(0.0, 0.5 if bogus else 0.08))
    minor = fwhm / 2.355 * rng.uniform(0.8, 1.0)
    rb, _ = GOODNESS[thing.kind]
    return {
        "fwhm": fwhm,
        "classtar": rng.uniform(0.1, 0.9) if bogus else rng.uniform(0.85, 1.0),
        "seeratio": min(rng.gauss(1.05, 0.15), 2.0),
        "aimage": minor * elongation,
        "bimage": minor,
        "aimagerat": minor * elongation / fwhm,
        "bimagerat": minor / fwhm,
        "elong": elongation,
        "rb": min(max(rng.gauss(rb, 0.06), 0.0), 1.0),
        "sumrat": rng.uniform(0.2, 0.7) if bogus else min(rng.gauss(0.99, 0.03), 1.0),
    }


def _reference_source(found: Measurement, thing: SkyObject, around: Row) -> Row:
    mag = mag_of(found.reference_flux)
    return {
        "distnr": abs(around["distpsnr1"] + thing.rng.gauss(0.0, 0.1)),
        "magnr": mag,
        "sigmagnr": 0.012 + 0.1 * 10 ** (0.5 * (mag - 21.0)),
        "chinr": 0.5 if thing.kind == "variable" else 2.5,
        "sharpnr": -0.01 if thing.kind == "variable" else 0.3,
        "ranr": around["ranr"],
        "decnr": around["decnr"],
    }


def neighbours(thing: SkyObject) -> Row:
    """Return the sources around an object in other catalogues, the same in each of its alerts."""
    rng = thing.rng
    star = thing.kind == "variable"
    distance = abs(rng.gauss(0.0, 0.12)) if star else rng.uniform(0.4, 6.0)
    east, north = distance / 5091.0 / math.cos(math.radians(thing.dec0)), distance / 5091.0
    row: Row = {"ranr": round((thing.ra0 + east) % 360.0, 7), "decnr": round(thing.dec0 + north, 7)}
    for rank in (1, 2, 3):
        near = distance if rank == 1 else distance + 4.0 * rank + rng.uniform(0.0, 4.0)
        mag = thing.reference_mag if rank == 1 else rng.uniform(17.0, 22.0)
        row |= {
            f"objectidps{rank}": int((thing.dec0 + 90.0) * 1.2e3) * 10**12 + int(thing.ra0 * 1e9) + rank,
            f"sgmag{rank}": mag,
            f"srmag{rank}": mag - 0.5,
            f"simag{rank}": mag - 0.7,
            f"szmag{rank}": MISSING if mag > 21.5 else mag - 0.8,
            f"sgscore{rank}": rng.uniform(0.9, 1.0) if star and rank == 1 else rng.uniform(0.0, 0.6),
            f"distpsnr{rank}": near,
        }
    bright = rng.random() < 0.5
    return row | {
        "nmtchps": rng.randrange(3, 25),
        "neargaia": distance if star else rng.uniform(2.0, 30.0),
        "maggaia": thing.reference_mag - 0.2 if star else rng.uniform(15.0, 20.0),
        "neargaiabright": rng.uniform(20.0, 85.0) if bright else MISSING,
        "maggaiabright": rng.uniform(10.0, 13.9) if bright else MISSING,
    }


def solar_system(thing: SkyObject, name: str | None, found: Measurement) -> Row:
    """Return the nearest known asteroid: `name`, or ZTF's sentinels."""
    if name is None:
        return {"ssdistnr": MISSING, "ssmagnr": MISSING, "ssnamenr": "null"}
    mag = mag_of(abs(found.flux)) + thing.rng.gauss(0.0, 0.2)
    return {"ssdistnr": abs(thing.rng.gauss(0.0, 0.8)), "ssmagnr": round(mag, 1), "ssnamenr": name}


def image_statistics(found: Measurement, thing: SkyObject) -> Row:
    """Return what only a candidate has: the reference image, the stamps and the calibration."""
    visit, rng = found.visit, thing.rng
    shared = exposure(visit, thing.detector)
    _, drb = GOODNESS[thing.kind]
    sign = 1.0 if found.positive else -1.0
    name = shared["pdiffimfilename"].rsplit("/", 1)[1].removesuffix(".fz")
    return {
        "pdiffimfilename": name,
        "tooflag": 0,
        "rfid": visit.field.number * 10**6 + 120_000 + shared["fid"] * 100 + thing.detector,
        "jdstartref": 2458154.7 + visit.field.number % 97,
        "jdendref": 2458356.8 + visit.field.number % 97,
        "nframesref": 15 + visit.field.number % 20,
        "dsnrms": found.snr * 0.6,
        "ssnrms": found.snr * 0.6 + 6.0,
        "dsdiff": sign * found.snr * 0.5 - 4.0,
        "nmatches": 400 + 13 * (visit.field.number % 120),
        "zpclrcov": -3.0 * shared["magzpsciunc"],
        "zpmed": shared["magzpsci"] - 0.01,
        "clrmed": 0.55,
        "clrrms": 0.2 + 0.1 * rng.random(),
        "exptime": 30.0,
        "drb": min(max(rng.gauss(drb, 0.012 if drb > 0.5 else 0.1), 0.0), 1.0),
        "drbversion": "d6_m7",
    }
