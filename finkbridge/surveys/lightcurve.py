"""SQL that turns ``packets`` into light-curve points: each alert's own detection and its history.

Written for DuckDB 1.4 and later. A statement fits packets of one Arrow schema; fields that this schema lacks
are null. It has no aggregate, so that DuckDB moves a filter on ``object_id`` below UNNEST into the Parquet
scan, and it names single struct fields, so that DuckDB reads only those.

The same point arrives with many alerts: ``point_key`` is equal then, within an object. Which one to keep is
the caller's choice.
"""

# ruff: noqa: S608   (all that is formatted into the SQL is our own; users' values go in as parameters)

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from finkbridge.surveys import photometry, ztf
from finkbridge.surveys.sql import ELEMENT, Record, case_of, elements, literals, real
from finkbridge.surveys.times import FIRST_MJD, JD_OF_MJD_ZERO, LAST_MJD, SECONDS_PER_DAY, leap_seconds

LIGHTCURVE_TYPES = {
    "object_id": "VARCHAR",
    "survey": "VARCHAR",
    "source_id": "BIGINT",
    "mjd": "DOUBLE",
    "band": "VARCHAR",
    "mag": "DOUBLE",
    "mag_err": "DOUBLE",
    "mag_lim": "DOUBLE",
    "flux": "DOUBLE",
    "flux_err": "DOUBLE",
    "is_positive": "BOOLEAN",
    "kind": "VARCHAR",
    "point_key": "VARCHAR",
}
LIGHTCURVE_COLUMNS = tuple(LIGHTCURVE_TYPES)
"""What `lightcurve_sql` selects; units as in ``deliveries``. ``kind`` is alert, history, upper_limit or
forced; ``source_id`` is null for the last two, which are no detections."""


def lightcurve_sql(survey: str, schema: pa.Schema, relation: str) -> str:
    """Return a SELECT of light-curve points from packets of one schema.

    Parameters
    ----------
    survey : str
        ``ztf`` or ``lsst``.
    schema : pa.Schema
        Arrow schema of the packets.
    relation : str
        What to select from, as SQL: a table, view, ``read_parquet(...)`` or parenthesized SELECT with the
        alerts' columns, ``_object_id`` VARCHAR and ``_source_id`` BIGINT.

    Returns
    -------
    str
        SELECT with the columns `LIGHTCURVE_COLUMNS`.

    Raises
    ------
    KeyError
        If the survey has no light curves.
    """
    return _SELECTS[survey](schema, relation)


def _ztf(schema: pa.Schema, relation: str) -> str:
    history = elements(schema, "prv_candidates")
    parts = [
        _from_alert(relation, _ztf_points(Record.of_column(schema, "candidate"), "_source_id", "'alert'"))
    ]
    if history is not None:
        candid = history.integer("candid")
        kind = f"CASE WHEN {history.number('magpsf')} IS NULL THEN 'upper_limit' ELSE 'history' END"
        parts.append(_from_history(relation, "prv_candidates", _ztf_points(history, candid, kind)))
    flux = f"sign * pow(10, ({photometry.AB_ZERO_POINT_NJY} - mag) / 2.5)"
    flux_err = f"abs({flux}) * mag_err / {photometry.MAG_PER_RELATIVE_FLUX}"
    return _select(
        "ztf",
        parts,
        mjd="time",
        mag=real("mag"),
        mag_err=real("mag_err"),
        mag_lim=real("mag_lim"),
        flux=real(flux),
        flux_err=real(flux_err),
        is_positive="sign > 0",
    )


def _ztf_points(record: Record, source_id: str, kind: str) -> dict[str, str]:
    isdiffpos = record.text("isdiffpos")
    return {
        "source_id": source_id,
        "time": f"{record.number('jd')} - {JD_OF_MJD_ZERO}",
        "band": case_of(record.integer("fid"), {str(fid): f"'{band}'" for fid, band in ztf.BANDS.items()}),
        "mag": record.number("magpsf"),
        "mag_err": record.number("sigmapsf"),
        "mag_lim": record.number("diffmaglim"),
        "sign": f"CASE WHEN {isdiffpos} IN ({literals(ztf.BRIGHTER)}) THEN 1 "
        f"WHEN {isdiffpos} IN ({literals(ztf.FAINTER)}) THEN -1 END",
        "kind": kind,
        "point_key": f"CAST(coalesce({source_id}, -{record.integer('pid')}) AS VARCHAR)",
    }


def _lsst(schema: pa.Schema, relation: str) -> str:
    source = Record.of_column(schema, "diaSource")
    parts = [_from_alert(relation, _lsst_points(source, "_source_id", "'alert'"))]
    history, forced = elements(schema, "prvDiaSources"), elements(schema, "prvDiaForcedSources")
    if history is not None:
        points = _lsst_points(history, history.integer("diaSourceId"), "'history'")
        parts.append(_from_history(relation, "prvDiaSources", points))
    if forced is not None:
        points = _lsst_points(forced, "CAST(NULL AS BIGINT)", "'forced'") | {"point_key": _forced_key(forced)}
        parts.append(_from_history(relation, "prvDiaForcedSources", points))
    mag = f"CASE WHEN flux <> 0 THEN {photometry.AB_ZERO_POINT_NJY} - 2.5 * log10(abs(flux)) END"
    mag_err = f"CASE WHEN flux <> 0 THEN {photometry.MAG_PER_RELATIVE_FLUX} * flux_err / abs(flux) END"
    return _select(
        "lsst",
        parts,
        mjd=_utc_of_tai("time"),
        mag=real(mag),
        mag_err=real(mag_err),
        mag_lim="CAST(NULL AS FLOAT)",
        flux=real("flux"),
        flux_err=real("flux_err"),
        is_positive="coalesce(NOT is_negative, flux > 0)",
    )


def _lsst_points(record: Record, source_id: str, kind: str) -> dict[str, str]:
    return {
        "source_id": source_id,
        "time": record.number("midpointMjdTai"),
        "band": record.text("band"),
        "flux": record.number("psfFlux"),
        "flux_err": record.number("psfFluxErr"),
        "is_negative": record.boolean("isNegative"),
        "kind": kind,
        "point_key": f"CAST({source_id} AS VARCHAR)",
    }


def _forced_key(forced: Record) -> str:
    # marked, as the numbers of forced measurements and of detections may meet
    number, visit, detector = (forced.integer(name) for name in ("diaForcedSourceId", "visit", "detector"))
    return f"coalesce('forced:' || {number}, 'forced:' || {visit} || ':' || {detector})"


def _utc_of_tai(mjd_tai: str) -> str:
    newest_first = sorted(leap_seconds(), reverse=True)
    steps = " ".join(f"WHEN {mjd_tai} >= {start!r} THEN {offset}" for start, offset in newest_first)
    return f"{mjd_tai} - (CASE {steps} END) / {SECONDS_PER_DAY}"


def _from_alert(relation: str, points: dict[str, str]) -> str:
    return f"SELECT _object_id AS object_id, {_named(points)} FROM {relation}"


def _from_history(relation: str, column: str, points: dict[str, str]) -> str:
    unnested = f'SELECT _object_id, unnest("{column}") AS {ELEMENT} FROM {relation}'
    return f"SELECT _object_id AS object_id, {_named(points)} FROM ({unnested})"


def _select(survey: str, parts: Sequence[str], **measured: str) -> str:
    columns = {"survey": f"'{survey}'"} | measured
    selected = ", ".join(f"{columns.get(name, name)} AS {name}" for name in LIGHTCURVE_COLUMNS)
    points = " UNION ALL ".join(parts)
    return f"SELECT {selected} FROM ({points}) WHERE time >= {FIRST_MJD} AND time < {LAST_MJD}"


def _named(expressions: dict[str, str]) -> str:
    return ", ".join(f"{sql} AS {name}" for name, sql in expressions.items())


_SELECTS: dict[str, Callable[[pa.Schema, str], str]] = {"ztf": _ztf, "lsst": _lsst}
