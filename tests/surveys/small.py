"""Small alerts made by hand: only the fields that a description reads first."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

CANDIDATE = pa.struct(
    {
        "jd": pa.float64(),
        "fid": pa.int32(),
        "pid": pa.int64(),
        "ra": pa.float64(),
        "dec": pa.float64(),
        "magpsf": pa.float32(),
        "sigmapsf": pa.float32(),
        "diffmaglim": pa.float32(),
        "isdiffpos": pa.string(),
        "rb": pa.float32(),
        "drb": pa.float32(),
        "ndethist": pa.int32(),
        "ssdistnr": pa.float32(),
        "ssnamenr": pa.string(),
    }
)
ZTF = pa.schema({"objectId": pa.string(), "candid": pa.int64(), "candidate": CANDIDATE})

DIA_SOURCE = pa.struct(
    {
        "diaObjectId": pa.int64(),
        "ssObjectId": pa.int64(),
        "midpointMjdTai": pa.float64(),
        "ra": pa.float64(),
        "dec": pa.float64(),
        "band": pa.string(),
        "psfFlux": pa.float32(),
        "psfFluxErr": pa.float32(),
        "isNegative": pa.bool_(),
    }
)
NAMED = pa.struct({"designation": pa.string()})
LSST = pa.schema({"diaSourceId": pa.int64(), "diaSource": DIA_SOURCE, "mpc_orbits": NAMED, "ssSource": NAMED})


def ztf_alert(
    *, object_id: str | None = "ZTF18abcdefg", candid: int | None = 7, **candidate: Any
) -> dict[str, Any]:
    """Return an alert of 2026-03-22 at ra 10, dec -20, with what `candidate` changes."""
    usual = {
        "jd": 2461121.75,
        "ra": 10.0,
        "dec": -20.0,
        "fid": 1,
        "magpsf": 20.0,
        "sigmapsf": 0.1,
        "isdiffpos": "t",
    }
    return {"objectId": object_id, "candid": candid, "candidate": usual | candidate}


def lsst_alert(
    *, number: int | None = 9, mpc: str | None = None, ss: str | None = None, **source: Any
) -> dict[str, Any]:
    """Return an alert of the night 2026-03-05 at ra 10, dec -20, with what `source` changes."""
    usual = {"midpointMjdTai": 61105.125, "ra": 10.0, "dec": -20.0, "diaObjectId": 5, "psfFlux": 1000.0}
    return {
        "diaSourceId": number,
        "diaSource": usual | source,
        "mpc_orbits": {"designation": mpc},
        "ssSource": {"designation": ss},
    }


def ztf_table(*alerts: dict[str, Any], **extra: pa.Array) -> pa.Table:
    """Return alerts as a table, with further top-level columns."""
    return _with(pa.Table.from_pylist(list(alerts), schema=ZTF), extra)


def lsst_table(*alerts: dict[str, Any], **extra: pa.Array) -> pa.Table:
    """Return alerts as a table, with further top-level columns."""
    return _with(pa.Table.from_pylist(list(alerts), schema=LSST), extra)


def _with(table: pa.Table, extra: dict[str, pa.Array]) -> pa.Table:
    for name, values in extra.items():
        table = table.append_column(name, values)
    return table
