"""``finkbridge verify``: what it prints, its exit codes, and that it may run beside a drain."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from finkbridge import layout
from finkbridge.cli.verifying import lines
from finkbridge.verify import Finding, Report, Scope
from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.lake import KEPT, drained, forget_landers, make_settings, points, real_alerts


def test_lines() -> None:
    report = Report(Scope.parse(["2026-03-22"], ["fink_*"]), deep=True)
    report.files, report.bytes, report.rows, report.seconds = 1234, 2_000_000_000, 5678, 4.0
    report.compared_rows, report.sampled_rows = 5678, 40
    report.compared_bytes, report.compared_seconds = 600_000_000, 2.0
    compared = (
        "every field of 5,678 rows compared with the archive, decoded anew by the decoder of drains "
        "(300 MB/s); 40 of them also by fastavro"
    )
    summary = [
        compared,
        "lake: all holds: 1,234 files, 2 GB, 5,678 rows in 4.0 s (500 MB/s)",
        "only this was verified, beside the ledger: night 20260322, topic fink_*",
    ]
    assert list(lines(report, Path("lake"))) == summary
    report.add(Finding("file", "a/b.avro", "is not there", "restore it from a copy"))
    report.add("something strange")
    report.pruned.append("x")
    assert list(lines(report, Path("lake")))[:3] == [
        "pruned: x",
        "file: a/b.avro: is not there: restore it from a copy",
        "note: something strange",
    ]
    assert "lake: 1 finding: " in list(lines(report, Path("lake")))[4]


def test_usage(tmp_path: Path) -> None:
    command = Command(tmp_path, "127.0.0.1:1")
    assert "there is no lake at" in command.run("verify", code=1).stderr
    assert "is not a night" in command.run("verify", "--night", "yesterday", code=2).stderr
    for option in (("--sample", "10"), ("--independent",)):
        assert "add --deep, or leave it out" in command.run("verify", *option, code=2).stderr
    said = command.run("verify", "--deep", "--sample", "some", code=2).stderr
    assert said.endswith("--sample 'some' is no sample: write a number, a share such as 1%, or all\n")


@pytest.mark.kafka
def test_the_command(kafka: Kafka, shared_data: Path, tmp_path: Path) -> None:
    topic = kafka.topic("fink_ver_ztf", partitions=2, config=KEPT)
    real = real_alerts(shared_data / "ztf")
    kafka.produce(topic, real.records[:4], partition=0)
    kafka.produce(topic, [*points(1.0, 2.0), (b"no schema", b"rubbish")], partition=1)
    kafka.produce_transaction(topic, points(3.0), commit=False, partition=1)
    kafka.produce(topic, points(4.0), partition=1)
    command = Command(tmp_path, kafka.bootstrap)
    drained(make_settings(command.lake, kafka.bootstrap, topic, drain={"segment_bytes": 100_000}))
    forget_landers()

    holes, verdict = command.run("verify").stdout.splitlines()
    assert holes.startswith(f"hole: {topic} (ztf, generation 1), partition 1: 2 ranges, the first [3, 4)")
    assert verdict.startswith("lake: all holds: ")
    found = command.json("verify", "--deep", "--sample", "all")
    assert (found["holds"], found["findings"], found["notes"], found["rows"]) == (True, [], [], 7)
    told = found["deep"]
    assert (told["rows"], told["by_fastavro"], told["independent"]) == (7, 7, False)
    assert told["bytes"] > sum(len(value) for _, value in real.records[:4])
    assert "decoded anew by Apache DataFusion (" in command.run("verify", "--deep", "--independent").stdout

    (command.lake / layout.SCRATCH / f"{'e' * 32}.avro").write_bytes(b"half")
    said = command.run("verify", code=1).stdout.splitlines()
    assert said[0].startswith(f"stray: .scratch/{'e' * 32}.avro: was left aside by a run that died: ")
    with command.start("follow", "nothing_matches_*") as other:
        other.await_lock(command.lake)
        assert command.json("verify")["holds"], "no lock is needed"
        assert "is being written by process" in command.run("verify", "--prune", code=1).stderr
        assert other.end(signal.SIGTERM) == 143
    (command.lake / layout.SCRATCH / f"{'f' * 32}.avro").write_bytes(b"half")
    assert command.run("verify", "--prune").stdout.startswith("pruned: .scratch/")

    (archive, *_) = sorted((command.lake / "archive").rglob("*.avro"))
    archive.write_bytes(archive.read_bytes()[:-1])
    (finding,) = command.json("verify", "--topic", topic, code=1)["findings"]
    assert finding["where"] == archive.relative_to(command.lake).as_posix()
    assert finding["remedy"] == "restore it from a copy"

    ledger = command.lake / layout.LEDGER
    shutil.copy(ledger, tmp_path / "whole.db")
    ledger.write_bytes(ledger.read_bytes()[:5000])
    said = command.run("verify", code=1).stdout.splitlines()
    assert said[0].startswith("ledger: ")
    assert said[0].endswith("or make it anew with `finkbridge rebuild --ledger --replace`")
