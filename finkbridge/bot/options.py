"""What a bot is asked to do, and what it has done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Since = datetime | Literal["earliest", "latest"]


@dataclass(frozen=True, slots=True)
class Options:
    """Which alerts, and how many."""

    topics: tuple[str, ...] = ()
    """Names and patterns; none: all of the lake."""
    filter: str | None = None
    since: Since | None = None
    rate: float = 20.0
    """Posts a minute at most."""
    limit: int = 100
    """Alerts an hour at most; what is over it is left out, and counted. 0: no limit."""
    pictures: bool = True

    @property
    def job(self) -> str:
        """Return the name of a bot with these topics and this filter: others go their own way."""
        return json.dumps([sorted(self.topics), self.filter])


@dataclass(slots=True)
class Counts:
    """What a bot has done."""

    posted: int = 0
    unknown: int = 0
    """Got no answer: posted or not."""
    refused: int = 0
    unreadable: int = 0
    """Messages of other kinds than ZTF's and LSST's: nobody can tell whether another topic brought them."""
    left_out: int = 0
