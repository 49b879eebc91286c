"""Which files readers get, and their schemas, while a drain goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finkbridge.lakefiles import file_groups
from finkbridge.ledger import Ledger
from tests.support.lake import encode
from tests.support.offline import fill, messages_of, point

OTHER = {"type": "record", "name": "Other", "fields": [{"name": "y", "type": "double"}]}


@pytest.mark.parametrize("step", ["alive_files", "schema_contents"])
def test_a_new_schema_that_lands_between_two_looks_at_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    lake = tmp_path / "lake"
    fill(lake, {"t": messages_of([point(0.0)])})
    look = getattr(Ledger, step)

    def look_and_land(ledger: Ledger, *what: str) -> Any:
        told = look(ledger, *what)
        monkeypatch.undo()
        fill(lake, {"u": messages_of([(json.dumps(OTHER).encode(), encode(OTHER, {"y": 1.0}))])})
        return told

    with Ledger(lake) as ledger:
        monkeypatch.setattr(Ledger, step, look_and_land)
        paths = [path for group in file_groups(ledger, "packets") for path in group.paths]
    assert all((lake / path).is_file() for path in paths)
    assert len(paths) == 1
