"""The data dictionary: the columns of ``deliveries`` and the key columns of ``packets``, as Markdown tables.

``python -m finkbridge.dictionary docs/lake.md`` writes them between the page's marks; a test checks them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from finkbridge import surveys, tables

START, END = "<!-- dictionary: start -->\n", "<!-- dictionary: end -->\n"


def markdown() -> str:
    """Return the dictionary: common columns, then each survey's own, then the key columns of packets."""
    own = {survey: list(surveys.own_schema(survey)) for survey in surveys.SURVEYS}
    names = {field.name for fields in own.values() for field in fields}
    common = [field for name, field in tables.delivery_fields().items() if name not in names]
    sections = [("`deliveries`: every survey", common)]
    sections += [(f"`deliveries`: {survey} only", fields) for survey, fields in own.items() if fields]
    sections += [("`packets_*`: key columns, before the alert's own", list(tables.KEY_SCHEMA))]
    return "\n".join(f"### {title}\n\n{_table(fields)}" for title, fields in sections)


def replaced(page: str) -> str:
    """Return a page with the dictionary between its marks."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{markdown()}\n{END}{after}"


def _table(fields: Iterable[pa.Field]) -> str:
    lines = ["| column | type | unit | meaning |", "| --- | --- | --- | --- |"]
    for field in fields:
        unit, meaning = ((field.metadata or {}).get(key, b"").decode() for key in (b"unit", b"description"))
        lines.append(f"| {field.name} | {field.type} | {unit} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(replaced(Path(name).read_text()))
