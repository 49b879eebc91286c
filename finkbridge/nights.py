"""Which observing nights are complete, and why the others are not.

A night is complete once it is over, and no blocker (`finkbridge.blockers`) of the clusters that send its
survey's alerts touches the time from its begin until it closes. Of a topic that has nothing in the lake
yet nobody knows whose alerts it sends: what is known to be there, and is not in the lake, counts for all;
what is lost of it, for the survey that its cluster is named as, if it is. A cluster that is named as none,
and that sent nothing yet, may send any.

Known nights are those with rows, and those of which something was received or lost and nothing landed.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from finkbridge import surveys
from finkbridge.blockers import HOUR_S, NEVER, Blocker, Night, Rules, accepted, blockers, together, utc
from finkbridge.errors import SettingsError
from finkbridge.ledger import Ledger
from finkbridge.ledger.coverage import Coverage, read_coverage
from finkbridge.ledger.kafka_times import CLOCKS_APART_S
from finkbridge.values import UNDATED_NIGHT

UNDATED = "its alerts have no time: nothing tells whether more may come"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a night is complete."""

    night: Night
    rows: int
    blockers: tuple[Blocker, ...]
    accepted: int = 0
    """Messages in quarantine that can be of the night, and that a person has accepted to be without."""

    @property
    def complete(self) -> bool:
        """Whether every range that can hold the night's alerts is in the lake."""
        return not self.blockers

    @property
    def gaps(self) -> int:
        """Ranges that are lost, and can have held alerts of the night."""
        return sum(blocker.lost for blocker in self.blockers)

    @property
    def quarantined(self) -> int:
        """Messages in quarantine that can be alerts of the night."""
        return sum(blocker.quarantined for blocker in self.blockers)

    @property
    def why(self) -> str | None:
        """The first reason why not, with what to do, and how many more there are."""
        if not self.blockers:
            return None
        first, more = self.blockers[0], len(self.blockers) - 1
        return f"{first.why}: {first.todo}" + (f" (and {more:,} more)" if more else "")


def parse_night(text: str) -> int:
    """Return a night that is written YYYYMMDD or YYYY-MM-DD; raise SettingsError for what is none."""
    match = re.fullmatch(r"(\d{4})-?(\d{2})-?(\d{2})", text)
    try:
        day = date(*map(int, match.groups())) if match else None
    except ValueError:
        day = None
    if day is None:
        raise SettingsError(f"{text!r} is not a night: write YYYYMMDD, such as 20260322")
    return surveys.night_of_date(day)


def night_of(survey: str, night: int, rules: Rules) -> Night:
    """Return a night with its times; the one of alerts without a time never closes."""
    if night == UNDATED_NIGHT:
        return Night(survey, night, NEVER, math.inf, math.inf)
    start, end = surveys.night_span(survey, night)
    return Night(survey, night, start, end, end + rules.late_s)


def verdicts(
    ledger: Ledger, rules: Rules, wanted: Iterable[tuple[str, int]] | None = None, now: float | None = None
) -> list[Verdict]:
    """Say of nights whether they are complete, from the ledger alone.

    Parameters
    ----------
    ledger
        Of the lake.
    rules
        See `Rules.of`.
    wanted
        Surveys and nights; None: all that are known.
    now
        Unix seconds UTC; None: the clock's.
    """
    now = time.time() if now is None else now
    coverage = _past(read_coverage(ledger), now)
    found = _Blockers(coverage, rules, now)
    pairs = _known(coverage, rules, found) if wanted is None else wanted
    nights = [night_of(survey, night, rules) for survey, night in pairs]
    return [
        Verdict(
            night,
            coverage.nights.get((night.survey, night.night), 0),
            tuple(together(found.of(night))),
            found.accepted(night),
        )
        for night in nights
    ]


def known_surveys(coverage: Coverage) -> list[str]:
    """Return the surveys whose alerts the lake has; while it has none, it may be any."""
    names = {name for names in coverage.surveys.values() for name in names}
    return sorted(names) or sorted(surveys.SURVEYS)


def _known(coverage: Coverage, rules: Rules, found: _Blockers) -> list[tuple[str, int]]:
    """Return all nights of which something is known, in order."""
    pairs = set(coverage.nights)
    for survey in known_surveys(coverage):
        mine = [
            night_of(name, night, rules)
            for name, night in coverage.nights
            if name == survey
            and night != UNDATED_NIGHT  # which tells of nothing that is in quarantine or lost
        ]
        pairs |= {(survey, night) for night in found.told(survey, mine, rules)}
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]))


class _Blockers:
    """All that keeps nights from being complete."""

    def __init__(self, coverage: Coverage, rules: Rules, now: float) -> None:
        self._now = now
        self._clusters = clusters(coverage)
        self._surveys = coverage.surveys
        self._known = {(source.cluster, source.topic) for source in coverage.surveys}
        self._found = blockers(coverage, rules)
        self._accepted = accepted(coverage, rules)

    def of(self, night: Night) -> Iterator[Blocker]:
        """Yield what blocks a night."""
        if night.night == UNDATED_NIGHT:
            yield Blocker(None, None, NEVER, math.inf, UNDATED, "look at them")
            return
        if night.closes_at > self._now:
            yield Blocker(None, None, self._now, math.inf, _open(night), "drain until then, and ask again")
            return
        for blocker in self._found:
            if blocker.since >= night.closes_at:
                return
            if blocker.blocks(night) and self._concerns(blocker, night.survey):
                yield blocker

    def told(self, survey: str, listed: Sequence[Night], rules: Rules) -> Iterator[int]:
        """Yield nights that messages in quarantine are of, or lost ones were, though nothing of them landed.

        What is lost, or can be of any night, is told by a night that is listed, where it blocks one. What a
        topic sends is told of its own surveys.
        """
        for blocker in (*self._found, *self._accepted):
            if not (blocker.quarantined or blocker.lost) or not self._is_sent_by(blocker, survey):
                continue
            is_dated = blocker.since != NEVER
            if (blocker.quarantined and is_dated) or not any(blocker.blocks(night) for night in listed):
                last = min(blocker.until, self._now)
                begin = blocker.since if is_dated else last - rules.late_s - 24 * HOUR_S
                yield from {surveys.night_at(survey, at) for at in (begin, last if is_dated else begin)}

    def accepted(self, night: Night) -> int:
        """Return how many messages that were accepted can be of a night."""
        mine = (b for b in self._accepted if b.blocks(night) and self._concerns(b, night.survey))
        return sum(blocker.quarantined for blocker in mine)

    def _is_sent_by(self, blocker: Blocker, survey: str) -> bool:
        known = self._surveys.get(blocker.source) if blocker.source else None
        return survey in known if known else self._concerns(blocker, survey)

    def _concerns(self, blocker: Blocker, survey: str) -> bool:
        """Whether a blocker can be of a survey's alerts.

        It is where its cluster has sent some. Of another cluster, what is known to wait of a topic that has
        sent nothing yet can be; what is not known of it, and what is lost for ever, only where the cluster
        is not named as another survey, and for what is not known, has sent nothing at all.
        """
        source, mine = blocker.source, self._clusters.get(survey)
        if source is None or mine is None or source.cluster in mine:
            return True
        if (source.cluster, source.topic) in self._known:
            return False
        if blocker.unread or blocker.quarantined:
            return True
        if source.cluster in {"ztf", "lsst"}:
            return survey == source.cluster or (survey == "other" and bool(blocker.lost))
        return bool(blocker.lost) or not any(source.cluster in theirs for theirs in self._clusters.values())


def _past(coverage: Coverage, now: float) -> Coverage:
    """Leave out looks of the future: a clock was wrong, and nobody knows what they saw when."""
    latest = now + CLOCKS_APART_S
    reaches = (
        reach if (reach.reached_at or NEVER) <= latest else replace(reach, reached_at=None)
        for reach in coverage.reaches
    )
    searched = {key: at for key, at in coverage.searched.items() if at <= latest}
    return replace(coverage, reaches=tuple(reaches), searched=searched)


def clusters(coverage: Coverage) -> dict[str, frozenset[str]]:
    """Return the clusters that have delivered alerts of each survey."""
    found: dict[str, frozenset[str]] = {}
    for source, names in coverage.surveys.items():
        for survey in names:
            found[survey] = found.get(survey, frozenset()) | {source.cluster}
    return found


def _open(night: Night) -> str:
    return f"the night ends {utc(night.end)}, and its alerts may come until {utc(night.closes_at)}"
