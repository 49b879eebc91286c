"""Mutants of real, simulated and random alerts, each of which must be a row as fastavro has it, or refused.

``python -m tests.hostile.mutants --n 100000 --seed 1`` prints one line of JSON. A batch is made and judged in
a process of its own, which the kernel ends when it hangs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from finkbridge import surveys, tables
from finkbridge.avro.check import REASONS, Checker, why
from finkbridge.avro.decode import Decoder
from finkbridge.avro.schemas import WriterSchema, parse_schema
from finkbridge.deadline import deadline
from finkbridge.errors import DecodeError, SchemaError
from finkbridge.simulator.stream import alerts
from finkbridge.values import TopicGeneration
from finkbridge.verify.same import differing_rows, whole
from finkbridge.workforce import WorkerDiedError, Workforce
from tests.avro.samples import RandomAvro, encode, real_alerts, schema_of
from tests.hostile.mutate import mutant

BATCH = 1_000
"""Mutants that one process makes and judges."""
HANGS_S = 300.0
"""Longer than any batch takes on a busy machine."""
KINDS = ("random",) * 12 + ("ztf",) * 3 + ("simulated ztf",) * 2 + ("lsst",) * 2 + ("simulated lsst",)
"""A mutant of an LSST alert costs 50 times one of a random record."""
DATA = Path(__file__).parents[3] / "shared" / "data"


class Herd(NamedTuple):
    """Good datums of one schema."""

    kind: str
    schema: WriterSchema
    datums: list[bytes]


def batch(seed: int, number: int, size: int) -> Counter[str]:
    """Make and judge mutants; return what became of them."""
    chance = random.Random(f"{seed} {number}")
    tally: Counter[str] = Counter()
    with deadline(HANGS_S, f"batch {number} of seed {seed}"):
        herd = None
        while (left := size - tally["tries"]) > 0:
            if herd is None or herd.kind == "random":
                herd = _herd(chance, herd.kind if herd else KINDS[number % len(KINDS)])
            count = min(left, 50)
            made = [
                mutant(chance, chance.choice(herd.datums), chance.choice(herd.datums)) for _ in range(count)
            ]
            tally += judge(herd.schema, made)
    return tally


def judge(schema: WriterSchema, datums: Sequence[bytes]) -> Counter[str]:
    """Take datums the way of a drain and compare each row with what fastavro reads."""
    tally = Counter(tries=len(datums))
    status = Checker(schema).check(datums).status
    for i in np.flatnonzero(status):
        tally[f"refused: {REASONS[status[i]]}"] += 1
        tally["refused, and fastavro accepts"] += why(schema, datums[i]) == "accepted"
    good = [datum for datum, bad in zip(datums, status, strict=True) if not bad]
    survey = surveys.survey_of_avro(schema.parsed)
    rows = _bulk(schema, good, tally)
    rejected = surveys.describe(rows, survey).rejected
    kept = np.setdiff1d(np.arange(rows.num_rows), list(rejected))
    tally["rejected: no identity, position or time"] += len(rejected)
    packets = _packets(rows.take(kept), survey)
    expected = Decoder(schema, "fastavro").decode([good[i] for i in kept])
    tally["rows"] += len(kept)
    tally["wrong"] += _differing(packets, expected, surveys.cutout_columns(survey))
    tally["quarantined"] = tally["tries"] - tally["rows"]
    return tally


def run(n: int, seed: int) -> dict[str, Any]:
    """Judge `n` mutants; a batch whose process hangs or dies counts as one such, and its mutants as tried."""
    began, tally, lost = time.monotonic(), Counter[str](), []
    workforce = Workforce(0)
    try:
        for number, first in enumerate(range(0, n, BATCH)):
            size = min(BATCH, n - first)
            try:
                tally += workforce.submit_alone(batch, seed, number, size).result()
            except WorkerDiedError as death:
                tally["hangs" if death.is_timeout else "deaths"] += 1
                lost.append(number)
            if sys.stderr.isatty() or number % 10 == 9:
                print(f"{first + size} of {n}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    finally:
        workforce.close()
    named = {
        name: tally.pop(name, 0) for name in ("tries", "rows", "quarantined", "wrong", "hangs", "deaths")
    }
    return {
        "attack": "mutants", "seed": seed, "n": n, **named, "seconds": round(time.monotonic() - began, 1),
        "lost_batches": lost, "reasons": dict(tally.most_common()),
    }  # fmt: skip


def _herd(chance: random.Random, kind: str) -> Herd:
    if kind == "random":
        return _random_herd(chance)
    if kind.startswith("simulated") or not DATA.is_dir():
        return _simulated_herd(chance, kind.rpartition(" ")[2])
    return Herd(kind, *real_alerts(DATA, kind))


def _random_herd(chance: random.Random) -> Herd:
    while True:
        maker = RandomAvro(chance.randrange(2**32))
        try:
            schema = schema_of(maker.record(3))
            return Herd("random", schema, [encode(schema, maker.value(schema.parsed)) for _ in range(10)])
        except (SchemaError, ValueError, OverflowError):
            continue


def _simulated_herd(chance: random.Random, survey: str) -> Herd:
    made = list(islice(alerts(survey, n=20, nights=2, seed=chance.randrange(1000)), 10))
    return Herd(f"simulated {survey}", parse_schema(made[0].key), [alert.value for alert in made])


def _bulk(schema: WriterSchema, good: Sequence[bytes], tally: Counter[str]) -> pa.Table:
    decoder = Decoder(schema)
    tally["decoded in bulk"] += len(good) * decoder.bulk
    try:
        return decoder.decode(good)
    except DecodeError:
        tally["batches that only the careful decoder takes"] += 1
        return Decoder(schema, "fastavro").decode(good)


def _packets(rows: pa.Table, survey: str) -> pa.Table:
    """Return the rows as the tables have them; making `deliveries` of them is tried, too."""
    count = rows.num_rows
    none = np.zeros(count, np.int64)
    source = TopicGeneration("ztf", "mutants", 1)
    origin = tables.Origin(source, none, np.arange(count), none, "a.avro", none, none, "0" * 16)
    description = surveys.describe(rows, survey)
    places = tables.places_of(origin)
    deliveries = tables.deliveries_of(description, places)
    packets = tables.packets_of(rows, description, places)
    if not deliveries.num_rows == packets.num_rows == count:
        raise DecodeError(f"{count} rows became {deliveries.num_rows} and {packets.num_rows}")
    return packets


def _differing(packets: pa.Table, expected: pa.Table, dropped: Sequence[str]) -> int:
    wrong: set[int] = set()
    for name in expected.column_names:
        if name not in dropped or name in packets.column_names:
            wrong |= set(_rows_that_differ(packets, expected, name))
    return len(wrong)


def _rows_that_differ(packets: pa.Table, expected: pa.Table, name: str) -> Iterator[int]:
    return differing_rows(whole(packets[name]), whole(expected[name]))


def main() -> None:
    """Print one line of JSON; fail if any mutant was wrong or hung."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = run(given.n, given.seed)
    print(json.dumps(found))
    sys.exit(bool(found["wrong"] or found["hangs"] or found["deaths"]))


if __name__ == "__main__":
    main()
