"""Which messages of the lake are republished, and in which order; their bytes stay in its files."""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from finkbridge.avro.archive import read_archive
from finkbridge.avro.quarantine import read_places, read_quarantine_facts, record_of
from finkbridge.errors import LakeError, SettingsError
from finkbridge.frames import scan
from finkbridge.layout import SegmentName
from finkbridge.ledger import Ledger
from finkbridge.ledger.store import KnownGeneration
from finkbridge.republish.request import Selection
from finkbridge.values import Headers, Message, TopicGeneration

OPEN_FILES = 32
"""Files that are mapped at the same time: a topic's partitions take turns."""
QUARANTINED = -1
"""In the place of a key: the message is whole in a record of a quarantine file, its key too."""

_SCHEMA = {
    "partition": pl.Int32,
    "offset": pl.Int64,
    "timestamp_ms": pl.Int64,
    "timestamp_type": pl.Int8,
    "file": pl.Int32,
    "start": pl.Int64,
    "end": pl.Int64,
    "key": pl.Int32,
}


class Index:
    """Messages of one generation of a topic, in the order in which they are sent.

    Each partition's are in the order of their offsets; partitions take turns by Kafka's time.

    Parameters
    ----------
    ledger
        Of the lake.
    selection
        What is wanted.

    Raises
    ------
    SettingsError
        The lake has no such topic, or several clusters have.
    DecodeError
        A file of the archive is damaged.
    """

    def __init__(self, ledger: Ledger, selection: Selection) -> None:
        self.source = _source(ledger, selection)
        self._lake = ledger.lake
        self._files: list[Path] = []
        self._keys: dict[bytes | None, int] = {}
        self._headers: dict[tuple[int, int], Headers] = {}
        self._open: OrderedDict[int, mmap.mmap] = OrderedDict()
        rows = [*self._archived(ledger)]
        if not selection.needs_rows:  # which a message in quarantine does not have
            rows += self._quarantined(ledger)
        frame = pl.concat([pl.DataFrame(schema=_SCHEMA), *rows])
        frame = frame.unique(
            ["partition", "offset"], keep="first", maintain_order=True
        )  # requeued ones: once
        self.frame = _ordered(_selected(frame, ledger, self.source, selection))
        self._key_of = list(self._keys)

    def partitions(self) -> list[int]:
        """Return the partitions that have messages."""
        return sorted(self.frame["partition"].unique().to_list())

    def messages(self, frame: pl.DataFrame | None = None) -> Iterator[tuple[int, Message]]:
        """Yield messages with the time (Unix ms) when each is due, in the order of `frame` (default: all)."""
        chosen = self.frame if frame is None else frame
        for row in chosen.iter_rows(named=True):
            yield row["due_ms"], self._message(row)

    def close(self) -> None:
        """Give the files back."""
        while self._open:
            self._open.popitem()[1].close()

    def _message(self, row: dict[str, Any]) -> Message:
        place = row["partition"], row["offset"]
        value = self._mapped(row["file"])[row["start"] : row["end"]]
        if row["key"] == QUARANTINED:
            return record_of(value).message
        key, headers = self._key_of[row["key"]], self._headers.get(place, ())
        return Message(*place, row["timestamp_ms"], row["timestamp_type"], key, value, headers)

    def _mapped(self, number: int) -> mmap.mmap:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        while len(self._open) >= OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        with self._files[number].open("rb") as file:
            self._open[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._open[number]

    def _archived(self, ledger: Ledger) -> Iterator[pl.DataFrame]:
        for path in _paths(ledger, "archive", self.source):
            archive = read_archive(path)
            if archive.facts["cluster"] != self.source.cluster:
                continue
            number = len(self._files)
            self._files.append(path)
            self._headers |= {(m.partition, m.offset): m.headers for m in archive.messages if m.headers}
            keys = [self._keys.setdefault(m.key, len(self._keys)) for m in archive.messages]
            yield self._rows(archive.messages, number, archive.spans, keys)

    def _quarantined(self, ledger: Ledger) -> Iterator[pl.DataFrame]:
        for path in _paths(ledger, "quarantine", self.source):
            if read_quarantine_facts(path)["cluster"] != self.source.cluster:
                continue
            number = len(self._files)
            self._files.append(path)
            places = read_places(path)
            messages, spans = [rejected.message for rejected, _ in places], [span for _, span in places]
            yield self._rows(messages, number, spans, [QUARANTINED] * len(messages))

    def _rows(self, messages: Any, number: int, spans: Any, keys: list[int]) -> pl.DataFrame:
        columns = {
            "partition": [m.partition for m in messages],
            "offset": [m.offset for m in messages],
            "timestamp_ms": [m.timestamp_ms for m in messages],
            "timestamp_type": [m.timestamp_type for m in messages],
            "file": [number] * len(messages),
            "start": [start for start, _ in spans],
            "end": [end for _, end in spans],
            "key": keys,
        }
        return pl.DataFrame(columns, schema=_SCHEMA)


def _source(ledger: Ledger, selection: Selection) -> TopicGeneration:
    known: list[KnownGeneration] = [
        generation
        for (cluster, topic), generation in ledger.generations().items()
        if topic == selection.topic and selection.cluster in (None, cluster)
    ]
    if not known:
        raise SettingsError(f"the lake {ledger.lake} has no topic {selection.topic}: see finkbridge status")
    if len(known) > 1:
        names = ", ".join(sorted(generation.source.cluster for generation in known))
        raise SettingsError(f"{selection.topic} is of clusters {names}: choose one with --from-cluster")
    newest = known[0].source
    if selection.generation is None:
        return newest
    if not 1 <= selection.generation <= newest.generation:
        raise SettingsError(f"{selection.topic} has generations 1 to {newest.generation}")
    return TopicGeneration(newest.cluster, newest.topic, selection.generation)


def _paths(ledger: Ledger, table: str, source: TopicGeneration) -> Iterator[Path]:
    for row in ledger.alive_files(table):
        _, topic, *_, name = row.path.split("/")
        if topic == source.topic and SegmentName.parse(name).generation == source.generation:
            path = ledger.lake / row.path
            if not path.is_file():
                raise LakeError(f"{path} is gone: restore it from a copy; finkbridge verify tells more")
            yield path


def _selected(
    frame: pl.DataFrame, ledger: Ledger, source: TopicGeneration, selection: Selection
) -> pl.DataFrame:
    if selection.offsets:
        within = [
            (pl.col("partition") == r.partition) & pl.col("offset").is_between(r.start, r.end - 1)
            for r in selection.offsets
        ]
        frame = frame.filter(pl.any_horizontal(within))
    if not selection.needs_rows:
        return frame
    rows = scan("deliveries", ledger.lake, _url(ledger)).filter(
        cluster=source.cluster, topic=source.topic, generation=source.generation
    )
    if selection.nights:
        rows = rows.filter(pl.col("night").is_in(list(selection.nights)))
    if selection.objects:
        rows = rows.filter(pl.col("object_id").is_in(list(selection.objects)))
    found = rows.select(
        partition=pl.col("kafka_partition").cast(pl.Int32), offset=pl.col("kafka_offset")
    ).collect()
    return frame.join(found, on=["partition", "offset"], how="semi")


def _url(ledger: Ledger) -> str | None:
    return None if ledger.is_sqlite else ledger.engine.url.render_as_string(hide_password=False)


def _ordered(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort by Kafka's time, never against the order of a partition's offsets."""
    due = pl.col("timestamp_ms").fill_null(0).cum_max().over("partition", order_by="offset")
    return frame.with_columns(due_ms=due).sort("due_ms", "partition", "offset")
