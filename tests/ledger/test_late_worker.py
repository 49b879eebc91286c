"""A worker that was thought dead, on whatever machine, comes late: what is committed stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from finkbridge.disk import checksum
from finkbridge.errors import CommitConflictError, NameTakenError
from finkbridge.land import Lander
from finkbridge.ledger import Coordinator, Ledger, coordinate
from finkbridge.values import OffsetRange
from tests.support.lake import data_files
from tests.support.offline import Given, messages_of, plan_of, point

OTHER = messages_of([point(9.0), (None, b"bad")])
"""What a worker of another version might make of the same offsets."""


def content(lake: Path) -> dict[str, str]:
    return {path: checksum(lake / path) for path in data_files(lake)}


def test_worker_that_comes_late_replaces_no_committed_file(ledger: Ledger) -> None:
    lake, messages = ledger.lake, messages_of([point(1.0), point(2.0)])
    with coordinate(ledger) as frozen:
        plan = plan_of(frozen, "t", [OffsetRange(0, 0, 2)])
        successor = Coordinator(ledger)  # as if the first one's lock had been lost
        successor.commit_segment(plan, Lander(lake, Given(messages)).land(plan))
        committed = content(lake)
        assert sum("t-g1-" in path for path in committed) == 3
        same = Lander(lake, Given(messages)).land(plan)
        with pytest.raises(NameTakenError, match="stays as it is: run again"):
            Lander(lake, Given(OTHER)).land(plan)
        with pytest.raises(CommitConflictError, match="another coordinator took this lake over"):
            frozen.commit_segment(plan, same)
    strays = {path for path in content(lake) if path not in committed}
    assert {path: content(lake)[path] for path in committed} == committed
    assert strays <= {path for path in content(lake) if path.startswith("quarantine/")}
