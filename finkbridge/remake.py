"""What a worker does of a rebuild: the tables' files of one archive file, made anew, aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from finkbridge import disk
from finkbridge.avro.archive import Archive, read_archive
from finkbridge.disk import Staging
from finkbridge.errors import DecodeError, FinkbridgeError
from finkbridge.land import Again, Lander
from finkbridge.layout import SegmentName
from finkbridge.values import KnownSchema, LandedFile, Message, OffsetRange

_landers: dict[tuple[Path, str], Lander] = {}


@dataclass(frozen=True, slots=True)
class RemakeTask:
    """All that a worker needs."""

    lake: Path
    file: LandedFile
    """Of the archive."""
    number: int
    """For the names of the new files."""
    engine: Literal["auto", "fastavro"]


@dataclass(frozen=True, slots=True)
class Remade:
    """Files of the tables, written aside and synced."""

    files: tuple[LandedFile, ...]
    schemas: tuple[KnownSchema, ...]
    aside: tuple[tuple[Path, str], ...]
    """Where each is, and the path that it is to have."""


class NoBroker:
    """A source of no messages: what is needed is in the lake."""

    def fetch(self, topic: str, span: OffsetRange, /) -> Iterator[list[Message]]:  # noqa: ARG002 - the protocol's
        """Yield nothing."""
        yield from ()

    def confirm_holes(self, topic: str, holes: Sequence[OffsetRange], /) -> bool:  # noqa: ARG002 - the protocol's
        """Confirm nothing."""
        return False

    def first_key(self, topic: str, /) -> bytes | None:  # noqa: ARG002 - the protocol's
        """Know of no schema topic."""
        return None


def remake(task: RemakeTask) -> Remade:
    """Make the tables' files of an archive file anew.

    Raises
    ------
    DecodeError
        The archive file is missing or damaged, or its messages do not become rows.
    LakeAccessError
        The lake cannot be written.
    """
    try:
        archive = read_archive(task.lake / task.file.path)
    except OSError as error:
        raise DecodeError(
            f"{task.file.path} cannot be read: {error.strerror}: restore it from a copy, then run again"
        ) from None
    if len(archive.messages) != task.file.rows or archive.schema.fingerprint != task.file.schema_id:
        raise DecodeError(f"{task.file.path} is not the file that the ledger lists: restore it from a copy")
    name = SegmentName.parse(task.file.path.rpartition("/")[2])
    name = replace(name, topic=archive.facts["topic"], plan=task.number)
    with disk.writing(task.lake):
        place = Staging(task.lake)
        try:
            again = _land(task, archive, name, place)
        except BaseException:
            place.discard()
            raise
    return Remade(again.files, again.schemas, tuple(place.kept()))


def _land(task: RemakeTask, archive: Archive, name: SegmentName, place: Staging) -> Again:
    try:
        return _lander(task).land_archived(archive, task.file, name, place)
    except (FinkbridgeError, OSError):
        raise
    except Exception as error:  # what no code foresaw in one file must not end all the others
        told = " ".join(str(error).split())[:200]
        raise DecodeError(
            f"{task.file.path}: its rows cannot be made: {type(error).__name__}: {told}"
        ) from error


def _lander(task: RemakeTask) -> Lander:
    key = (task.lake, task.engine)
    if key not in _landers:
        _landers[key] = Lander(task.lake, NoBroker(), task.engine)
    return _landers[key]
