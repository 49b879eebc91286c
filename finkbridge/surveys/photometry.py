"""Magnitudes and fluxes: AB magnitudes and nanojansky, signed where the source faded against its template.

All functions take and give float64 arrays; NaN means missing and stays NaN. The magnitude of a zero flux is
infinite.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

AB_ZERO_POINT_NJY = 31.4
"""AB magnitude of 1 nJy."""

MAG_PER_RELATIVE_FLUX = 2.5 / np.log(10)
"""1.0857: an error of 1 % in flux is one of 0.0109 mag."""

ELASTICC_NJY = 10 ** ((AB_ZERO_POINT_NJY - 27.5) / 2.5)
"""nJy of a unit of ELAsTiCC's fluxes, whose magnitudes are 27.5 - 2.5 log10(flux)."""


def flux_of_mag(mag: FloatArray, sign: FloatArray) -> FloatArray:
    """Return flux (nJy) of AB magnitude; `sign` is +1, -1, or NaN where unknown (then no flux)."""
    with np.errstate(over="ignore"):
        flux: FloatArray = sign * 10 ** ((AB_ZERO_POINT_NJY - mag) / 2.5)
    return flux


def flux_err_of_mag_err(flux: FloatArray, mag_err: FloatArray) -> FloatArray:
    """Return the error of `flux` (nJy) that a magnitude's error stands for."""
    with np.errstate(over="ignore", invalid="ignore"):
        error: FloatArray = np.abs(flux) * mag_err / MAG_PER_RELATIVE_FLUX
    return error


def mag_of_flux(flux: FloatArray) -> FloatArray:
    """Return AB magnitude of ``abs(flux)`` (nJy): the sign is lost, keep it elsewhere."""
    with np.errstate(divide="ignore"):
        mag: FloatArray = AB_ZERO_POINT_NJY - 2.5 * np.log10(np.abs(flux))
    return mag


def mag_err_of_flux_err(flux: FloatArray, flux_err: FloatArray) -> FloatArray:
    """Return the magnitude's error that the error of `flux` (both nJy) stands for."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        error: FloatArray = MAG_PER_RELATIVE_FLUX * flux_err / np.abs(flux)
    return error
