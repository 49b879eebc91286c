"""Schemas, records and real messages that several tests of the Avro package share."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import math
import random
from pathlib import Path
from typing import Any

import fastavro

from finkbridge.avro.schemas import WriterSchema, parse_schema
from finkbridge.values import Message

SURVEYS = ("ztf", "lsst")


def schema_of(document: Any) -> WriterSchema:
    return parse_schema(json.dumps(document).encode())


def record_of(**types: Any) -> dict[str, Any]:
    return {"type": "record", "name": "r", "fields": [{"name": n, "type": t} for n, t in types.items()]}


def encode(schema: WriterSchema, value: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema.parsed, value)
    return stream.getvalue()


def real_alerts(shared_data: Path, survey: str) -> tuple[WriterSchema, list[bytes]]:
    """Return schema and datums of the real alerts of a survey, as they were sent."""
    (path,) = (shared_data / survey).glob("*.avro")
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        schema = parse_schema(reader.metadata["avro.schema"].encode())
        return schema, [encode(schema, record) for record in reader]


def messages_of(datums: list[bytes], key: bytes | None = None) -> list[Message]:
    return [Message(0, 10 + i, 1_700_000_000_000 + i, 1, key, datum) for i, datum in enumerate(datums)]


def same(left: Any, right: Any) -> bool:
    """Tell whether two tables are equal, NaN being NaN and zeros having their sign."""
    return left.schema.equals(right.schema) and repr(left.to_pylist()) == repr(right.to_pylist())


class RandomAvro:
    """Random schemas that the bulk engine takes, and random values of them."""

    primitives = ("boolean", "int", "long", "float", "double", "bytes", "string")
    logical = (
        {"type": "int", "logicalType": "date"},
        {"type": "int", "logicalType": "time-millis"},
        {"type": "long", "logicalType": "time-micros"},
        {"type": "long", "logicalType": "timestamp-millis"},
        {"type": "long", "logicalType": "timestamp-micros"},
        {"type": "long", "logicalType": "local-timestamp-micros"},
        {"type": "string", "logicalType": "uuid"},
        {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3},
        {"type": "bytes", "logicalType": "decimal", "precision": 50, "scale": 0},
    )

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = 0

    def name(self) -> str:
        self.names += 1
        return self.random.choice(("t", "top.sub.t", "topLevelRecord.t")) + str(self.names)

    def record(self, depth: int) -> dict[str, Any]:
        fields = [{"name": f"f{i}_é", "type": self.type(depth - 1)} for i in range(self.random.randint(1, 5))]
        made = {"type": "record", "name": self.name(), "doc": 'a\u1234\n"doc"', "fields": fields}
        if self.random.random() < 0.3:
            made["namespace"] = "some.space"
        return made

    def type(self, depth: int) -> Any:
        r = self.random.random()
        if depth <= 0 or r < 0.35:
            return self.nullable(self.random.choice(self.primitives + self.logical))
        if r < 0.5:
            return self.nullable({"type": "array", "items": self.type(depth - 1)})
        if r < 0.6:
            return self.nullable({"type": "map", "values": self.type(depth - 1)})
        if r < 0.7:
            return self.nullable({"type": "enum", "name": self.name(), "symbols": ["A", "B", "C"]})
        if r < 0.8:
            return self.nullable({"type": "fixed", "name": self.name(), "size": self.random.randint(1, 20)})
        return self.nullable(self.record(depth))

    def nullable(self, kind: Any) -> Any:
        return self.random.choice((kind, ["null", kind], [kind, "null"]))

    def value(self, kind: Any) -> Any:
        r = self.random
        if isinstance(kind, list):
            return self.value(r.choice(kind))
        if isinstance(kind, dict) and "logicalType" in kind:
            return self.logical_value(kind)
        name = kind if isinstance(kind, str) else kind["type"]
        if name == "record":
            return {f["name"]: self.value(f["type"]) for f in kind["fields"]}
        if name == "array":
            return [self.value(kind["items"]) for _ in range(r.choice((0, 1, 3)))]
        if name == "map":
            return {r.choice("zéa") + str(i): self.value(kind["values"]) for i in range(r.choice((0, 1, 3)))}
        if name == "enum":
            return r.choice(kind["symbols"])
        if name == "fixed":
            return r.randbytes(kind["size"])
        return self.primitive_value(name)

    def primitive_value(self, name: str) -> Any:
        r = self.random
        bits = {"int": 31, "long": 63}
        if name in bits:
            top = 2 ** bits[name]
            return r.choice((0, -1, top - 1, -top, r.randrange(-top, top)))
        if name == "float":
            return r.choice((math.nan, 0.0, -0.0, math.inf, -math.inf, 1.5, -(2.0**-149)))
        if name == "double":
            return r.choice((math.nan, 0.0, -0.0, math.inf, r.uniform(-1e300, 1e300), 5e-324))
        if name == "bytes":
            return r.randbytes(r.choice((0, 1, 200)))
        if name == "string":
            return r.choice(("", "a", "é\0漢😀", "x" * 200))
        return r.random() < 0.5 if name == "boolean" else None

    def logical_value(self, kind: dict[str, Any]) -> Any:
        r, name = self.random, kind["logicalType"]
        if name == "date":
            return dt.date(1, 1, 1) + dt.timedelta(days=r.randrange(3_000_000))
        if name.startswith("time-"):
            return dt.time(r.randrange(24), 59, 58, 1000 * r.randrange(1000))
        if "timestamp" in name:
            when = dt.datetime(1900, 1, 1) + dt.timedelta(milliseconds=r.randrange(10**13))
            return when if name.startswith("local") else when.replace(tzinfo=dt.UTC)
        if name == "uuid":
            return "0b6ac51d-5e1f-4d5b-9a0d-00000000000" + str(r.randrange(10))
        number = r.choice((0, 1, -1, 10 ** kind["precision"] - 1, 1 - 10 ** kind["precision"]))
        return decimal.Decimal((number < 0, tuple(map(int, str(abs(number)))), -kind["scale"]))
