"""Signals wait until what must not be left half done is done."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from finkbridge.deferral import DEFERRED, Deferral


@pytest.fixture(autouse=True)
def handlers() -> Iterator[dict[int, Any]]:
    """Expect that all handlers are as they were."""
    before = {number: signal.getsignal(number) for number in DEFERRED}
    yield before
    assert {number: signal.getsignal(number) for number in DEFERRED} == before


def interrupted(done: list[int]) -> None:
    with Deferral():
        os.kill(os.getpid(), signal.SIGINT)
        done.append(1)


def test_ctrl_c_comes_at_the_end_of_the_block() -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(done)
    assert done == [1]


def test_each_signal_goes_to_the_handler_that_it_had() -> None:
    came: list[int] = []
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in DEFERRED}
    try:
        with Deferral():
            for number in (*DEFERRED, signal.SIGINT):
                os.kill(os.getpid(), number)
            assert came == []
        assert sorted(came) == sorted([*DEFERRED, signal.SIGINT])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_handler_that_raises_keeps_no_other_from_its_signal() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            both()
        assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_one_that_waited_is_told_though_another_raises_as_it_is_set_again() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    alarm = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for _ in range(20):
            with suppress(KeyboardInterrupt), Deferral() as deferral:
                os.kill(os.getpid(), signal.SIGTERM)
                give_back = deferral._give_back

                def late(real: Any = give_back) -> None:
                    real()
                    os.kill(os.getpid(), signal.SIGALRM)

                deferral._give_back = late  # type: ignore[method-assign]
        assert came == [signal.SIGTERM] * 20
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGALRM, alarm)


def both() -> None:
    with Deferral():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM])
def test_one_that_raises_at_any_instant_leaves_all_handlers_as_they_were(number: signal.Signals) -> None:
    before = signal.signal(number, signal.default_int_handler)
    raised, chance = 0, random.Random(1)
    try:
        for _ in range(200):
            later = threading.Timer(chance.random() * 5e-4, os.kill, (os.getpid(), number))
            try:
                later.start()
                while later.is_alive():
                    with Deferral():
                        pass
            except KeyboardInterrupt:
                raised += 1
            later.join()
            assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert raised == 200


def test_handlers_that_are_none_of_pythons_stay() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Deferral():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def nested() -> None:
    with Deferral():
        interrupted([])
        raise ValueError("of the block")


def test_one_within_another_and_an_error() -> None:
    with pytest.raises(KeyboardInterrupt) as raised:
        nested()
    assert isinstance(raised.value.__context__, ValueError)


def test_another_thread_is_left_alone() -> None:
    seen: list[Any] = []

    def work() -> None:
        with Deferral():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
