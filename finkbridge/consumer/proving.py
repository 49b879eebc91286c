"""Whether messages hold what their writer schemas say, so that a saved file surely can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finkbridge import later
from finkbridge.avro.bounds import is_bounded
from finkbridge.avro.resolve import Resolved
from finkbridge.avro.schemas import WriterSchema
from finkbridge.avro.single import decode_one
from finkbridge.broker.assignment import Received
from finkbridge.consumer.opening import Opener
from finkbridge.errors import DecodeError, SchemaError

FEW = 20
"""Messages that are decoded to see whether they hold; for more, the compiled check is loaded, in a second."""
KEPT_CHECKERS = 16

_checkers: dict[str, Any] = {}


def prove(opener: Opener, batch: Sequence[Received]) -> tuple[list[Resolved], DecodeError | None]:
    """Return schema and datum of the messages before the first that does not hold, and why it does not."""
    resolved: list[Resolved] = []
    error: DecodeError | None = None
    for received in batch:
        try:
            resolved.append(opener.resolve(received))
        except DecodeError as refusal:
            error = refusal
            break
    bad = _first_bad(resolved)
    if bad is None:
        return resolved, error
    at, reason = bad
    return resolved[:at], opener.refusal(batch[at], f"it does not match its writer schema ({reason})")


def _first_bad(resolved: Sequence[Resolved]) -> tuple[int, str] | None:
    by_schema: dict[WriterSchema, list[int]] = {}
    for index, one in enumerate(resolved):
        by_schema.setdefault(one.schema, []).append(index)
    found = [_first_bad_of(schema, resolved, indices) for schema, indices in by_schema.items()]
    return min((bad for bad in found if bad is not None), default=None)


def _first_bad_of(
    schema: WriterSchema, resolved: Sequence[Resolved], indices: Sequence[int]
) -> tuple[int, str] | None:
    if len(indices) <= FEW and schema.fingerprint not in _checkers and is_bounded(schema):
        return _first_undecodable(schema, resolved, indices)
    try:
        checker = _checker(schema)
    except SchemaError as error:
        return indices[0], str(error)
    verdicts = checker.check([resolved[index].datum for index in indices])
    for number, index in enumerate(indices):
        if status := int(verdicts.status[number]):
            reason = later.get("finkbridge.avro.check:REASONS")[status]
            return index, f"{reason} at byte {int(verdicts.position[number]):,}"
    return None


def _first_undecodable(
    schema: WriterSchema, resolved: Sequence[Resolved], indices: Sequence[int]
) -> tuple[int, str] | None:
    for index in indices:
        try:
            decode_one(schema, resolved[index].datum)
        except DecodeError as error:
            return index, str(error)
    return None


def _checker(schema: WriterSchema) -> Any:
    made = _checkers.pop(schema.fingerprint, None)
    _checkers[schema.fingerprint] = made or later.call("finkbridge.avro.check:Checker", schema)
    while len(_checkers) > KEPT_CHECKERS:
        del _checkers[next(iter(_checkers))]
    return _checkers[schema.fingerprint]
