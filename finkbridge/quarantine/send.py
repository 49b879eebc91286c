"""What a worker does of a requeue: messages of one segment, read back and landed again, aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finkbridge import disk
from finkbridge.disk import Staging
from finkbridge.errors import DecodeError, NotAskedError
from finkbridge.land import Bounds, Lander
from finkbridge.layout import SegmentName
from finkbridge.ledger.quarantined import Entry
from finkbridge.quarantine.contents import Contents
from finkbridge.registry import lookups_of_all
from finkbridge.remake import NoBroker
from finkbridge.settings import Settings
from finkbridge.values import KnownSchema, LandedFile

_landers: dict[tuple[Path, bytes | None, bool], tuple[Settings, Lander]] = {}
"""By lake, schema, and whether schemas are bounded, with the settings that it was made for."""


class _NoSchemaTopics(NoBroker):
    """A source of no messages, which says that it does not know schema topics, not that there are none.

    The topic may have been made anew since, with other messages and another schema, which might fit these.
    """

    def first_key(self, topic: str, /) -> bytes | None:
        """Refuse."""
        ask = "`finkbridge consumer --dump_schema` saves what the topic has now"
        raise NotAskedError(f"{topic} is not read in a requeue: {ask}")


@dataclass(frozen=True, slots=True)
class SendTask:
    """All that a worker needs."""

    settings: Settings
    entries: tuple[Entry, ...]
    """Of one segment, by partition and offset."""
    number: int
    """For the names of the files."""
    schema: bytes | None
    """Text of the writer schema for all of them; None to find it with each message."""
    known_schemas: Mapping[str, int] | None
    """Fingerprints of the topic's writer schemas that are in the lake, with their columns; None where
    messages with further ones land too, whatever the settings say."""


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
    lake = task.settings.lake.absolute()
    contents = Contents(lake)
    try:
        messages = [contents.of(entry).message for entry in task.entries]
    except DecodeError as error:
        return str(error)
    first = task.entries[0]
    name = SegmentName(
        first.source.topic, first.source.generation, first.partition, first.offset, task.number, 0
    )
    with disk.writing(lake):
        place = Staging(lake)
        try:
            facts = _facts(first, task.number)
            again = _lander(task).land_again(first.source, name, messages, facts, place, task.known_schemas)
            aside = tuple(place.kept())
        except BaseException:
            place.discard()
            raise
    still = {(r.message.partition, r.message.offset): r.reason for r in again.rejected}
    return Sent(again.files, again.schemas, still, aside)


def _lander(task: SendTask) -> Lander:
    settings, is_bounded = task.settings, task.known_schemas is not None
    key = settings.lake.absolute(), task.schema, is_bounded
    if key not in _landers or _landers[key][0] != settings:
        _landers.clear()
        most = (settings.decode.max_schemas, settings.decode.max_columns) if is_bounded else ()
        bounds = Bounds(settings.worker_timeout_s, *most)
        lander = Lander(
            key[0],
            _NoSchemaTopics(),
            settings.decode.engine,
            task.schema,
            bounds,
            lookups_of_all(settings.clusters.values(), settings.decode.schema_folder),
        )
        _landers[key] = settings, lander
    return _landers[key][1]


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
