"""Positions: which are valid, and their HEALPix pixel."""

from __future__ import annotations

import hpgeom
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

HEALPIX_ORDER = 29
"""The finest that fits into an int64: pixels of 0.4 milliarcseconds."""


def is_right_ascension(ra: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell which right ascensions (deg) are in [0, 360)."""
    return np.asarray((ra >= 0) & (ra < 360))


def is_declination(dec: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell which declinations (deg) are in [-90, 90]."""
    return np.asarray(np.abs(dec) <= 90)


def healpix_29(ra: FloatArray, dec: FloatArray) -> npt.NDArray[np.int64]:
    """Return the nested HEALPix pixels of order 29 of valid positions (ICRS, deg)."""
    pixels = hpgeom.angle_to_pixel(2**HEALPIX_ORDER, ra, dec, nest=True, lonlat=True, degrees=True)
    return np.asarray(pixels, dtype=np.int64)
