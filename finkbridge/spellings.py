"""What of a secret address others may quote, and how: an error page names its path, JSON escapes it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

LONG_PATH, LONG_PART = 8, 12
"""Characters from which on a path, or a part of one, tells something, and is no common word."""

_PASSWORD = re.compile(r"://[^:/@]*:([^@]+)@")
_TARGET = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*([^#]*)")


def passwords_in(text: str) -> set[str]:
    """Return the password that an address has, as it is written there and as it is."""
    found = _PASSWORD.findall(text)
    return {*found, *map(unquote, found)}


def spellings(secret: str) -> set[str]:
    """Return a token, or an address that is secret, and what gives it away, as services quote it."""
    parts = {secret, *_parts(secret)}
    return {spelled for part in parts for spelled in _spelled(part)} - {""}


def _parts(address: str) -> Iterator[str]:
    """Yield the path of an address, with and without its query, and what is long of them."""
    found = _TARGET.fullmatch(address.partition("#")[0])
    target = found[1] if found else ""
    yield from (path for path in (target, target.partition("?")[0]) if len(path) >= LONG_PATH)
    yield from (part for part in re.split(r"[/?&=;]", target) if len(part) >= LONG_PART)


def _spelled(text: str) -> Iterator[str]:
    yield text
    yield unquote(text)
    yield quote(text, safe="")
    yield text.replace("/", r"\/")
    yield html.escape(text)
