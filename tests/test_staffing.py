"""How many workers there are to be, and when the server that they come from starts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from finkbridge import layout, staffing
from finkbridge.settings import Settings
from finkbridge.staffing import QUIET_S, WORTH_A_PROCESS_BYTES, expect_work, worker_count


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each start of the server in place of starting it."""
    starts: list[str] = []
    monkeypatch.setattr(staffing, "context", lambda: starts.append("server"))
    return starts


def test_small_work_starts_no_process() -> None:
    assert worker_count(Settings(), WORTH_A_PROCESS_BYTES - 1) == 0
    assert worker_count(Settings(), 10 * WORTH_A_PROCESS_BYTES) > 0
    assert worker_count(Settings(workers=3), 1) == 3


def test_server_starts_early_for_a_new_lake(tmp_path: Path, started: list[str]) -> None:
    expect_work(Settings(lake=tmp_path / "new"))
    assert started == ["server"]


@pytest.mark.parametrize(("age_s", "starts"), [(QUIET_S + 60, ["server"]), (QUIET_S - 60, [])])
def test_server_starts_early_for_a_lake_left_alone(
    tmp_path: Path, started: list[str], age_s: float, starts: list[str]
) -> None:
    catalog = tmp_path / layout.CATALOG
    catalog.touch()
    os.utime(catalog, (time.time() - age_s,) * 2)
    expect_work(Settings(lake=tmp_path))
    assert started == starts


@pytest.mark.parametrize(
    "asked",
    [{"workers": 0}, {"drain": {"max_messages": 10}}, {"drain": {"max_bytes": WORTH_A_PROCESS_BYTES - 1}}],
)
def test_server_waits_where_little_is_asked(
    tmp_path: Path, started: list[str], asked: dict[str, object]
) -> None:
    expect_work(Settings.model_validate({"lake": tmp_path / "new", **asked}))
    assert started == []


def test_a_lake_that_is_a_file_is_not_the_servers_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(staffing, "context", lambda: None)
    staffing.expect_work(Settings.model_validate({"lake": tmp_path / "file"}))
