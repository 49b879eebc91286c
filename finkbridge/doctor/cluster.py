"""One cluster, from its name to a decoded message of each topic; what fails ends what rests on it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from finkbridge.avro.check import REASONS, Checker, why
from finkbridge.avro.decode import Decoder
from finkbridge.avro.resolve import Resolved, SchemaResolver
from finkbridge.avro.schemas import WriterSchema
from finkbridge.broker import Broker, Watermarks
from finkbridge.doctor.findings import Finding, limited, parted
from finkbridge.errors import FinkbridgeError, SchemaError, UnknownTopicError
from finkbridge.registry import Registry, lookups_of
from finkbridge.settings import ClusterSettings
from finkbridge.values import Message, OffsetRange

NAME_S = TCP_S = 4.0
"""Seconds that a name may take to be resolved, and a server to take a connection."""
ANSWER_S = 5.0
"""Seconds that a broker's answer may take."""
TOPICS_S = 60.0
"""Seconds that reading one message of each topic may take, over all topics of a cluster."""
REGISTRY_S = 25.0
"""Seconds that a schema registry's answer may take: it is given up before that, with a reason."""
PEEKED = 20
"""Offsets before a partition's end among which its newest message is looked for."""
SKEW_S = 30.0
"""A message from so far in the future shows that a clock is wrong."""


@dataclass(slots=True)
class ClusterExam:
    """The examination of one cluster."""

    name: str
    settings: ClusterSettings
    override: WriterSchema | None = None
    """Writer schema of every message, if the settings name one."""
    schema_folder: Path | None = None
    """Of writer schemas that keys only name."""
    newest_ms: int | None = None
    """Kafka's timestamp of the newest message that was read."""
    _topics: list[str] = field(default_factory=list)

    def findings(self) -> Iterator[Finding]:
        """Yield what is found, as far as one gets."""
        servers = [self._server(server.strip()) for server in self.settings.servers.split(",")]
        is_reachable = any(all(finding.state != "bad" for finding in found) for found in servers)
        for finding in (finding for found in servers for finding in found):
            is_other = is_reachable and finding.state == "bad"
            yield replace(finding, state="doubtful") if is_other else finding
        if is_reachable:
            yield from limited("access", f"cluster {self.name}", self._kafka, TOPICS_S)
        if self.settings.schema_registry is not None:
            yield from limited("registry", f"cluster {self.name}", self._registry, REGISTRY_S)

    def _registry(self) -> Iterator[Finding]:
        with suppress(SchemaError):  # of another kind, but it answers
            Registry(self.settings.schema_registry or "", self.settings.schema_registry_auth).schema(1)
        yield Finding("registry", f"cluster {self.name}", "good", "its schema registry answers")

    def _kafka(self) -> Iterator[Finding]:
        with Broker(self.name, self.settings, timeout_s=ANSWER_S) as broker:
            yield from self._access(broker)
            yield from self._look(broker)
            yield from self._messages(broker)
            yield from self._clock()

    def _server(self, server: str) -> list[Finding]:
        host, _, port = server.rpartition(":")
        host = host.strip("[]")
        found = limited("name", host, lambda: _resolve(host, int(port)), NAME_S)
        if all(finding.state == "good" for finding in found):
            found += limited("connection", server, lambda: _connect(host, int(port)), TCP_S + 1)
        return found

    def _access(self, broker: Broker) -> Iterator[Finding]:
        topics = broker.topics()
        how = "without password" if self.settings.password is None else f"as {self.settings.username}"
        said = f"lets us in {how}, and shows {len(topics):,} topic{'' if len(topics) == 1 else 's'}"
        yield Finding("access", f"cluster {self.name}", "good", said)

    def _look(self, broker: Broker) -> Iterator[Finding]:
        for name in self.settings.topics:
            try:
                matched = broker.match([name])
            except UnknownTopicError as error:
                yield Finding("topic", name, "bad", *parted(error))
                continue
            if not matched:
                todo = "look at its spelling; a topic may also appear with its first alert"
                yield Finding("topic", name, "doubtful", f"cluster {self.name} has none that matches", todo)
            self._topics += [topic for topic in matched if topic not in self._topics]

    def _messages(self, broker: Broker) -> Iterator[Finding]:
        """Read and decode the newest message of each topic."""
        resolver = SchemaResolver(
            self.override,
            broker.schema_key,
            lookups=lookups_of(self.settings, self.schema_folder),
        )
        for topic in self._topics:
            try:
                marks = {p: m for (_, p), m in broker.watermarks([topic]).items()}
                message = _newest(broker, topic, marks)
            except FinkbridgeError as error:
                yield Finding("topic", topic, "bad", *parted(error))
                continue
            waiting = sum(m.end - m.low for m in marks.values())
            said = (
                f"{len(marks)} partition{'' if len(marks) == 1 else 's'}, {waiting:,} offsets at the broker"
            )
            yield Finding("topic", topic, "good", said)
            if message is not None:
                self.newest_ms = max(self.newest_ms or 0, message.timestamp_ms or 0) or None
                yield _decoded(resolver, topic, message)

    def _clock(self) -> Iterator[Finding]:
        if self.newest_ms is None:
            return
        age_s = time.time() - self.newest_ms / 1000
        subject = f"cluster {self.name}"
        if age_s < -SKEW_S:
            said = f"its newest message is {-age_s:,.0f} s in the future"
            yield Finding(
                "clock",
                subject,
                "doubtful",
                said,
                "set this machine's clock, by NTP; else it is the producer's",
            )
        else:
            yield Finding("clock", subject, "good", f"its newest message is {age_s:,.0f} s old")


def _resolve(host: str, port: int) -> Iterator[Finding]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        said = f"the name is not known ({error.strerror})"
        yield Finding("name", host, "bad", said, "look at `servers`, and at this machine's DNS")
        return
    addresses = dict.fromkeys(str(address[0]) for *_, address in found)
    yield Finding("name", host, "good", ", ".join(addresses))


def _connect(host: str, port: int) -> Iterator[Finding]:
    where, began = f"{host}:{port}", time.monotonic()
    try:
        socket.create_connection((host, port), timeout=TCP_S).close()
    except OSError as error:
        said = f"no connection ({error.strerror or error})"
        yield Finding("connection", where, "bad", said, "look at the port, at firewalls, and whether it runs")
        return
    yield Finding("connection", where, "good", f"connected in {1000 * (time.monotonic() - began):.0f} ms")


def _newest(broker: Broker, topic: str, marks: dict[int, Watermarks]) -> Message | None:
    """Return a message close to the end of the partition that has most; None for an empty topic."""
    partition, (low, end, _) = max(marks.items(), key=lambda item: item[1].end - item[1].low)
    newest = None
    for batch in broker.fetch(topic, OffsetRange(partition, max(low, end - PEEKED), max(low, end))):
        newest = batch[-1]
    return newest


def _decoded(resolver: SchemaResolver, topic: str, message: Message) -> Finding:
    where = f"{topic} partition {message.partition} offset {message.offset}"
    found = resolver.resolve(topic, message)
    reason = found if isinstance(found, str) else _refusal(found)
    if isinstance(found, str) or reason:
        todo = "drain all the same: such messages wait in quarantine; tell who runs the topic"
        return Finding("message", where, "bad", f"cannot be decoded: {reason}", todo)
    known = found.schema.fingerprint
    return Finding("message", where, "good", f"decoded, {message.size:,} bytes, schema {known}")


def _refusal(found: Resolved) -> str:
    """Return why a message cannot be decoded; empty if it can."""
    try:
        verdicts = Checker(found.schema).check([found.datum])
        if status := int(verdicts.status[0]):
            at = int(verdicts.position[0])
            return f"{REASONS[status]} at byte {at} (fastavro: {why(found.schema, found.datum)})"
        Decoder(found.schema).decode([found.datum])
    except FinkbridgeError as error:
        return str(error)
    return ""
