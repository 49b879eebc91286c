"""Merging: when a night has many small files of a table, they become one, sorted by place and time.

In bounded memory, whatever the night holds: rows go into buckets by their place in the order, aside on disk,
and each bucket is sorted alone. The commit is a compare-and-set of its own: rows before = rows after, or
nothing changes. Replaced files stay for a grace period, as a query that has listed one fails when it goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from finkbridge.errors import (
    CommitConflictError,
    LakeAccessError,
    NameTakenError,
    ReconciliationError,
    WorkerError,
)
from finkbridge.ledger import Coordinator
from finkbridge.ledger.store import Crowd
from finkbridge.tables import TableStyle
from finkbridge.values import KnownSchema, LandedFile

BUCKET_BYTES = 48_000_000
"""Decoded bytes of rows that are sorted at once: also the most that a row group holds."""

PLACE_BYTES = 8
"""Of a value in a column of Arrow, about."""

HARMLESS = (OSError, pa.ArrowException, LakeAccessError, NameTakenError, ReconciliationError)
"""What ends a merge and leaves the lake as it was."""

SPILL = pa.ipc.IpcWriteOptions(compression="lz4")
"""How rows are kept aside. Columns that were compressed have memory of their own when read: `_sorted` gives
it back one by one."""

_STYLES: dict[str, TableStyle] = {style.table: style for style in (tables.DELIVERIES, tables.PACKETS)}


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Files of one folder and one schema that are worth merging."""

    style: TableStyle
    survey: str
    folder: str
    files: tuple[Row[Any], ...]


@dataclass(frozen=True, slots=True)
class Merge:
    """One file that is to replace others: all that a process needs to make it."""

    lake: Path
    path: str
    """Of the file, from the lake."""
    table: str
    survey: str
    files: Mapping[int, str]
    """Those that it replaces: their paths, by number in the ledger."""
    rows: int
    schema: bytes
    """Of the files, as Arrow serializes it."""

    @property
    def style(self) -> TableStyle:
        """How files of the table are written."""
        return _STYLES[self.table]

    @property
    def paths(self) -> list[Path]:
        """The files that it replaces."""
        return [self.lake / path for path in self.files.values()]

    @property
    def mark(self) -> str:
        """What the names of its files aside begin with."""
        return f"{Path(self.path).stem}-"

    @property
    def bytes(self) -> int:
        """Of the files that it replaces, as far as they are there."""
        return sum(path.stat().st_size for path in self.paths if path.is_file())

    @property
    def place(self) -> Path:
        """The file."""
        return self.lake / self.path


Made = tuple[LandedFile, KnownSchema]
"""What the ledger is told of a file that was made."""


def merge_crowds(coordinator: Coordinator, crowds: Iterable[Crowd]) -> list[str]:
    """Merge the small files of each crowd; return a line for each group of files that cannot be merged."""
    problems = []
    for candidate in candidates(crowds):
        try:
            merge(coordinator, candidate)
        except HARMLESS as error:
            problems.append(problem(candidate.folder, error))
    return problems


def problem(folder: str, error: BaseException) -> str:
    """Return the line that tells of files that cannot be merged."""
    said = (str(error) or type(error).__name__).splitlines()[0]
    return f"{folder}: merging failed and changed nothing: {said}"


def candidates(crowds: Iterable[Crowd]) -> Iterator[Candidate]:
    """Yield the files that can become one: packets of other surveys have a folder a topic."""
    for crowd in crowds:
        for folder, files in groupby(sorted(crowd.files, key=_folder), _folder):
            mine = tuple(files)
            if len(mine) > 1:
                yield Candidate(_STYLES[crowd.table], crowd.survey, folder, mine)


def merge(coordinator: Coordinator, candidate: Candidate) -> None:
    """Replace the files of a candidate by one, in a commit of its own."""
    begun = begin(coordinator, candidate)
    try:
        made = make(begun)
    except HARMLESS as error:
        discard(coordinator, begun, error)
        raise
    finish(coordinator, begun, made)


def begin(coordinator: Coordinator, candidate: Candidate) -> Merge:
    """Write down what is to be made."""
    contents = coordinator.ledger.schema_contents("arrow")
    return Merge(
        lake=coordinator.ledger.lake.absolute(),
        path=coordinator.begin_merge(candidate.folder),
        table=candidate.style.table,
        survey=candidate.survey,
        files={file.id: file.path for file in candidate.files},
        rows=sum(file.rows for file in candidate.files),
        schema=contents[candidate.files[0].schema_id],
    )


def make(begun: Merge) -> Made:
    """Write the file, in whatever process; where that fails, nothing is left of it."""
    schema = pa.ipc.read_schema(pa.py_buffer(begun.schema))  # a file gives lists' items another name
    with disk.staging(begun.lake, begun.mark) as place:
        aside = place.new(".parquet")
        buckets = _sorted_buckets(begun, place, schema)
        summary = tables.Summary(begun.style)
        style = replace(begun.style.parquet, codec="zstd")  # they are written once, and stay
        written = parquet.write(summary.watch(buckets), schema, aside, style, begun.rows)
        place.keep(aside, begun.path)
        place.publish()
    return tables.landed(begun.path, begun.survey, written, schema, summary), parquet.known_schema(schema)


def finish(coordinator: Coordinator, begun: Merge, made: Made) -> None:
    """Commit the file in the place of those that it replaces; raise ReconciliationError if they changed."""
    file, schema = made
    try:
        coordinator.commit_merge(list(begun.files), [file], [schema])
    except ReconciliationError as error:
        discard(coordinator, begun, error)
        raise
    except CommitConflictError:  # another coordinator, who has looked for such files already
        begun.place.unlink(missing_ok=True)
        raise


def discard(coordinator: Coordinator, begun: Merge, error: BaseException | None) -> None:
    """Delete what a merge that ended without a commit has left; a name that it found taken is another's."""
    disk.clear_marked(begun.lake, begun.mark)
    if not isinstance(error, (NameTakenError, WorkerError)):  # without a process there is no file either
        begun.place.unlink(missing_ok=True)
    coordinator.forget_merges([begun.path])


def _folder(file: Row[Any]) -> str:
    folder, _, _ = file.path.rpartition("/")
    return str(folder)


def _sorted_buckets(begun: Merge, place: Staging, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield all rows of the files, in order, as tables of bounded size."""
    paths = begun.paths
    bucket_of_row, count = _buckets(paths, begun.style)
    spills = [place.new(".arrow") for _ in range(count)]
    with ExitStack() as stack:
        writers = [
            stack.enter_context(pa.ipc.new_stream(str(spill), schema, options=SPILL)) for spill in spills
        ]
        at = 0
        for rows in _row_groups(paths):
            mine = bucket_of_row[at : at + rows.num_rows]
            at += rows.num_rows
            for bucket in np.unique(mine):
                chosen = rows.take(pa.array(np.flatnonzero(mine == bucket)))
                writers[bucket].write_table(chosen.cast(schema))
                del chosen  # as `rows`: it would be there while the next is made
            del rows
    for spill in spills:
        yield _sorted(spill, begun.style)
        spill.unlink()


def _sorted(spill: Path, style: TableStyle) -> pa.Table:
    """Return a bucket's rows in order, each column in the place of what it was before."""
    with pa.OSFile(str(spill)) as file:
        rows = pa.ipc.open_stream(file).read_all()
    schema, order, columns = rows.schema, tables.order(rows, style), []
    while rows.num_columns:
        columns.append(rows.column(0).take(order))
        rows = rows.remove_column(0)
    return pa.Table.from_arrays(columns, schema=schema)


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
