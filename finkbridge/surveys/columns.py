"""The columns of ``deliveries`` that describe an alert: names, Arrow types, units and meaning.

The schema is fixed, whatever version the alerts have, so that all files of a survey are alike; it grows only
by a line in its list. `COMMON_SCHEMA` is every survey's; each survey adds its own after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from finkbridge.surveys.times import TIMESTAMP


@dataclass(frozen=True, slots=True)
class OwnColumn:
    """A column that only one survey has, taken from one field of its alerts."""

    path: str
    """Dotted path of the field in the alert."""
    type: pa.DataType
    description: str
    unit: str = ""
    name: str = ""
    """Name of the column; if empty, the path with ``_`` for dots."""
    not_computed: int | None = None
    """Number that means "no value" in this field, beside -999."""

    @property
    def column(self) -> str:
        """Name of the column in ``deliveries``."""
        return self.name or self.path.replace(".", "_")

    @property
    def field(self) -> pa.Field:
        """Arrow field with unit and description."""
        return described(self.column, self.type, self.unit, self.description)


def described(name: str, arrow_type: pa.DataType, unit: str, description: str) -> pa.Field:
    """Return a nullable field with ``unit`` (empty where it has none) and ``description`` in its metadata."""
    return pa.field(name, arrow_type, metadata={"unit": unit, "description": description})


def schema_of(columns: Sequence[OwnColumn]) -> pa.Schema:
    """Return the Arrow schema of a survey's own columns."""
    return pa.schema([column.field for column in columns])


COMMON_SCHEMA = pa.schema(
    [
        described(
            "object_id",
            pa.string(),
            "",
            "Object of the sky that the alert belongs to, as the survey names it",
        ),
        described(
            "source_id", pa.int64(), "", "Detection that raised the alert: candid (ZTF) or diaSourceId (LSST)"
        ),
        described(
            "mjd",
            pa.float64(),
            "d",
            "Time of the detection, UTC: start (ZTF) or middle (LSST) of the exposure",
        ),
        described("ra", pa.float64(), "deg", "Right ascension of the detection, ICRS"),
        described("dec", pa.float64(), "deg", "Declination of the detection, ICRS"),
        described("healpix_29", pa.int64(), "", "HEALPix pixel of ra and dec, order 29, nested numbering"),
        described("band", pa.string(), "", "Filter: g, r, i (ZTF); u, g, r, i, z, y (LSST)"),
        described(
            "mag",
            pa.float32(),
            "mag",
            "AB magnitude of the absolute difference flux; its sign is in is_positive",
        ),
        described("mag_err", pa.float32(), "mag", "Standard error of mag"),
        described("mag_lim", pa.float32(), "mag", "Limiting AB magnitude (5 sigma) of the difference image"),
        described(
            "flux", pa.float32(), "nJy", "Difference flux (PSF), negative where fainter than the template"
        ),
        described("flux_err", pa.float32(), "nJy", "Standard error of flux"),
        described("is_positive", pa.bool_(), "", "Whether the source is brighter than in the template"),
        described("reliability", pa.float32(), "", "Survey's real-bogus score: 0 is bogus, 1 is real"),
        described("n_det", pa.int32(), "", "Number of detections of the object so far, as the survey counts"),
        described(
            "class", pa.string(), "", "Fink's class: its name (ZTF, data transfer only) or code (LSST)"
        ),
        described("simbad", pa.string(), "", "Object type of the match in SIMBAD; Unknown if there is none"),
        described("tns", pa.string(), "", "Type of the match in the Transient Name Server"),
        described("sso_name", pa.string(), "", "Known solar system object at this place and time"),
        described("emitted", TIMESTAMP, "", "When Fink had finished with the alert, UTC"),
    ]
)
