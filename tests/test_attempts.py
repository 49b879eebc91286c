"""What becomes of jobs of which some messages cannot be landed, whatever the executor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.attempts import TRIES, Attempts, Back, is_fault, reason_of
from finkbridge.errors import (
    BrokerError,
    DecodeError,
    FinkbridgeError,
    LakeAccessError,
    ReconciliationError,
    SchemaError,
)
from finkbridge.workforce import WorkerDiedError, Workforce


class Job(NamedTuple):
    messages: tuple[int, ...]
    refusal: str = ""


class World:
    """Jobs of numbers, of which the bad ones raise."""

    def __init__(self, bad: dict[int, Exception], *, is_wanted: bool = True) -> None:
        self.bad = bad
        self.wanted = is_wanted
        self.tried: list[Job] = []

    def run(self, job: Job) -> str:
        self.tried.append(job)
        for number in job.messages if not job.refusal else ():
            if number in self.bad:
                raise self.bad[number]
        return "refused" if job.refusal else "landed"

    def is_wanted(self, _: Job) -> bool:
        return self.wanted

    def pieces(self, job: Job) -> Sequence[Job]:
        half = len(job.messages) // 2
        return [Job(job.messages[:half]), Job(job.messages[half:])] if half else []

    def refused(self, job: Job, error: Exception) -> Job | None:
        return None if job.refusal else Job(job.messages, reason_of(error, 60))


def outcome(world: World, count: int) -> list[Back[Job, str]]:
    attempts: Attempts[Job, str] = Attempts(Workforce(0), world.run, world)
    attempts.start(Job(tuple(range(count))))
    back = []
    while attempts.is_busy():
        back += attempts.wait(1)
    return back


@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=6))
def test_bad_messages_are_refused_and_all_others_land_once(count: int, bad: set[int]) -> None:
    back = outcome(World({number: KeyError(number) for number in bad}), count)
    landed = sorted(n for b in back if b.result == "landed" for n in b.job.messages)
    refused = sorted(n for b in back if b.result == "refused" for n in b.job.messages)
    assert landed == [n for n in range(count) if n not in bad]
    assert refused == sorted(n for n in bad if n < count)
    assert all(b.error is None for b in back)


def test_one_message_has_as_many_tries_as_it_should_and_a_reason() -> None:
    world = World({0: ValueError("odd\nthing")})
    (back,) = outcome(world, 1)
    assert world.tried == [Job((0,))] * TRIES + [Job((0,), "unexpected ValueError: odd thing")]
    assert back.result == "refused"


class Stubborn(World):
    """Even setting a message aside raises."""

    def run(self, job: Job) -> str:
        raise self.bad[0]


def test_message_that_cannot_even_be_refused_comes_back_with_its_error() -> None:
    error = ValueError("odd")
    (back,) = outcome(Stubborn({0: error}), 1)
    assert back == Back(Job((0,), "unexpected ValueError: odd"), None, error)


@pytest.mark.parametrize("error", [BrokerError("silent"), ReconciliationError("unproved")])
def test_what_is_no_fault_of_the_messages_comes_back_at_once(error: FinkbridgeError) -> None:
    world = World({3: error})
    (back,) = outcome(world, 8)
    assert (back.error, len(world.tried), is_fault(error)) == (error, 1, False)


@pytest.mark.parametrize("error", [DecodeError("rows"), SchemaError("no map"), WorkerDiedError(-14)])
def test_what_is_a_fault_of_a_message(error: Exception) -> None:
    back = outcome(World({3: error}), 8)
    reason = {WorkerDiedError: "takes longer than 60 s to decode"}.get(type(error), str(error))
    assert [b.job for b in back if b.result == "refused"] == [Job((3,), reason)]
    assert is_fault(error)


def test_lake_that_fails_ends_it_all() -> None:
    with pytest.raises(LakeAccessError):
        outcome(World({3: LakeAccessError("full")}), 8)


def test_what_nobody_wants_any_more_is_let_go() -> None:
    world = World({3: KeyError("x")}, is_wanted=False)
    assert outcome(world, 8) == []
    assert len(world.tried) == 1


def test_result_that_cannot_be_committed_is_taken_apart() -> None:
    world = World({})
    attempts: Attempts[Job, str] = Attempts(Workforce(0), world.run, world)
    attempts.blame(Job((1, 2)), ValueError("odd"))
    assert sorted(back.job.messages for back in attempts.wait(1)) == [(1,), (2,)]
    attempts.blame(Job((1,)), ValueError("odd"))
    assert [back.result for back in attempts.wait(1)] == ["refused"]
    assert not attempts.is_busy()
