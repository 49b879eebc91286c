"""Quoting, for SQL that is made of names and texts."""

from __future__ import annotations


def quoted(name: str) -> str:
    """Return a column's or table's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as SQL."""
    return "'" + text.replace("'", "''") + "'"
