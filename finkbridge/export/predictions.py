"""What an AI says of alerts: JSON messages of an output topic, as rows of a small table."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from finkbridge import layout, parquet
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
SOURCE_IDS = ("candid", "diaSourceId")
"""What an alert is known by in ``source``: ZTF's, LSST's."""
STYLE = parquet.Style(row_group_rows=100_000, dictionary=("model",), statistics=())


class PredictionLander(Lander):
    """Lands JSON predictions; what is none goes to quarantine, whole."""

    def _land_messages(self, landing: Landing, messages: list[Message]) -> None:
        found = [(message, read_prediction(message)) for message in messages]
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


def read_prediction(message: Message) -> dict[str, Any] | str:
    """Return a message as a row of `SCHEMA`, or why it is none.

    The message is ``{"source": {"candid": ...}, "bridge": MODEL, "result": ...}``; the result is a number, a
    list whose first item counts, or an object whose ``predictions`` are one of these. No number is NaN.
    """
    try:
        told = json.loads(message.value or b"")
        source = told["source"]
        source_id = next(source[name] for name in SOURCE_IDS if source.get(name) is not None)
        row: dict[str, Any] = {
            "source_id": _int64(source_id),
            "model": str(told.get("bridge") or ""),
            "prediction": _number(told.get("result")),
            "timestamp_ms": message.timestamp_ms,
            "partition": message.partition,
            "offset": message.offset,
        }
        row["model"].encode()  # lone surrogates are no text
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        StopIteration,
        RecursionError,
        OverflowError,
    ) as error:
        return f"no prediction: {type(error).__name__}: {str(error)[:100]}"
    return row


def _int64(value: Any) -> int:
    number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    if number is None or not -(2**63) <= number < 2**63:
        raise ValueError("the alert's identity is no whole number of 64 bits")
    return number


def _number(result: Any) -> float:
    value = result.get("predictions") if isinstance(result, dict) else result
    if isinstance(value, list):
        value = value[0] if value else None
    return float("nan") if value is None else float(value)
