"""Parts a block into its records, each strictly checked: see `finkbridge.avro.check`."""

from __future__ import annotations

from functools import lru_cache

from finkbridge.avro.check import Checker
from finkbridge.avro.schemas import WriterSchema
from finkbridge.errors import SchemaError
from finkbridge.reader.files import FileError


def split(schema: WriterSchema, block: bytes, count: int) -> list[bytes]:
    """Return the `count` records of a block.

    Raises
    ------
    FileError
        A record is none of the schema, or bytes are left.
    """
    datums, reason, position = _checker(schema).split(block, count)
    if reason:
        raise FileError(f"record {len(datums) + 1} of a block: {reason} at its byte {position}")
    return datums


@lru_cache(maxsize=16)
def _checker(schema: WriterSchema) -> Checker:
    try:
        return Checker(schema)
    except SchemaError as error:
        raise FileError(f"its schema is none: {error}") from None
