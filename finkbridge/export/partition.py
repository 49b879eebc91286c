"""Which folder each alert of a plain folder goes to: Hive's ``name=value``, one or more levels. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from finkbridge import pick
from finkbridge.surveys.fields import AlertFields
from finkbridge.surveys.times import lsst_night, mjd_of_jd, ztf_night
from finkbridge.values import UNDATED_NIGHT

TIME = "time"
DATE_COLUMNS = ("year", "month", "day")
NULL = "__HIVE_DEFAULT_PARTITION__"
"""Hive's name for no value, which its readers turn back into null."""
LONGEST = 200
"""Characters of a value in a folder's name: file systems allow 255 bytes for the whole of it."""

_ZTF_TIMES = ("candidate.jd", "jd")
_LSST_TIMES = ("diaSource.midpointMjdTai", "midpointMjdTai", "diaSource.midPointTai")  # ELAsTiCC's, the last


def why_not(schema: pa.Schema, by: str) -> str:
    """Return why alerts of this schema cannot be parted so; empty if they can."""
    if by == TIME:
        if not _time_path(schema):
            names = ", ".join((*_ZTF_TIMES, *_LSST_TIMES))
            return f"they have no observation time (none of {names})"
        return ""
    if by not in schema.names:
        return f"they have no {by}"
    return "" if _is_plain(schema.field(by).type) else f"{by} is no text or whole number"


def pieces(alerts: pa.Table, by: str | None) -> Iterator[tuple[str, pa.Table]]:
    """Yield each folder with its alerts, in their order, without the columns that the folder tells.

    Parameters
    ----------
    alerts
        Decoded.
    by
        ``time``: year=/month=/day= of the observing night by the survey's rule; or the name of a column; or
        None, for the empty folder.
    """
    if by is None:
        yield "", alerts
        return
    codes, folders = folders_of(alerts, by)
    told = DATE_COLUMNS if by == TIME else (by,)
    kept = [name for name in alerts.column_names if name not in told]
    rest = alerts.select(kept) if kept else alerts  # a table without columns has no rows
    for code, folder in enumerate(folders):
        yield folder, pick.rows(rest, codes == code)


def folders_of(alerts: pa.Table, by: str) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return the number of each alert's folder, and the folders by number."""
    if by == TIME:
        nights, codes = np.unique(_nights(alerts), return_inverse=True)
        return codes, [_night_folder(int(night)) for night in nights]
    encoded = _values(alerts, by).dictionary_encode(null_encoding="encode")
    values = encoded.dictionary.to_pylist()
    return encoded.indices.to_numpy(zero_copy_only=False), [f"{by}={_text(value)}" for value in values]


def columns_for(schema: pa.Schema, by: str) -> list[str]:
    """Return the top-level columns that tell an alert's folder."""
    path = _time_path(schema) if by == TIME else by
    return [top] if (top := path.partition(".")[0]) in schema.names else []


def _values(alerts: pa.Table, by: str) -> pa.Array:
    if by not in alerts.column_names or not _is_plain(alerts.schema.field(by).type):
        return pa.nulls(alerts.num_rows, pa.string())
    values = alerts.column(by).combine_chunks()
    return values.dictionary_decode() if pt.is_dictionary(values.type) else values


def _nights(alerts: pa.Table) -> npt.NDArray[np.int32]:
    path = _time_path(alerts.schema)
    if not path:
        return np.full(alerts.num_rows, UNDATED_NIGHT, np.int32)
    times = AlertFields(alerts).numbers(path)
    return ztf_night(mjd_of_jd(times)) if path in _ZTF_TIMES else lsst_night(times)


def _time_path(schema: pa.Schema) -> str:
    return next((path for path in (*_ZTF_TIMES, *_LSST_TIMES) if _has_number(schema, path)), "")


def _has_number(schema: pa.Schema, path: str) -> bool:
    top, _, inner = path.partition(".")
    if top not in schema.names:
        return False
    kind = schema.field(top).type
    if inner:
        at = kind.get_field_index(inner) if pt.is_struct(kind) else -1
        if at < 0:
            return False
        kind = kind.field(at).type
    return bool(pt.is_floating(kind) or pt.is_integer(kind))


def _is_plain(kind: pa.DataType) -> bool:
    kind = kind.value_type if pt.is_dictionary(kind) else kind
    return bool(pt.is_string(kind) or pt.is_integer(kind) or pt.is_boolean(kind))


def _night_folder(night: int) -> str:
    if night == UNDATED_NIGHT:
        parts = [NULL] * 3
    else:
        parts = [f"{night // 10_000:04d}", f"{night // 100 % 100:02d}", f"{night % 100:02d}"]
    return "/".join(f"{name}={part}" for name, part in zip(DATE_COLUMNS, parts, strict=True))


def _text(value: object) -> str:
    """Return a value as a folder's name has it: nothing that a broker sends leads out of the folder."""
    if value is None:
        return NULL
    told = quote(str(value), safe="")
    if len(told) <= LONGEST:
        return told
    digest = hashlib.sha256(str(value).encode()).hexdigest()[:12]
    return f"{re.sub('%.?$', '', told[:LONGEST])}~{digest}"
