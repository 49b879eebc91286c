"""What an AI says of alerts: JSON messages of an output topic, as rows of a small table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from finkbridge import layout, parquet
from finkbridge.avro.predictions import PredictionError, read_prediction
from finkbridge.land import Lander
from finkbridge.landing import Landing
from finkbridge.values import LandedFile, Message, Rejected

SCHEMA = pa.schema(
    [
        ("source_id", pa.int64()),
        ("model", pa.string()),
        ("prediction", pa.float64()),
        ("timestamp_ms", pa.int64()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
    ]
)
STYLE = parquet.Style(row_group_rows=100_000, dictionary=("model",), statistics=())


class PredictionLander(Lander):
    """Lands JSON predictions; what is none goes to quarantine, whole."""

    def _land_messages(self, landing: Landing, messages: list[Message]) -> None:
        found = [(message, _row(message)) for message in messages]
        landing.rejected += [Rejected(m, row) for m, row in found if isinstance(row, str)]
        rows = [row for _, row in found if not isinstance(row, str)]
        if not rows:
            return
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        aside = landing.place.new(".parquet")
        written = parquet.write([table], SCHEMA, aside, STYLE, len(rows))
        path = landing.name.with_ordinal(next(landing.ordinals)).stem + ".parquet"
        landing.place.keep(aside, layout.landed_path(path))
        schema = parquet.known_schema(SCHEMA)
        landing.schemas.append(schema)
        landing.files.append(
            LandedFile(path, "export", "", None, len(rows), written.bytes, written.checksum, schema.schema_id)
        )


def _row(message: Message) -> dict[str, Any] | str:
    """Return a message as a row of `SCHEMA`, or why it is none; where a model gives no number, it is NaN."""
    try:
        told = read_prediction(message.value or b"")
    except PredictionError as error:
        return str(error)
    return {
        "source_id": told.source_id,
        "model": told.model,
        "prediction": float("nan") if told.prediction is None else told.prediction,
        "timestamp_ms": message.timestamp_ms,
        "partition": message.partition,
        "offset": message.offset,
    }
