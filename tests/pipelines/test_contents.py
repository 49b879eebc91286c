"""What Dagster is told of the lake's contents is what the ledger lists."""

from __future__ import annotations

from pathlib import Path

from finkbridge.ledger import Ledger, coordinate, schema
from finkbridge.settings import Settings
from pipelines.contents import TableContents, contents


def test_sums_of_the_files_that_are_alive(tmp_path: Path) -> None:
    settings = Settings.model_validate({"lake": tmp_path})
    empty = TableContents()
    with Ledger(tmp_path, create=True) as ledger, coordinate(ledger):
        assert contents(settings) == {"deliveries": empty, "packets": empty}
        with ledger.engine.begin() as connection:
            connection.execute(
                schema.commits.insert(), {"number": 1, "kind": "drain", "epoch": 1, "committed_at": 0}
            )
            for number, (table, night, removed) in enumerate(
                [("deliveries", 20260101, None), ("deliveries", 20260101, None), ("deliveries", None, None),
                 ("deliveries", 20260102, 1), ("packets", 20260103, None)]
            ):  # fmt: skip
                row = {
                    "path": f"{number}",
                    "table": table,
                    "survey": "ztf",
                    "night": night,
                    "removed": removed,
                }
                row |= {"rows": 10 + number, "bytes": 100, "checksum": "c", "schema_id": "a", "added": 1}
                connection.execute(schema.files.insert(), row)
    found = contents(settings)
    assert found["deliveries"] == TableContents(3, 33, 300, {20260101: 21, 0: 12})  # type: ignore[arg-type]
    assert found["packets"] == TableContents(1, 14, 100, {20260103: 14})  # type: ignore[arg-type]
