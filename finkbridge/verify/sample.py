"""How many messages of each archive file fastavro decodes too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from finkbridge.errors import SettingsError

_WORDS = re.compile(r"([0-9]{1,9})(%?)")


@dataclass(frozen=True, slots=True)
class Sample:
    """A number or a share of the messages of each archive file; all, if neither is given."""

    most: int | None = None
    percent: int = 100
    """Of a file with any message at least one, unless it is 0."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Make one of ``all``, a number such as ``10``, or a share such as ``1%``.

        Raises
        ------
        SettingsError
            It is none of these.
        """
        if text == "all":
            return cls()
        found = _WORDS.fullmatch(text)
        if found is None or (found[2] and int(found[1]) > 100):
            told = f"--sample {text[:20]!r} is no sample"
            raise SettingsError(f"{told}: write a number, a share such as 1%, or all")
        return cls(percent=int(found[1])) if found[2] else cls(most=int(found[1]))

    def of(self, messages: int) -> int:
        """Return how many of so many messages."""
        share = -(-messages * self.percent // 100)
        return share if self.most is None else min(self.most, share)


SAMPLE = Sample(percent=1)
"""Fastavro takes some 30 times as long as the bulk engine, on one core: so this adds a third at most."""
