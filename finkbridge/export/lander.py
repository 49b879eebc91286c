"""Steps 2-5 of the way through the house, for a plain folder: checked messages as Parquet or Avro files.

The files get their names in the folder of the transfer's state; they are moved to the output folder once they
are committed. Rows are the messages as they are: only what cannot be decoded is left out, and kept whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from finkbridge import layout, parquet
from finkbridge.avro.files import write_container
from finkbridge.avro.resolve import SchemaGroup
from finkbridge.export import partition
from finkbridge.land import Lander
from finkbridge.landing import Landing, writer_schema
from finkbridge.values import Export, LandedFile, Message

STYLE = parquet.Style(row_group_rows=1_000, split_floats=False, statistics=(), stored=("stampData",))
"""Few rows are many MB, no query prunes by the ranges of 300 leaves, and ZTF's images are gzipped."""


class ExportLander(Lander):
    """Lands segments as files of a plain folder.

    Parameters
    ----------
    export
        How they are written.
    arguments
        Of `finkbridge.land.Lander`.
    """

    def __init__(self, export: Export, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._export = export

    def _land_group(self, landing: Landing, group: SchemaGroup, messages: list[Message]) -> None:
        """Write the good messages of one writer schema."""
        rows = len(messages)
        messages.clear()
        if not rows:
            return
        if self._export.format == "avro":
            self._land_avro(landing, group, rows)
        else:
            self._land_parquet(landing, group)
        landing.schemas.append(writer_schema(group.schema))

    def _land_parquet(self, landing: Landing, group: SchemaGroup) -> None:
        alerts = self._decode(group, ())
        for folder, mine in partition.pieces(alerts, self._export.partition):
            aside = landing.place.new(".parquet")
            with landing.place.filling(aside):
                written = parquet.write([mine], mine.schema, aside, STYLE, mine.num_rows)
            _keep(landing, aside, folder, group, written)

    def _land_avro(self, landing: Landing, group: SchemaGroup, rows: int) -> None:
        datums = list(group.datums)
        for folder, chosen in self._folders(group, rows):
            aside = landing.place.new(".avro")
            metadata = {"avro.codec": b"null", "avro.schema": group.schema.text}
            mine = [datums[i] for i in chosen]
            with landing.place.filling(aside):
                file = write_container(aside, metadata, mine)
            written = parquet.WrittenTable(len(mine), file.bytes, file.checksum)
            _keep(landing, aside, folder, group, written)

    def _folders(self, group: SchemaGroup, rows: int) -> list[tuple[str, list[int]]]:
        """Return each folder with the messages that go there, by their place in the group."""
        by = self._export.partition
        if by is None:
            return [("", list(range(rows)))]
        names = self._tools.of(group.schema)[1].arrow_schema.names
        wanted = partition.columns_for(self._tools.of(group.schema)[1].arrow_schema, by)
        dropped = [name for name in names if name not in (wanted or names[:1])]
        alerts = self._decode(group, dropped)
        codes, folders = partition.folders_of(alerts, by)
        return [(folder, np.flatnonzero(codes == code).tolist()) for code, folder in enumerate(folders)]


def _keep(
    landing: Landing, aside: Path, folder: str, group: SchemaGroup, written: parquet.WrittenTable
) -> None:
    """Have a file published with the part, under a name of its own."""
    stem = landing.name.with_ordinal(next(landing.ordinals)).stem
    path = "/".join(filter(None, (folder, stem + aside.suffix)))
    landing.place.keep(aside, layout.landed_path(path))
    schema_id = group.schema.fingerprint
    landing.files.append(
        LandedFile(path, "export", "", None, written.rows, written.bytes, written.checksum, schema_id)
    )
