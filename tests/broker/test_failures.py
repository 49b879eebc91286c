"""librdkafka's errors as ours."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from finkbridge.broker import error_of
from finkbridge.broker.failures import ELECTING, ErrorWatch
from finkbridge.errors import (
    AuthenticationError,
    BrokerError,
    BrokerTimeoutError,
    ForbiddenError,
    UnknownTopicError,
    UnreachableError,
)


def test_a_leader_that_is_being_elected_is_waited_for() -> None:
    """librdkafka has no other name for it while it looks leaders up."""
    error = error_of(KafkaError(KafkaError._NOENT, "Failed to query partition leaders"), "ztf")
    assert "elected in seconds as a rule, so run again" in str(error)
    assert KafkaError._NOENT in ELECTING


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._AUTHENTICATION, AuthenticationError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, ForbiddenError),
        (KafkaError._TRANSPORT, UnreachableError),
        (KafkaError._RESOLVE, UnreachableError),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, UnknownTopicError),
        (KafkaError._TIMED_OUT, BrokerTimeoutError),
        (KafkaError.MSG_SIZE_TOO_LARGE, BrokerError),
    ],
)
def test_each_code_is_one_line_of_its_kind(code: int, kind: type[BrokerError]) -> None:
    error = error_of(KafkaError(code, "said\n  so"), "lsst")
    assert type(error) is kind
    assert str(error).startswith("cluster lsst: ")
    assert "said so" in str(error)
    assert "\n" not in str(error)


def test_watch_keeps_a_refusal_until_cleared() -> None:
    watch = ErrorWatch("ztf")
    watch.raise_refusal()
    watch(KafkaError(KafkaError._AUTHENTICATION, "invalid credentials"))
    watch(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    with pytest.raises(AuthenticationError, match="invalid credentials"):
        watch.raise_refusal()
    watch.clear()
    watch.raise_refusal()
    assert not watch.all_down


def test_silence_after_an_answer_is_a_timeout_unless_all_are_down() -> None:
    watch = ErrorWatch("ztf")
    assert type(watch.silence("reading", answered=True)) is BrokerTimeoutError
    assert type(watch.silence("reading", answered=False)) is UnreachableError
    watch(KafkaError(KafkaError._TRANSPORT, "Connection refused"))
    watch(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    down = watch.silence("reading", answered=True)
    assert type(down) is UnreachableError
    assert "Connection refused" in str(down)


def test_same_failure_is_the_same_line_whenever_it_happens() -> None:
    timings = ("301ms in state AUTH_REQ", "0ms in state CONNECT, 12 identical error(s) suppressed")
    said = [KafkaError(KafkaError._AUTHENTICATION, f"refused (after {timing})") for timing in timings]
    lines = {str(error_of(error, "ztf")) for error in said}
    assert len(lines) == 1
    assert "after" not in lines.pop()
