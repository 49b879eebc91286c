"""Text that may be hostile, made fit for where it goes."""

from __future__ import annotations

LONGEST_TEXT = 200
LONGEST_LINE = 2_000
"""Characters of a line that tells of a problem."""


def printable(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text without any character that a terminal obeys or that hides others, cut to a length."""
    cut = text if len(text) <= longest else f"{text[:longest]} ... ({len(text):,} characters)"
    return escaped(cut)


def escaped(text: str) -> str:
    """Return a text, as long as it may be, without any character that a terminal obeys."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
