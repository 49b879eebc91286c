from __future__ import annotations

import time
from typing import Any

import pytest

from finkbridge.simulator.feed import Feed, send
from finkbridge.simulator.stream import alerts


class FakeProducer:
    def __init__(self, stop_after: int = 10**9) -> None:
        self.sent: list[dict[str, Any]] = []
        self.flushed, self._stop_after = False, stop_after

    def send(self, topic: str, value: bytes, key: bytes, **more: Any) -> None:
        if len(self.sent) >= self._stop_after:
            raise KeyboardInterrupt
        self.sent.append({"topic": topic, "value": value, "key": key, **more})

    def flush(self) -> None:
        self.flushed = True


def run(feed: Feed, n: int = 60, producer: FakeProducer | None = None) -> tuple[Any, FakeProducer]:
    producer = producer or FakeProducer()
    stream = alerts("ztf", n=n, size="small")
    return send(producer, stream, feed, dict.fromkeys(feed.topics, 3)), producer  # type: ignore[arg-type]


def test_one_topic_gets_each_alert_once_partitions_taking_turns() -> None:
    sent, producer = run(Feed(("a",), overlap=1.0))
    assert [m["value"] for m in producer.sent] == [a.value for a in alerts("ztf", n=60, size="small")]
    assert [m["partition"] for m in producer.sent] == [i % 3 for i in range(60)]
    assert (sent.alerts, sent.messages, producer.flushed) == (60, 60, True)
    assert sent.value_bytes == sum(len(m["value"]) for m in producer.sent)
    assert {m["timestamp_ms"] for m in producer.sent} == {None}


def test_topics_share_the_alerts_and_some_go_to_two() -> None:
    sent, producer = run(Feed(("a", "b"), overlap=0.3), n=200)
    assert sent.messages - sent.alerts == pytest.approx(60, abs=25)
    per_topic = {t: [m["value"] for m in producer.sent if m["topic"] == t] for t in "ab"}
    assert all(len(set(values)) == len(values) > 60 for values in per_topic.values())
    assert len(set(per_topic["a"]) & set(per_topic["b"])) == sent.messages - sent.alerts


def test_no_overlap_when_none_is_wanted() -> None:
    sent, _ = run(Feed(("a", "b", "c"), overlap=0.0))
    assert sent.messages == sent.alerts == 60


def test_rate() -> None:
    begin = time.monotonic()
    sent, _ = run(Feed(("a",), rate=100.0), n=30)
    assert 0.28 <= sent.seconds <= time.monotonic() - begin


def test_own_time() -> None:
    _, producer = run(Feed(("a",), own_time=True), n=5)
    assert [m["timestamp_ms"] for m in producer.sent] == [
        a.emitted_ms for a in alerts("ztf", n=5, size="small")
    ]


def test_interrupted_is_counted_and_flushed() -> None:
    sent, producer = run(Feed(("a",)), producer=FakeProducer(stop_after=7))
    assert (sent.alerts, sent.messages, sent.interrupted, producer.flushed) == (7, 7, True, True)
