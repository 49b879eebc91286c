"""What part of the values is shown, and how: pixels as shades of grey, fluxes on a scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from finkbridge.viewer.cutouts import Cutout
from finkbridge.viewer.history import Point

SOFTENING = 10.0
"""Of asinh: linear for the noise of the sky, logarithmic for stars a hundred times brighter."""


def shades(cutout: Cutout) -> npt.NDArray[np.float64]:
    """Return 0 (black) to 1 (white) for each pixel, NaN where it has no value.

    Science and template: asinh between their 1st and 99.7th percentile. Difference: the same to both sides of
    zero, which is grey, so that what brightened is white and what faded is black.
    """
    pixels = cutout.pixels
    if pixels is None:
        raise ValueError(f"{cutout.name} has no pixels")
    with np.errstate(all="ignore"):
        if cutout.name == "Difference":
            most = float(np.nanpercentile(np.abs(pixels), 99.7)) or 1.0
            return 0.5 + 0.5 * _asinh(np.clip(pixels / most, -1, 1), 3.0)
        low, high = np.nanpercentile(pixels, [1, 99.7])
        return _asinh(np.clip((pixels - low) / ((high - low) or 1.0), 0, 1), SOFTENING)


def flux_range(points: Sequence[Point]) -> tuple[float, float]:
    """Return the fluxes (nJy) between which a light curve is drawn.

    All detections with their errors, zero, and the forced fluxes but the wildest of them (one in fifty).
    """
    fluxes = [p for p in points if p.flux is not None]
    seen = [(p.flux or 0.0, p.flux_err or 0.0) for p in fluxes if p.kind != "forced"]
    forced = [p.flux or 0.0 for p in fluxes if p.kind == "forced"]
    ends = [0.0, *(f - e for f, e in seen), *(f + e for f, e in seen)]
    ends += [float(end) for end in np.percentile(forced, [2, 98])] if forced else []
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _asinh(values: npt.NDArray[np.float64], softening: float) -> npt.NDArray[np.float64]:
    stretched: npt.NDArray[np.float64] = np.arcsinh(values * softening) / np.arcsinh(softening)
    return stretched
