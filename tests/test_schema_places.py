"""Drains of topics whose messages only name their schema: by a registry's id, or by a version in the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finkbridge import quarantine
from finkbridge.drain import drain
from finkbridge.ledger.quarantined import Selection
from finkbridge.lookup import read_raw
from finkbridge.reader import AlertReader
from finkbridge.rebuild import rebuild
from finkbridge.settings import Settings
from finkbridge.verify import Options, verify
from tests.consumer.samples import COUNTING, MULTI_MESSENGER, record
from tests.support.kafka import Kafka
from tests.support.lake import drained, make_settings, points, sql
from tests.support.registry import RegistryServer, answer, answering

pytestmark = pytest.mark.kafka

((KEY, _),) = points(0.5)
SCHEMA = (KEY or b"").decode()


def framed(number: int, *values: float) -> list[tuple[bytes | None, bytes]]:
    head = b"\0" + number.to_bytes(4)
    return [(b"17", head + (datum or b"")) for _, datum in points(*values)]


def settings_of(tmp_path: Path, kafka: Kafka, topic: str, registry: str | None, **more: Any) -> Settings:
    cluster = {"servers": kafka.bootstrap, "group_id": "test", "topics": [topic], "schema_registry": registry}
    return make_settings(tmp_path / "lake", kafka.bootstrap, topic, **more).model_copy(
        update={"clusters": Settings.model_validate({"clusters": {"ztf": cluster}}).clusters}
    )


def test_rubins_own_format_lands_is_verified_and_rebuilt(kafka: Kafka, tmp_path: Path) -> None:
    topic = kafka.topic("alerts")
    kafka.produce(topic, framed(1001, 1.5, 2.5, 3.5))
    with RegistryServer({1001: SCHEMA}) as registry:
        settings = settings_of(tmp_path, kafka, topic, registry.url)
        drained(settings)
        assert registry.asked == [1001]
    lake = tmp_path / "lake"
    rows = "SELECT x FROM packets_other ORDER BY x"
    assert sql(lake, rows) == [(1.5,), (2.5,), (3.5,)]
    report = verify(lake, None, Options(deep=True))
    assert not report.findings
    (archive,) = lake.glob("archive/**/*.avro")
    places = sql(lake, "SELECT archive_file, archive_pos, archive_len FROM deliveries ORDER BY kafka_offset")
    assert [read_raw(lake, *place).record()["x"] for place in places] == [1.5, 2.5, 3.5]
    assert [alert["x"] for alert in AlertReader(archive).to_list()] == [1.5, 2.5, 3.5]
    assert AlertReader(archive).to_polars()["x"].to_list() == [1.5, 2.5, 3.5]
    rebuild(settings)  # the archive has the schema: no registry is needed
    assert sql(lake, rows) == [(1.5,), (2.5,), (3.5,)]


def test_a_registry_that_is_down_costs_nothing(kafka: Kafka, tmp_path: Path) -> None:
    topic = kafka.topic("alerts")
    kafka.produce(topic, framed(1001, 1.5))
    with RegistryServer({1001: SCHEMA}) as registry:
        url = registry.url
    report = drain(settings_of(tmp_path, kafka, topic, url))
    assert "the schema registry" in " ".join(report.problems)
    assert report.total("quarantined") == 0
    with RegistryServer({1001: SCHEMA}) as registry:
        drained(settings_of(tmp_path, kafka, topic, registry.url))
    assert sql(tmp_path / "lake", "SELECT x FROM packets_other") == [(1.5,)]


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9\r\n", answer("404 Not Found", b"<html>")])
def test_whoever_else_answers_fills_no_quarantine(kafka: Kafka, tmp_path: Path, said: bytes) -> None:
    topic = kafka.topic("alerts")
    kafka.produce(topic, framed(1001, 1.5))
    with answering(said) as url:
        report = drain(settings_of(tmp_path, kafka, topic, url))
    assert "check clusters.<name>.schema_registry" in " ".join(report.problems)
    assert report.total("quarantined") == 0
    with RegistryServer({1001: SCHEMA}) as registry:
        drained(settings_of(tmp_path, kafka, topic, registry.url))
    assert sql(tmp_path / "lake", "SELECT x FROM packets_other") == [(1.5,)]


def test_an_unknown_id_waits_in_quarantine_until_the_registry_knows_it(kafka: Kafka, tmp_path: Path) -> None:
    topic = kafka.topic("alerts")
    kafka.produce(topic, framed(7, 1.5))
    with RegistryServer({}) as registry:
        drained(settings_of(tmp_path, kafka, topic, registry.url))
    reasons = sql(tmp_path / "lake", "SELECT reason FROM quarantine")
    ((reason,),) = reasons
    assert reason.endswith("; the registry has none of the id 7")
    with RegistryServer({7: SCHEMA}) as registry:
        report = quarantine.requeue(settings_of(tmp_path, kafka, topic, registry.url), Selection())
    assert (report.landed, report.waiting) == (1, 0)
    assert sql(tmp_path / "lake", "SELECT x FROM packets_other") == [(1.5,)]


def test_a_version_key_with_a_folder(kafka: Kafka, tmp_path: Path) -> None:
    topic = kafka.topic("fink_old_ztf")
    kafka.produce(topic, [(b"1.1_0.4.4", datum) for _, datum in points(1.5, 2.5)])
    folder = tmp_path / "schemas"
    folder.mkdir()
    (folder / "distribution_schema_fink_ztf_1.1_0.4.4_replayed.avsc").write_text(SCHEMA)
    drained(settings_of(tmp_path, kafka, topic, None, decode={"schema_folder": folder}))
    assert sql(tmp_path / "lake", "SELECT x FROM packets_other ORDER BY x") == [(1.5,), (2.5,)]


def test_multi_messenger_and_counting_topics_land(kafka: Kafka, tmp_path: Path) -> None:
    grb, counting = kafka.topic("fink_grb_bronze"), kafka.topic("fink_ztf_20260322")
    value = {"objectId": "ZTF1", "candid": 3, "fink_class": "SN", "rate": 0.5, "triggerId": "b1"}
    kafka.produce(grb, [record(MULTI_MESSENGER, value)])
    kafka.produce(counting, [record(COUNTING, {"objectId": "ZTF2"})])
    settings = make_settings(tmp_path / "lake", kafka.bootstrap, grb, counting)
    drained(settings)
    found = sql(tmp_path / "lake", 'SELECT "objectId", "triggerId" FROM packets_other ORDER BY 1')
    assert found == [("ZTF1", "b1"), ("ZTF2", None)]
