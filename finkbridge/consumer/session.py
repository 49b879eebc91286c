"""One consumer's connections and tools: the member of the group, and what opens its messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from finkbridge.avro.resolve import SchemaResolver
from finkbridge.avro.schemas import WriterSchema, parse_schema
from finkbridge.broker.client import Broker
from finkbridge.broker.names import NO_PATTERN
from finkbridge.broker.placing import OnAssign, Start
from finkbridge.broker.poller import Poller
from finkbridge.consumer.beginning import refuse_later_than_all
from finkbridge.consumer.opening import Opener
from finkbridge.errors import UnknownTopicError
from finkbridge.registry import lookups_of
from finkbridge.settings import ClusterSettings

ADVICE = (
    "leave it aside with --skip_bad, or give the right schema with -schema FILE (--dump_schema saves the one "
    "that is used)"
)
"""What a user of the command can do about a message that cannot be opened."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a cluster is read."""

    cluster: str
    settings: ClusterSettings
    schema: bytes | None = None
    """Text of a writer schema for every message; None to find it with each."""
    schema_folder: Path | None = None
    """Of schemas that keys only name."""
    start: Start | None = None
    on_assign: OnAssign | None = None
    advice: str = ADVICE


class Session:
    """A member of the group, with what opens its messages. A context manager; not for several threads."""

    def __init__(self, wish: Wish, on_schema: Callable[[WriterSchema], object] | None = None) -> None:
        override = None if wish.schema is None else parse_schema(wish.schema)
        lookups = lookups_of(wish.settings, wish.schema_folder)
        self.broker = Broker(wish.cluster, wish.settings)  # which connects when it is first asked
        resolver = SchemaResolver(override, self.broker.schema_key, lookups=lookups)
        self.opener = Opener(resolver, wish.advice, on_schema)
        self._start = wish.start
        self.poller = Poller(wish.cluster, wish.settings, wish.start, wish.on_assign)
        self.poller.on_missing = resolver.forget

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def subscribe(self, topics: Sequence[str]) -> None:
        """Join the group for names and patterns; a pattern stands for the topics that are there now.

        Raises
        ------
        UnknownTopicError
            None of them is there.
        SettingsError
            It is to begin at a time that is behind all their messages; the group stays where it is.
        """
        found, absent = self.broker.find(topics)
        if not found:
            raise next(iter(absent.values()), _nothing_matches(self.broker.name, topics))
        if isinstance(self._start, datetime):
            refuse_later_than_all(self.broker, found, self._start)
        self.poller.subscribe([*found, *absent])  # what is not there may come yet

    def close(self) -> None:
        """Commit what was handled, and give the connections back."""
        self.poller.close()
        self.broker.close()


def _nothing_matches(cluster: str, topics: Sequence[str]) -> UnknownTopicError:
    return UnknownTopicError(
        f"cluster {cluster} has no topic that matches {', '.join(topics)}: see `finkbridge topics list`; "
        f"{NO_PATTERN}"
    )
