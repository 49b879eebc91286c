"""Predictions: what is one, and what of it becomes a row."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.avro.parser import Budget
from finkbridge.avro.portions import portions
from finkbridge.avro.predictions import (
    SCHEMA,
    PredictionError,
    encode_prediction,
    holds_predictions,
    read_prediction,
)
from finkbridge.avro.resolve import Framing, Resolved, SchemaResolver
from finkbridge.avro.schemas import parse_schema
from finkbridge.avro.single import decode_one
from tests.avro.samples import encode, record_of, schema_of
from tests.avro.test_resolve import message

TOPIC, FEED = "fink_ai_2026", "fink_ai_feed_2026"
OURS = parse_schema(SCHEMA)
ALERTS = schema_of(record_of(a="int"))

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60)
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def said(result: Any, model: str = "snn", **source: Any) -> bytes:
    return json.dumps({"source": source or {"candid": 7}, "bridge": model, "result": result}).encode()


def decoded(value: bytes) -> Any:
    return decode_one(OURS, encode_prediction(value))


@pytest.mark.parametrize(
    ("topic", "does"),
    [(TOPIC, True), ("fink_ai_feed_2026", False), ("fink_ai_pre_2026", False), ("ftransfer_ztf_1", False)],
)
def test_topics_by_name(topic: str, *, does: bool) -> None:
    assert holds_predictions(topic) is does


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x, 9.0], lambda x: {"predictions": [x], "more": 1}])
@given(number=numbers, source_id=st.integers(-(2**63), 2**63 - 1), model=st.text())
def test_every_number_comes_through(wrap: Any, number: float, source_id: int, model: str) -> None:
    row = decoded(said(wrap(number), model, diaSourceId=source_id))
    assert (row["source_id"], row["model"], row["prediction"]) == (source_id, model, float(number))
    assert json.loads(row["result"]) == wrap(number)


@pytest.mark.parametrize(("model", "name"), [(0, "0"), (None, ""), ("", "")])
def test_a_model_may_be_a_number(model: Any, name: str) -> None:
    assert decoded(said(0.5, model))["model"] == name


@pytest.mark.parametrize("result", [None, [], {"predictions": []}, {"else": 1}, {}])
def test_a_model_may_give_no_number(result: Any) -> None:
    assert decoded(said(result))["prediction"] is None


def test_what_is_no_number_in_json_is_null() -> None:
    row = decoded(said({"predictions": [float("nan")], "more": [math.inf, "NaN"]}))
    assert (row["prediction"], row["result"]) == (None, '{"predictions": [null], "more": [null, "NaN"]}')
    assert decoded(said([1e999]))["prediction"] == math.inf


def test_half_a_character_is_replaced() -> None:
    row = decoded(b'{"source": {"candid": 7}, "bridge": "a\\ud800", "result": ["0.5", "\\udfff"]}')
    assert (row["model"], row["prediction"], row["result"]) == ("a?", 0.5, '["0.5", "?"]')


def test_the_verdict_does_not_depend_on_who_asks() -> None:
    """Python's own limit is of the whole stack: what lands in a drain must be a row in a rebuild."""
    deep = said(0.5)[:-1] + b', "more": ' + b"[" * 63 + b"]" * 63 + b"}"
    assert read_prediction(deep).prediction == 0.5
    with pytest.raises(PredictionError, match="nested deeper than 64 levels"):
        read_prediction(deep.replace(b"[]", b"[[]]"))
    assert read_prediction(said({"text": '[{"' * 999})).prediction is None
    with pytest.raises(PredictionError, match="bytes, more than"):
        read_prediction(said({"text": "x" * (1 << 20)}))


@given(value=st.binary() | anything.map(lambda v: json.dumps(v).encode()) | anything.map(said))
def test_anything_is_a_row_or_refused_in_one_way(value: bytes) -> None:
    with suppress(PredictionError):
        assert decoded(value)["source_id"] == 7


@pytest.mark.parametrize(
    "value",
    [
        b"", b"{}", b"[1]", b"\xff", b"[" * 5000, b'{"a":' * 5000, b'{"source": {"candid": 1e9}}',
        b'{"source": {"candid": true}}', b'{"source": {"candid": ' + b"9" * 5000 + b"}}",
        b'{"source": {"candid": 1}, "result": "high"}', b'{"source": {"candid": 1}, "bridge": ["a"]}',
        b'{"source": {"candid": 1}, "result": " 1_0 "}', b'{"source": {"candid": " 1_2 "}}',
        '{"source": {"candid": 1}}'.encode("utf-16"), b'\xef\xbb\xbf{"source": {"candid": 1}}',
        b'{"source": {"candid": 1}, "result": 1' + b"0" * 400 + b"}",
    ],
)  # fmt: skip
def test_what_is_none(value: bytes) -> None:
    with pytest.raises(PredictionError, match="no prediction: "):
        read_prediction(value)


def test_the_resolver_reads_json_of_an_ais_topic_alone() -> None:
    resolver, value = SchemaResolver(ALERTS), said(0.5)
    found = resolver.resolve(TOPIC, message(value, None))
    assert found == Resolved(OURS, encode_prediction(value), Framing.PREDICTION)
    alert = encode(ALERTS, {"a": -62})  # begins with a brace, too
    assert alert[:1] == b"{"
    assert resolver.resolve(FEED, message(alert, None)) == Resolved(ALERTS, alert, Framing.BARE)
    assert resolver.resolve(TOPIC, message(alert, ALERTS.text)) == Resolved(ALERTS, alert, Framing.BARE)


def test_a_hostile_string_takes_no_time() -> None:
    """Each of its quotes could begin one that has no end."""
    began = time.monotonic()
    with pytest.raises(PredictionError):
        read_prediction(b"[" * 65 + b'"' + b'\\"' * 500_000)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("key", [b'{"candid": 1}', b"{", ALERTS.text, b"k"])
def test_no_key_makes_a_prediction_something_else(key: bytes) -> None:
    resolver = SchemaResolver()
    assert isinstance(resolver.resolve(TOPIC, message(said(0.5), key)), Resolved)
    grouped = resolver.group(TOPIC, [message(said(0.5), key)] * 2)
    assert [list(g.indices) for g in grouped.groups] == [[0, 1]]


def test_predictions_are_had_where_the_budget_is_spent() -> None:
    junk = [message(b"\x02", schema_of(record_of(**{f"x{i}": "int"})).text) for i in range(9)]
    grouped = SchemaResolver(budget=Budget(4)).group(TOPIC, [*junk, message(said(0.5), None)])
    assert (OURS, [9]) in [(g.schema, list(g.indices)) for g in grouped.groups]


def test_what_stands_before_a_prediction_changes_nothing() -> None:
    """Messages of one key that is no schema: alerts by the topic's schema, and predictions."""
    alert, value = encode(ALERTS, {"a": -62}), said(0.5)
    resolver = SchemaResolver(topic_schema=lambda _: ALERTS.text)
    grouped = resolver.group(TOPIC, [message(v, b"k") for v in (alert, value, alert, value, b"{}")])
    assert grouped.rejected == ()
    assert [(g.schema, list(g.indices)) for g in grouped.groups] == [(ALERTS, [0, 2, 4]), (OURS, [1, 3])]


def test_what_is_none_is_set_aside_among_others() -> None:
    messages = [message(said(0.5), None), message(b"{}", None), message(said(0.7), None)]
    grouped = SchemaResolver().group(TOPIC, messages)
    (group,) = grouped.groups
    (portion,) = portions(group, [messages[i] for i in group.indices])
    assert [decode_one(OURS, datum)["prediction"] for datum in portion.group.datums] == [0.5, 0.7]
    assert grouped.rejected == ((1, "no prediction: KeyError: 'source'"),)


def test_the_resolver_says_why_it_is_none() -> None:
    assert SchemaResolver().resolve(TOPIC, message(b"{}", None)) == "no prediction: KeyError: 'source'"
