"""Where epochs of leaders ended: a leader is asked until it tells, or the time is up."""

from __future__ import annotations

import pytest

from finkbridge.broker import peek
from finkbridge.errors import BrokerTimeoutError
from finkbridge.settings import ClusterSettings

SETTINGS = ClusterSettings(servers="127.0.0.1:1")


def test_a_leader_that_has_just_become_one_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{}, {1: 4}, {0: 3, 1: 4}])
    monkeypatch.setattr(peek, "_agreed", lambda *_: next(answers))
    assert peek.epoch_ends("ztf", SETTINGS, 30.0, "t", {0: 1, 1: 1}) == {0: 3, 1: 4}


def test_one_that_never_tells_is_an_error_that_names_its_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peek, "_agreed", lambda *_: {0: 3})
    with pytest.raises(BrokerTimeoutError, match=r"no answer to whether t partition 1 was cut .*: run again"):
        peek.epoch_ends("ztf", SETTINGS, 0.1, "t", {0: 1, 1: 1})
