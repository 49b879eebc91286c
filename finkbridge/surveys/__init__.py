"""What is known of each survey: identity, time, night and photometry of its alerts.

Everything here is a pure function of a schema or of decoded alerts; nothing reads a file or the network.
"""

from __future__ import annotations

from types import ModuleType

import pyarrow as pa

from finkbridge.surveys import lsst, other, ztf
from finkbridge.surveys.base import Description
from finkbridge.surveys.columns import COMMON_SCHEMA, schema_of
from finkbridge.surveys.lightcurve import LIGHTCURVE_COLUMNS, LIGHTCURVE_TYPES, lightcurve_sql
from finkbridge.surveys.recognize import survey_of, survey_of_avro, survey_of_record
from finkbridge.surveys.spans import night_at, night_of_date, night_span
from finkbridge.surveys.times import night_of_timestamp_ms

__all__ = [
    "COMMON_SCHEMA",
    "LIGHTCURVE_COLUMNS",
    "LIGHTCURVE_TYPES",
    "SURVEYS",
    "Description",
    "cutout_columns",
    "deliveries_schema",
    "describe",
    "lightcurve_sql",
    "night_at",
    "night_of_date",
    "night_of_timestamp_ms",
    "night_span",
    "own_schema",
    "survey_of",
    "survey_of_avro",
    "survey_of_record",
]

_MODULES: dict[str, ModuleType] = {"ztf": ztf, "lsst": lsst, "other": other}
SURVEYS = tuple(_MODULES)
"""``ztf``, ``lsst``, and ``other`` for any other schema."""


def cutout_columns(survey: str) -> tuple[str, ...]:
    """Return the image columns of the survey's alerts, which ``packets`` leaves out."""
    columns: tuple[str, ...] = _MODULES[survey].CUTOUTS
    return columns


def own_schema(survey: str) -> pa.Schema:
    """Return the columns that only this survey has, with unit and description in the fields' metadata."""
    return schema_of(_MODULES[survey].OWN_COLUMNS)


def deliveries_schema(survey: str) -> pa.Schema:
    """Return the schema of ``describe(...).columns``: the common columns, then the survey's own."""
    return pa.schema([*COMMON_SCHEMA, *own_schema(survey)])


def describe(alerts: pa.Table, survey: str) -> Description:
    """Say of each alert what ``deliveries`` holds of it.

    Parameters
    ----------
    alerts : pa.Table
        Decoded alerts, nested as the survey sends them; columns may be missing.
    survey : str
        One of `SURVEYS`, as `survey_of` tells it.

    Returns
    -------
    Description
        Columns in the schema `deliveries_schema`, nights, and the rows to quarantine. Sentinels, NaN and
        infinities are null; so is a source that is absent or of another type. For ``other`` all columns are
        null and no night is known: take `night_of_timestamp_ms`.
    """
    described: Description = _MODULES[survey].describe(alerts)
    return described
