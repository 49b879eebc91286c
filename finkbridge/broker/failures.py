"""librdkafka's error codes as our own errors: one line each that says what to do."""

# ruff: noqa: SLF001 - librdkafka's own codes begin with an underscore, and are public

from __future__ import annotations

import re

from confluent_kafka import KafkaError

from finkbridge.errors import (
    AuthenticationError,
    BrokerError,
    BrokerTimeoutError,
    ForbiddenError,
    UnknownTopicError,
    UnreachableError,
)

REFUSED = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
    }
)
FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
SILENT = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._SSL,
        KafkaError.BROKER_NOT_AVAILABLE,
    }
)
UNKNOWN = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
    }
)
LATE = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
COORDINATING = frozenset(
    {
        KafkaError._WAIT_COORD,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)
"""What a group's offsets are not told for at the moment."""
NOTHING_TO_COMMIT = KafkaError._NO_OFFSET
POLLED_TOO_LATE = KafkaError._MAX_POLL_EXCEEDED
ELECTING = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError._NOENT,  # what librdkafka says where it finds no leader to ask
    }
)
"""A partition's leader is being changed, as after a broker's crash: it passes within seconds."""

OUT_OF_RANGE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})
END_OF_PARTITION: int = KafkaError._PARTITION_EOF

_TIMING = re.compile(r" \(after \d+ms in state \w+(, \d+ identical error\(s\) suppressed)?\)")
"""Of no use to the reader, and other in each line that tells of the same."""

_ADVICE: tuple[tuple[frozenset[int], type[BrokerError], str], ...] = (
    (
        REFUSED,
        AuthenticationError,
        (
            "the credentials are refused ({said}): check username, password and sasl.mechanism; where Fink "
            "sent you no password, leave it out (set it to null)"
        ),
    ),
    (
        FORBIDDEN,
        ForbiddenError,
        "no right to do this ({said}): ask the cluster's owner for access, or leave the topic out",
    ),
    (
        SILENT,
        UnreachableError,
        (
            "no broker answers ({said}): check `servers` and the network, and whether the cluster wants a "
            "password or TLS (security.protocol), then try again"
        ),
    ),
    (UNKNOWN, UnknownTopicError, "no such topic or partition ({said}): it was deleted, or its name is wrong"),
    (
        ELECTING,
        BrokerError,
        "no broker leads the partition now ({said}): it is elected in seconds as a rule, so run again",
    ),
    (LATE, BrokerTimeoutError, "the broker stopped answering ({said}): try again, or raise the timeout"),
)


def error_of(error: KafkaError, cluster: str) -> BrokerError:
    """Return our error for one of librdkafka's, as one line that begins with the cluster's name."""
    said = _TIMING.sub("", " ".join(str(error.str()).split()))
    for codes, kind, advice in _ADVICE:
        if error.code() in codes:
            return kind(f"cluster {cluster}: {advice.format(said=said)}")
    return BrokerError(f"cluster {cluster}: the broker refused ({error.name()}: {said})")


class ErrorWatch:
    """Keeps what librdkafka tells only its error callback: refused credentials, unreachable brokers.

    A call on a cluster that refuses the password otherwise just returns nothing until it times out.
    """

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self.clear()

    def clear(self) -> None:
        """Forget what was said before."""
        self.all_down = False
        self._refused: KafkaError | None = None
        self._last: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        """Take one error; this is librdkafka's ``error_cb``."""
        if error.code() in REFUSED:
            self._refused = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.all_down = True
        else:
            self._last = error

    def raise_refusal(self) -> None:
        """Raise AuthenticationError if the cluster has refused the credentials."""
        if self._refused is not None:
            raise error_of(self._refused, self._cluster)

    def silence(self, doing: str, *, answered: bool) -> BrokerError:
        """Return the error for a cluster that did not answer in time.

        Parameters
        ----------
        doing : str
            What was asked of it.
        answered : bool
            Whether it had answered before.
        """
        if answered and not self.all_down:
            advice = "try again, or raise the timeout"
            return BrokerTimeoutError(f"cluster {self._cluster}: no answer while {doing}: {advice}")
        reason = self._last or KafkaError(KafkaError._TRANSPORT, f"no answer while {doing}")
        return error_of(KafkaError(KafkaError._TRANSPORT, reason.str()), self._cluster)
