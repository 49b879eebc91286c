"""How long after their nights alerts came, by Kafka's times: it tells live topics from replays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from finkbridge import later
from finkbridge.ledger import schema as s
from finkbridge.values import UNDATED_NIGHT, LandedFile


@dataclass(frozen=True, slots=True)
class Delays:
    """Bounds of what is in the lake of one topic, in seconds."""

    after_start_s: float
    """How long after its night's begin any alert came, at least; negative: one came before it."""
    after_end_s: float
    """How long after its night's end any alert came, at most."""


def note_delays(connection: Connection, generation_id: int, files: Iterable[LandedFile]) -> None:
    """Write down how late the alerts of a topic were, of files of its rows; in a coordinator's transaction.

    A life of a topic must be known to deliver the alerts of their surveys.
    """
    found: dict[str, Delays] = {}
    for survey, mine in _delays(files):
        found[survey] = _wider(found.get(survey), mine)
    known = _read(connection, generation_id) if found else {}
    x = s.generation_surveys.c
    for survey, mine in found.items():
        wider = _wider(known.get(survey), mine)
        if wider != known.get(survey):
            here = x.generation_id == generation_id, x.survey == survey
            values = {"after_start_s": wider.after_start_s, "after_end_s": wider.after_end_s}
            connection.execute(update(s.generation_surveys).where(*here).values(values))


def read_delays(connection: Connection) -> dict[int, Delays]:
    """Return the delays of each life of a topic that has rows with a night, by row id."""
    x = s.generation_surveys.c
    bounds = func.min(x.after_start_s), func.max(x.after_end_s)
    query = select(x.generation_id, *bounds).where(x.after_end_s.is_not(None)).group_by(x.generation_id)
    return {generation: Delays(least, most) for generation, least, most in connection.execute(query)}


def _delays(files: Iterable[LandedFile]) -> Iterator[tuple[str, Delays]]:
    for file in files:
        first_ms, last_ms = (file.statistics.get(f"received_{end}_ms") for end in ("min", "max"))
        if file.night in {None, UNDATED_NIGHT} or first_ms is None or last_ms is None:
            continue
        # numpy is loaded only by a run that landed something
        start, end = later.call("finkbridge.surveys:night_span", file.survey, file.night)
        yield file.survey, Delays(first_ms / 1000 - start, last_ms / 1000 - end)


def _wider(one: Delays | None, other: Delays) -> Delays:
    if one is None:
        return other
    return Delays(min(one.after_start_s, other.after_start_s), max(one.after_end_s, other.after_end_s))


def _read(connection: Connection, generation_id: int) -> dict[str, Delays]:
    x = s.generation_surveys.c
    query = select(x.survey, x.after_start_s, x.after_end_s).where(
        x.generation_id == generation_id, x.after_end_s.is_not(None)
    )
    return {survey: Delays(least, most) for survey, least, most in connection.execute(query)}
