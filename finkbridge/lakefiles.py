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


def odd_paths(lake: Path) -> Iterator[str]:
    """Yield what of a lake is of no known kind, and no file below its data folders: relative to the lake.

    In its root, whatever is neither ours nor hidden; a folder is named once. Below the data folders, folders
    without anything in them that no data file can be in.
    """
    tops = {*layout.DATA_FOLDERS, layout.SCRATCH}
    for entry in sorted(lake.iterdir()):
        is_top = entry.name in tops and entry.is_dir()
        if not is_top and not (entry.name not in tops and layout.is_beside(entry.name)):
            yield entry.name
    for top in sorted(tops):
        for folder, folders, files in os.walk(lake / top):
            path = Path(folder).relative_to(lake).as_posix()
            if not folders and not files and not layout.is_data_folder(path):
                yield path


def file_groups(ledger: Ledger, table: str) -> list[FileGroup]:
    """Return the files of ``deliveries`` or ``packets`` that are alive, by survey and schema."""
    rows = sorted(ledger.alive_files(table), key=lambda r: (r.survey, r.schema_id))
    schemas = ledger.schema_contents("arrow")  # after the files: a drain may have brought a new one meanwhile
    return list(_groups(table, rows, schemas))


def _groups(table: str, rows: list[Any], schemas: dict[str, bytes]) -> Iterator[FileGroup]:
    for (survey, schema_id), mine in groupby(rows, lambda r: (r.survey, r.schema_id)):
        schema = pa.ipc.read_schema(pa.py_buffer(schemas[schema_id]))
        yield FileGroup(table, survey, schema_id, schema, tuple(row.path for row in mine))
