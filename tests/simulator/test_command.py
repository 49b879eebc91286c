"""``finkbridge simulate`` on the embedded broker, as the demo uses it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from finkbridge.broker.admin import ClusterAdmin
from finkbridge.broker.embedded import EmbeddedBroker
from finkbridge.cli.main import main
from finkbridge.settings import ClusterSettings


@pytest.fixture(autouse=True)
def _own_sigterm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        yield broker.bootstrap


def counts(bootstrap: str, *topics: str) -> dict[str, list[int]]:
    marks = ClusterAdmin("local", ClusterSettings(servers=bootstrap), 10).watermarks(topics)
    return {
        topic: [mark.end for (name, _), mark in sorted(marks.items()) if name == topic] for topic in topics
    }


def test_sends_to_all_partitions_of_all_topics(bootstrap: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "simulate",
        "--topic",
        "fink_a_ztf",
        "--topic",
        "fink_b_ztf",
        "--n",
        "40",
        "--size",
        "small",
        "--json",
    ]
    assert main([*arguments, "--overlap", "0.5", "--servers", bootstrap]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["alerts"] == 40 < said["messages"]
    found = counts(bootstrap, "fink_a_ztf", "fink_b_ztf")
    assert sum(map(sum, found.values())) == said["messages"]
    assert all(len(ends) == 4 and max(ends) - min(ends) <= 1 for ends in found.values())


def test_says_one_line(bootstrap: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["simulate", "--survey", "lsst", "--topic", "fink_c_lsst", "--n", "5", "--size", "small"]
    assert main([*arguments, "--servers", bootstrap]) == 0
    out = capsys.readouterr().out
    assert out.startswith("5 alerts as 5 messages to fink_c_lsst: 0.0 MB, ")
    assert out.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--start-night", "20261399", "--servers", "127.0.0.1:1"], 2, "--start-night is not a night"),
        (["--servers", "nonsense"], 2, "--servers: write host:port"),
        (["--survey", "des"], 2, "'ztf', 'lsst'"),
    ],
)
def test_bad_options(arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--topic", "x", *arguments]) == code
    assert said in capsys.readouterr().err
