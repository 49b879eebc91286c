"""The row of an alert, whatever its message says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from finkbridge.avro.resolve import Framing
from finkbridge.broker.assignment import Received
from finkbridge.consumer.opening import Opened
from finkbridge.consumer.summary import TIMES, summary
from finkbridge.values import Message
from tests.avro.samples import record_of, schema_of


@pytest.mark.parametrize(
    ("stamp", "told"),
    [
        (1_774_177_612_004, "2026-03-22 11:06:52.004"),
        (0, "1970-01-01 00:00:00.000"),
        (2**62, None),
        (-(2**62), None),
        (None, None),
    ],
)
def test_the_time_of_kafka_is_told_where_there_is_such_a_time(stamp: int | None, told: str | None) -> None:
    received = Received("t", Message(0, 0, stamp, 1, None, b"", ()))
    opened = Opened(received, schema_of(record_of()), b"", Framing.BARE, {"objectId": "ZTF1"})
    row = summary(opened, datetime(2026, 3, 22, tzinfo=UTC))
    assert (row.kind, row.values[TIMES[0]], row.values["objectId"]) == ("other", told, "ZTF1")


def test_a_prediction_is_told() -> None:
    received = Received("fink_ai_1", Message(0, 0, 0, 1, None, b"", ()))
    told = {"source_id": 7, "model": "snn", "prediction": 0.5, "result": "0.5"}
    row = summary(
        Opened(received, schema_of(record_of()), b"", Framing.PREDICTION, told),
        datetime(2026, 3, 22, tzinfo=UTC),
    )
    assert row.kind == "prediction"
    assert [row.values[name] for name in ("Alert", "Model", "Prediction")] == [7, "snn", 0.5]


def test_elasticcs_fluxes_are_of_another_unit() -> None:
    """A flux of 1 is 27.5 mag there, and 31.4 mag in nJy."""
    values = {}
    for name, source in (
        ("ours", {"midpointMjdTai": 60674.0, "psfFlux": 100.0, "band": "y"}),
        ("elasticc", {"midPointTai": 60674.0, "psFlux": 100.0, "filterName": "Y"}),
    ):
        opened = Opened(
            Received("t", Message(0, 0, 1, 1, None, b"", ())),
            schema_of(record_of()),
            b"",
            Framing.BARE,
            {"diaSource": source | {"diaObjectId": 747}},
        )
        row = summary(opened, datetime(2026, 3, 22, tzinfo=UTC))
        values[name] = row.values
        assert (row.kind, row.values["Object"]) == ("lsst", "747")
    assert (values["ours"]["Flux (nJy)"], values["ours"]["Magnitude (AB)"]) == (100.0, pytest.approx(26.4))
    assert values["elasticc"]["Magnitude (AB)"] == pytest.approx(22.5)
    assert values["elasticc"]["Flux (nJy)"] == pytest.approx(10 ** ((31.4 - 22.5) / 2.5))
