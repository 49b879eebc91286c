"""What of a secret address others may quote, and how: an error page names its path, JSON escapes it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

LONGEST_WORD = 15
"""Letters of a common word in a path, such as ``notifications``."""
SHORT = 4
"""Characters from which on a part of an address gives it away, in what its own service says."""
LONG_PATH, LONG_PART = 8, 12
"""The same in all other output, where shorter ones are common words."""

_TELEGRAM = re.compile(r"\d+:(.{8,})")
"""A token of Telegram: the number of the bot, which everyone may see, and what is secret by itself."""
_PASSWORD = re.compile(r"://[^:/@]*:([^/?#]+)@")
_WORD = re.compile(r"[a-z]+")
_TARGET = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*([^#]*)")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(/))")
MOST_LAYERS = 4


def passwords_in(text: str) -> set[str]:
    """Return the password that an address has, as it is written there and as it is."""
    found = _PASSWORD.findall(text)
    return {*found, *map(unquote, found)}


def spellings(secret: str) -> set[str]:
    """Return a token, or an address that is secret, and what gives it away in any output."""
    token = _TELEGRAM.fullmatch(secret)
    parts = *_parts(secret, LONG_PATH, LONG_PART), *passwords_in(secret), *(token.groups() if token else ())
    telling = (part for part in parts if _telling(part, secret) == part)
    return {spelled for part in (secret, *telling) for spelled in (part, bare(part))} - {""}


def quotes(answer: str, address: str) -> bool:
    """Whether what a service says has a part of the address that it was asked at, however it is spelled.

    What may be a common word counts as part of a path alone: ``/message``.
    """
    said = _folded(answer)
    return any(_telling(_folded(part), address) in said for part in (address, *_parts(address, SHORT, SHORT)))


def _telling(part: str, address: str) -> str:
    return f"/{part}" if _is_word(part) and f"/{part}" in _folded(address) else part


def _is_word(part: str) -> bool:
    return len(part) <= LONGEST_WORD and _WORD.fullmatch(part) is not None


def _folded(text: str) -> str:
    return bare(text).replace("+", " ").casefold()


def bare(text: str) -> str:
    """Return a text without the escapes of addresses, HTML and JSON, one within the other too."""
    for _ in range(MOST_LAYERS):
        before, text = text, _ESCAPE.sub(_meant, html.unescape(unquote(text)))
        if text == before:
            break
    return text


def _meant(escape: re.Match[str]) -> str:
    return "/" if escape[3] else chr(int(escape[1] or escape[2], 16))


def _parts(address: str, path: int, part: int) -> Iterator[str]:
    """Yield the path of an address, with and without its query, and the parts of both, from a length on.

    Not the names of what is in the query: they are words.
    """
    found = _TARGET.fullmatch(address.partition("#")[0])
    target = found[1] if found else ""
    way, _, query = target.partition("?")
    values = [_value(pair) for pair in re.split("[&;]", query)]
    texts = (way, unquote(way), *values, *map(unquote, values))
    yield from (text for text in (target, way) if len(text) >= path)
    yield from (text for text in (*values, *_pieces(texts)) if len(text) >= part)


def _value(pair: str) -> str:
    name, _, value = pair.partition("=")
    return value if value.strip("=") else name


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from re.split("[/&=;:.,]", text)
