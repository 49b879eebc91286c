"""What a user wants to have republished, and where."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from finkbridge.errors import SettingsError
from finkbridge.values import OffsetRange


@dataclass(frozen=True, slots=True)
class Selection:
    """Messages of one topic in the lake."""

    topic: str
    cluster: str | None = None
    """Where it was drained from; None where there is one only."""
    generation: int | None = None
    """Life of the topic; None: the newest."""
    nights: tuple[int, ...] = ()
    offsets: tuple[OffsetRange, ...] = ()
    objects: tuple[str, ...] = ()

    @property
    def needs_rows(self) -> bool:
        """Whether the tables tell what is selected, so that only decoded messages can be."""
        return bool(self.nights or self.objects)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast; without any limit, as fast as can be."""

    rate: float | None = None
    """Messages a second at most."""
    speed: float | None = None
    """Times as fast as the messages came to the topic, by their timestamps."""
    longest_pause_s: float = 60.0
    """Of `speed`: longer pauses of the original are shortened to this."""


@dataclass(frozen=True, slots=True)
class Request:
    """One job."""

    selection: Selection
    cluster: str
    """The target's."""
    target: str
    """Topic; made when it is not there."""
    pace: Pace = Pace()
    append: bool = False
    """Whether the target may hold other messages."""

    def check(self, source_cluster: str) -> None:
        """Raise SettingsError if a topic would be written to itself."""
        if (self.cluster, self.target) == (source_cluster, self.selection.topic):
            raise SettingsError(
                f"{self.target} of cluster {self.cluster} is where these messages came from: choose another "
                "--to"
            )

    def job(self, group: str, source_cluster: str, generation: int) -> str:
        """Return the job's name, the same for the same work: who runs it again goes on with it."""
        s = self.selection
        told = (source_cluster, s.topic, generation, sorted(s.nights), sorted(s.offsets), sorted(s.objects))
        digest = hashlib.sha256(repr((told, self.target)).encode()).hexdigest()[:16]
        return f"{group}-finkbridge-republish-{digest}"


def parse_offsets(text: str) -> OffsetRange:
    """Return the offset range that ``PARTITION:START-END`` says, the end not in it.

    Raises
    ------
    SettingsError
        It is none.
    """
    try:
        partition, _, span = text.partition(":")
        start, _, end = span.partition("-")
        found = OffsetRange(int(partition), int(start), int(end))
    except ValueError:
        found = OffsetRange(0, 0, 0)
    if found.partition < 0 or not found.offsets:
        raise SettingsError(
            f"{text!r} is no offset range: write PARTITION:START-END, such as 0:1000-2000 (2000 is not in it)"
        )
    return found
