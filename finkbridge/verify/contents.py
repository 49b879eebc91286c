"""Every file that the ledger lists is on disk, with its size, its checksum and its rows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Row

from finkbridge import disk
from finkbridge.avro.archive import MESSAGES
from finkbridge.avro.container import read_blocks, read_header
from finkbridge.avro.files import mapped
from finkbridge.ledger import Ledger
from finkbridge.verify.findings import REBUILD, RESTORE, RESTORE_LEDGER, Finding
from finkbridge.verify.listed import Selection, again, pages

THREADS = max(2, min(8, os.cpu_count() or 1))
"""Hashing and reading let go of Python's lock; more do not help one disk."""

_RETIRED = "nothing reads it any more, and the next drain deletes it"


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of one file."""

    file: Row[Any]
    problem: str | None
    """None for a file that is as it should be."""
    is_missing: bool = False
    kind: str = "file"
    """``file`` for one that cannot be used, ``rows`` for one that only has other rows than listed, ``facts``
    for one of which the ledger only says something else."""


def check_contents(
    ledger: Ledger, selection: Selection, tell: Callable[[Row[Any]], None]
) -> Iterator[Finding | str]:
    """Yield a finding for each file that is not as the ledger says, and a line for what is only strange.

    Parameters
    ----------
    ledger
        Of the lake.
    selection
        Which files.
    tell
        Called with each file that was read.
    """
    with ThreadPoolExecutor(THREADS, "verify") as threads:
        for page in pages(ledger, selection):
            for checked in threads.map(lambda file: check_file(ledger.lake, file), page):
                tell(checked.file)
                if checked.problem is not None:
                    yield from _settle(ledger, checked)


def check_file(lake: Path, file: Row[Any]) -> Checked:
    """Read one file whole."""
    try:
        return _check_file(lake / file.path, file)
    except FileNotFoundError:
        return Checked(file, "is not there", is_missing=True)
    except OSError as error:
        return Checked(file, f"cannot be read ({error.strerror or error})")


def _check_file(path: Path, file: Row[Any]) -> Checked:
    checksum, size = disk.checksum(path), path.stat().st_size
    if size != file.bytes:
        return Checked(file, f"has {size} bytes, and {file.bytes} were written")
    if checksum != file.checksum:
        return Checked(file, f"is damaged: its checksum is {checksum}, and {file.checksum} was written")
    return _check_rows(path, file)


def _check_rows(path: Path, file: Row[Any]) -> Checked:
    try:
        rows = _ROWS[file.table](path)
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        return Checked(file, f"is no {file.table} file ({' '.join(str(error).split())[:200]})")
    if rows != file.rows:
        return Checked(file, f"has {rows} rows, and the ledger says {file.rows}", kind="rows")
    return Checked(file, _statistics_problem(path, file) if file.night is not None else None, kind="facts")


def _parquet_rows(path: Path) -> int:
    rows: int = pq.read_metadata(path).num_rows
    return rows


def _statistics_problem(path: Path, file: Row[Any]) -> str | None:
    """Tell whether the ledger has other ends of time and place than the file's own statistics."""
    metadata = pq.read_metadata(path)
    prefix = "_" if file.table == "packets" else ""
    for name, least, most in (
        ("mjd", file.mjd_min, file.mjd_max),
        ("healpix_29", file.healpix_min, file.healpix_max),
    ):
        at = metadata.schema.names.index(prefix + name)  # of leaves, and these come first
        groups = [metadata.row_group(i).column(at).statistics for i in range(metadata.num_row_groups)]
        known = [(g.min, g.max) for g in groups if g is not None and g.has_min_max]
        due = (min(a for a, _ in known), max(b for _, b in known)) if known else (None, None)
        if due != (least, most):
            return f"has {name} from {due[0]} to {due[1]}, and the ledger says {least} to {most}"
    return None


def _archive_rows(path: Path) -> int:
    with mapped(path) as data:
        count: int = json.loads(read_header(data).metadata[MESSAGES])["count"]
        return count


def _quarantine_rows(path: Path) -> int:
    with mapped(path) as data:
        return sum(1 for _ in read_blocks(data, read_header(data)))


_ROWS: dict[str, Callable[[Path], int]] = {
    "archive": _archive_rows,
    "deliveries": _parquet_rows,
    "packets": _parquet_rows,
    "quarantine": _quarantine_rows,
}


def _settle(ledger: Ledger, checked: Checked) -> Iterator[Finding | str]:
    """Look at the ledger again: a merge may have retired a file, and a drain deleted it, meanwhile."""
    now = again(ledger, checked.file)
    if now is None or now.deleted_at is not None:
        return
    problem = checked.problem or ""
    if now.removed is None:
        remedy = RESTORE if now.table in ("archive", "quarantine") else f"{RESTORE}, or {REBUILD}"
        remedy = RESTORE_LEDGER if checked.kind == "facts" else remedy
        yield Finding(checked.kind, now.path, problem, remedy)
    elif checked.is_missing:
        yield f"{now.path}: was replaced by merging and is gone; the next drain notes that"
    else:
        yield Finding(checked.kind, now.path, f"{problem}; merging has replaced it", _RETIRED)
