"""A few hundred of the mutants; `make torture` has 100,000."""

from __future__ import annotations

import random

import pytest

from tests.hostile import mutants
from tests.hostile.mutate import MUTATIONS, mutant


@pytest.mark.slow
def test_mutants_are_rows_as_fastavro_reads_them_or_refused() -> None:
    found = mutants.run(1_000, seed=1)
    assert (found["wrong"], found["hangs"], found["deaths"]) == (0, 0, 0)
    assert found["rows"] + found["quarantined"] == found["tries"] == 1_000
    assert found["rows"] > 50, "most mutants are refused, and some must not be"


@pytest.mark.parametrize("kind", sorted(set(mutants.KINDS)))
def test_each_kind_of_alert_survives_a_batch(kind: str) -> None:
    tally = mutants.batch(7, mutants.KINDS.index(kind), 20)
    assert (tally["tries"], tally["wrong"]) == (20, 0)


@pytest.mark.parametrize("mutation", dict.fromkeys(MUTATIONS))
def test_mutations_take_any_bytes(mutation: object) -> None:
    chance = random.Random(1)
    for data in (b"", b"\0", bytes(range(200))):
        assert isinstance(mutation(chance, data, data), bytes)  # type: ignore[operator]


def test_mutants_follow_from_their_seed() -> None:
    first, again = (mutant(random.Random(5), b"some datum", b"other") for _ in range(2))
    assert first == again
