"""HEALPix pixels equal another library's."""

from __future__ import annotations

import astropy.units as u
import numpy as np
from astropy.coordinates import Latitude, Longitude
from cdshealpix.nested import lonlat_to_healpix
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.surveys import sky


def other_library(ra: np.ndarray, dec: np.ndarray) -> list[int]:
    pixels = lonlat_to_healpix(Longitude(ra, u.deg), Latitude(dec, u.deg), sky.HEALPIX_ORDER)
    return [int(pixel) for pixel in pixels]


def test_pixels_all_over_the_sky() -> None:
    rng = np.random.default_rng(20260322)
    ra, dec = rng.uniform(0, 360, 10_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 10_000)))
    pixels = sky.healpix_29(ra, dec)
    assert pixels.dtype == np.int64
    assert pixels.tolist() == other_library(ra, dec)


def test_pixels_at_the_edges() -> None:
    ra, dec = np.array([0.0, 359.9999999, 0.0, 123.0, 45.0]), np.array([0.0, 0.0, 90.0, -90.0, 41.8])
    assert sky.healpix_29(ra, dec).tolist() == other_library(ra, dec)
    assert sky.healpix_29(ra[:0], dec[:0]).tolist() == []


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_valid_coordinates(angle: float) -> None:
    assert sky.is_right_ascension(np.array([angle]))[0] == (0 <= angle < 360)
    assert sky.is_declination(np.array([angle]))[0] == (-90 <= angle <= 90)
