"""The consumer's loop on a real Kafka: what is in memory before something is shown."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from finkbridge.consumer.config import cluster_settings
from finkbridge.consumer.opening import Opened, Opener
from finkbridge.consumer.run import SHOWN, Loop, Order
from finkbridge.consumer.saving import Saver
from finkbridge.consumer.session import Session, Wish
from finkbridge.errors import DecodeError
from tests.consumer.samples import simulated
from tests.support.kafka import Kafka

pytestmark = pytest.mark.kafka

COUNT = 3 * SHOWN


class Screen:
    """Shows alerts, and remembers how many were decoded by then."""

    wants_alerts = True

    def __init__(self) -> None:
        self.decoded = 0
        self.ahead: list[int] = []

    def alert(self, opened: Opened, file: Path | None) -> None:
        assert opened.alert["diaSourceId"]
        assert file is None or file.exists()
        self.ahead.append(self.decoded - len(self.ahead))

    def idle(self, session: Session, seconds: float) -> None:
        raise AssertionError(f"nothing came for {seconds} s")

    def skipped(self, error: DecodeError) -> None:
        raise error


@pytest.mark.parametrize("saves", [False, True])
def test_few_alerts_are_decoded_ahead_of_what_is_shown(
    kafka: Kafka, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: bool
) -> None:
    topic = kafka.topic("fink_t")
    kafka.produce(topic, simulated("lsst", COUNT))
    screen, real = Screen(), Opener.open

    def opening(self: Opener, received: Any) -> Opened:
        screen.decoded += 1
        return real(self, received)

    monkeypatch.setattr(Opener, "open", opening)
    with Session(Wish("c", cluster_settings(config))) as session, Saver(tmp_path / "db") as saver:
        session.subscribe([topic])
        loop = Loop(session, Order(COUNT, 30.0), screen, saver if saves else None)
        assert loop.run(threading.Event()).alerts == COUNT
    assert len(screen.ahead) == COUNT
    assert max(screen.ahead) <= SHOWN
    assert len(list((tmp_path / "db").glob("*.avro"))) == (COUNT if saves else 0)
