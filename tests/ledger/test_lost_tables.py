"""A ledger that has lost a table is damaged: it is not made anew as if nothing were in it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from finkbridge.errors import LakeAccessError
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from tests.ledger.conftest import OpenLedger


@pytest.mark.parametrize("table", [s.meta, s.gaps, s.quarantine, s.files], ids=lambda table: table.name)
def test_it_is_told_and_left_as_it_is(open_ledger: OpenLedger, url: str | None, table: s.Table) -> None:
    ledger = open_ledger()
    with ledger.engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {table.name}{'' if ledger.is_sqlite else ' CASCADE'}"))
    advice = "put ledger.db back from a backup, or run finkbridge rebuild --ledger --replace"
    if url is not None:
        advice = "put its database back from a backup, or empty it and run finkbridge rebuild --ledger"
    for create in (False, True, False):
        with pytest.raises(LakeAccessError, match=f"has lost its table {table.name}: {advice}$"):
            Ledger(ledger.lake, url, create=create)


def test_one_that_never_rebuilt_its_tables_is_whole(open_ledger: OpenLedger, url: str | None) -> None:
    ledger = open_ledger()
    s.rebuilt.drop(ledger.engine)
    Ledger(ledger.lake, url).close()
