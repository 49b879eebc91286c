"""Tell the survey from the schema: by the fields that identity, position and time come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from finkbridge.surveys import lsst, ztf

_SIGNATURES: dict[str, Mapping[str, Sequence[str]]] = {"ztf": ztf.SIGNATURE, "lsst": lsst.SIGNATURE}

_Shape = dict[str, frozenset[str]]
"""Top-level fields, each with the fields inside it if it is a record."""


def survey_of(schema: pa.Schema) -> str:
    """Return ``ztf``, ``lsst`` or ``other`` for the Arrow schema of decoded alerts."""
    return _survey_of_shape({field.name: _arrow_children(field.type) for field in schema})


def survey_of_avro(schema: Any) -> str:
    """Return ``ztf``, ``lsst`` or ``other`` for a parsed Avro writer schema (a dict for a record)."""
    record = _record(schema, {})
    return _survey_of_shape(_avro_shape(record)) if record else "other"


def survey_of_record(alert: Mapping[str, Any]) -> str:
    """Return ``ztf``, ``lsst`` or ``other`` for a decoded alert."""
    inner = {n: frozenset(v) if isinstance(v, Mapping) else frozenset[str]() for n, v in alert.items()}
    return _survey_of_shape(inner)


def _survey_of_shape(shape: _Shape) -> str:
    for survey, signature in _SIGNATURES.items():
        if all(name in shape and shape[name].issuperset(inner) for name, inner in signature.items()):
            return survey
    return "other"


def _arrow_children(arrow_type: pa.DataType) -> frozenset[str]:
    return frozenset(f.name for f in arrow_type.fields) if pt.is_struct(arrow_type) else frozenset()


def _avro_shape(record: Mapping[str, Any]) -> _Shape:
    named: dict[str, Mapping[str, Any]] = {}
    shape = {}
    for field in record["fields"]:
        inner = _record(field["type"], named)
        shape[field["name"]] = frozenset(f["name"] for f in inner["fields"]) if inner else frozenset()
    return shape


def _record(avro_type: Any, named: dict[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the record that a type is, or that a union has; `named` collects them for later references."""
    if isinstance(avro_type, str):
        return named.get(avro_type)
    if isinstance(avro_type, list):
        return next((r for r in (_record(branch, named) for branch in avro_type) if r), None)
    if not isinstance(avro_type, dict):
        return None
    if avro_type.get("type") == "record":
        named[avro_type["name"]] = avro_type
        return avro_type
    return _record(avro_type["type"], named) if isinstance(avro_type.get("type"), (dict, list)) else None
