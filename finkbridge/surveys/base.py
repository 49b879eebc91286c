"""What every survey's description of its alerts is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from finkbridge.surveys.columns import COMMON_SCHEMA, OwnColumn, schema_of
from finkbridge.surveys.fields import AlertFields
from finkbridge.surveys.sky import healpix_29, is_declination, is_right_ascension
from finkbridge.surveys.times import FloatArray, is_observation_time
from finkbridge.values import UNDATED_NIGHT

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """What ``deliveries`` says of some alerts, row by row."""

    columns: pa.Table
    """The common columns, then the survey's own; as many rows as alerts, rejected ones included."""
    night: npt.NDArray[np.int32]
    """Observing night (YYYYMMDD) of each row; `UNDATED_NIGHT` where it is rejected or has none."""
    rejected: dict[int, str]
    """Row number -> why its identity, position or time cannot be had: a matter for quarantine."""


@dataclass(frozen=True, slots=True, eq=False)
class Essentials:
    """What an alert must have, or it is rejected."""

    object_id: pa.Array
    source_id: pa.Array
    mjd: FloatArray
    ra: FloatArray
    dec: FloatArray
    sources: tuple[str, str, str, str, str]
    """The five fields' names in the alert, for the reasons."""

    def rejected(self) -> dict[int, str]:
        """Return each row that lacks one of the five, with the first thing it lacks."""
        object_id, source_id, time, ra, dec = self.sources
        return _first_reasons(
            [
                (_is_null(self.object_id), f"no object: {object_id} has no value"),
                (_is_null(self.source_id), f"no identity: {source_id} has no value"),
                (~is_observation_time(self.mjd), f"no time: {time} is missing or not a date of 1972-2099"),
                (~is_right_ascension(self.ra), f"no position: {ra} is missing or not in [0, 360) deg"),
                (~is_declination(self.dec), f"no position: {dec} is missing or not in [-90, 90] deg"),
            ]
        )

    def columns(self) -> dict[str, pa.Array]:
        """Return the columns that follow from these; what is not valid is null."""
        placed = is_right_ascension(self.ra) & is_declination(self.dec)
        pixels = healpix_29(np.where(placed, self.ra, 0.0), np.where(placed, self.dec, 0.0))
        return {
            "object_id": self.object_id,
            "source_id": self.source_id,
            "mjd": arrow_of(self.mjd, pa.float64()),
            "ra": arrow_of(self.ra, pa.float64()),
            "dec": arrow_of(self.dec, pa.float64()),
            "healpix_29": pa.array(pixels, pa.int64(), mask=~placed),
        }


def description(
    fields: AlertFields,
    essentials: Essentials,
    night: npt.NDArray[np.int32],
    common: dict[str, pa.Array],
    own: Sequence[OwnColumn],
) -> Description:
    """Put a survey's findings together; a common column that it does not give is null."""
    known = essentials.columns() | common
    arrays = [known[f.name] if f.name in known else pa.nulls(fields.rows, f.type) for f in COMMON_SCHEMA]
    arrays += [fields.read(column.path, column.type, column.not_computed) for column in own]
    schema = pa.schema([*COMMON_SCHEMA, *schema_of(own)])
    rejected = essentials.rejected()
    night = night.copy()
    night[list(rejected)] = UNDATED_NIGHT
    return Description(pa.Table.from_arrays(arrays, schema=schema), night, rejected)


def arrow_of(numbers: FloatArray, arrow_type: pa.DataType) -> pa.Array:
    """Return float64 numbers as an Arrow float array, null where NaN or where it is or becomes infinite."""
    with np.errstate(over="ignore"):
        converted = numbers.astype(arrow_type.to_pandas_dtype())
    return pa.array(converted, arrow_type, mask=~np.isfinite(converted))


def _is_null(values: pa.Array) -> BoolArray:
    return np.asarray(values.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)


def _first_reasons(checks: Iterable[tuple[BoolArray, str]]) -> dict[int, str]:
    reasons: dict[int, str] = {}
    for bad, reason in checks:
        for row in np.flatnonzero(bad):
            reasons.setdefault(int(row), reason)
    return dict(sorted(reasons.items()))
