"""One message of the quarantine for a person's eyes: why it is there, and what its bytes are.

Everything in it may be hostile: what is shown is short, and has no character that a terminal obeys.
"""

from __future__ import annotations

from dataclasses import dataclass

from finkbridge.avro.check import why
from finkbridge.avro.resolve import Framing, Lookups, SchemaResolver
from finkbridge.avro.schemas import WriterSchema, parse_schema
from finkbridge.avro.walk import Fault, find_fault
from finkbridge.errors import SchemaError, SettingsError
from finkbridge.ledger.quarantined import Entry
from finkbridge.text import LONGEST_TEXT, printable
from finkbridge.values import Headers, Rejected

HEX_BEFORE, HEX_AFTER, HEX_ROW = 64, 96, 16
"""Bytes that are shown around the one where the check stopped."""
MOST_HEADERS = 20
_PLACES = {
    Framing.BARE: "the key",
    Framing.CONTAINER: "the value's own header",
    Framing.REGISTRY: "the schema registry",
    Framing.PREDICTION: "finkbridge itself, for predictions",
}


@dataclass(frozen=True, slots=True)
class HexRow:
    """Some bytes in a row."""

    position: int
    """Of the first one, in the datum."""
    bytes: str
    """In hex, with blanks between."""
    text: str
    """ASCII, with a dot for all else."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is to say of one message."""

    entry: Entry
    size: int | None
    """Bytes of the value; None where it is null."""
    key: str
    """In a few words."""
    headers: tuple[str, ...]
    """The first ones, in a few words each."""
    schema: str
    """Where the writer schema is from, or why there is none."""
    position: int | None
    """Byte of the datum at which the check stops today; as it was recorded where there is no schema."""
    path: str
    """Of the field that it refuses, where it refuses one."""
    expected: str
    """Avro type that the schema has there."""
    today: str
    """What finkbridge says of it now, with this schema."""
    reference: str
    """What fastavro says now, with this schema."""
    hex: tuple[HexRow, ...]


def show(
    entry: Entry, rejected: Rejected, schema_text: bytes | None = None, lookups: Lookups | None = None
) -> Shown:
    """Look at one message again.

    Parameters
    ----------
    entry, rejected
        The message, from the ledger and from its file.
    schema_text
        Of the writer schema to try; None to find it with the message.
    lookups
        Where schemas are that messages only name.
    """
    message = rejected.message
    value = message.value or b""
    override = None if schema_text is None else _parse(schema_text)
    resolved = SchemaResolver(override, lookups=lookups).resolve(entry.source.topic, message)
    common = (
        entry,
        None if message.value is None else len(value),
        _about(message.key),
        _headers(message.headers),
    )
    if isinstance(resolved, str):
        position = entry.byte_position
        return Shown(
            *common, "none", position, "", "", printable(resolved), "", hex_rows(value, position or 0)
        )
    schema, datum = resolved.schema, resolved.datum
    fault = find_fault(schema, datum)
    position = fault.position if fault else entry.byte_position
    return Shown(
        *common,
        _origin(schema, resolved.framing, given=override is not None),
        position,
        printable(fault.path) if fault else "",
        printable(fault.expected) if fault else "",
        _today(fault, entry),
        printable(why(schema, datum)),
        hex_rows(datum, position or 0),
    )


def hex_rows(data: bytes, position: int) -> tuple[HexRow, ...]:
    """Return the bytes around a position, in rows."""
    first = max(0, position - HEX_BEFORE) // HEX_ROW * HEX_ROW
    last = min(len(data), position + HEX_AFTER)
    starts = range(first, last, HEX_ROW)
    return tuple(_hex_row(data[at : min(at + HEX_ROW, last)], at) for at in starts)


def _hex_row(data: bytes, at: int) -> HexRow:
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    return HexRow(at, data.hex(" "), text)


def _parse(text: bytes) -> WriterSchema:
    try:
        return parse_schema(text)
    except SchemaError as error:
        raise SettingsError(f"the schema file is no Avro schema: {error}") from None


def _origin(schema: WriterSchema, framing: Framing, *, given: bool) -> str:
    if given:
        return f"{schema.fingerprint}, as given"
    return f"{schema.fingerprint}, from {_PLACES[framing]}"


def _today(fault: Fault | None, entry: Entry) -> str:
    if fault is not None:
        return fault.reason
    if entry.byte_position is not None:
        return "decodes: finkbridge quarantine requeue sends it through again"
    return "decodes; whether it has identity, position and time, requeue tells"


def _about(data: bytes | None) -> str:
    if data is None:
        return "null"
    shown = printable(data[: 4 * LONGEST_TEXT].decode(errors="backslashreplace"))
    return f"{len(data):,} bytes: {shown}"


def _headers(headers: Headers) -> tuple[str, ...]:
    shown = [f"{printable(name)} = {_about(value)}" for name, value in headers[:MOST_HEADERS]]
    more = len(headers) - MOST_HEADERS
    return (*shown, f"and {more:,} more") if more > 0 else tuple(shown)
