"""Values that mean "none": what the surveys and Fink write where Avro's null would do.

Only ``deliveries`` is cleaned; ``packets`` keeps what was sent.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

NUMBER = -999
"""ZTF's filler for "no value", as a float or an int."""

TEXTS = pa.array(("", "null", "nan"))
FAILED = "Fail "
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
        sentinel = pc.or_(_is_sentinel_number(values, not_computed), pc.invert(pc.is_finite(values)))
    elif pa.types.is_integer(values.type):
        sentinel = _is_sentinel_number(values, not_computed)
    else:
        return values
    return pc.if_else(sentinel, pa.scalar(None, values.type), values)


def _is_sentinel_text(values: pa.Array) -> pa.Array:
    sentinel = pc.is_in(values, TEXTS)
    if pc.any(pc.starts_with(values, FAILED)).as_py():  # hardly ever, and the expression takes much longer
        return pc.or_(sentinel, pc.match_substring_regex(values, SERVICE_FAILED))
    return sentinel


def _is_sentinel_number(values: pa.Array, not_computed: int | None) -> pa.Array:
    sentinel = pc.equal(values, pa.scalar(NUMBER, values.type))
    if not_computed is None:
        return sentinel
    return pc.or_(sentinel, pc.equal(values, pa.scalar(not_computed, values.type)))
