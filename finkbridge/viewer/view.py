"""What is shown of an alert, whoever draws it: text that is safe to print, points, images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from finkbridge.consumer.names import identity, object_of
from finkbridge.surveys import survey_of_record
from finkbridge.surveys.times import is_observation_time, utc_of_tai
from finkbridge.text import plain
from finkbridge.viewer.cutouts import Cutout, cutouts, stamps
from finkbridge.viewer.history import Point, number, points

LONGEST = 60
"""Characters of a fact that an alert brings."""

_NOTHING = frozenset({"", "null", "nan", "none", "unknown", "fail 503"})

Paths = tuple[str, ...]
"""Where a field may be, the likeliest first; dots part nested names."""

_OBJECT: dict[str, Paths] = {
    "ztf": ("objectId",),
    "lsst": (
        "diaSource.diaObjectId",
        "mpc_orbits.designation",
        "ssSource.designation",
        "diaSource.ssObjectId",
    ),
}
_SOURCE: dict[str, Paths] = {"ztf": ("candid",), "lsst": ("diaSourceId",)}
_RECORD = {"ztf": "candidate", "lsst": "diaSource", "other": "diaSource"}
_FACTS: dict[str, dict[str, Paths]] = {
    "ztf": {
        "class": ("finkclass",),
        "SIMBAD": ("cdsxmatch",),
        "TNS": ("tnsclass", "tns"),
        "real-bogus": ("candidate.drb", "candidate.rb"),
        "detections": ("candidate.ndethist",),
        "solar system": ("candidate.ssnamenr",),
    },
    "lsst": {
        "class": ("pred.main_label_crossmatch", "pred.main_label_classifier"),
        "SIMBAD": ("xm.simbad_otype",),
        "TNS": ("xm.tns_type",),
        "reliability": ("diaSource.reliability",),
        "detections": ("diaObject.nDiaSources",),
        "solar system": ("mpc_orbits.designation",),
    },
}


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One alert, ready to be drawn. All texts are printable and short."""

    survey: str
    object_id: str
    source_id: str
    mjd: float | None
    """Of the alert, UTC days."""
    ra: float | None
    """Degrees, ICRS."""
    dec: float | None
    facts: tuple[tuple[str, str], ...]
    """Name and value."""
    cutouts: tuple[Cutout, ...]
    """Three, or none of an alert of another schema that has none."""
    points: tuple[Point, ...]
    """In order of time."""

    @property
    def current(self) -> Point | None:
        """The measurement of the alert itself, if it is among the points."""
        mine = [
            p
            for p in self.points
            if p.kind == "alert" and self.mjd is not None and abs(p.mjd - self.mjd) < 1e-6
        ]
        return mine[0] if mine else None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw: neither image nor measurement."""
        return not self.cutouts and not self.points

    @property
    def title(self) -> str:
        """Return the names."""
        named = {"ztf": "ZTF", "lsst": "LSST"}.get(self.survey, "")
        object_id = (
            self.object_id if named and self.object_id.startswith(named) else f"{named} {self.object_id}"
        )
        return object_id.strip()

    @property
    def lines(self) -> list[str]:
        """Return what there is to say beside the title, a line each."""
        current = self.current
        first = [f"alert {self.source_id}", utc_text(self.mjd), "" if current is None else measured(current)]
        second = [position_text(self.ra, self.dec), *(f"{name}: {value}" for name, value in self.facts)]
        return ["   ".join(filter(None, first)), "   ".join(filter(None, second))]


def view_of(
    alert: Mapping[str, Any],
    *,
    survey: str | None = None,
    lightcurve: Sequence[Point] | None = None,
    topics: Iterable[str] = (),
) -> View:
    """Return what is shown of a decoded alert; no alert, however odd, makes it fail.

    Parameters
    ----------
    alert
        As fastavro, `finkbridge.AlertReader` or a consumer gives it.
    survey
        ``ztf``, ``lsst`` or ``other``; told by the alert's fields if None.
    lightcurve
        Points to show in place of those that the alert carries.
    topics
        By which it came.
    """
    survey = survey or survey_of_record(alert)
    record = alert.get(_RECORD.get(survey, ""))
    where = record if isinstance(record, Mapping) else {}
    own = points(alert, survey)
    came = ", ".join(topics)
    return View(
        survey,
        *_names(alert, survey),
        _time(where),
        number(where.get("ra")),
        number(where.get("dec", where.get("decl"))),
        (*_facts(alert, survey), *((("topics", plain(came, 200)),) if came else ())),
        () if survey == "other" and not stamps(alert, survey) else tuple(cutouts(alert, survey)),
        tuple(own if lightcurve is None else lightcurve),
    )


def utc_text(mjd: float | None) -> str:
    """Return MJD (UTC days) as date and time to the second; nothing where there is none."""
    if mjd is None or not is_observation_time(mjd):  # type: ignore[arg-type]  # numpy takes a number
        return ""
    moment = datetime(1858, 11, 17, tzinfo=UTC) + timedelta(days=mjd)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def position_text(ra: float | None, dec: float | None) -> str:
    """Return a position in degrees and in hours, minutes and seconds."""
    if ra is None or dec is None or not (0 <= ra < 360 and abs(dec) <= 90):
        return ""
    hours = _sixty(ra / 15, 2).replace("24:00:00.00", "00:00:00.00")
    sexagesimal = f"{hours} {'-' if dec < 0 else '+'}{_sixty(abs(dec), 1)}"
    return f"RA {ra:.6f} Dec {dec:+.6f} deg ({sexagesimal})"


def measured(point: Point) -> str:
    """Return a measurement in words: ``r = 16.45 +- 0.09 mag, fainter than the template``."""
    band = point.band
    if point.mag is not None and point.kind != "upper_limit":
        error = "" if point.mag_err is None else f" +- {point.mag_err:.2f}"
        said = f"{band} = {point.mag:.2f}{error} mag"
    elif point.mag_lim is not None:
        return f"{band} > {point.mag_lim:.2f} mag"
    else:
        return band
    return said if point.is_positive is not False else f"{said}, fainter than the template"


def _sixty(value: float, digits: int) -> str:
    units = round(value * 3600 * 10**digits)
    seconds, rest = divmod(units, 10**digits)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:0{digits}d}"


def _names(alert: Mapping[str, Any], survey: str) -> tuple[str, str]:
    """Return the object and what tells its alerts apart, as `finkbridge consumer` names files by them."""
    if survey in _OBJECT:
        found = _text(alert, _OBJECT[survey]), _text(alert, _SOURCE[survey])
    else:
        found = plain(object_of(alert) or "", LONGEST), plain(" ".join(identity(alert)[1:]), LONGEST)
    return found[0] or "no object", found[1] or "without a number"


def _facts(alert: Mapping[str, Any], survey: str) -> list[tuple[str, str]]:
    found = ((name, _text(alert, paths)) for name, paths in _FACTS.get(survey, {}).items())
    return [(name, value) for name, value in found if value]


def _time(record: Mapping[str, Any]) -> float | None:
    jd = number(record.get("jd"))
    tai = number(record.get("midpointMjdTai", record.get("midPointTai")))
    if jd is not None:
        return jd - 2400000.5
    return None if tai is None else float(utc_of_tai(tai))  # type: ignore[arg-type]  # numpy takes a number


def _text(alert: Mapping[str, Any], paths: Paths) -> str:
    """Return the first field that says something, as text."""
    for path in paths:
        value: Any = alert
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, str) and value.lower() not in _NOTHING:
            return plain(value, LONGEST)
        if isinstance(value, int) and not isinstance(value, bool) and value not in {0, -1}:
            return str(value)[:LONGEST]
        if isinstance(value, float) and number(value) is not None:
            return f"{value:.3g}"
    return ""
