"""Values that mean "none": what the surveys and Fink write where Avro's null would do.

Only ``deliveries`` is cleaned; ``packets`` keeps what was sent.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

NUMBER = -999
"""ZTF's filler for "no value", as a float or an int."""

TEXTS = ("", "null", "nan")
SERVICE_FAILED = r"\AFail \d{3}\z"
"""``Fail 503``: a service that Fink asked did not answer. ``Unknown`` stays: it answered, with no match."""


def without_sentinels(values: pa.Array, not_computed: int | None = None) -> pa.Array:
    """Return `values` with null for each sentinel of their type.

    Parameters
    ----------
    values : pa.Array
        Text, floats (NaN and ±inf become null too), ints; other types come back as they are.
    not_computed : int, optional
        A further number that means none in this column, as -1 does for some scores.
    """
    if pa.types.is_string(values.type):
        sentinel = _is_sentinel_text(values)
    elif pa.types.is_floating(values.type):
        sentinel = pc.or_(pc.invert(pc.is_finite(values)), _is_sentinel_number(values, not_computed))
    elif pa.types.is_integer(values.type):
        sentinel = _is_sentinel_number(values, not_computed)
    else:
        return values
    return pc.if_else(sentinel, pa.scalar(None, values.type), values)


def _is_sentinel_text(values: pa.Array) -> pa.Array:
    return pc.or_(pc.is_in(values, pa.array(TEXTS)), pc.match_substring_regex(values, SERVICE_FAILED))


def _is_sentinel_number(values: pa.Array, not_computed: int | None) -> pa.Array:
    numbers = [NUMBER] if not_computed is None else [NUMBER, not_computed]
    return pc.is_in(values, pa.array(numbers).cast(values.type))
