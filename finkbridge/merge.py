"""Merging: when a night has many small files of a table, they become one, sorted by place and time.

In bounded memory, whatever the night holds: rows go into buckets by their place in the order, aside on disk,
and each bucket is sorted alone. The commit is a compare-and-set of its own: rows before = rows after, or
nothing changes. Replaced files stay for a grace period, as a query that has listed one fails when it goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Row

from finkbridge import disk, parquet, tables
from finkbridge.disk import Staging
from finkbridge.errors import LakeAccessError, NameTakenError, ReconciliationError
from finkbridge.ledger import Coordinator
from finkbridge.ledger.store import Crowd
from finkbridge.tables import TableStyle
from finkbridge.values import KnownSchema, LandedFile

BUCKET_BYTES = 48_000_000
"""Decoded bytes of rows that are sorted at once: also the most that a row group holds."""

PLACE_BYTES = 8
"""Of a value in a column of Arrow, about."""

_HARMLESS = (OSError, pa.ArrowException, LakeAccessError, NameTakenError, ReconciliationError)
"""What ends a merge and leaves the lake as it was."""

_STYLES: dict[str, TableStyle] = {style.table: style for style in (tables.DELIVERIES, tables.PACKETS)}


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Files of one folder and one schema that are worth merging."""

    style: TableStyle
    survey: str
    folder: str
    files: tuple[Row[Any], ...]

    @property
    def rows(self) -> int:
        """Number of rows of all files."""
        return sum(file.rows for file in self.files)


def merge_crowds(coordinator: Coordinator, crowds: Iterable[Crowd]) -> list[str]:
    """Merge the small files of each crowd; return a line for each group of files that cannot be merged."""
    problems = []
    for crowd in crowds:
        for candidate in _candidates(crowd):
            try:
                merge(coordinator, candidate)
            except _HARMLESS as error:
                said = (str(error) or type(error).__name__).splitlines()[0]
                problems.append(f"{candidate.folder}: merging failed and changed nothing: {said}")
    return problems


def merge(coordinator: Coordinator, candidate: Candidate) -> None:
    """Replace the files of a candidate by one, in a commit of its own."""
    path = coordinator.begin_merge(candidate.folder)
    place = coordinator.ledger.lake / path
    try:
        file, schema = _merged(coordinator, candidate, path)
    except _HARMLESS as error:
        if isinstance(error, NameTakenError) or not place.exists():
            coordinator.forget_merges([path])  # or the next coordinator would delete what has the name
        raise
    try:
        coordinator.commit_merge([f.id for f in candidate.files], [file], [schema])
    except ReconciliationError:
        place.unlink(missing_ok=True)
        coordinator.forget_merges([path])
        raise


def _merged(coordinator: Coordinator, candidate: Candidate, path: str) -> tuple[LandedFile, KnownSchema]:
    """Write the file that is to replace those of a candidate; where that fails, nothing is left of it."""
    lake, schema = coordinator.ledger.lake, _schema(coordinator, candidate)
    with disk.staging(lake) as place:
        aside = place.new(".parquet")
        buckets = _sorted_buckets(candidate, lake, place, schema)
        summary = tables.Summary(candidate.style)
        style = replace(candidate.style.parquet, codec="zstd")  # they are written once, and stay
        written = parquet.write(summary.watch(buckets), schema, aside, style, candidate.rows)
        place.keep(aside, path)
        place.publish()
    return tables.landed(path, candidate.survey, written, schema, summary), parquet.known_schema(schema)


def _candidates(crowd: Crowd) -> Iterator[Candidate]:
    """Yield the files that can become one: packets of other surveys have a folder a topic."""
    for folder, files in groupby(sorted(crowd.files, key=_folder), _folder):
        mine = tuple(files)
        if len(mine) > 1:
            yield Candidate(_STYLES[crowd.table], crowd.survey, folder, mine)


def _schema(coordinator: Coordinator, candidate: Candidate) -> pa.Schema:
    """Return the schema that the files were written with: a file gives lists' items another name."""
    content = coordinator.ledger.schema_contents("arrow")[candidate.files[0].schema_id]
    return pa.ipc.read_schema(pa.py_buffer(content))


def _folder(file: Row[Any]) -> str:
    folder, _, _ = file.path.rpartition("/")
    return str(folder)


def _sorted_buckets(
    candidate: Candidate, lake: Path, place: Staging, schema: pa.Schema
) -> Iterator[pa.Table]:
    """Yield all rows of the files, in order, as tables of bounded size."""
    paths = [lake / file.path for file in candidate.files]
    bucket_of_row, count = _buckets(paths, candidate.style)
    spills = [place.new(".arrow") for _ in range(count)]
    with ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_stream(str(spill), schema)) for spill in spills]
        at = 0
        for rows in _row_groups(paths):
            mine = bucket_of_row[at : at + rows.num_rows]
            at += rows.num_rows
            for bucket in np.unique(mine):
                chosen = rows.take(pa.array(np.flatnonzero(mine == bucket)))
                writers[bucket].write_table(chosen.cast(schema))
    for spill in spills:
        with pa.OSFile(str(spill)) as file:
            yield tables.sort(pa.ipc.open_stream(file).read_all(), candidate.style)
        spill.unlink()


def _buckets(paths: Sequence[Path], style: TableStyle) -> tuple[npt.NDArray[np.int64], int]:
    """Return the bucket of each row, in order of the files, and how many buckets there are."""
    names = [f"{style.prefix}healpix_29", f"{style.prefix}mjd"]
    keys = pa.concat_tables(pq.ParquetFile(path).read(columns=names) for path in paths)
    order = tables.order(keys, style).to_numpy()
    sizes = np.concatenate([_row_bytes(path) for path in paths])[order]
    before = np.cumsum(sizes) - sizes
    used, numbers = np.unique(before // BUCKET_BYTES, return_inverse=True)
    bucket = np.empty(len(order), np.int64)
    bucket[order] = numbers
    return bucket, len(used)


def _row_groups(paths: Sequence[Path]) -> Iterator[pa.Table]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number)


def _row_bytes(path: Path) -> npt.NDArray[np.float64]:
    """Return the bytes of each row once decompressed and decoded, alike within a row group."""
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    means = [max(group.total_byte_size, _places(group)) / max(1, group.num_rows) for group in groups]
    return np.repeat(means, [group.num_rows for group in groups])


def _places(group: pq.RowGroupMetaData) -> int:
    """Return the bytes that the values of a row group take in columns, nulls and all: a file hides them."""
    values: int = sum(group.column(i).num_values for i in range(group.num_columns))
    return PLACE_BYTES * values
