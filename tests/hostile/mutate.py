"""Ways to damage a datum, as bad disks, bad senders and bad people do."""

from __future__ import annotations

import random
from collections.abc import Callable

from finkbridge.avro.container import encode_long

Mutation = Callable[[random.Random, bytes, bytes], bytes]

LENGTHS = (-1, 0, 1, 2, 63, 64, 2**31 - 1, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63))
"""Numbers at which readers go wrong, as lengths, counts and tags."""


def mutant(chance: random.Random, datum: bytes, other: bytes) -> bytes:
    """Return a datum with one to three damages; `other` is what pieces are taken from."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        datum = chance.choice(MUTATIONS)(chance, datum, other)
    return datum


def _at(chance: random.Random, data: bytes) -> int:
    """Return a place: half of them near the start, where an alert has its short fields."""
    near = min(len(data), 2_000) if chance.random() < 0.5 else len(data)
    return chance.randrange(near + 1)


def _flip(chance: random.Random, data: bytes, _: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 4, 16)) if data else 0):
        changed[min(_at(chance, data), len(data) - 1)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(chance: random.Random, data: bytes, _: bytes) -> bytes:
    at = _at(chance, data)
    return chance.choice((data[:at], data[at:]))


def _drop(chance: random.Random, data: bytes, _: bytes) -> bytes:
    at = _at(chance, data)
    return data[:at] + data[at + chance.choice((1, 2, 4, 8, 100)) :]


def _splice(chance: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: _at(chance, data)] + other[_at(chance, other) :]


def _insert(chance: random.Random, data: bytes, other: bytes) -> bytes:
    at, start = _at(chance, data), _at(chance, other)
    piece = chance.choice((chance.randbytes(chance.randrange(1, 20)), other[start : start + 50]))
    return data[:at] + piece + data[at:]


def _number(chance: random.Random, data: bytes, _: bytes) -> bytes:
    """Put a number in place of some bytes: a length, a count, a varint."""
    at = _at(chance, data)
    number = chance.choice((*LENGTHS, chance.randrange(-(2**63), 2**63), len(data)))
    return data[:at] + encode_long(number) + data[at + chance.choice((0, 1, 2)) :]


def _overlong(chance: random.Random, data: bytes, _: bytes) -> bytes:
    """Put a varint with more bytes than it needs, or than any has, in place of a byte."""
    at = _at(chance, data)
    return (
        data[:at]
        + b"\x80" * chance.choice((1, 2, 9, 10, 30))
        + chance.choice((b"\0", b"\1"))
        + data[at + 1 :]
    )


def _tag(chance: random.Random, data: bytes, _: bytes) -> bytes:
    """Put another tag of a union, boolean or symbol in place of a byte."""
    at = _at(chance, data)
    return data[:at] + bytes([chance.choice((0, 1, 2, 3, 4, 5, 6, 8, 0x7E))]) + data[at + 1 :]


def _random(chance: random.Random, data: bytes, _: bytes) -> bytes:
    return chance.randbytes(chance.choice((0, 1, 10, len(data))))


def _twice(_: random.Random, data: bytes, __: bytes) -> bytes:
    return data + data if len(data) < 1 << 20 else data


MUTATIONS: tuple[Mutation, ...] = (
    _flip, _flip, _flip, _cut, _drop, _splice, _insert, _number, _number, _overlong, _tag, _tag, _random,
    _twice,
)  # fmt: skip
