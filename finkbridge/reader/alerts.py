"""`AlertReader`: what is in files of alerts, as Python's dicts or as a table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from finkbridge import later
from finkbridge.avro.schemas import WriterSchema
from finkbridge.errors import ClashError, DecodeError, SchemaError
from finkbridge.reader.files import FileError, Source, find_files
from finkbridge.reader.records import Schemas, datums_of, records_of

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

T = TypeVar("T")

log = logging.getLogger(__name__)

TOLD = 10
"""Files that are named one by one when they are skipped; the rest is counted."""


class Skipped(NamedTuple):
    """A file that was not read, or not to its end."""

    path: Path
    reason: str
    alerts: int
    """That were read before the damage."""


class AlertReader:
    """Alerts in Avro container files.

    Parameters
    ----------
    path
        A file, plain or gzipped; a folder, with all that is below it; a pattern (``night/*.avro``); or a list
        of any of them.
    strict
        Whether a wrong file is an error. Otherwise it is named in the log, and in `skipped`, and the others
        are read; a file that is damaged gives the alerts before the damage. One file alone is always strict.

    Raises
    ------
    SettingsError
        There is no such file or folder.

    Examples
    --------
    >>> reader = finkbridge.AlertReader("alerts/")
    >>> frame = reader.to_pandas()
    >>> frame["candidate"].struct.field("magpsf").min()
    """

    def __init__(self, path: Source, *, strict: bool = False) -> None:
        self.path = path
        self._files, is_one = find_files(path)
        self._strict = strict or is_one
        self._schemas = Schemas()
        self.skipped: list[Skipped] = []
        """Files that the last reading could not read, or not to their end."""

    @property
    def filenames(self) -> list[str]:
        """Every file that is read."""
        return [str(path) for path in self._files]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.to_iterator()

    def to_iterator(self) -> Iterator[dict[str, Any]]:
        """Yield the alerts as dicts, file by file: no more than a block is in memory.

        Raises
        ------
        DecodeError
            A file is wrong, and the reader is strict.
        """
        return self._each(records_of)

    def to_list(self, size: int | None = None) -> list[dict[str, Any]]:
        """Return the alerts as dicts, or the first `size` of them; see `to_iterator`."""
        return list(islice(self.to_iterator(), size))

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the alerts as a table, nested as they are; its types come from the writer schemas.

        Parameters
        ----------
        columns
            Names of the top-level fields wanted, in this order; all if None. To leave out the cutouts saves
            most of the memory.

        Raises
        ------
        DecodeError
            A file is wrong, and the reader is strict.
        ClashError
            A field is of different kinds in different files, such as a record and bytes.
        SchemaError
            No file has a field of this name, or a field has no Arrow type.
        """
        table: pa.Table = later.call("finkbridge.reader.tables:arrow_table", self._datums(), columns)
        return table

    def to_polars(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the alerts as a polars DataFrame: structs and lists; a map is a list of key and value.

        See `to_arrow`.
        """
        frame: pl.DataFrame = later.call(
            "finkbridge.reader.polars_frames:frame_of_table", self.to_arrow(columns)
        )
        return frame

    def to_pandas(self, columns: Sequence[str] | None = None, *, objects: bool = False) -> pd.DataFrame:
        """Return the alerts as a pandas DataFrame, a row each.

        Parameters
        ----------
        columns
            Names of the top-level fields wanted; all if None.
        objects
            Whether records and lists are columns of Python's dicts and lists, made at once, as fink-client
            makes them: that is slow. Otherwise they are columns of Arrow, whose single values are such dicts
            and lists, made when they are asked for, and which are quick as a whole:
            ``frame["candidate"].struct.field("magpsf")``. A field of different kinds in different files (a
            record in some, bytes in others) is a column of such objects in any case.

        Raises
        ------
        SettingsError
            pandas is not installed.
        DecodeError, SchemaError
            See `to_arrow`.
        """
        if objects:
            records = self.to_iterator()
            wanted = records if columns is None else _chosen(records, columns)
            frame: pd.DataFrame = later.call("finkbridge.reader.frames:frame_of_dicts", wanted)
        else:
            frame = self._frame(columns)
        return frame

    def _frame(self, columns: Sequence[str] | None) -> pd.DataFrame:
        """Return a frame by way of Arrow; fields that clash are read once more, as Python's objects."""
        apart: frozenset[str] = frozenset()
        while True:
            make = partial(later.get("finkbridge.reader.tables:arrow_table"), columns=columns, without=apart)
            try:
                frame: pd.DataFrame = later.call(
                    "finkbridge.reader.frames:frame_of_table", lambda make=make: make(self._datums())
                )
            except ClashError as clash:
                if not clash.columns - apart:
                    raise
                apart |= clash.columns
            else:
                return self._with_objects(frame, apart, columns) if apart else frame

    def _with_objects(
        self, frame: pd.DataFrame, apart: frozenset[str], columns: Sequence[str] | None
    ) -> pd.DataFrame:
        log.warning(
            "of different kinds in different files, and so columns of Python's objects: %s",
            ", ".join(sorted(apart)),
        )
        objects: dict[str, list[Any]] = {name: [] for name in apart}
        order: dict[str, None] = {}
        for record in self.to_iterator():
            order.update(dict.fromkeys(record))
            for name, values in objects.items():
                values.append(record.get(name))
        whole: pd.DataFrame = later.call(
            "finkbridge.reader.frames:with_objects", frame, objects, columns or order
        )
        return whole

    def _datums(self) -> Iterator[tuple[WriterSchema, bytes]]:
        return self._each(datums_of)

    def _each(self, read: Callable[[Path, Schemas], Iterable[T]]) -> Iterator[T]:
        self.skipped.clear()
        for path in self._files:
            number = 0
            try:
                for one in read(path, self._schemas):
                    yield one
                    number += 1
            except FileError as error:
                self._skip(Skipped(path, str(error), number))
        if len(self.skipped) > TOLD:
            log.warning("and %s more files are not read: see skipped", f"{len(self.skipped) - TOLD:,}")

    def _skip(self, wrong: Skipped) -> None:
        good = f", behind {wrong.alerts:,} alerts that are read" if wrong.alerts else ""
        if self._strict:
            raise DecodeError(f"{wrong.path}: {wrong.reason}{good}: remove or repair it")
        self.skipped.append(wrong)
        if len(self.skipped) <= TOLD:
            log.warning("%s is not read: %s%s", wrong.path, wrong.reason, good)


def _chosen(records: Iterable[dict[str, Any]], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield only some fields of records; at the end, raise where none had one of them."""
    missing = None
    for record in records:
        missing = (set(columns) if missing is None else missing).difference(record)
        yield {name: record.get(name) for name in columns}
    if missing:
        raise SchemaError(f"no alert has a field {min(missing)!r}")
