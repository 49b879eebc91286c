"""What an AI says of alerts: JSON messages of an output topic, read as records of a schema of our own."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
from functools import cache
from typing import Any, NamedTuple

import fastavro

from finkbridge.avro.schemas import WriterSchema, parse_schema

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
"""Writer schema that predictions get, as they come without one."""
MOST_BYTES, MOST_LEVELS = 1 << 20, 64
"""Of the JSON: a few hundred bytes and four levels are usual, and a byte may make a hundred of Python's."""
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)|[][{}]', re.DOTALL)  # possessive: no text is read twice


class PredictionError(ValueError):
    """The value of a message is no prediction; says why."""


class Prediction(NamedTuple):
    """One model's word on one alert: a record of `SCHEMA`."""

    source_id: int
    model: str
    prediction: float | None
    """None where the model gives none."""
    result: str
    """All that the model gives, as JSON; what JSON has no number for is null."""


def holds_predictions(topic: str) -> bool:
    """Whether a topic is an AI's output, by its name; what an AI is fed by holds alerts."""
    return topic.startswith(AI) and not topic.startswith(_HELPERS)


@cache
def writer_schema() -> WriterSchema:
    """Return `SCHEMA`, parsed: it is ours, and is had whatever a topic's budget is."""
    return parse_schema(SCHEMA)


def read_prediction(value: bytes) -> Prediction:
    """Read the value of a message.

    It is ``{"source": {"candid": ...}, "bridge": MODEL, "result": ...}``; the result is a number, a list
    whose first item counts, or an object whose ``predictions`` are one of these.

    Raises
    ------
    PredictionError
        It is none; and as such counts what is larger or deeper than any honest one.
    """
    try:
        told = _loads(value)
        source, result = told["source"], told.get("result")
        source_id = next(source[name] for name in SOURCE_IDS if source.get(name) is not None)
        return Prediction(_int64(source_id), _model(told.get("bridge")), _number(result), _dumps(result))
    except StopIteration:
        raise PredictionError(f"no prediction: its source has no {' or '.join(SOURCE_IDS)}") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise PredictionError(f"no prediction: {type(error).__name__}: {str(error)[:100]}") from None


def encode_prediction(value: bytes) -> bytes:
    """Return the value of a message as a datum of `SCHEMA`; raise PredictionError if it is none."""
    datum = io.BytesIO()
    fastavro.schemaless_writer(datum, writer_schema().parsed, read_prediction(value)._asdict())
    return datum.getvalue()


def _loads(value: bytes) -> Any:
    """Return parsed JSON: whether it can be had must not depend on the stack of who asks."""
    if len(value) > MOST_BYTES:
        raise ValueError(f"{len(value):,} bytes, more than {MOST_BYTES:,}")
    text = value.decode()
    if text.count("[") + text.count("{") > MOST_LEVELS and _levels(text) > MOST_LEVELS:
        raise ValueError(f"nested deeper than {MOST_LEVELS} levels")
    return json.loads(text)


def _levels(text: str) -> int:
    brackets = (match[0] for match in _BRACKETS.finditer(text))
    steps = (1 if bracket in "[{" else -1 for bracket in brackets if bracket[0] != '"')
    return max(itertools.accumulate(steps), default=0)


def _dumps(result: Any) -> str:
    """Return JSON that any reader takes: NaN and infinities are none, nor are halves of characters."""
    text = json.dumps(result, ensure_ascii=False)
    if "NaN" in text or "Infinity" in text:
        text = json.dumps(json.loads(text, parse_constant=lambda _: None), ensure_ascii=False)
    return text.encode(errors="replace").decode()


def _model(name: Any) -> str:
    if not isinstance(name, str | int | None):
        raise TypeError("the model's name is no text")
    return "" if name is None else str(name).encode(errors="replace").decode()


def _int64(value: Any) -> int:
    is_text = isinstance(value, str) and re.fullmatch("-?[0-9]{1,19}", value)
    number = int(value) if is_text or (isinstance(value, int) and not isinstance(value, bool)) else None
    if number is None or not -(2**63) <= number < 2**63:
        raise ValueError("the alert's identity is no whole number of 64 bits")
    return number


def _number(result: Any) -> float | None:
    """Return the first number of a result; None where it has none, or says that it is not one."""
    value = result.get("predictions") if isinstance(result, dict) else result
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, str) and not re.fullmatch(r"[-+.0-9eE]+", value):
        raise ValueError("the prediction is no number")
    number = None if value is None else float(value)
    return None if number is None or math.isnan(number) else number
