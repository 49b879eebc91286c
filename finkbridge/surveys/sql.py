"""Pieces of DuckDB SQL that read the fields of one Arrow struct, cleaned as ``deliveries`` cleans them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as pt

from finkbridge.surveys.names import unique_names
from finkbridge.surveys.sentinels import NUMBER

_TypeTest = Callable[[pa.DataType], bool]

ELEMENT = "element"
"""Name of the column that holds an unnested list element."""


@dataclass(frozen=True, slots=True)
class Record:
    """A column of structs; a field that it lacks, or has with another type, reads as a typed NULL.

    So does one behind another of its name but for case: DuckDB would read that one.
    """

    column: str
    fields: Mapping[str, pa.DataType]

    @classmethod
    def of_column(cls, schema: pa.Schema, column: str) -> Record:
        """Return the struct column of `schema`; without fields if there is none."""
        position = schema.get_field_index(column)
        return cls(column, _children(schema.field(position).type) if position >= 0 else {})

    def number(self, name: str) -> str:
        """Return SQL of a DOUBLE, NULL for NaN, infinity and the filler."""
        value = self._value(name, _is_number, "DOUBLE")
        return f"CASE WHEN isfinite({value}) AND {value} <> {NUMBER} THEN {value} END"

    def integer(self, name: str) -> str:
        """Return SQL of a BIGINT."""
        return self._value(name, pt.is_integer, "BIGINT")

    def text(self, name: str) -> str:
        """Return SQL of a VARCHAR."""
        return self._value(name, _is_text, "VARCHAR")

    def boolean(self, name: str) -> str:
        """Return SQL of a BOOLEAN."""
        return self._value(name, pt.is_boolean, "BOOLEAN")

    def _value(self, name: str, is_wanted: _TypeTest, sql_type: str) -> str:
        present = name in self.fields and is_wanted(self.fields[name])
        value = f"struct_extract(\"{self.column}\", '{name}')" if present else "NULL"
        return f"TRY_CAST({value} AS {sql_type})"


def elements(schema: pa.Schema, column: str) -> Record | None:
    """Return the structs of a list column, as `ELEMENT` once unnested; None where it is no such column."""
    position = schema.get_field_index(column)
    if position < 0 or not _is_list(schema.field(position).type):
        return None
    fields = _children(schema.field(position).type.value_type)
    return Record(ELEMENT, fields) if fields else None


def real(number: str) -> str:
    """Return SQL of `number` as a FLOAT, NULL where it is or becomes infinite or NaN."""
    return f"CASE WHEN isfinite({number}) THEN TRY_CAST({number} AS FLOAT) END"


def case_of(value: str, results: Mapping[str, str]) -> str:
    """Return SQL that maps `value`, given and result as SQL; NULL for any other."""
    return (
        f"CASE {value} " + " ".join(f"WHEN {key} THEN {result}" for key, result in results.items()) + " END"
    )


def literals(texts: Iterable[str]) -> str:
    """Return SQL string literals, comma-separated; for plain words of our own, not for input."""
    return ", ".join(f"'{text}'" for text in texts)


def _children(arrow_type: pa.DataType) -> dict[str, pa.DataType]:
    """Return the fields of a struct that DuckDB finds by their name: of two alike but for case, the first."""
    if not pt.is_struct(arrow_type):
        return {}
    fields = list(arrow_type.fields)
    found = unique_names([field.name for field in fields])
    return {f.name: f.type for f, name in zip(fields, found, strict=True) if f.name == name}


def _is_list(arrow_type: pa.DataType) -> bool:
    return bool(pt.is_list(arrow_type) or pt.is_large_list(arrow_type))


def _is_number(arrow_type: pa.DataType) -> bool:
    return bool(pt.is_floating(arrow_type) or pt.is_integer(arrow_type))


def _is_text(arrow_type: pa.DataType) -> bool:
    return bool(pt.is_string(arrow_type) or pt.is_large_string(arrow_type) or pt.is_string_view(arrow_type))
