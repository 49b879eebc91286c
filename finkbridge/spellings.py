"""What of a secret address others may quote, and how: an error page names its path, JSON escapes it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from urllib.parse import unquote

SHORT = 4
"""Characters from which on a part of an address is hidden in what a service says of it."""
LONG_PATH, LONG_PART = 8, 12
"""The same for all other output, where shorter ones are common words."""

_PASSWORD = re.compile(r"://[^:/@]*:([^@]+)@")
_TARGET = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*([^#]*)")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(/))")
MOST_LAYERS = 4


def passwords_in(text: str) -> set[str]:
    """Return the password that an address has, as it is written there and as it is."""
    found = _PASSWORD.findall(text)
    return {*found, *map(unquote, found)}


def spellings(secret: str) -> set[str]:
    """Return a token, or an address that is secret, and what gives it away in any output."""
    parts = *_parts(secret, LONG_PATH, LONG_PART), *passwords_in(secret)
    return {spelled for part in (secret, *parts) for spelled in (part, bare(part))} - {""}


def all_parts(secret: str) -> set[str]:
    """Return what gives a secret away in what a service says: `bare` has to be taken of that first."""
    parts = *_parts(secret, SHORT, SHORT), *passwords_in(secret)
    return {bare(part) for part in (secret, *parts)} - {""}


def bare(text: str) -> str:
    """Return a text without the escapes of addresses, HTML and JSON, one within the other too."""
    for _ in range(MOST_LAYERS):
        before, text = text, _ESCAPE.sub(_meant, html.unescape(unquote(text)))
        if text == before:
            break
    return text


def _meant(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else "/"


def _parts(address: str, path: int, part: int) -> Iterator[str]:
    """Yield the path of an address, with and without its query, and the parts of both, from a length on."""
    found = _TARGET.fullmatch(address.partition("#")[0])
    target = found[1] if found else ""
    yield from (text for text in (target, target.partition("?")[0]) if len(text) >= path)
    yield from (text for text in re.split(r"[/?&=;]", target) if len(text) >= part)
