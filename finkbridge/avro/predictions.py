"""What an AI says of alerts: JSON messages of an output topic, read as records of a schema of our own."""

from __future__ import annotations

import io
import json
from typing import Any, NamedTuple

import fastavro

AI = "fink_ai_"
FEED = "fink_ai_feed_"
_HELPERS = (FEED, "fink_ai_pre_")

SOURCE_IDS = ("candid", "diaSourceId")
"""What an alert is known by in ``source``: ZTF's, LSST's."""
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "prediction",
        "namespace": "finkbridge",
        "fields": [
            {"name": "source_id", "type": "long"},
            {"name": "model", "type": "string"},
            {"name": "prediction", "type": ["null", "double"]},
            {"name": "result", "type": "string"},
        ],
    }
).encode()
"""Writer schema that predictions get, as they come without one; ``result`` is JSON, as it was sent."""
COLUMNS = ("source_id", "model", "prediction", "result")
_PARSED = fastavro.parse_schema(json.loads(SCHEMA))


class PredictionError(ValueError):
    """The value of a message is no prediction; says why."""


class Prediction(NamedTuple):
    """One model's word on one alert."""

    source_id: int
    model: str
    number: float | None
    """None where the model gives none."""
    result: str
    """All that the model gives, as JSON."""


def holds_predictions(topic: str) -> bool:
    """Whether a topic is an AI's output, by its name; what an AI is fed by holds alerts."""
    return topic.startswith(AI) and not topic.startswith(_HELPERS)


def read_prediction(value: bytes) -> Prediction:
    """Read the value of a message.

    It is ``{"source": {"candid": ...}, "bridge": MODEL, "result": ...}``; the result is a number, a list
    whose first item counts, or an object whose ``predictions`` are one of these.

    Raises
    ------
    PredictionError
    """
    try:
        told = json.loads(value)
        source, result = told["source"], told.get("result")
        source_id = next(source[name] for name in SOURCE_IDS if source.get(name) is not None)
        model = str(told.get("bridge") or "")
        model.encode()  # lone surrogates are no text
        return Prediction(_int64(source_id), model, _number(result), json.dumps(result))
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        StopIteration,
        RecursionError,
        OverflowError,
    ) as error:
        raise PredictionError(f"no prediction: {type(error).__name__}: {str(error)[:100]}") from None


def encode_prediction(value: bytes) -> bytes:
    """Return the value of a message as a datum of `SCHEMA`; raise PredictionError if it is none."""
    datum = io.BytesIO()
    fastavro.schemaless_writer(datum, _PARSED, dict(zip(COLUMNS, read_prediction(value), strict=True)))
    return datum.getvalue()


def _int64(value: Any) -> int:
    number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    if number is None or not -(2**63) <= number < 2**63:
        raise ValueError("the alert's identity is no whole number of 64 bits")
    return number


def _number(result: Any) -> float | None:
    value = result.get("predictions") if isinstance(result, dict) else result
    if isinstance(value, list):
        value = value[0] if value else None
    return None if value is None else float(value)
