"""Text of senders, made safe to print, to draw and to name files by."""

from __future__ import annotations

import re

LONGEST_NAME = 80
LONGEST_TEXT = 200
LONGEST_LINE = 2_000
"""Characters of a line that tells of a problem."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 message, 2,000 messages."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def plain(text: str, longest: int) -> str:
    """Return a text in ASCII without control characters, cut to a length: any font and terminal has it."""
    cut = text if len(text) <= longest else f"{text[:longest]}..."
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in cut)


def short(text: str, longest: int) -> str:
    """Return a text in ASCII without control characters, no longer than that but for an ellipsis."""
    whole = plain(text, longest)
    return whole if len(whole) <= longest + 3 else f"{whole[:longest]}..."


def file_stem(*parts: str) -> str:
    """Return parts as one file name without suffix, whatever they say: no folder, not hidden, not long."""
    safe = [re.sub(r"[^A-Za-z0-9.+-]", "_", part)[:LONGEST_NAME].lstrip(".-") or "_" for part in parts]
    return "_".join(safe)


def storable(text: str, limit: int) -> str:
    """Return a text that files, databases and reports can hold: one line, of at most `limit` characters.

    Neither UTF-8 can hold a lone surrogate, which JSON can make, nor PostgreSQL a NUL: both are written as
    escapes. What is storable stays as it is.
    """
    line = " ".join(text[:limit].splitlines()).replace("\0", "\\0")
    line = line.encode(errors="backslashreplace").decode()
    return line if max(len(line), len(text)) <= limit else f"{line[: limit - 3]}..."


def printable(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text without any character that a terminal obeys or that hides others, cut to a length."""
    cut = text if len(text) <= longest else f"{text[:longest]} ... ({len(text):,} characters)"
    return escaped(cut)


def escaped(text: str) -> str:
    """Return a text, as long as it may be, without any character that a terminal obeys."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
