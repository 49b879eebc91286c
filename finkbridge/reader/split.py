"""Parts a block into its records, each strictly checked: see `finkbridge.avro.check`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from finkbridge.avro.check import Checker
from finkbridge.avro.schemas import WriterSchema
from finkbridge.errors import SchemaError
from finkbridge.reader.files import FileError


def split(schema: WriterSchema, block: bytes, count: int) -> Iterator[bytes]:
    """Yield the `count` records of a block.

    Raises
    ------
    FileError
        A record is none of the schema, or bytes are left; what comes before is good.
    """
    datums, reason, position = _checker(schema).split(block, count)
    yield from datums
    if reason:
        raise FileError(f"record {len(datums) + 1} of a block: {reason} at its byte {position}")


@lru_cache(maxsize=16)
def _checker(schema: WriterSchema) -> Checker:
    try:
        return Checker(schema)
    except SchemaError as error:
        raise FileError(f"its schema is none: {error}") from None
