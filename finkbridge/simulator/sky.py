"""What the telescopes do: fields, bands, depth and the visits of each night."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from finkbridge.simulator.nights import antisolar_ra, moonlight

LSST_DEEP_FIELDS = {
    "ddf_cosmos": (150.11, 2.23),
    "ddf_ecdfs": (52.98, -28.12),
    "ddf_edfs_a": (58.90, -49.32),
    "ddf_edfs_b": (63.60, -47.60),
    "ddf_elaiss1": (9.45, -44.02),
    "ddf_xmm_lss": (35.57, -4.82),
}
"""Rubin's deep drilling fields: centres, degrees ICRS."""


@dataclass(frozen=True, slots=True, eq=False)
class SkyField:
    """A pointing of a survey: name, number and centre in degrees."""

    name: str
    number: int
    ra: float
    dec: float


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """One exposure of one field; compared by identity, as it is looked up often."""

    mjd: float
    """UTC: start of the exposure (ZTF) or its midpoint (LSST)."""
    day: int
    """Whole MJD that names the night."""
    field: SkyField
    band: str
    number: int
    """Counts the exposures of a night."""
    limit_mag: float
    """Faintest point source at five sigma, AB."""
    fwhm: float
    """Seeing in pixels."""


@dataclass(frozen=True, slots=True)
class Survey:
    """How a survey observes. `bands_of_night` draws the bands in which one field is observed in one night."""

    name: str
    depth: dict[str, float]
    radius: float
    """Half width of a field, degrees."""
    detectors: int
    history_days: int
    first_hour: float
    """Start of the night in hours after midnight UTC of the day, plus 24 where UTC midnight comes first."""
    hours: float
    consecutive: bool
    """Whether the visits of a field follow each other, or are spread over the night."""
    fwhm: float
    bands_of_night: Callable[[random.Random], list[str]]


def _ztf_bands(rng: random.Random) -> list[str]:
    if rng.random() > 0.6:
        return []
    return [*"gr", *("i" if rng.random() < 0.3 else ""), *("gr" if rng.random() < 0.3 else "")]


def _lsst_bands(rng: random.Random) -> list[str]:
    if rng.random() > 0.72:
        return []
    rare = rng.choices(["", "u", "y"], [5, 1, 1])[0]
    return [*"gggggggg", *"rrrrrrrr", *"iiiiiiii", *"zzzzzzzz", *rare, *rare]


def _few_lsst_bands(rng: random.Random) -> list[str]:
    return sorted(set(_lsst_bands(rng)), key="ugrizy".index) * 2


ZTF = Survey(
    name="ztf",
    depth={"g": 20.8, "r": 20.6, "i": 20.0},
    radius=3.2,
    detectors=64,
    history_days=30,
    first_hour=3.0,
    hours=9.0,
    consecutive=False,
    fwhm=2.0,
    bands_of_night=_ztf_bands,
)
LSST = Survey(
    name="lsst",
    depth={"u": 23.2, "g": 24.0, "r": 23.7, "i": 23.3, "z": 22.8, "y": 21.9},
    radius=1.3,
    detectors=189,
    history_days=20,
    first_hour=24.4,
    hours=8.5,
    consecutive=True,
    fwhm=4.5,
    bands_of_night=_lsst_bands,
)
SURVEYS = {
    ("ztf", "full"): ZTF,
    ("ztf", "small"): ZTF,
    ("lsst", "full"): LSST,
    ("lsst", "small"): replace(LSST, bands_of_night=_few_lsst_bands),
}
"""By survey and size of the alerts: a small stream has fewer visits, so that it shows more objects."""


class _Night(NamedTuple):
    day: int
    clouds: float
    """Magnitudes lost."""
    moon: float
    """Lit fraction."""


class Schedule:
    """The visits of every night, the same for the same seed, whichever night is asked for first."""

    def __init__(self, survey: Survey, seed: int, start: int, n_fields: int) -> None:
        self.survey, self.seed = survey, seed
        self.fields = (
            _lsst_fields(start, n_fields) if survey.name == "lsst" else _ztf_fields(seed, start, n_fields)
        )
        self._nights: dict[int, tuple[Visit, ...]] = {}

    def visits(self, day: int) -> tuple[Visit, ...]:
        """Return all visits of a night in time order; none when the weather is bad."""
        if day not in self._nights:
            self._nights.pop(day - 3 * self.survey.history_days, None)
            self._nights[day] = self._observe(day)
        return self._nights[day]

    def visits_of(self, field: SkyField, day: int) -> list[Visit]:
        """Return the visits of one field in a night, in time order."""
        return [visit for visit in self.visits(day) if visit.field is field]

    def _observe(self, day: int) -> tuple[Visit, ...]:
        rng = random.Random(f"{self.seed}/{self.survey.name}/night/{day}")  # noqa: S311
        if rng.random() < 0.08:
            return ()
        queue = [(field, band) for field in self.fields for band in self.survey.bands_of_night(rng)]
        if not self.survey.consecutive:
            rng.shuffle(queue)
        hours = (_blocks if self.survey.consecutive else _spread)(rng, len(queue), self.survey)
        night = _Night(day, abs(rng.gauss(0.0, 0.25)), moonlight(day))
        targets = [(*target, hour) for target, hour in zip(queue, hours, strict=True)]
        return tuple(
            self._expose(rng, night, number, target) for number, target in enumerate(targets, start=1)
        )

    def _expose(
        self, rng: random.Random, night: _Night, number: int, target: tuple[SkyField, str, float]
    ) -> Visit:
        field, band, hour = target
        moon = night.moon * {"u": 0.6, "g": 0.5, "r": 0.3}.get(band, 0.1)
        seeing = rng.lognormvariate(0.0, 0.15)
        limit = self.survey.depth[band] - night.clouds - moon - 1.2 * (seeing - 1.0) + rng.gauss(0.0, 0.1)
        mjd = night.day + hour / 24
        return Visit(mjd, night.day, field, band, number, limit, self.survey.fwhm * seeing)


def _spread(rng: random.Random, count: int, survey: Survey) -> list[float]:
    slots = max(int(survey.hours * 3600 / 45), count)
    width = survey.hours / slots
    return sorted(survey.first_hour + slot * width for slot in rng.sample(range(slots), count))


def _blocks(rng: random.Random, count: int, survey: Survey) -> list[float]:
    step = min(76.0 / 3600, survey.hours / max(count, 1))
    begin = survey.first_hour + rng.uniform(0.0, max(survey.hours - count * step, 0.0))
    return [begin + number * step for number in range(count)]


def _ztf_fields(seed: int, start: int, n_fields: int) -> tuple[SkyField, ...]:
    rng = random.Random(f"{seed}/ztf/fields/{start}")  # noqa: S311
    numbers = sorted(rng.sample(range(250, 850), n_fields))
    return tuple(
        SkyField(
            f"{number:06d}",
            number,
            round((antisolar_ra(start) + rng.uniform(-60.0, 60.0)) % 360.0, 4),
            round(rng.uniform(-20.0, 60.0), 4),
        )
        for number in numbers
    )


def _lsst_fields(start: int, n_fields: int) -> tuple[SkyField, ...]:
    opposite = antisolar_ra(start)
    near = sorted(
        LSST_DEEP_FIELDS.items(), key=lambda item: abs((item[1][0] - opposite + 180.0) % 360.0 - 180.0)
    )
    return tuple(SkyField(name, i + 1, *centre) for i, (name, centre) in enumerate(near[:n_fields]))
