"""Read one field of a table of alerts as one Arrow array of the type we want, whatever the schema's version.

A field that is absent, or whose type cannot be that, reads as nulls: never an error.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from finkbridge.surveys.sentinels import without_sentinels


class AlertFields:
    """The fields of decoded alerts by their dotted path, e.g. ``candidate.jd`` or ``blazar_stats.m0``."""

    def __init__(self, alerts: pa.Table) -> None:
        self._alerts = alerts
        self._names = frozenset(alerts.column_names)
        self._tops: dict[str, pa.Array] = {}
        """Fields of the alerts themselves, each as one piece: many others are inside of a few."""
        self.rows: int = alerts.num_rows

    def read(self, path: str, arrow_type: pa.DataType, not_computed: int | None = None) -> pa.Array:
        """Return the field as `arrow_type`, null where it is absent, of another type, or a sentinel."""
        values = self._leaf(path)
        converted = None if values is None else _converted(values, arrow_type)
        if converted is None:
            return pa.nulls(self.rows, arrow_type)
        return without_sentinels(converted, not_computed)

    def text(self, path: str) -> pa.Array:
        """Return the field as text."""
        return self.read(path, pa.string())

    def integers(self, path: str) -> pa.Array:
        """Return the field as int64."""
        return self.read(path, pa.int64())

    def numbers(self, path: str) -> npt.NDArray[np.float64]:
        """Return the field as a float64 numpy array, NaN for null."""
        numbers: npt.NDArray[np.float64] = self.read(path, pa.float64()).to_numpy(zero_copy_only=False)
        return numbers

    def _leaf(self, path: str) -> pa.Array | None:
        top, *steps = path.split(".")
        values = self._top(top)
        if values is None:
            return None
        for step in steps:
            if pt.is_struct(values.type) and values.type.get_field_index(step) >= 0:
                values = _field(values, values.type.get_field_index(step))
            elif pt.is_map(values.type) and pt.is_string(values.type.key_type):
                values = pc.map_lookup(values, pa.scalar(step), "first")
            else:
                return None
        return values

    def _top(self, name: str) -> pa.Array | None:
        if name not in self._tops:
            if name not in self._names:
                return None
            column = self._alerts.column(name)
            self._tops[name] = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        return self._tops[name]


def _field(records: pa.StructArray, index: int) -> pa.Array:
    """Return a field of records: null where the record is."""
    return records.field(index) if records.null_count == 0 else pc.struct_field(records, [index])


def _converted(values: pa.Array, wanted: pa.DataType) -> pa.Array | None:
    """Return `values` as `wanted`, losing a float's last digits at most; None for another kind."""
    have = values.type
    if pt.is_dictionary(have):
        return _converted(values.dictionary_decode(), wanted)
    if have == wanted:
        return values
    if pt.is_floating(wanted) and (pt.is_floating(have) or pt.is_integer(have)):
        return values.cast(wanted, safe=False)
    if pt.is_integer(wanted) and pt.is_integer(have):
        return _narrowed(values, wanted)
    if pt.is_string(wanted) and (pt.is_large_string(have) or pt.is_string_view(have)):
        return values.cast(wanted)
    return None


def _narrowed(values: pa.Array, wanted: pa.DataType) -> pa.Array:
    limits = np.iinfo(wanted.to_pandas_dtype())
    if values.type.bit_width <= wanted.bit_width:
        return values.cast(wanted)
    fits = pc.and_(pc.greater_equal(values, limits.min), pc.less_equal(values, limits.max))
    return pc.if_else(fits, values, pa.scalar(None, values.type)).cast(wanted)
