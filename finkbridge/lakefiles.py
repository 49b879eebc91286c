"""The lake's data files: those that the ledger lists, grouped by schema as readers want them, and all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from finkbridge import layout
from finkbridge.ledger import Ledger


@dataclass(frozen=True, slots=True, eq=False)
class FileGroup:
    """Files of one table that have one Arrow schema: they are read as one, and no footer is compared."""

    table: str
    survey: str
    schema_id: str
    schema: pa.Schema
    paths: tuple[str, ...]
    """Relative to the lake."""


def data_paths(lake: Path) -> Iterator[str]:
    """Yield the files below the data folders and `.scratch`, relative to the lake."""
    for top in (*layout.DATA_FOLDERS, layout.SCRATCH):
        for folder, folders, files in os.walk(lake / top):
            links = [name for name in folders if Path(folder, name).is_symlink()]  # os.walk does not follow
            for name in sorted([*files, *links]):
                yield Path(folder, name).relative_to(lake).as_posix()


def file_groups(ledger: Ledger, table: str) -> list[FileGroup]:
    """Return the files of ``deliveries`` or ``packets`` that are alive, by survey and schema."""
    rows = sorted(ledger.alive_files(table), key=lambda r: (r.survey, r.schema_id))
    schemas = ledger.schema_contents("arrow")  # after the files: a drain may have brought a new one meanwhile
    return list(_groups(table, rows, schemas))


def _groups(table: str, rows: list[Any], schemas: dict[str, bytes]) -> Iterator[FileGroup]:
    for (survey, schema_id), mine in groupby(rows, lambda r: (r.survey, r.schema_id)):
        schema = pa.ipc.read_schema(pa.py_buffer(schemas[schema_id]))
        yield FileGroup(table, survey, schema_id, schema, tuple(row.path for row in mine))
