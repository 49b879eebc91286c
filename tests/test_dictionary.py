"""The data dictionary in the docs is the code's."""

from __future__ import annotations

from pathlib import Path

from finkbridge import dictionary, surveys, tables

PAGE = Path(__file__).parents[1] / "docs" / "lake.md"


def test_the_page_is_current():
    page = PAGE.read_text()
    assert dictionary.replaced(page) == page, "run: python -m finkbridge.dictionary docs/lake.md"


def test_every_column_has_a_meaning():
    fields = [*tables.delivery_fields().values(), *tables.KEY_SCHEMA]
    assert [f.name for f in fields if not f.metadata[b"description"]] == []
    assert {f.name for s in surveys.SURVEYS for f in surveys.own_schema(s)} <= {f.name for f in fields}
