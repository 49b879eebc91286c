"""What is in the sky: supernovae, variable stars, asteroids and bogus detections, appearing for ever."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from finkbridge.simulator.lightcurves import (
    Artifact,
    Asteroid,
    LightCurve,
    PeriodicStar,
    Supernova,
    flux_of,
)
from finkbridge.simulator.sky import SkyField, Survey, Visit

KINDS = ("supernova", "variable", "asteroid", "bogus")


@dataclass(frozen=True, slots=True)
class Habit:
    """How many of a kind there are at any time, and for how many days each is followed."""

    share: float
    life_days: float


HABITS = {
    "supernova": Habit(0.50, 110.0),
    "variable": Habit(0.28, 4000.0),
    "asteroid": Habit(0.13, 16.0),
    "bogus": Habit(0.09, 1.0),
}
GALAXY_COLOUR = {"u": 1.2, "g": 0.0, "r": -0.6, "i": -0.9, "z": -1.1, "y": -1.2}
"""Magnitude minus the one in g."""
FAINTER = {"ztf": 0.0, "lsst": 2.6}
"""Magnitudes by which everything is fainter in the deeper survey."""


@dataclass(frozen=True, slots=True)
class SkyObject:
    """One thing in one field; its `rng` draws its noise, visit after visit, in time order."""

    kind: str
    serial: int
    """Counts the objects of one field and kind."""
    field: SkyField
    birth: float
    """MJD from which on it may be seen."""
    death: float
    ra0: float
    dec0: float
    drift: tuple[float, float]
    """Motion in ra (on the sky) and dec, degrees a day."""
    detector: int
    slot: int
    """Unique among the objects of a field's detector."""
    curve: LightCurve
    reference_mag: float
    """Of the nearest source in the reference image: the star itself, the host, or a stranger. AB, in g."""
    rng: random.Random

    @property
    def key(self) -> tuple[int, str, int]:
        """What tells this object from all others of a population."""
        return self.field.number, self.kind, self.serial

    def position(self, mjd: float) -> tuple[float, float]:
        """Return ra and dec in degrees."""
        days = mjd - 0.5 * (self.birth + self.death)
        ra = self.ra0 + self.drift[0] * days / math.cos(math.radians(self.dec0))
        return ra % 360.0, self.dec0 + self.drift[1] * days

    def reference_flux(self, band: str) -> float:
        """Return the flux in nJy of what the reference image has at this place."""
        if isinstance(self.curve, PeriodicStar):
            return flux_of(self.curve.magnitude(band))
        return flux_of(self.reference_mag + GALAXY_COLOUR[band])


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one visit finds at the place of one object."""

    visit: Visit
    ra: float
    dec: float
    flux: float
    """Difference, nJy."""
    flux_err: float
    reference_flux: float

    @property
    def snr(self) -> float:
        """Absolute signal to noise."""
        return abs(self.flux) / self.flux_err

    @property
    def detected(self) -> bool:
        """Whether the survey sends an alert: five sigma, of either sign."""
        return self.snr >= 5.0

    @property
    def positive(self) -> bool:
        """Whether the difference is positive."""
        return self.flux > 0.0


def observe(thing: SkyObject, visit: Visit, arcsec_per_pixel: float) -> Measurement:
    """Return a noisy measurement; the noise is the sky's, the source's and the calibration's."""
    rng = thing.rng
    truth, reference = thing.curve.flux(visit.mjd, visit.band), thing.reference_flux(visit.band)
    sky = flux_of(visit.limit_mag) / 5.0
    err = math.hypot(sky, 0.008 * (abs(truth) + 0.3 * reference))
    flux = rng.gauss(truth, err)
    scatter = arcsec_per_pixel * visit.fwhm / 2.355 / max(abs(flux) / err, 3.0) / 3600.0
    ra, dec = thing.position(visit.mjd)
    ra += rng.gauss(0.0, scatter) / math.cos(math.radians(dec))
    return Measurement(visit, ra % 360.0, dec + rng.gauss(0.0, scatter), flux, err, reference)


class Population:
    """The objects of each field, night by night, the same for the same seed.

    Objects of a kind are born at even intervals, so that their number stays as it is, for ever.
    """

    def __init__(self, survey: Survey, seed: int, start: int, per_field: float) -> None:
        self.survey, self.seed, self.start, self.per_field = survey, seed, start, per_field
        self._slots: Counter[tuple[int, int]] = Counter()
        self._alive: dict[tuple[int, str, int], SkyObject] = {}

    def active(self, where: SkyField, day: int) -> Iterator[SkyObject]:
        """Yield the objects of a field that may be seen in a night."""
        for kind in KINDS:
            for serial in self._serials(where, kind, day):
                key = where.number, kind, serial
                if key not in self._alive:
                    self._alive[key] = self._create(where, kind, serial)
                yield self._alive[key]

    def retire(self, day: int) -> list[SkyObject]:
        """Forget and return the objects that ended before a night."""
        gone = [key for key, thing in self._alive.items() if thing.death < day]
        return [self._alive.pop(key) for key in gone]

    def _interval(self, kind: str) -> float:
        return HABITS[kind].life_days / (HABITS[kind].share * self.per_field)

    def _serials(self, where: SkyField, kind: str, day: int) -> range:
        life, interval, phase = HABITS[kind].life_days, self._interval(kind), _phase(where, kind)
        first = math.ceil((day - self.start) / interval - phase)
        return range(first, math.ceil((day - self.start + life) / interval - phase))

    def _create(self, where: SkyField, kind: str, serial: int) -> SkyObject:
        rng = random.Random(f"{self.seed}/{self.survey.name}/{where.name}/{kind}/{serial}")  # noqa: S311
        life = HABITS[kind].life_days
        birth = self.start + (serial + _phase(where, kind)) * self._interval(kind) - life
        reach = self.survey.radius
        east, north = rng.uniform(-reach, reach), rng.uniform(-reach, reach)
        dec = where.dec + north
        detector = rng.randrange(self.survey.detectors)
        self._slots[where.number, detector] += 1
        curve, reference_mag = _shine(rng, kind, birth, FAINTER[self.survey.name])
        return SkyObject(
            kind=kind,
            serial=serial,
            field=where,
            birth=birth,
            death=birth + life,
            ra0=(where.ra + east / math.cos(math.radians(dec))) % 360.0,
            dec0=dec,
            drift=_drift(rng) if kind == "asteroid" else (0.0, 0.0),
            detector=detector,
            slot=self._slots[where.number, detector] - 1,
            curve=curve,
            reference_mag=reference_mag,
            rng=rng,
        )


def _phase(where: SkyField, kind: str) -> float:
    """Return a share of the interval between two births, so that the fields do not go in step."""
    return (0.7548776662 * where.number + 0.5698402910 * KINDS.index(kind)) % 1.0


def _drift(rng: random.Random) -> tuple[float, float]:
    speed, angle = rng.uniform(0.12, 0.3), rng.gauss(math.pi, 0.35)
    return speed * math.cos(angle), speed * math.sin(angle)


def _shine(rng: random.Random, kind: str, birth: float, fainter: float) -> tuple[LightCurve, float]:
    if kind == "supernova":
        peak = rng.uniform(16.8, 19.2) + fainter
        curve: LightCurve = Supernova(birth + rng.uniform(1.0, 10.0), peak, rng.uniform(12.0, 19.0))
        return curve, rng.uniform(17.5, 21.0) + fainter
    if kind == "variable":
        mean = rng.uniform(15.0, 18.5) + fainter
        return PeriodicStar(rng.uniform(0.3, 0.8), rng.random(), mean, rng.uniform(0.2, 0.8)), mean
    if kind == "asteroid":
        return Asteroid(rng.uniform(16.5, 19.3) + fainter, rng.uniform(0.15, 0.6)), rng.uniform(
            20.5, 22.0
        ) + fainter
    flux = flux_of(rng.uniform(17.5, 19.3) + fainter) * rng.choice([1.0, 1.0, -1.0])
    return Artifact(math.ceil(birth), math.ceil(birth) + 1.5, flux), rng.uniform(13.0, 19.0) + fainter
