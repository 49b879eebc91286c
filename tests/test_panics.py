"""Panics of Rust are told as errors; whatever else ends a call goes on as it is."""

from __future__ import annotations

import pickle
from typing import NoReturn

import pytest

from finkbridge import panics
from finkbridge.errors import DecodeError
from tests.hostile.poison import panic


class Ended(BaseException):
    """As a debugger, or a test that plays death, ends a call."""


def meet(error: BaseException) -> NoReturn:
    raise error


def test_panic_is_an_error_that_can_be_told_to_another_process() -> None:
    with pytest.raises(DecodeError, match="native code panicked: ") as caught:
        panics.call(panic)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(1), Ended()])
def test_all_else_goes_on(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        panics.call(meet, error)
    assert caught.value is error
    assert panics.call(divmod, 7, 2) == (3, 1)
