"""Settings in the environment, as a run of Dagster finds them, and simulated alerts to drain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from finkbridge.simulator.stream import alerts
from tests.support.lake import Record, forget_landers

Environment = Callable[..., Path]


def ztf_records(n: int, seed: int = 1) -> list[Record]:
    """Return simulated ZTF messages: key and value."""
    return [(alert.key, alert.value) for alert in alerts("ztf", size="small", n=n, seed=seed)]


@pytest.fixture(autouse=True)
def _nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start without settings file, credentials and lake, whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FINKBRIDGE_WORKERS", "0")
    yield
    forget_landers()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Set a cluster ``ztf`` with topics in the environment; returns the lake's folder."""

    def put(servers: str, *topics: str, cluster: str = "ztf") -> Path:
        prefix = f"FINKBRIDGE_CLUSTERS__{cluster.upper()}__"
        monkeypatch.setenv(f"{prefix}SERVERS", servers)
        monkeypatch.setenv(f"{prefix}TOPICS", ",".join(topics))
        return tmp_path / "lake"

    return put


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance
