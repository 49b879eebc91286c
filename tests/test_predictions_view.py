"""The view ``predictions``: of each topic, alert and model the newest, and nobody else's."""

from __future__ import annotations

import json
from pathlib import Path

from tests.avro.samples import encode, record_of, schema_of
from tests.support.lake import Record, sql
from tests.support.offline import fill, messages_of

STRANGERS = schema_of(
    record_of(source_id="long", model="string", prediction=["null", "double"], result="string")
)
"""Of the same columns as ours."""


def said(candid: int, model: str, number: float | None) -> Record:
    return None, json.dumps({"source": {"candid": candid}, "bridge": model, "result": number}).encode()


def test_the_newest_of_each_topic_alert_and_model(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    alert = encode(STRANGERS, {"source_id": 1, "model": "m", "prediction": 0.9, "result": ""})
    fill(
        lake,
        {
            "fink_ai_1": messages_of(
                [said(1, "m", 0.1), said(1, "m", 0.2), said(1, "n", None), said(2, "m", 0.3)]
            ),
            "fink_ai_2": messages_of([said(1, "m", 0.4)]),
            "strangers": messages_of([(STRANGERS.text, alert)]),
        },
        offsets=2,
    )
    rows = sql(lake, "SELECT topic, source_id, model, prediction, kafka_offset FROM predictions ORDER BY ALL")
    assert rows == [
        ("fink_ai_1", 1, "m", 0.2, 1),
        ("fink_ai_1", 1, "n", None, 2),
        ("fink_ai_1", 2, "m", 0.3, 3),
        ("fink_ai_2", 1, "m", 0.4, 0),
    ]
    assert sql(lake, "SELECT prediction FROM packets_other WHERE _topic = 'strangers'") == [(0.9,)]


def test_a_time_counts_before_an_offset(tmp_path: Path) -> None:
    first, second = (messages_of([said(1, "m", number)], partition=n) for n, number in enumerate([0.1, 0.2]))
    older = [message._replace(timestamp_ms=message.timestamp_ms - 1_000) for message in second]
    fill(tmp_path / "lake", {"fink_ai_1": [*first, *older]})
    assert sql(tmp_path / "lake", "SELECT prediction FROM predictions") == [(0.1,)]
