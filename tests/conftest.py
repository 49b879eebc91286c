"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile(
    "finkbridge", deadline=None
)  # shared machines are noisy: speed is measured elsewhere
settings.load_profile("finkbridge")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell that starts the tests in the background makes them, and what they start, ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
"""Real alerts, beside the project in development and in CI; not on a user's machine."""

pytest_plugins = ["tests.support.kafka"]


@pytest.fixture(autouse=True)
def _forget_landers() -> Iterator[None]:
    """Close the connections of what landed in this process, if anything did."""
    yield
    if task := sys.modules.get("finkbridge.task"):
        task.forget_landers()


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Return the folder of a lake that is not there yet."""
    return tmp_path / "lake"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real alerts; skip where it is absent, fail in CI if it is."""
    if SHARED_DATA.is_dir():
        return SHARED_DATA
    reason = f"the real alerts are not at {SHARED_DATA}"
    if os.environ.get("CI"):
        pytest.fail(reason + ": CI must have them")
    pytest.skip("SKIPPED, NOT TESTED ON REAL ALERTS: " + reason)
