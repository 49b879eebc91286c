"""One complete drain with its ledger in a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from finkbridge import layout
from finkbridge.drain import drain, open_bridge
from finkbridge.errors import LakeAccessError, LakeBusyError
from finkbridge.ledger import Ledger
from tests.support.kafka import Kafka
from tests.support.kafka_server import free_ports
from tests.support.lake import drained, forget_landers, make_settings, points

pytestmark = pytest.mark.kafka


def test_drain(kafka: Kafka, database: str, tmp_path: Path) -> None:
    topic = kafka.topic("postgres", partitions=2)
    for partition in range(2):
        kafka.produce(topic, [*points(0, 1), (None, b"bad")], partition=partition)
    lake = tmp_path / "lake"
    settings = make_settings(lake, kafka.bootstrap, topic, ledger=database, merge={"files": 2, "grace_s": 0})
    assert drained(settings).total("rows") == 4
    for number in range(3):
        kafka.produce(topic, points(number))
        drained(settings)
    kafka.recreate(topic)
    kafka.produce(topic, points(5), partition=0)
    drained(settings)
    forget_landers()
    assert not (lake / layout.LEDGER).exists()
    with duckdb.connect(str(lake / layout.CATALOG), read_only=True) as connection:
        rows = connection.sql(
            "SELECT generation, messages, rows, quarantined FROM topics ORDER BY ALL"
        ).fetchall()
        query = "SELECT count(*), count(DISTINCT generation) FROM deliveries"
        assert connection.sql(query).fetchall() == [(8, 2)]
    assert rows == [(1, 9, 7, 2), (2, 1, 1, 0)]
    with Ledger(lake, database) as ledger:
        listed = {f.path for f in ledger.alive_files()}
    assert {p.relative_to(lake).as_posix() for p in lake.rglob("*.parquet")} == {
        p for p in listed if "parquet" in p
    }


def test_two_at_once(kafka: Kafka, database: str, tmp_path: Path) -> None:
    """Two folders, as two machines: the ledger is what they share."""
    first = make_settings(tmp_path / "a", kafka.bootstrap, "any", ledger=database)
    second = make_settings(tmp_path / "b", kafka.bootstrap, "any", ledger=database)
    with open_bridge(first), pytest.raises(LakeBusyError, match="on this or another machine"):
        drain(second)


def test_server_that_is_down_is_one_line_without_the_password(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    url = f"postgresql://fink:no-such-word@127.0.0.1:{port}/fink"
    with pytest.raises(LakeAccessError, match="cannot be used") as caught:
        drain(make_settings(tmp_path / "lake", "127.0.0.1:1", "any", ledger=url))
    assert "no-such-word" not in str(caught.value)
    assert "\n" not in str(caught.value)
