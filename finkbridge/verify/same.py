"""Exact comparison of Arrow columns, nested ones too; NaN is equal to itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def same(a: pa.Array, b: pa.Array) -> bool:
    """Whether two arrays hold the same values; names of lists' items do not matter, other types do."""
    if len(a) != len(b) or a.null_count != b.null_count:
        return False
    if (pa.types.is_map(a.type), _is_list(a.type)) != (pa.types.is_map(b.type), _is_list(b.type)):
        return False
    if pa.types.is_map(a.type) or _is_list(a.type):
        return _same_shape(a, b) and same(_as_list(a).flatten(), _as_list(b).flatten())
    if pa.types.is_struct(a.type) and pa.types.is_struct(b.type):
        return _same_structs(a, b)
    if pa.types.is_dictionary(a.type) and a.type == b.type:
        return same(a.dictionary_decode(), b.dictionary_decode())  # nulls may come with another dictionary
    return a.type == b.type and (_same_floats if pa.types.is_floating(a.type) else _equal)(a, b)


def differing_rows(a: pa.Array, b: pa.Array, first: int = 0) -> Iterator[int]:
    """Yield the rows at which two arrays of one length differ, by halving."""
    if same(a, b):
        return
    if len(a) == 1:
        yield first
        return
    half = len(a) // 2
    yield from differing_rows(a[:half], b[:half], first)
    yield from differing_rows(a[half:], b[half:], first + half)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _same_structs(a: pa.StructArray, b: pa.StructArray) -> bool:
    if [f.name for f in a.type] != [f.name for f in b.type]:
        return False
    # flattened, a struct's own nulls are its children's
    return _same_nulls(a, b) and all(map(same, a.flatten(), b.flatten()))


_BITS = {pa.float16(): pa.int16(), pa.float32(): pa.int32(), pa.float64(): pa.int64()}


def _same_floats(a: pa.Array, b: pa.Array) -> bool:
    if a.view(_BITS[a.type]).equals(b.view(_BITS[b.type])):
        return True  # bit by bit, at once; there is more than one NaN
    if not _same_nulls(a, b):
        return False
    x, y = (array.drop_null().to_numpy(zero_copy_only=False) for array in (a, b))
    return np.array_equal(x, y, equal_nan=True) and np.array_equal(
        np.signbit(x[x == 0]), np.signbit(y[y == 0])
    )


def _equal(a: pa.Array, b: pa.Array) -> bool:
    equal: bool = a.equals(b)
    return equal


def _same_shape(a: pa.Array, b: pa.Array) -> bool:
    lengths = [pc.list_value_length(_as_list(array)) for array in (a, b)]
    equal: bool = lengths[0].cast(pa.int64()).equals(lengths[1].cast(pa.int64()))
    return equal


def _same_nulls(a: pa.Array, b: pa.Array) -> bool:
    if a.null_count == 0 and b.null_count == 0:
        return True
    equal: bool = a.is_null().equals(b.is_null())
    return equal


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _as_list(array: pa.Array) -> pa.Array:
    """Return a map as the list of its entries, sharing their memory."""
    if not pa.types.is_map(array.type):
        return array
    entry = pa.struct([array.type.key_field.with_name("key"), array.type.item_field.with_name("value")])
    return array.cast(pa.list_(pa.field("entries", entry, nullable=False)))
