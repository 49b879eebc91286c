"""What a worker does of a requeue: messages of one segment, read back and landed again, aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from finkbridge import disk
from finkbridge.disk import Staging
from finkbridge.errors import DecodeError
from finkbridge.land import Bounds, Lander
from finkbridge.layout import SegmentName
from finkbridge.ledger.quarantined import Entry
from finkbridge.quarantine.contents import Contents
from finkbridge.rebuild.remake import NoBroker
from finkbridge.registry import lookups_of
from finkbridge.settings import ClusterSettings
from finkbridge.values import KnownSchema, LandedFile


@dataclass(frozen=True, slots=True)
class SendTask:
    """All that a worker needs."""

    lake: Path
    entries: tuple[Entry, ...]
    """Of one segment, by partition and offset."""
    number: int
    """For the names of the files."""
    engine: Literal["auto", "fastavro"]
    schema: bytes | None
    """Text of the writer schema for all of them; None to find it with each message."""
    timeout_s: float
    """See `finkbridge.deadline`; bytes add to it."""
    schema_folder: Path | None = None
    cluster: ClusterSettings | None = None
    """Whose schema registry is asked."""


_landers: list[tuple[SendTask, Lander]] = []
"""The last one, with the task that it was made for."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Files of what is good now, written aside and synced, and what still cannot land."""

    files: tuple[LandedFile, ...]
    schemas: tuple[KnownSchema, ...]
    still: Mapping[tuple[int, int], str]
    """Reason, by partition and offset."""
    aside: tuple[tuple[Path, str], ...]
    """Where each file is, and the path that it is to have."""


def send(task: SendTask) -> Sent | str:
    """Land messages again, aside; return what is wrong where their file cannot be read.

    Raises
    ------
    LakeAccessError
        The lake cannot be written.
    """
    contents = Contents(task.lake)
    try:
        messages = [contents.of(entry).message for entry in task.entries]
    except DecodeError as error:
        return str(error)
    first = task.entries[0]
    name = SegmentName(
        first.source.topic, first.source.generation, first.partition, first.offset, task.number, 0
    )
    with disk.writing(task.lake):
        place = Staging(task.lake)
        try:
            again = _lander(task).land_again(first.source, name, messages, _facts(first, task.number), place)
            aside = tuple(place.kept())
        except BaseException:
            place.discard()
            raise
    still = {(r.message.partition, r.message.offset): r.reason for r in again.rejected}
    return Sent(again.files, again.schemas, still, aside)


def _lander(task: SendTask) -> Lander:
    kind = replace(task, entries=(), number=0)
    if not _landers or _landers[0][0] != kind:
        lookups = lookups_of(task.cluster, task.schema_folder)
        bounds = Bounds(task.timeout_s)
        lander = Lander(task.lake, NoBroker(), task.engine, task.schema, bounds, lookups)
        _landers[:] = [(kind, lander)]
    return _landers[0][1]


def _facts(first: Entry, number: int) -> dict[str, Any]:
    """Return what the archive file's header says: no range of its own, but whose messages it has."""
    return {
        "cluster": first.source.cluster,
        "topic": first.source.topic,
        "generation": first.source.generation,
        "plan": number,
        "part": 0,
        "ranges": [],
        "holes": [],
        "requeued": {"plan": first.plan, "part": first.part},
    }
