"""What a cluster says about its topics: names, ids, watermarks, retention."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, wait
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    ListOffsetsResultInfo,
    NewTopic,
    OffsetSpec,
)

from finkbridge.access import Access
from finkbridge.broker.config import build_client, client_config
from finkbridge.broker.failures import ELECTING, ErrorWatch, error_of
from finkbridge.errors import BrokerError, BrokerTimeoutError, UnknownTopicError

FIRST_ANSWER_S = 0.5
"""First wait for an answer, doubled each time: between two, a refused password is seen."""
DOWN_S = 2.0
"""When every broker refuses the connection for this long, none is there."""
POLL_S = 0.05
ELECTION_S = 0.2
"""Between two questions about partitions whose leader is being changed."""
NOTHING_THAT_NEW = -1
"""How a broker answers a lookup by time where no message is at or after it."""
NO_TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""How the zero id of a broker without topic ids is written."""

Key = TypeVar("Key")


class Watermarks(NamedTuple):
    """Offsets of one partition that can be read: ``[low, end)``."""

    low: int
    end: int
    """The last stable offset: what an open transaction holds back is not there yet."""
    leader_epoch: int | None = None
    """Grows with each change of the partition's leader; None where the broker gives none."""


class _Overview(NamedTuple):
    """A cluster's metadata, as far as we use it."""

    topics: dict[str, int]
    """Number of partitions of each topic, without Kafka's own."""
    is_real: bool
    """Whether it answers an admin's questions: librdkafka's mock lets them wait for a controller for ever."""


class ClusterAdmin:
    """The metadata side of one cluster. Not for several threads.

    Parameters
    ----------
    cluster : str
        The cluster's name, for messages.
    settings : Access
        Servers, credentials and librdkafka keys.
    timeout_s : float
        Seconds that an answer may take.
    """

    def __init__(self, cluster: str, settings: Access, timeout_s: float) -> None:
        self._cluster = cluster
        self._timeout_s = timeout_s
        self._answered = False
        self._watch = ErrorWatch(cluster)
        self._settings = settings
        self._client = self._connect()

    def _connect(self) -> AdminClient:
        config = client_config(self._settings, {}, {"error_cb": self._watch})
        return build_client(AdminClient, self._cluster, config)

    def topics(self) -> dict[str, int]:
        """Return the number of partitions of each topic that is not Kafka's own."""
        return self._overview().topics

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str | None]:
        """Return Kafka's id of each topic; None where the broker gives none."""
        overview = self._overview()
        wanted = self._known(topics, overview)
        if not wanted or not overview.is_real:
            return dict.fromkeys(wanted)
        asked = self._client.describe_topics(TopicCollection(list(wanted)), request_timeout=self._timeout_s)
        told = self._results(asked, "describing topics")
        ids = {topic: str(self._value(told[topic]).topic_id) for topic in wanted}
        return {topic: None if id_ == NO_TOPIC_ID else id_ for topic, id_ in ids.items()}

    def watermarks(self, topics: Iterable[str]) -> dict[tuple[str, int], Watermarks]:
        """Return what can be read of each partition of the topics."""
        pairs = [
            (topic, p) for topic, count in self._known(topics, self._overview()).items() for p in range(count)
        ]
        lows = self._offsets(pairs, OffsetSpec.earliest())
        ends = self._told(pairs, OffsetSpec.latest())
        return {
            pair: Watermarks(lows[pair], int(ends[pair].offset), ends[pair].leader_epoch) for pair in pairs
        }

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the end of each partition, in one request."""
        self._forget()
        return self._offsets(list(partitions), OffsetSpec.latest())

    def held_back(self, ends: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """Return how many offsets behind its end each partition has, where an open transaction holds some."""
        self._forget()
        tops = self._offsets(list(ends), OffsetSpec.latest(), isolation=IsolationLevel.READ_UNCOMMITTED)
        more = [pair for pair, end in ends.items() if tops[pair] > end]
        stable = self._offsets(more, OffsetSpec.latest())  # again: some may just have come
        return {pair: tops[pair] - stable[pair] for pair in more if tops[pair] > stable[pair]}

    def offsets_at(self, topic: str, partitions: Iterable[int], timestamp_ms: int) -> dict[int, int]:
        """Return the first offset not older than a time, per partition; the end where nothing is that new."""
        pairs = [(topic, partition) for partition in partitions]
        if not self._overview().is_real:  # it would answer -1 to all, as if nothing were that new
            advice = "start at `earliest` or `latest`"
            raise BrokerError(f"cluster {self._cluster}: the broker finds no offset by time: {advice}")
        found = self._offsets(pairs, OffsetSpec.for_timestamp(timestamp_ms), least=NOTHING_THAT_NEW)
        old = [pair for pair in pairs if found[pair] == NOTHING_THAT_NEW]
        ends = self._offsets(old, OffsetSpec.latest())
        return {pair[1]: ends.get(pair, found[pair]) for pair in pairs}

    def retention_ms(self, topics: Iterable[str]) -> dict[str, int | None]:
        """Return how long the broker keeps messages of each topic, -1 for ever; None where not readable."""
        overview = self._overview()
        wanted = self._known(topics, overview)
        if not wanted or not overview.is_real:
            return dict.fromkeys(wanted)
        asked = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in wanted]
        told = self._results(
            self._client.describe_configs(asked, request_timeout=self._timeout_s), "reading settings"
        )
        return {resource.name: _retention(result) for resource, result in told.items()}

    def create(self, topic: str, partitions: int, config: Mapping[str, str]) -> bool:
        """Create a topic, and wait until the cluster shows it.

        False if it is there, or appears when it is written to (librdkafka's mock).
        """
        overview = self._overview()
        if topic in overview.topics or not overview.is_real:
            return False
        asked = self._client.create_topics(
            [NewTopic(topic, partitions, config=dict(config))], request_timeout=self._timeout_s
        )
        outcome = self._results(asked, f"creating {topic}")[topic]
        was_there = isinstance(outcome, KafkaError) and outcome.code() == KafkaError.TOPIC_ALREADY_EXISTS
        if not was_there:
            self._value(outcome)
        self._await(topic)
        return not was_there

    def _await(self, topic: str) -> None:
        """Wait for a topic that the controller has made: the brokers learn of it a moment later."""
        deadline = time.monotonic() + self._timeout_s
        while topic not in self._overview().topics:
            if time.monotonic() > deadline:
                raise BrokerTimeoutError(
                    f"cluster {self._cluster}: topic {topic} was made, and is not there yet: run again"
                )
            time.sleep(ELECTION_S)

    def _known(self, topics: Iterable[str], overview: _Overview) -> dict[str, int]:
        """Return the number of partitions of the topics asked for, each of which must be there."""
        wanted = dict.fromkeys(topics)
        for topic in wanted:
            if topic not in overview.topics:
                raise unknown_topic(self._cluster, topic, overview.topics)
        return {topic: overview.topics[topic] for topic in wanted}

    def _offsets(
        self,
        pairs: list[tuple[str, int]],
        spec: OffsetSpec,
        least: int = 0,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[tuple[str, int], int]:
        """Return an offset of each partition, none below `least`."""
        return {pair: int(told.offset) for pair, told in self._told(pairs, spec, least, isolation).items()}

    def _told(
        self,
        pairs: list[tuple[str, int]],
        spec: OffsetSpec,
        least: int = 0,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[tuple[str, int], ListOffsetsResultInfo]:
        """Return offset and leader's epoch of each partition.

        Where a leader does not answer, librdkafka tells no error but the offset -1001.
        """
        if not pairs:
            return {}
        wanted = {TopicPartition(*pair): spec for pair in pairs}
        deadline = time.monotonic() + self._timeout_s
        while True:
            asked = self._client.list_offsets(
                wanted, isolation_level=isolation, request_timeout=self._timeout_s
            )
            told = self._results(asked, "looking offsets up")
            if not any(map(_is_electing, told.values())) or time.monotonic() > deadline:
                break
            if any(map(_is_of_another_epoch, told.values())):
                self._client = self._connect()
            time.sleep(ELECTION_S)
        found = {(tp.topic, tp.partition): self._value(result) for tp, result in told.items()}
        if min(one.offset for one in found.values()) < least:
            raise self._watch.silence("looking offsets up", answered=True)
        return found

    def _overview(self) -> _Overview:
        """Return what is there; a refused password or a dead address is told in about 2 s."""
        self._forget()
        started, wait_s = time.monotonic(), FIRST_ANSWER_S
        while True:
            left = started + self._timeout_s - time.monotonic()
            try:
                found = self._client.list_topics(timeout=max(0.1, min(wait_s, left)))
            except KafkaException:
                self._client.poll(0)
                self._watch.raise_refusal()
                waited = time.monotonic() - started
                if waited >= self._timeout_s or (self._watch.all_down and waited >= DOWN_S):
                    raise self._watch.silence("listing topics", answered=self._answered) from None
            else:
                self._answered = True
                return _overview_of(found)
            wait_s *= 2

    def _results(self, futures: Mapping[Key, Future[Any]], doing: str) -> dict[Key, Any]:
        """Return the answers, or the KafkaError of each that failed; a refused password ends the wait."""
        deadline = time.monotonic() + self._timeout_s + POLL_S
        while wait(futures.values(), timeout=POLL_S).not_done:
            self._client.poll(0)
            self._watch.raise_refusal()
            if time.monotonic() > deadline:
                raise self._watch.silence(doing, answered=self._answered)
        return {key: _outcome(future) for key, future in futures.items()}

    def _forget(self) -> None:
        """Drop errors that were told about earlier calls."""
        self._client.poll(0)
        self._watch.clear()

    def _value(self, outcome: Any) -> Any:
        if isinstance(outcome, KafkaError):
            raise error_of(outcome, self._cluster)
        return outcome


def unknown_topic(cluster: str, topic: str, there: Iterable[str]) -> UnknownTopicError:
    """Return the error for a topic that is not among those that are there."""
    near = get_close_matches(topic, there, n=3)
    advice = f"did you mean {' or '.join(near)}?" if near else "check its name"
    return UnknownTopicError(f"cluster {cluster} has no topic {topic}: {advice}")


def _overview_of(metadata: ClusterMetadata) -> _Overview:
    found = metadata.topics
    counts = {name: len(found[name].partitions) for name in sorted(found) if not name.startswith("__")}
    return _Overview(counts, is_real=not str(metadata.cluster_id).startswith("mockCluster"))


def _is_electing(outcome: Any) -> bool:
    return isinstance(outcome, KafkaError) and outcome.code() in ELECTING


def _is_of_another_epoch(outcome: Any) -> bool:
    """Whether a client remembers another epoch than the leader has: a recreated topic begins anew."""
    epochs = (KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH)
    return isinstance(outcome, KafkaError) and outcome.code() in epochs


def _outcome(future: Future[Any]) -> Any:
    failure = future.exception()
    if isinstance(failure, KafkaException):
        return failure.args[0]
    return future.result()


def _retention(outcome: Any) -> int | None:
    """Return a topic's retention.ms; None where the broker does not let us read it."""
    if isinstance(outcome, KafkaError) or "retention.ms" not in outcome:
        return None
    return int(outcome["retention.ms"].value)
