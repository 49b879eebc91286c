"""Alerts for tests of the viewer: real ones, and hostile ones."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np

from finkbridge.simulator.cutouts import fits_unit

HOSTILE = "../x\0\x1b[31m$\\frac{'\"<script>&\u202e\U0001f4a5"
"""A name that a path, a terminal, a plot's formulas and a page could each take for a command."""


def image(side: int = 8, value: float = 1.0) -> bytes:
    pixels = np.full((side, side), value, np.float32)
    pixels[0, 0] = 5.0 if value == value else value
    return fits_unit("SIMPLE", pixels)


def header(**cards: object) -> bytes:
    """Return a FITS header of one block that says what it is told."""
    lines = [f"{name:<8}= {value!s:>20}".ljust(80) for name, value in cards.items()]
    return "".join([*lines, "END".ljust(80)]).ljust(2880).encode()


def elasticc(**more: Any) -> dict[str, Any]:
    """Return a small alert of ELAsTiCC: LSST's fields under older names, and no image."""
    source = {
        "diaSourceId": 1494043,
        "diaObjectId": 747,
        "midPointTai": 60674.0512,
        "filterName": "Y",
        "ra": 49.0,
        "decl": -41.0,
        "psFlux": 100.0,
        "psFluxErr": 10.0,
    }
    earlier = source | {"diaSourceId": 1494025, "midPointTai": 60597.1192, "filterName": "g", "psFlux": -50.0}
    alert = {"alertId": 12, "diaSource": source, "prvDiaSources": [earlier], "prvDiaForcedSources": [earlier]}
    return (
        alert | {"diaObject": {"diaObjectId": 747}, "cutoutDifference": None, "cutoutTemplate": None} | more
    )


def ztf(**more: Any) -> dict[str, Any]:
    """Return a small ZTF alert."""
    candidate = {
        "jd": 2461121.96,
        "fid": 2,
        "magpsf": 18.0,
        "sigmapsf": 0.1,
        "diffmaglim": 20.0,
        "isdiffpos": "t",
        "ra": 10.0,
        "dec": -5.0,
    }
    stamp = {"fileName": "x", "stampData": gzip.compress(image())}
    names = ("cutoutScience", "cutoutTemplate", "cutoutDifference")
    return (
        {"objectId": "ZTF1", "candid": 1, "candidate": candidate, "prv_candidates": None}
        | dict.fromkeys(names, stamp)
        | more
    )
