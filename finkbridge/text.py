"""Text of strangers: producers name fields, types and headers as they like."""

from __future__ import annotations


def storable(text: str, limit: int) -> str:
    """Return a text that files, databases and reports can hold: one line, of at most `limit` characters.

    Neither UTF-8 can hold a lone surrogate, which JSON can make, nor PostgreSQL a NUL: both are written as
    escapes. What is storable stays as it is.
    """
    line = " ".join(text[:limit].splitlines()).replace("\0", "\\0")
    line = line.encode(errors="backslashreplace").decode()
    return line if max(len(line), len(text)) <= limit else f"{line[: limit - 3]}..."
