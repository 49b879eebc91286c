"""``finkbridge certificate`` on lakes drained from a real Kafka."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from finkbridge.errors import SettingsError
from finkbridge.nights import parse_night
from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.lake import KEPT, drained, make_settings, points, real_alerts, sql

pytestmark = pytest.mark.kafka
MARCH_MS = 1_774_050_000_000  # 2026-03-20T23:40 UTC


def test_the_real_alerts_nights(kafka: Kafka, tmp_path: Path, shared_data: Path) -> None:
    ztf = real_alerts(shared_data / "ztf")
    topic = kafka.topic("fink_cert_ztf", partitions=2, config=KEPT)
    kafka.produce(topic, ztf.records, partition=0)
    kafka.produce(topic, ztf.records[:3], partition=1)  # the producer sent three of them twice
    command = Command(tmp_path, kafka.bootstrap, FINKBRIDGE_CLUSTERS__ZTF__TOPICS=topic)
    drained(make_settings(command.lake, kafka.bootstrap, topic))

    nights = {n["night"]: n for n in command.json("certificate")["nights"]}
    due: dict[int, set[int]] = {}
    for alert in ztf.alerts:
        night = time.strftime("%Y%m%d", time.gmtime((alert["candidate"]["jd"] - 2440587.5) * 86400))
        due.setdefault(int(night), set()).add(alert["candid"])
    assert {n: line["alerts"] for n, line in nights.items()} == {n: len(a) for n, a in due.items()}
    assert sum(line["rows"] for line in nights.values()) == len(ztf.records) + 3
    assert sum(line["duplicates"] for line in nights.values()) == 3
    assert all(line["complete"] and line["why"] is None for line in nights.values())

    night = next(n for n, line in nights.items() if line["duplicates"])
    (full,) = command.json("certificate", str(night))["nights"]
    assert {k: full[k] for k in nights[night]} == nights[night]
    assert full["late"] == full["rows"]  # the topic got them long after
    (counts,) = full["topics"]
    assert (counts["topic"], counts["rows"], counts["duplicates"]) == (
        topic,
        full["rows"],
        full["duplicates"],
    )
    states = {p["partition"]: p for p in full["partitions"]}
    assert [p["drained"] for p in states.values()] == [
        [{"start": 0, "end": n, "messages": n, "rows": n, "quarantined": 0, "holes": 0}]
        for n in (len(ztf.records), 3)
    ]
    assert sum(p["night"]["rows"] for p in states.values() if p["night"]) == full["rows"]
    query = (
        f"SELECT kafka_partition, min(kafka_offset), max(kafka_offset), epoch_ms(min(received)) / 1000 "
        f"FROM deliveries WHERE night = {night} GROUP BY ALL ORDER BY ALL"
    )
    shown = [
        (p, s["night"]["first_offset"], s["night"]["last_offset"], s["night"]["first_received"])
        for p, s in states.items()
        if s["night"]
    ]
    assert shown == sql(command.lake, query)
    text = command.run("certificate", f"{str(night)[:4]}-{str(night)[4:6]}-{str(night)[6:]}").stdout
    assert "complete: yes" in text
    assert f"ztf night {night}" in text
    rows = "SELECT night, rows, alerts, duplicates, complete FROM nights ORDER BY night"
    assert sql(command.lake, rows) == [
        (n, line["rows"], line["alerts"], line["duplicates"], True) for n, line in sorted(nights.items())
    ]


def test_incomplete_nights_exit_1_and_say_why(kafka: Kafka, tmp_path: Path) -> None:
    topic = kafka.topic("cert", config=KEPT)
    garbage = (points(1)[0][0], b"\xff" * 9)
    now_ms = int(time.time() * 1000)
    kafka.produce(topic, [*points(1, 2), garbage], timestamps=[MARCH_MS, MARCH_MS + 1, MARCH_MS + 2])
    kafka.produce(topic, points(3), timestamps=[now_ms])
    command = Command(tmp_path, kafka.bootstrap, FINKBRIDGE_CLUSTERS__ZTF__TOPICS=topic)
    drained(make_settings(command.lake, kafka.bootstrap, topic))

    lines = command.json("certificate", code=1)["nights"]
    assert [(n["survey"], n["complete"], n["quarantined"]) for n in lines] == [
        ("other", False, 1),
        ("other", False, 0),
    ]
    assert lines[0]["night"] == 20260320
    assert "1 message in quarantine" in lines[0]["why"]
    assert "its alerts may come until" in lines[1]["why"]
    done = command.run("certificate", "20260320", code=1)
    assert done.stderr.startswith("finkbridge: the night other 20260320 is not complete: ")
    assert done.stderr.count("\n") == 1
    assert "complete: no" in done.stdout
    (full,) = json.loads(command.run("certificate", "20260320", "--json", code=1).stdout)["nights"]
    (reason,) = full["reasons"]
    assert (reason["topic"], reason["partition"]) == (topic, 0)
    assert full["partitions"][0]["quarantined"] == 1

    command.run("quarantine", "accept", f"{topic}:0:2")
    done = command.run("certificate", "20260320")
    assert "1 messages that may be of it were accepted as lost" in done.stdout
    (full,) = command.json("certificate", "20260320")["nights"]
    assert (full["complete"], full["quarantined"], full["accepted"]) == (True, 0, 1)
    assert (full["partitions"][0]["quarantined"], full["partitions"][0]["accepted"]) == (0, 1)
    of_lines = {n["night"]: n["accepted"] for n in command.json("certificate", code=1)["nights"]}
    assert (of_lines.pop(20260320), *of_lines.values()) == (1, 0)


def test_nights_of_a_replay_are_complete_once_it_is_drained_and_none_waits(
    kafka: Kafka, tmp_path: Path, shared_data: Path
) -> None:
    """Kafka's times are long after the nights, of which those that are drained first do not tell the rest."""
    ztf = real_alerts(shared_data / "ztf")
    (tmp_path / "schema.avsc").write_bytes(ztf.key)
    newest_first = sorted(zip(ztf.alerts, ztf.records, strict=True), key=lambda x: -x[0]["candidate"]["jd"])
    records = [record for _, record in newest_first]
    topic = kafka.topic("ftransfer_cert", config=KEPT)
    kafka.produce(topic, records)
    kafka.produce(topic, [(None, records[0][1])])  # its schema is nowhere
    command = Command(tmp_path, kafka.bootstrap, FINKBRIDGE_CLUSTERS__ZTF__TOPICS=topic)
    half = len(records) // 2
    command.run("drain", "--max-messages", str(half))
    lines = command.json("certificate", code=1)["nights"]
    assert lines
    assert not any(line["complete"] for line in lines)
    assert lines[0]["why"].endswith(
        f"and {len(records) + 1 - half} offsets wait, which may be of any night: the topic sent alerts when "
        "their night was long over, as replays do: finkbridge drain"
    )
    command.run("drain")
    lines = command.json("certificate", code=1)["nights"]
    assert {(line["complete"], line["quarantined"]) for line in lines} == {(False, 1)}
    assert "1 message in quarantine, which may be of any night" in lines[0]["why"]
    command.run("quarantine", "requeue", "--schema", "schema.avsc")
    lines = command.json("certificate")["nights"]
    assert all(line["complete"] and not line["quarantined"] for line in lines)
    assert sum(line["rows"] for line in lines) == len(records) + 1


def test_a_gap_and_a_night_without_rows(kafka: Kafka, tmp_path: Path) -> None:
    topic, day_ms = kafka.topic("cert", config=KEPT), 86_400_000
    settings = make_settings(tmp_path / "lake", kafka.bootstrap, topic)
    kafka.produce(topic, points(1), timestamps=[MARCH_MS])
    drained(settings)
    kafka.produce(topic, points(2, 3), timestamps=[MARCH_MS + day_ms, MARCH_MS + 5 * day_ms])
    kafka.expire(topic, {0: 2})
    drained(settings)
    command = Command(tmp_path, kafka.bootstrap, FINKBRIDGE_CLUSTERS__ZTF__TOPICS=topic)
    (lost,) = command.json("certificate", "20260322", code=1)["nights"]
    assert (lost["rows"], lost["gaps"], lost["alerts"]) == (0, 1, 0)
    assert "offsets [1, 2) expired at the broker before it was drained" in lost["why"]
    assert lost["partitions"][0]["lost"] == [
        {
            "start": 1,
            "end": 2,
            "reason": "expired at the broker before it was drained",
            "after": MARCH_MS / 1000,
            "before": (MARCH_MS + 5 * day_ms) / 1000,
        }
    ]
    (clouds,) = command.json("certificate", "20260327")["nights"]
    assert (clouds["rows"], clouds["complete"]) == (0, True)


def test_bad_input_is_2(tmp_path: Path) -> None:
    command = Command(tmp_path, "127.0.0.1:1")
    assert "is not a night" in command.run("certificate", "20261340", code=2).stderr
    assert "no lake" in command.run("certificate", "20260320", code=1).stderr
    command.run("certificate", "--survey", "nope", code=2)


@pytest.mark.parametrize("text", ["2026", "20260230", "tonight", "2026-3-1", ""])
def test_what_is_no_night(text: str) -> None:
    with pytest.raises(SettingsError, match="write YYYYMMDD"):
        parse_night(text)


def test_nights_as_people_write_them() -> None:
    assert parse_night("20260322") == parse_night("2026-03-22") == 20260322
