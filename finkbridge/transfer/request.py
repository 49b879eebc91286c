"""What a user asks for: a finite topic, and where its alerts are to go."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finkbridge.avro.predictions import AI, holds_predictions
from finkbridge.errors import SettingsError
from finkbridge.settings import Settings
from finkbridge.values import Export

PREFIXES = ("ftransfer_", "fxmatch_", AI)

CLASSES = ("finkclass", "tnsclass", "classId")
PARTITIONS = ("time", *CLASSES)


@dataclass(frozen=True, slots=True)
class Request:
    """One transfer."""

    cluster: str
    """The survey's: ``ztf`` or ``lsst``, or another name of the settings."""
    topic: str
    outdir: Path | None
    """Output folder; None: the lake."""
    format: Literal["parquet", "avro"] = "parquet"
    partition: str | None = None
    """One of `PARTITIONS`, or None."""
    limit: int | None = None
    """Alerts in the output at most."""
    restart: bool = False
    """Begin anew, where a transfer of the topic to this folder was begun before."""
    idle_s: float = 300.0
    """Of an AI topic: seconds without a new prediction after which the AI counts as having ended."""
    state: Path | None = None
    """Folder for the transfer's state, if it is not to be beside the output folder."""

    def check(self, settings: Settings) -> None:
        """Raise SettingsError if this cannot be had."""
        settings.cluster(self.cluster)
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", self.topic) or not self.topic.startswith(PREFIXES):
            raise SettingsError(
                f"{self.topic!r} is no transfer's name, which begins with {', '.join(PREFIXES)}: it is on "
                "the page of your job, under 'Get your data'; finkbridge drain takes any topic"
            )
        if self.outdir is None and (self.format != "parquet" or self.partition):
            raise SettingsError(
                "a lake has its own formats and partitions: leave -outformat, -partitionby out"
            )
        if self.is_ai and self.format != "parquet":
            raise SettingsError(
                f"alerts joined with predictions are Parquet files, not {self.format}: leave -outformat out"
            )

    @property
    def is_ai(self) -> bool:
        """Whether the topic holds an AI's predictions, to be joined with the alerts."""
        return holds_predictions(self.topic)

    @property
    def export(self) -> Export:
        """How the alerts are written to the output folder."""
        return Export(self.format, self.partition)

    @property
    def state_folder(self) -> Path:
        """Where the transfer keeps what it knows.

        Beside the output folder: polars refuses a folder in which anything else is than Parquet files.
        """
        if self.outdir is None:
            raise ValueError("a transfer into the lake has no state of its own")
        outdir = self.outdir.resolve()
        return (self.state or outdir.parent / f".{outdir.name}.finkbridge") / self.topic


def survey_of(topic: str, clusters: Collection[str]) -> str:
    """Return the cluster that a topic's name tells, or the only one.

    Raises
    ------
    SettingsError
        Neither the name nor the settings tell.
    """
    told = [name for name in clusters if f"_{name}_" in topic or topic.endswith(f"_{name}")]
    found = told or list(clusters)
    if len(found) != 1:
        known = ", ".join(sorted(clusters)) or "none is set"
        raise SettingsError(f"of which survey is {topic}? name it with -survey (clusters: {known})")
    return found[0]
