"""Reasons for the quarantine that quote what no database can hold: they cost their message alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DataError

from finkbridge.avro.quarantine import read_quarantine
from finkbridge.ledger import Ledger, coordinate
from finkbridge.ledger import schema as s
from finkbridge.verify import Options, verify
from finkbridge.verify.sample import Sample
from tests.support.lake import sql
from tests.support.offline import fill, messages_of, point


def key_of(name: str, kind: Any = "nonsense", schema: str = "r") -> bytes:
    return json.dumps({"type": "record", "name": schema, "fields": [{"name": name, "type": kind}]}).encode()


KEYS = {
    "field": key_of("\ud800x"),
    "inside": key_of("\ud800x", {"type": "enum", "name": "e", "symbols": []}),
    "unknown type": key_of("x", "\ud800foo"),
    "name": key_of("x", "nonsense", "\ud800foo"),
    "symbol": key_of("x", {"type": "enum", "name": "e", "symbols": ["\ud800"]}),
    "good but for its name": key_of("\ud800x", "double"),
    "NUL": key_of("a\0x"),
    "lines": key_of("a\nb"),
    "megabytes": key_of("x" * 3_000_000),
    "surrogates alone": key_of("\ud800" * 100_000),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_reason_that_no_database_holds(tmp_path: Path, url: str | None, key: bytes) -> None:
    lake = tmp_path / "lake"
    evil = messages_of([point(1), (key, point(2)[1]), point(3)])
    fill(lake, {"evil": evil, "good": messages_of([point(4)])}, url=url)
    with Ledger(lake, url) as ledger, ledger.reading() as connection:
        (bad,) = connection.execute(s.quarantine.select()).all()
    (kept,) = read_quarantine(lake / bad.path)
    assert (bad.reason, bad.reference) == (kept.reason, kept.reference)
    assert (len(bad.reason) <= 1_000, len(bad.reason.splitlines())) == (True, 1)
    assert kept.message.key == key
    assert sql(lake, "SELECT x FROM packets_other ORDER BY x") == [(1,), (3,), (4,)]
    assert sql(lake, "SELECT reason FROM quarantine") == [(bad.reason,)]
    assert verify(lake, url, Options(deep=True, sample=Sample())).findings == []


def test_value_that_a_database_refuses_is_no_fault_of_the_lake(tmp_path: Path, database: str) -> None:
    """A commit that meets it is taken apart; a lake that fails would end the run, and each later one."""
    with Ledger(tmp_path / "lake", database, create=True) as ledger, coordinate(ledger) as coordinator:
        with pytest.raises(DataError), coordinator.writing() as connection:
            connection.execute(s.merging.insert(), {"path": "a\0b"})
        coordinator.check()
