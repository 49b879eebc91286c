"""Parts messages into as many as fit in memory: a container file may be a bomb, few bytes many columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from finkbridge.avro.codecs import MAX_BLOCK_BYTES
from finkbridge.avro.machine import MAX_UNFOLDED_BYTES
from finkbridge.avro.resolve import Framing, SchemaGroup, datum_of
from finkbridge.values import Message

MAX_PORTION_BYTES = MAX_BLOCK_BYTES
"""Of the datums of a portion: a segment of honest ones fits, a bomb has one for itself."""


class Portion(NamedTuple):
    """Messages of one group whose datums fit in memory together, and those that have none after all."""

    group: SchemaGroup
    messages: list[Message]
    rejected: list[tuple[Message, str]]
    """With the reason."""


def portions(group: SchemaGroup, messages: list[Message]) -> Iterator[Portion]:
    """Yield a group's messages with their datums, all at once but for those that are unwrapped.

    The cuts follow from the messages alone, so that a retry makes the same files.
    """
    if group.framing is Framing.BARE:
        yield Portion(group, messages, [])
        return
    portion, size = _empty(group), 0
    for message in messages:
        try:
            datum = datum_of(message.value or b"", group.framing)
        except ValueError as error:
            portion.rejected.append((message, str(error)))
            continue
        if portion.messages and size + len(datum) > MAX_PORTION_BYTES:
            yield portion
            portion, size = _empty(group), 0
        portion.messages.append(message)
        portion.group.datums.append(datum)
        size += len(datum)
    yield portion


def unfolding(
    group: SchemaGroup, messages: list[Message], unfolded: Sequence[int]
) -> Iterator[tuple[SchemaGroup, list[Message]]]:
    """Yield checked messages such that their columns fit in memory together: nearly always all at once.

    Parameters
    ----------
    group, messages
        With their datums.
    unfolded
        Bytes that each datum takes in columns, as the check found.
    """
    first, size = 0, 0
    for at, more in enumerate(unfolded):
        if at > first and size + more > MAX_UNFOLDED_BYTES:
            yield replace(group, datums=group.datums[first:at]), messages[first:at]
            first, size = at, 0
        size += more
    if first:
        group, messages = replace(group, datums=group.datums[first:]), messages[first:]
    yield group, messages


def _empty(group: SchemaGroup) -> Portion:
    return Portion(replace(group, datums=[]), [], [])
