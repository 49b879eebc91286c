"""All of a message but its value, many messages at once, as compact JSON for an archive's header."""

from __future__ import annotations

import base64
from collections.abc import Hashable, Iterable, Sequence
from itertools import accumulate, chain, repeat
from typing import Any

from finkbridge.values import Headers, Message

VERSION = 1
SCHEMA_KEY = {"same_as": "finkbridge.schema"}
"""Stands for the key that is the writer schema's text, as Fink sends it with every message."""


def pack_envelopes(messages: Sequence[Message], schema_text: bytes) -> dict[str, Any]:
    """Return partitions, offsets, timestamps, keys and headers of messages.

    Columns that hardly change are runs ``[value, count]``; offsets are runs ``[first, count]`` of consecutive
    ones; timestamps are differences to the last one known, null where there is none.
    """
    keys, index = _distinct([message.key for message in messages])
    return {
        "version": VERSION,
        "count": len(messages),
        "partition": _runs(message.partition for message in messages),
        "offset": _ranges(message.offset for message in messages),
        "timestamp_ms": _deltas(message.timestamp_ms for message in messages),
        "timestamp_type": _runs(message.timestamp_type for message in messages),
        "keys": [SCHEMA_KEY if key == schema_text else _to_text(key) for key in keys],
        "key": _runs(index),
        "headers": [[i, _pack_headers(m.headers)] for i, m in enumerate(messages) if m.headers],
    }


def open_envelopes(
    packed: dict[str, Any], values: Sequence[bytes], schema_text: bytes
) -> tuple[Message, ...]:
    """Return the messages again.

    Raises
    ------
    ValueError
        When there are not as many values as messages.
    """
    if packed["version"] != VERSION:
        raise ValueError(f"its messages are of version {packed['version']}; this finkbridge knows {VERSION}")
    keys = [schema_text if key == SCHEMA_KEY else _from_text(key) for key in packed["keys"]]
    headers = {index: _open_headers(pairs) for index, pairs in packed["headers"]}
    columns = (
        _spread(packed["partition"]),
        list(chain.from_iterable(range(first, first + count) for first, count in packed["offset"])),
        _sums(packed["timestamp_ms"]),
        _spread(packed["timestamp_type"]),
        [keys[index] for index in _spread(packed["key"])],
        values,
        [headers.get(index, ()) for index in range(packed["count"])],
    )
    if any(len(column) != packed["count"] for column in columns):
        raise ValueError(f"it has {len(values)} values for {packed['count']} messages")
    return tuple(map(Message, *columns))


def _runs(items: Iterable[Any]) -> list[list[Any]]:
    runs: list[list[Any]] = []
    for item in items:
        if runs and runs[-1][0] == item:
            runs[-1][1] += 1
        else:
            runs.append([item, 1])
    return runs


def _spread(runs: Iterable[tuple[Any, int]]) -> list[Any]:
    return list(chain.from_iterable(repeat(item, count) for item, count in runs))


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and sum(ranges[-1]) == number:
            ranges[-1][1] += 1
        else:
            ranges.append([number, 1])
    return ranges


def _deltas(numbers: Iterable[int | None]) -> list[int | None]:
    last, deltas = 0, []
    for number in numbers:
        deltas.append(None if number is None else number - last)
        last = last if number is None else number
    return deltas


def _sums(deltas: Sequence[int | None]) -> list[int | None]:
    sums = accumulate(delta or 0 for delta in deltas)
    return [None if delta is None else total for delta, total in zip(deltas, sums, strict=True)]


def _distinct(items: Iterable[Hashable]) -> tuple[list[Any], list[int]]:
    """Return the distinct items in order, and which each is; equal neighbours are not hashed."""
    known: dict[Any, int] = {}
    index: list[int] = []
    last: Any = None
    for item in items:
        same = bool(index) and item == last
        index.append(index[-1] if same else known.setdefault(item, len(known)))
        last = item
    return list(known), index


def _pack_headers(headers: Headers) -> list[list[str | None]]:
    return [[name, _to_text(value)] for name, value in headers]


def _open_headers(pairs: Iterable[tuple[str, str | None]]) -> Headers:
    return tuple((name, _from_text(value)) for name, value in pairs)


def _to_text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _from_text(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
