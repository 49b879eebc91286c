"""The stream of alerts of a survey, in time order, for as many nights as it takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import date

from finkbridge.simulator import DEFAULT_START
from finkbridge.simulator.alert import SimulatedAlert
from finkbridge.simulator.lsst_alerts import LsstAlerts
from finkbridge.simulator.nights import day_of
from finkbridge.simulator.objects import Population
from finkbridge.simulator.schemas import schema_text
from finkbridge.simulator.sky import SURVEYS, Schedule
from finkbridge.simulator.ztf_alerts import ZtfAlerts

__all__ = ["SimulatedAlert", "alerts", "schema_text"]

ENDLESS_PER_NIGHT = 300
"""Alerts a night, about, when no number is asked for."""

_MAKERS: dict[str, type[ZtfAlerts | LsstAlerts]] = {"ztf": ZtfAlerts, "lsst": LsstAlerts}
_FIELDS = {"ztf": 12, "lsst": 4}
_PER_OBJECT_NIGHT = {
    ("ztf", "full"): 1.0,
    ("ztf", "small"): 1.0,
    ("lsst", "full"): 15.0,
    ("lsst", "small"): 4.0,
}
"""Alerts that an object sends in a night, on average: measured."""


def alerts(
    survey: str,
    *,
    seed: int = 1,
    size: str = "full",
    start: date | float = DEFAULT_START,
    nights: int = 3,
    n: int | None = None,
) -> Iterator[SimulatedAlert]:
    """Yield simulated alerts in time order; the same arguments give the same bytes.

    Parameters
    ----------
    survey
        ``ztf`` or ``lsst``.
    seed
        Another seed is another sky.
    size
        ``full``: as large as real alerts. ``small``: below 6 kB (ZTF) or 8 kB (LSST), with short histories
        and tiny stamps (LSST: the difference only).
    start
        First night: a date, or the number YYYYMMDD.
    nights
        Nights over which `n` alerts are spread, about: decides how many objects there are.
    n
        How many; None for a stream without end.

    Raises
    ------
    ValueError
        If a survey, size or date does not exist.
    """
    observing = SURVEYS.get((survey, size))
    if observing is None:
        raise ValueError(f"cannot simulate {survey!r} {size!r}: ask for ztf or lsst, full or small")
    day = day_of(start)
    wanted = ENDLESS_PER_NIGHT if n is None else n / max(nights, 1)
    objects = max(wanted / _PER_OBJECT_NIGHT[survey, size], 4.0)
    n_fields = max(1, min(_FIELDS[survey], round(objects / 8)))
    schedule = Schedule(observing, seed, day, n_fields)
    population = Population(observing, seed, day, objects / n_fields)
    maker = _MAKERS[survey](schedule, seed, size)
    return itertools.islice(_nights(schedule, population, maker, day), n)


def _nights(
    schedule: Schedule, population: Population, maker: ZtfAlerts | LsstAlerts, first: int
) -> Iterator[SimulatedAlert]:
    for day in itertools.count(first):
        maker.retire(population.retire(day))
        for visit in schedule.visits(day):
            for thing in population.active(visit.field, day):
                alert = maker.visit(thing, visit)
                if alert is not None:
                    yield alert
