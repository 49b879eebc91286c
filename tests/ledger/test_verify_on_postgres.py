"""Verification reads a PostgreSQL ledger as it reads SQLite's."""

from __future__ import annotations

import pytest

from finkbridge import catalog
from finkbridge.errors import SettingsError
from finkbridge.land import Lander
from finkbridge.ledger import coordinate
from finkbridge.ledger import schema as s
from finkbridge.rebuild import rebuild_ledger
from finkbridge.values import OffsetRange
from finkbridge.verify import Options, verify
from finkbridge.verify.listed import is_held
from tests.ledger.conftest import OpenLedger
from tests.support.offline import settings_of
from tests.verify.lakes import Feed, planned, point


def test_on_both_ledgers(open_ledger: OpenLedger, url: str | None) -> None:
    ledger, feed = open_ledger(), Feed("t", [point(n, float(n)) for n in range(5)])
    with coordinate(ledger) as coordinator:
        generation = coordinator.add_generation("ztf", "t", None)
        coordinator.start_partitions(generation, {0: 0})
        plan = planned(coordinator, generation, (OffsetRange(0, 0, 5),))
        coordinator.commit_segment(plan, Lander(ledger.lake, feed).land(plan))
        catalog.publish(coordinator)
        assert is_held(ledger)
    assert not is_held(ledger)
    report = verify(ledger.lake, url, Options(deep=True, prune=True))
    assert (report.findings, report.notes, report.compared_rows) == ([], [], 5)
    with ledger.engine.begin() as connection:
        connection.execute(s.partitions.update().values(next_offset=6))
    (found,) = verify(ledger.lake, url).findings
    assert found.problem == "segments and gaps end at offset 5, and the ledger's end is 6"
    assert ("empty it and make the ledger anew" in found.remedy) == (url is not None)
    with pytest.raises(SettingsError, match="has a ledger") as refused:
        rebuild_ledger(settings_of(ledger.lake, ledger=url))
    assert ("empty its database first" in str(refused.value)) == (url is not None)
    with ledger.engine.begin() as connection:
        connection.execute(s.partitions.update().values(next_offset=5))
        connection.execute(s.commits.update().values(kind="merge"))
    problems = [found.problem for found in verify(ledger.lake, url).findings]
    assert any("by +5 in replacing files" in problem for problem in problems)
