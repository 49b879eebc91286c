"""Brightness over time of what is in the sky, as the difference to the reference image.

Fluxes are nJy (AB magnitude 31.4 is 1 nJy), times MJD in UTC.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

AB_ZERO_POINT = 31.4
WAVELENGTH_UM = {"u": 0.37, "g": 0.48, "r": 0.62, "i": 0.75, "z": 0.87, "y": 1.0}


def flux_of(mag: float) -> float:
    """Return the flux in nJy of an AB magnitude."""
    return float(10.0 ** (0.4 * (AB_ZERO_POINT - mag)))


def mag_of(flux: float) -> float:
    """Return the AB magnitude of a positive flux in nJy."""
    return AB_ZERO_POINT - 2.5 * math.log10(flux)


class LightCurve(Protocol):
    """What shines or fades at one place."""

    def flux(self, mjd: float, band: str) -> float:
        """Return the difference flux in nJy: negative when fainter than in the reference."""
        ...


@dataclass(frozen=True, slots=True)
class Supernova:
    """Rise in two weeks, decline in a month; blue at first, red later (Bazin's function per band)."""

    explosion: float
    peak_mag: float
    rise_days: float

    def flux(self, mjd: float, band: str) -> float:
        """Return the difference flux in nJy; 0 before the explosion."""
        age = mjd - self.explosion
        if age <= 0.0:
            return 0.0
        red = (WAVELENGTH_UM[band] - 0.48) / 0.27
        fall, onset, width = 16.0 + 10.0 * red, 1.1 * self.rise_days, self.rise_days / 5.0
        shape = math.exp(-(age - onset) / fall) / (1.0 + math.exp(-(age - onset) / width))
        dust = 0.85 if band == "u" else 1.0
        return flux_of(self.peak_mag) * dust * (1.35 - 0.1 * red) * shape * (1.0 - math.exp(-age / 2.0))


@dataclass(frozen=True, slots=True)
class PeriodicStar:
    """A pulsating star: steep rise and slow decline about its mean brightness in the reference."""

    period: float
    phase: float
    mean_mag: float
    amplitude: float
    """In g, magnitudes from faintest to brightest; less in redder bands."""

    def flux(self, mjd: float, band: str) -> float:
        """Return the difference flux in nJy, of both signs."""
        turn = 2.0 * math.pi * (mjd / self.period + self.phase)
        wave = math.sin(turn) + 0.35 * math.sin(2.0 * turn) + 0.12 * math.sin(3.0 * turn)
        scale = self.amplitude * (0.48 / WAVELENGTH_UM[band]) ** 0.8 / 2.1
        mean = self.magnitude(band)
        return flux_of(mean - scale * wave) - flux_of(mean)

    def magnitude(self, band: str) -> float:
        """Return the mean magnitude in a band."""
        return self.mean_mag - 0.35 * (WAVELENGTH_UM[band] - 0.48) / 0.27


@dataclass(frozen=True, slots=True)
class Asteroid:
    """Sunlight on a rotating body, absent from the reference."""

    mag: float
    rotation_days: float

    def flux(self, mjd: float, band: str) -> float:
        """Return the difference flux in nJy."""
        colour = {"u": 2.0, "g": 0.45}.get(band, -0.1)
        return flux_of(self.mag + colour + 0.12 * math.sin(4.0 * math.pi * mjd / self.rotation_days))


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact of the subtraction, there in one night only."""

    begin: float
    end: float
    nanojansky: float

    def flux(self, mjd: float, band: str) -> float:  # noqa: ARG002  the same in each band
        """Return the difference flux in nJy, of either sign."""
        return self.nanojansky if self.begin <= mjd < self.end else 0.0
