"""What the doctor finds at clusters: each trouble is really made, on a real Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from finkbridge.doctor.cluster import ClusterExam
from finkbridge.doctor.findings import Finding
from finkbridge.settings import ClusterSettings
from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.kafka_server import free_ports
from tests.support.lake import points
from tests.support.registry import RegistryServer

pytestmark = pytest.mark.kafka


def examined(servers: str, *topics: str, **more: Any) -> list[Finding]:
    settings = ClusterSettings.model_validate({"servers": servers, "topics": topics, **more})
    return list(ClusterExam("ztf", settings).findings())


def troubles(found: Iterable[Finding]) -> list[tuple[str, str, str]]:
    return [(f.check, f.subject, f.state) for f in found if f.state != "good"]


def test_all_is_well(kafka: Kafka) -> None:
    topic = kafka.topic("well", partitions=3)
    kafka.produce(topic, points(1, 2))
    found = examined(kafka.bootstrap, topic)
    assert troubles(found) == []
    by_check = {f.check: f for f in found}
    assert list(by_check) == ["name", "connection", "access", "topic", "message", "clock"]
    assert by_check["topic"].said == "3 partitions, 2 offsets at the broker"
    assert by_check["message"].said.startswith("decoded, 8 bytes, schema ")
    assert by_check["message"].subject.startswith(f"{topic} partition ")


def test_an_empty_topic_has_no_message_to_decode(kafka: Kafka) -> None:
    found = examined(kafka.bootstrap, kafka.topic("empty"))
    assert troubles(found) == []
    assert [f.check for f in found][3:] == ["topic"]


def test_a_registry_that_answers_and_one_that_does_not(kafka: Kafka) -> None:
    with RegistryServer({}) as registry:
        found = examined(kafka.bootstrap, schema_registry=registry.url)
    assert (found[-1].check, found[-1].state) == ("registry", "good")
    (port,) = free_ports(1)
    found = examined(kafka.bootstrap, schema_registry=f"http://127.0.0.1:{port}")
    assert troubles(found) == [("registry", "cluster ztf", "bad")]
    assert "does not answer" in found[-1].said


def test_wrong_password(kafka: Kafka) -> None:
    more = {"username": kafka.username, "password": "hunter2-wrong"}
    found = examined(kafka.sasl_bootstrap, "any", **more)
    assert troubles(found) == [("access", "cluster ztf", "bad")]
    assert "the credentials are refused" in found[-1].said
    assert found[-1].todo == (
        "check username, password and sasl.mechanism; where Fink sent you no password, leave it out "
        "(set it to null)"
    )
    assert "hunter2" not in str(found)


def test_right_password(kafka: Kafka) -> None:
    topic = kafka.topic("sasl")
    found = examined(kafka.sasl_bootstrap, topic, username=kafka.username, password=kafka.password)
    assert troubles(found) == []
    assert f"as {kafka.username}" in found[2].said


def test_closed_port_and_unknown_name_take_seconds() -> None:
    (port,) = free_ports(1)
    began = time.monotonic()
    found = examined(f"127.0.0.1:{port}, nowhere.invalid:9092", "any")
    assert time.monotonic() - began < 10
    assert troubles(found) == [
        ("connection", f"127.0.0.1:{port}", "bad"),
        ("name", "nowhere.invalid", "bad"),
    ]
    assert "look at the port" in found[1].todo
    assert "DNS" in found[2].todo


def test_one_of_several_servers_down_is_doubtful(kafka: Kafka) -> None:
    (port,) = free_ports(1)
    found = examined(f"127.0.0.1:{port},{kafka.bootstrap}", kafka.topic("up"))
    assert troubles(found) == [("connection", f"127.0.0.1:{port}", "doubtful")]


def test_missing_topics(kafka: Kafka) -> None:
    topic = kafka.topic("there")
    found = examined(kafka.bootstrap, f"{topic[:-1]}?", "there_not_at_all", "nothing_like_*")
    assert troubles(found) == [
        ("topic", "there_not_at_all", "bad"),
        ("topic", "nothing_like_*", "doubtful"),
    ]
    (missing,) = [f for f in found if f.subject == "there_not_at_all"]
    assert missing.said == "cluster ztf has no topic there_not_at_all"
    assert topic in [f.subject for f in found if f.state == "good"]


def test_garbage_and_a_topic_without_schema(kafka: Kafka) -> None:
    garbage, bare, good = kafka.topic("garbage"), kafka.topic("bare"), kafka.topic("good")
    ((key, value),) = points(1)
    kafka.produce(garbage, [(key, value), (key, b"\x00" * 9)])
    kafka.produce(bare, [(None, value)])
    kafka.produce(good, [(key, value)])
    found = examined(kafka.bootstrap, garbage, bare, good)
    assert troubles(found) == [
        ("message", f"{garbage} partition 0 offset 1", "bad"),
        ("message", f"{bare} partition 0 offset 0", "bad"),
    ]
    said = [f.said for f in found if f.state == "bad"]
    assert said[0] == "cannot be decoded: bytes left over at byte 8 (fastavro: 1 trailing bytes)"
    assert "no writer schema" in said[1]


def test_a_message_from_the_future(kafka: Kafka) -> None:
    topic = kafka.topic("future", config={"message.timestamp.after.max.ms": "9000000000"})
    kafka.produce(topic, points(1), timestamps=[int(time.time() * 1000) + 600_000])
    found = examined(kafka.bootstrap, topic)
    assert troubles(found) == [("clock", "cluster ztf", "doubtful")]
    assert "in the future" in found[-1].said
    assert "NTP" in found[-1].todo


def test_the_command(kafka: Kafka, tmp_path: Path) -> None:
    topic = kafka.topic("doctor")
    kafka.produce(topic, points(1))
    (port,) = free_ports(1)
    command = Command(tmp_path, kafka.bootstrap, FINKBRIDGE_CLUSTERS__ZTF__TOPICS=topic)
    well = command.run("doctor")
    assert "\x1b" not in well.stdout
    assert all(line.startswith(("✓", "!")) for line in well.stdout.splitlines())
    assert not command.lake.exists()
    said = command.json("doctor")
    assert said["well"] is True
    keys = {"check", "subject", "state", "said", "todo"}
    assert all(finding.keys() == keys for finding in said["findings"])

    secret = "hunter2-wrong"
    both = {
        "FINKBRIDGE_CLUSTERS__LSST__SERVERS": f"127.0.0.1:{port}",
        "FINKBRIDGE_CLUSTERS__ZTF__USERNAME": kafka.username,
        "FINKBRIDGE_CLUSTERS__ZTF__PASSWORD": secret,
    }
    ill = Command(tmp_path, kafka.sasl_bootstrap, FINKBRIDGE_CLUSTERS__ZTF__TOPICS=topic, **both)
    done = ill.run("doctor", code=1)
    bad = [line for line in done.stdout.splitlines() if line.startswith("✗")]
    assert len(bad) == 2
    assert "credentials are refused" in done.stdout
    assert secret not in done.stdout + done.stderr
