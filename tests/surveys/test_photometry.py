"""Magnitudes and fluxes: known values, and back again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.surveys import photometry


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_known_values() -> None:
    # 3631 Jy is magnitude 0 by definition, to the rounding of the zero point 31.4
    assert photometry.flux_of_mag(array(0.0), array(1.0))[0] == pytest.approx(3631e9, rel=2e-4)
    assert photometry.flux_of_mag(array(31.4, 28.9), array(-1.0, 1.0)).tolist() == [-1.0, 10.0]
    assert photometry.mag_of_flux(array(1.0, -10.0)).tolist() == pytest.approx([31.4, 28.9])
    assert photometry.mag_err_of_flux_err(array(-200.0), array(2.0))[0] == pytest.approx(0.010857, rel=1e-4)
    assert photometry.flux_err_of_mag_err(array(-200.0), array(0.01))[0] == pytest.approx(1.8421, rel=1e-4)


@given(st.floats(5, 30), st.sampled_from([-1.0, 1.0]), st.floats(1e-4, 1))
def test_there_and_back(mag: float, sign: float, mag_err: float) -> None:
    flux = photometry.flux_of_mag(array(mag), array(sign))
    flux_err = photometry.flux_err_of_mag_err(flux, array(mag_err))
    assert np.sign(flux)[0] == sign
    assert photometry.mag_of_flux(flux)[0] == pytest.approx(mag, abs=1e-9)
    assert photometry.mag_err_of_flux_err(flux, flux_err)[0] == pytest.approx(mag_err, rel=1e-9)


def test_nothing_finite_comes_of_nothing() -> None:
    assert not np.isfinite(photometry.mag_of_flux(array(0.0, np.nan))).any()
    assert not np.isfinite(photometry.mag_err_of_flux_err(array(0.0, 0.0), array(1.0, 0.0))).any()
    assert not np.isfinite(photometry.flux_of_mag(array(20.0, np.nan, -1e6), array(np.nan, 1, 1))).any()
