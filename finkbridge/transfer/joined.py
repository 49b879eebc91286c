"""Alerts joined with an AI's predictions, in rounds: what is joined in one round is never written again.

    joined/<round>/files/...        the round's files, until they are in the output folder
    joined/<round>/pairs.parquet    which alerts, models and predictions it has
    joined/<round>/alerts.json      names of the files of alerts that it looked at
    joined/<round>/files.json       path, rows and bytes of each file

A round is made aside and gets its name in one rename: it is there whole, or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from finkbridge import disk, parquet
from finkbridge.avro.predictions import SOURCE_IDS
from finkbridge.errors import SchemaError
from finkbridge.export import partition
from finkbridge.export.lander import STYLE
from finkbridge.layout import SegmentName
from finkbridge.transfer import outdir as output

JOINED = "joined"
ASIDE = "joining"
PREDICTIONS = pa.field(
    "model_predictions",
    pa.list_(pa.struct([("model", pa.string()), ("prediction", pa.float64())])),
)
"""The column that an alert gets: of each model the newest prediction, models in alphabetical order."""
_PAIRS = pl.Schema({"source_id": pl.Int64, "model": pl.String, "prediction": pl.Float64})
PIECES = 10_000
"""Files that one file of alerts can become in one round: as many nights or classes."""


class Joined:
    """The rounds of a transfer.

    Parameters
    ----------
    state
        Folder of the transfer's state.
    topic
        The predictions'.
    """

    def __init__(self, state: Path, topic: str) -> None:
        self._state = state
        self._topic = topic
        if (state / ASIDE).exists():
            shutil.rmtree(state / ASIDE)  # of a run that died: no round, and nothing of it was delivered

    def rounds(self) -> list[Path]:
        """Return the folders of all rounds, in order."""
        return sorted((self._state / JOINED).glob("[0-9]*"))

    def files(self) -> list[Any]:
        """Return path, rows and bytes of all files of all rounds."""
        read = (json.loads((folder / "files.json").read_text()) for folder in self.rounds())
        return [SimpleNamespace(**one) for told in read for one in told]

    def pairs(self) -> pl.DataFrame:
        """Return alerts (``source_id``), models (``model``) and predictions of all rounds."""
        empty = _PAIRS.to_frame()
        return pl.concat([empty, *(pl.read_parquet(folder / "pairs.parquet") for folder in self.rounds())])

    def deliver(self, outdir: Path) -> None:
        """Move to the output folder what is not there yet."""
        for folder in self.rounds():
            files = folder / "files"
            paths = (
                [p.relative_to(files).as_posix() for p in files.rglob("*.parquet")] if files.is_dir() else []
            )
            output.deliver(outdir, {path: files / path for path in sorted(paths)})

    def join(self, alerts: Sequence[Path], newest: pl.DataFrame, by: str | None) -> None:
        """Make a round of all alerts that have predictions and were in no round.

        An alert that the feed sends again, in a file that no round looked at, is one more row.

        Parameters
        ----------
        alerts
            Parquet files, named by segments.
        newest
            What `newest_predictions` gives.
        by
            How the files are partitioned.
        """
        fresh = newest.join(self.pairs(), on="source_id", how="anti")
        fresh = fresh.join(known_by(alerts), on="source_id", how="semi")  # others may come yet
        names = {file.name for file in alerts}
        looked_at = self._looked_at(names)
        wanted = {file: fresh if file.name in looked_at else newest for file in alerts}
        if fresh.is_empty() and looked_at >= names:
            return
        number, aside = len(self.rounds()) + 1, self._state / ASIDE
        with disk.writing(self._state):
            (aside / "files").mkdir(parents=True)
            made = [one for file in alerts for one in self._join_file(file, wanted[file], by, number)]
            (aside / "alerts.json").write_text(json.dumps([file.name for file in alerts]))
            fresh.select(_PAIRS.names()).write_parquet(aside / "pairs.parquet")
            (aside / "files.json").write_text(json.dumps(made))
            self._name_round(aside, number)

    def _looked_at(self, names: set[str]) -> set[str]:
        """Return which files of alerts rounds have looked at: all, where an older round does not say."""
        told = [folder / "alerts.json" for folder in self.rounds()]
        if not all(file.is_file() for file in told):
            return names
        return {name for file in told for name in json.loads(file.read_text())}

    def _name_round(self, aside: Path, number: int) -> None:
        for path in sorted(aside.rglob("*")):
            (disk.sync_folder if path.is_dir() else disk.sync_file)(path)
        disk.sync_folder(aside)
        (self._state / JOINED).mkdir(exist_ok=True)
        aside.rename(self._state / JOINED / f"{number:06d}")
        disk.sync_folder(self._state / JOINED)
        disk.sync_folder(self._state)

    def _join_file(
        self, file: Path, fresh: pl.DataFrame, by: str | None, number: int
    ) -> Iterator[dict[str, Any]]:
        table = _with_predictions(file, fresh)
        if not table.num_rows:
            return
        name = replace(SegmentName.parse(file.name), topic=self._topic)
        first = (number * PIECES + name.ordinal) * PIECES
        for piece, (folder, mine) in enumerate(partition.pieces(table, by)):
            path = f"{folder}/{name.with_ordinal(first + piece).stem}.parquet".lstrip("/")
            aside = self._state / ASIDE / "files" / path
            aside.parent.mkdir(parents=True, exist_ok=True)
            written = parquet.write([mine], mine.schema, aside, STYLE, mine.num_rows)
            yield {"path": path, "rows": written.rows, "bytes": written.bytes}


def newest_predictions(files: Sequence[Path]) -> pl.DataFrame:
    """Return one row an alert and model: the newest prediction, by Kafka's time.

    Columns: ``source_id``, ``model``, ``prediction``; sorted by the first two.
    """
    if not files:
        return pl.DataFrame(schema={"source_id": pl.Int64, "model": pl.String, "prediction": pl.Float64})
    return (
        pl.concat([pl.read_parquet(file) for file in files])
        .sort("timestamp_ms", "partition", "offset", nulls_last=False)
        .unique(["source_id", "model"], keep="last", maintain_order=True)
        .select("source_id", "model", "prediction")
        .sort("source_id", "model")
    )


def known_by(files: Sequence[Path]) -> pl.DataFrame:
    """Return what the alerts of files are known by, each once, as the column ``source_id``."""
    frames = [pl.DataFrame({"source_id": pl.from_arrow(_source_ids(file))}) for file in files]
    return pl.concat([pl.DataFrame(schema={"source_id": pl.Int64}), *frames]).unique()


def _source_ids(file: Path) -> pa.Array:
    """Return what the alerts of a file are known by.

    Raises
    ------
    SchemaError
        They have nothing that predictions name.
    """
    names = pq.read_schema(file).names
    found = next((name for name in SOURCE_IDS if name in names), None)
    if found is None:
        raise SchemaError(f"the alerts have no {' or '.join(SOURCE_IDS)}: no prediction can be theirs")
    return pq.ParquetFile(file).read([found]).column(found).combine_chunks().cast(pa.int64())


def _with_predictions(file: Path, fresh: pl.DataFrame) -> pa.Table:
    """Return the alerts of a file that have new predictions, in their order, with these as a column."""
    grouped = fresh.group_by("source_id", maintain_order=True).agg(
        pl.struct("model", "prediction").alias(PREDICTIONS.name)
    )
    ids = pl.DataFrame({"source_id": pl.from_arrow(_source_ids(file))})
    match = ids.with_row_index("row").join(grouped, on="source_id", how="inner", maintain_order="left")
    table = pq.ParquetFile(file).read()
    if match.is_empty():
        return table.slice(0, 0)
    told = match[PREDICTIONS.name].to_arrow().cast(PREDICTIONS.type)
    rows = pc.cast(match["row"].to_arrow(), pa.int64())
    return table.take(rows).append_column(PREDICTIONS, told)
