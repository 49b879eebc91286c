"""What is viewed: the alerts of files, or of the lake."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

from finkbridge import later
from finkbridge.errors import SettingsError
from finkbridge.reader import AlertReader, Source
from finkbridge.settings import Settings
from finkbridge.viewer.history import MAX_POINTS, Point, band_name
from finkbridge.viewer.view import View, view_of

log = logging.getLogger(__name__)


def of_files(source: Source, limit: int | None = None) -> Iterator[View]:
    """Yield the alerts of files, the first `limit` of them; what has nothing to draw is counted in the log.

    Raises
    ------
    SettingsError
        There is no such file, no alert in it, or none that has anything to draw.
    """
    drawn = empty = 0
    first = ""
    for alert in islice(AlertReader(source), limit):
        view = view_of(alert)
        if view.is_empty:
            first = first or f"{view.title}, {view.source_id}"
            empty += 1
        else:
            drawn += 1
            yield view
    if not drawn and not empty:
        raise SettingsError(f"there is no alert in {source}: name an Avro file, or a folder of them")
    if empty:
        said = (
            f"nothing to draw in {empty:,} of {drawn + empty:,} alerts (the first: {first}): neither image "
            "nor light curve, as in those of multi-messenger and counting topics; read their fields with "
            "finkbridge.AlertReader, in the lake with finkbridge sql (packets_other)"
        )
        if not drawn:
            raise SettingsError(said)
        log.warning("%s", said)


def of_lake(settings: Settings, name: str, survey: str | None = None, *, by_number: bool = False) -> View:
    """Return an object of the lake by its newest alert, or one alert, with the whole light curve.

    Parameters
    ----------
    settings
        Of the lake.
    name, survey, by_number
        See `Lookup.find`.

    Raises
    ------
    SettingsError
        The lake has neither.
    DecodeError
        The archive's file is damaged.
    """
    with later.call("finkbridge.lookup:Lookup", settings) as lookup:
        alert = lookup.find(name, survey, by_number=by_number)[0]
        if alert.survey == "other":
            raise SettingsError(f"{name} is of a kind that has no pictures here: finkbridge show {name}")
        record = lookup.record(alert)
        rows = lookup.lightcurve(alert.object_id, alert.survey)
    points = [_point(row) for row in rows[-MAX_POINTS:]]
    return view_of(record, survey=alert.survey, lightcurve=points, topics=alert.topics)


def _point(row: dict[str, Any]) -> Point:
    return Point(**row | {"band": band_name(row["band"])})
