"""DataFusion, the independent engine of the deep comparison, gives what fastavro and drains do."""

from __future__ import annotations

import datafusion
import pyarrow as pa
import pytest

from finkbridge.avro.decode import Decoder
from finkbridge.errors import DecodeError
from finkbridge.verify import peer
from finkbridge.verify.archives import Decoders
from tests.avro.samples import SURVEYS, RandomAvro, encode, real_alerts, record_of, same, schema_of
from tests.hostile.poison import panic


@pytest.mark.parametrize("survey", SURVEYS)
def test_three_decoders_agree_on_the_real_alerts(shared_data, survey):
    schema, datums = real_alerts(shared_data, survey)
    wanted = Decoder(schema).arrow_schema
    table = peer.decode(schema, datums, wanted)
    assert table.schema.equals(wanted)
    assert same(table, Decoder(schema).decode(datums))
    assert same(table, Decoder(schema, "fastavro").decode(datums))


@pytest.mark.parametrize("seed", range(20))
def test_it_agrees_with_the_drain_on_random_schemas(seed):
    maker = RandomAvro(1000 + seed)
    document = maker.record(4)
    document["fields"].append({"name": "a", "type": "int"})
    schema = schema_of(document)
    datums = [encode(schema, maker.value(document)) for _ in range(30)]
    assert same(peer.decode(schema, datums, Decoder(schema).arrow_schema), Decoder(schema).decode(datums))


def test_some_columns_by_names_that_sql_would_take_apart():
    document = record_of(**{"Case": "int", "a.b": "string", "select": "long", "it's": "int"})
    schema = schema_of(document)
    datum = encode(schema, {"Case": 1, "a.b": "x", "select": 3, "it's": 4})
    types = Decoder(schema).arrow_schema
    wanted = pa.schema([types.field(name) for name in ("it's", "a.b", "Case")])
    assert peer.decode(schema, [datum], wanted).to_pylist() == [{"it's": 4, "a.b": "x", "Case": 1}]


@pytest.mark.parametrize("name", ['quote"', "back\\slash", "line\nbreak", "\u00e9"])
def test_names_that_json_escapes_are_right_or_refused(name):
    """What it refuses is decoded by fastavro."""
    schema = schema_of(record_of(**{name: "int", "other": "string"}))
    datum = encode(schema, {name: 7, "other": "x"})
    assert Decoder(schema).bulk
    assert Decoder(schema).decode([datum]).to_pylist() == [{name: 7, "other": "x"}]
    rows = Decoders(independent=True).bulk(schema, "other", [datum]).table.to_pylist()
    assert rows == [{name: 7, "other": "x"}]


def test_a_row_that_it_drops_is_an_error():
    schema = schema_of(record_of(a="int"))
    with pytest.raises(DecodeError, match="2 messages went into DataFusion and 1 rows came out"):
        peer.decode(schema, [b"", b"\2"], Decoder(schema).arrow_schema)


def test_a_panic_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datafusion.SessionContext, "read_avro", lambda *_: panic())
    schema = schema_of(record_of(x="int"))
    with pytest.raises(DecodeError, match="DataFusion failed: native code panicked: "):
        peer.decode(schema, [b"\2"], Decoder(schema).arrow_schema)
