"""The strict check: what it must refuse, and that it accepts nothing that the engines read differently."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finkbridge.avro import joined
from finkbridge.avro.check import REASONS, Checker, why
from finkbridge.avro.container import encode_long
from finkbridge.avro.decode import Decoder
from finkbridge.avro.program import compile_program
from finkbridge.avro.schemas import WriterSchema
from tests.avro.samples import SURVEYS, RandomAvro, encode, real_alerts, record_of, same, schema_of

ENUM = {"type": "enum", "name": "e", "symbols": ["A", "B"]}
LONGS = {"type": "array", "items": "long"}
STRINGS = {"type": "array", "items": "string"}
NULLS = {"type": "array", "items": "null"}
TREE = {"type": "record", "name": "n", "fields": [{"name": "next", "type": ["null", "n"]}]}
LOOP = {"type": "record", "name": "n", "fields": [{"name": "next", "type": "n"}]}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 1}
FIXED = {"type": "fixed", "name": "f", "size": 40, "logicalType": "decimal", "precision": 70}
MAP = {"type": "map", "values": "int"}
WIDE = record_of(**{f"f{i}": "long" for i in range(100)})
SPARSE = {"type": "array", "items": ["null", WIDE]}
"""Each null takes a byte here, and 1,200 in columns."""
EMPTIES = record_of(pad="bytes", a={"type": "array", "items": {"type": "record", "name": "e", "fields": []}})
LEAVES = {
    "type": "record",
    "name": "n",
    "fields": [{"name": "next", "type": {"type": "array", "items": "n"}}],
}
TOO_LARGE = "more than 100663296 bytes once decoded"


def verdict(kind: Any, datum: bytes) -> tuple[str, int]:
    found = Checker(schema_of(kind)).check([datum])
    return REASONS[found.status[0]], int(found.position[0])


REFUSED = [
    ("int", b"", "empty value", 0),
    ("int", b"\x02\x02", "bytes left over", 1),
    ("long", b"\x80", "end of data", 0),
    ("double", b"\0" * 7, "end of data", 0),
    ("boolean", b"\x02", "boolean other than 0 or 1", 0),
    ("boolean", b"\xff", "boolean other than 0 or 1", 0),
    ("long", b"\xff" * 10 + b"\x01", "bad or overlong varint", 0),
    ("long", b"\xff" * 9 + b"\x02", "bad or overlong varint", 0),
    ("long", b"\x80\x00", "bad or overlong varint", 0),
    ("long", b"\x82\x80\x00", "bad or overlong varint", 0),
    ("int", encode_long(2**31), "int out of 32 bits", 0),
    ("int", encode_long(-(2**31) - 1), "int out of 32 bits", 0),
    ("bytes", encode_long(-1), "negative length", 0),
    ("string", encode_long(-(2**63)), "negative length", 0),
    ("bytes", encode_long(3) + b"ab", "end of data", 0),
    ("string", encode_long(2**63 - 1) + b"ab", "end of data", 0),
    (["null", "int"], b"\x04\x02", "union branch out of range", 0),
    (["null", "int"], encode_long(-1) + b"\x02", "union branch out of range", 0),
    (["int", "null"], encode_long(2**40), "union branch out of range", 0),
    (["null", "int", "string"], encode_long(3), "union branch out of range", 0),
    (["null", "int", "string"], encode_long(-1), "union branch out of range", 0),
    (ENUM, encode_long(2), "enum index out of range", 0),
    (ENUM, encode_long(-1), "enum index out of range", 0),
    ("string", encode_long(2) + b"\xc0\x80", "bad UTF-8", 0),
    ("string", encode_long(3) + b"\xed\xa0\x80", "bad UTF-8", 0),
    ("string", encode_long(2) + b"\xe6\xbc", "bad UTF-8", 0),
    ("string", encode_long(4) + b"\xf4\x90\x80\x80", "bad UTF-8", 0),
    (MAP, b"\x02" + encode_long(1) + b"\xff" + b"\x02\x00", "bad UTF-8", 1),
    (LONGS, encode_long(-1) + encode_long(2) + b"\x02" + b"\x00", "wrong block byte size", 3),
    (LONGS, encode_long(-1) + encode_long(-1) + b"\x02\x00", "wrong block byte size", 0),
    (LONGS, encode_long(-1) + encode_long(9) + b"\x02\x00", "wrong block byte size", 0),
    (LONGS, encode_long(3) + b"\x02\x02", "more items than the bytes can hold", 0),
    (LONGS, encode_long(-(2**63)) + b"\x02\x02", "more items than the bytes can hold", 0),
    (LONGS, encode_long(2**62) + b"\x02\x00", "more items than the bytes can hold", 0),
    (NULLS, encode_long(2**40) + b"\x00", "more items than the bytes can hold", 0),
    (TREE, b"\x02" * 200 + b"\x00", "nested too deep", 101),
    (LOOP, b"\x02", "nested too deep", 0),
    (MAP, b"\x04\x02a\x02\x02a\x04\x00", "map key twice", 4),
    (MAP, b"\x02\x02a\x02\x02\x02a\x04\x00", "map key twice", 5),
    (DECIMAL, encode_long(2) + b"\x03\xe8", "decimal beyond its precision", 0),
    (DECIMAL, encode_long(2) + b"\xfc\x18", "decimal beyond its precision", 0),
    (DECIMAL, encode_long(40) + b"\x01" + bytes(39), "decimal beyond its precision", 0),
    (DECIMAL, encode_long(33) + b"\0" + b"\xff" * 32, "decimal beyond its precision", 0),
    (FIXED, b"\x7f" * 40, "decimal beyond its precision", 0),
    (FIXED, b"\0" * 39, "end of data", 0),
    (SPARSE, encode_long(90_000) + bytes(90_001), TOO_LARGE, 0),
    (SPARSE, 2 * (encode_long(45_000) + bytes(45_000)) + b"\0", TOO_LARGE, 45_003),
    (EMPTIES, encode_long(400_000) + bytes(400_000) + encode_long(1_500_000) + b"\0", TOO_LARGE, 400_003),
    (LEAVES, encode_long(700_000) + bytes(700_001), TOO_LARGE, 280_898),
]


@pytest.mark.parametrize(("kind", "datum", "reason", "position"), REFUSED)
def test_it_refuses(kind, datum, reason, position):
    assert verdict(kind, datum) == (reason, position)


ACCEPTED = [
    ("long", encode_long(2**63 - 1)),
    ("long", encode_long(-(2**63))),
    ("int", encode_long(-(2**31))),
    ("string", encode_long(4) + "😀".encode()),
    (["null", "int"], b"\x00"),
    (["int", "null"], b"\x02"),
    (["null", "int", ENUM], b"\x04\x02"),
    (LONGS, encode_long(-2) + encode_long(2) + b"\x02\x04" + b"\x02\x06" + b"\x00"),
    (NULLS, encode_long(500) + b"\x00"),
    (SPARSE, encode_long(80_000) + bytes(80_001)),
    (MAP, b"\x02\x02a\x02\x00"),
    (TREE, b"\x02" * 100 + b"\x00"),
    (DECIMAL, encode_long(2) + b"\x03\xe7"),
    (DECIMAL, encode_long(2) + b"\xfc\x19"),
    (DECIMAL, encode_long(40) + bytes(39) + b"\x05"),
    (DECIMAL, encode_long(40) + b"\xff" * 40),
    (DECIMAL, encode_long(0)),
    (FIXED, (10**70 - 1).to_bytes(40, "big", signed=True)),
    (FIXED, (1 - 10**70).to_bytes(40, "big", signed=True)),
]


@pytest.mark.parametrize(("kind", "datum"), ACCEPTED)
def test_it_accepts(kind, datum):
    assert verdict(kind, datum) == ("ok", len(datum))


def test_equal_keys_of_different_maps_and_many_keys_are_fine():
    kind = record_of(a=MAP, b={"type": "map", "values": MAP})
    schema = schema_of(kind)
    many = {f"k{i}": i for i in range(5_000)}
    datums = [encode(schema, {"a": many, "b": {"k1": many, "k2": {"k1": 1}, "k3": {}}})] * 2
    assert not Checker(schema).check(datums).status.any()
    twice = datums[0][:-1] + b"\x02\x04k1\x00\x00"
    assert REASONS[Checker(schema).check([twice]).status[0]] == "map key twice"


@pytest.mark.parametrize("precision", [1, 18, 19, 20, 38, 39, 57, 58, 76])
def test_the_limit_of_each_decimal_is_exact(precision):
    kind = {"type": "bytes", "logicalType": "decimal", "precision": precision}
    checker = Checker(schema_of(kind))
    most = 10**precision
    numbers = [most - 1, most, 1 - most, -most, 0, -1]
    datums = [encode_long(40) + number.to_bytes(40, "big", signed=True) for number in numbers]
    assert [REASONS[s] == "ok" for s in checker.check(datums).status] == [
        True,
        False,
        True,
        False,
        True,
        True,
    ]


def test_many_datums_of_all_sizes_have_their_own_verdicts(monkeypatch):
    monkeypatch.setattr(joined, "JOINED_BYTES", 100)
    good = [encode_long(n) + b"a" * n for n in (0, 1, 99, 100, 101, 5000, 3, 3, 3)]
    datums = [*good[:4], b"", good[4], good[5], b"\x02", good[6] + b"x", *good[7:]]
    found = Checker(schema_of("string")).check(datums)
    expected = {4: "empty value", 7: "end of data", 8: "bytes left over"}
    assert [REASONS[s] for s in found.status] == [expected.get(i, "ok") for i in range(len(datums))]
    assert found.position.tolist() == [
        0 if i in (4, 7) else 4 if i == 8 else len(d) for i, d in enumerate(datums)
    ]
    assert Checker(schema_of("string")).check([]).status.shape == (0,)


def test_items_without_bytes_cannot_stall_it():
    empty = {
        "type": "record",
        "name": "z",
        "fields": [
            {"name": f"f{i}", "type": {"type": "fixed", "name": f"z{i}", "size": 0}} for i in range(5000)
        ],
    }
    nested = {"type": "array", "items": {"type": "array", "items": empty}}
    datum = (encode_long(4000) + encode_long(9000) + b"\0") * 2000
    start = time.perf_counter()
    assert verdict(nested, datum)[0] != "ok"
    assert time.perf_counter() - start < 2


def test_the_program_is_linear_where_types_multiply():
    fields = [
        {"name": "a0", "type": {"type": "record", "name": "t0", "fields": [{"name": "x", "type": "int"}]}}
    ]
    for level in range(1, 60):
        twice = [{"name": side, "type": f"t{level - 1}"} for side in "xy"]
        fields.append({"name": f"a{level}", "type": {"type": "record", "name": f"t{level}", "fields": twice}})
    assert len(compile_program(schema_of({"type": "record", "name": "r", "fields": fields}).simple)) < 2_000


def test_what_fastavro_says():
    schema = schema_of(record_of(a="int", b=["null", "string"]))
    good = encode(schema, {"a": 1, "b": "x"})
    assert why(schema, good) == "accepted"
    assert why(schema, good + b"\n\n") == "2 trailing bytes"
    assert why(schema, good[:-1]).startswith("EOFError")
    assert "\n" not in why(schema, b"\x02\x08")


def mutate(datum: bytes, rng: random.Random) -> bytes:
    """Damage a datum as transport, bugs and other schemas do."""
    out = bytearray(datum)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(out) + 1)
        act = rng.randrange(6)
        if act == 0 and at < len(out):
            out[at] = rng.choice((0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif act == 1 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif act == 2:
            out[at:at] = rng.randbytes(rng.choice((1, 1, 5)))
        elif act == 3:
            del out[at : at + rng.choice((1, 1, 5, 1000))]
        elif act == 4:
            del out[at:]
        else:
            out[at : at + 2] = out[:2]
    return bytes(out)


def assert_accepted_only_if_sound(schema: WriterSchema, mutants: list[bytes]) -> int:
    """Of all mutants that pass the check, both engines must give the same rows; return how many pass."""
    found = Checker(schema).check(mutants)
    passed = [mutants[i] for i in np.flatnonzero(found.status == 0)]
    said = {why(schema, mutant) for mutant in passed}
    assert said <= {"accepted"}, said
    bulk = Decoder(schema).decode(passed)
    assert Decoder(schema).bulk
    assert same(bulk, Decoder(schema, "fastavro").decode(passed))
    return len(passed)


SMALL = record_of(
    a="int", b=["null", "long"], c="boolean", d=["string", "null"], e=ENUM,
    f={"type": "fixed", "name": "fx", "size": 2},
    g=["null", {"type": "array", "items": {"type": "record", "name": "i", "fields": [
        {"name": "x", "type": ["double", "null"]}, {"name": "y", "type": "bytes"}]}}],
    h={"type": "map", "values": ["null", "float"]}, i=DECIMAL,
)  # fmt: skip


def test_mutants_of_a_small_schema():
    schema, rng, maker = schema_of(SMALL), random.Random(1), RandomAvro(1)
    seeds = [encode(schema, maker.value(SMALL)) for _ in range(50)]
    mutants = [mutate(rng.choice(seeds), rng) for _ in range(6_000)]
    passed = assert_accepted_only_if_sound(schema, mutants)
    assert 100 < passed < 4_000


@pytest.mark.slow
@pytest.mark.parametrize("survey", SURVEYS)
def test_mutants_of_real_alerts(shared_data: Path, survey: str):
    schema, datums = real_alerts(shared_data, survey)
    rng = random.Random(2)
    small = sorted(datums, key=len)[:5]
    mutants = [mutate(rng.choice(small), rng) for _ in range(1_000 if survey == "ztf" else 300)]
    assert assert_accepted_only_if_sound(schema, mutants) > 10


@pytest.mark.parametrize("survey", SURVEYS)
def test_real_alerts_pass_and_those_of_the_other_survey_do_not(shared_data, survey):
    schema, datums = real_alerts(shared_data, survey)
    _, others = real_alerts(shared_data, "lsst" if survey == "ztf" else "ztf")
    assert not Checker(schema).check(datums).status.any()
    assert Checker(schema).check(others).status.all()
    assert Checker(schema).check([b"\0\0\0\0\1" + datum for datum in datums]).status.all()


@pytest.mark.parametrize("seed", range(30))
def test_random_datums_pass(seed):
    maker = RandomAvro(seed)
    document = maker.record(4)
    schema = schema_of(document)
    datums = [d for _ in range(20) if (d := encode(schema, maker.value(document)))]
    found = Checker(schema).check(datums)
    assert {REASONS[s] for s in found.status} <= {"ok"}
    assert found.position.tolist() == [len(d) for d in datums]


@pytest.mark.slow
def test_it_compiles_where_no_folder_is_writable(tmp_path):
    code = (
        "import numba.core.caching as c\n"
        "for locator in c.CacheImpl._locator_classes: locator.from_function = classmethod(lambda *_: None)\n"
        "import finkbridge.avro.check as check\n"
        "from finkbridge.avro.schemas import parse_schema\n"
        "print(check.Checker(parse_schema(b'\"int\"')).check([b'\\2', b'']).status.tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.strip() == "[0, 13]", done.stderr


@pytest.mark.parametrize(
    ("kind", "datum"),
    [
        (LOOP, b"\0"),
        (TREE, b"\2" * 1_000_000),
        (record_of(a=NULLS), encode_long(2**60) + b"\0"),
        (record_of(a={"type": "array", "items": {"type": "record", "name": "e", "fields": []}}), b"\xfe" * 9),
    ],
)
def test_fastavro_is_not_asked_where_it_would_die_or_never_answer(kind: Any, datum: bytes) -> None:
    schema = schema_of(kind)
    assert Checker(schema).check([datum]).status[0] != 0
    assert why(schema, datum).startswith("not asked: ")


def test_fastavro_is_asked_where_types_are_used_often_and_not_inside_themselves() -> None:
    leaf = {"type": "record", "name": "leaf", "fields": [{"name": "x", "type": "int"}]}
    schema = schema_of(record_of(a=leaf, b="leaf", c={"type": "array", "items": "leaf"}))
    assert "EOF" in why(schema, b"\2\2") or "Error" in why(schema, b"\2\2")
    assert why(schema, b"\2\2\2\2\0") == "accepted"
