"""Which observing nights are complete, and why the others are not.

Alerts of a night are sent between its begin and its end, or within the late hours that the settings allow.
What can hold some that are not in the lake is a *blocker*: a span of time, of a topic. A night is complete
if no blocker of its survey's clusters touches the time from its begin until it closes:

    not seen      from the newest look at a partition all of which is in the lake, until for ever; of a topic
                  that the settings do not name, until the newest look
    not drained   a topic that the settings name, or that was begun, and has nothing in the lake: at any time
    not searched  a pattern of the settings, from the newest search for topics that it matches: a topic that
                  nobody saw may have some
    lost          a gap, between Kafka's times of its neighbours in the lake
    waiting       a quarantined message, at Kafka's time of it; at any time if it has none
    not over      from now on

Kafka's times are the producers', and believed as far as they can be true: `finkbridge.ledger.kafka_times`.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase

from finkbridge import surveys
from finkbridge.errors import SettingsError
from finkbridge.ledger import Ledger
from finkbridge.ledger.coverage import Coverage, Lost, Reach, Waiting, read_coverage
from finkbridge.settings import Settings
from finkbridge.values import UNDATED_NIGHT, TopicGeneration

HOUR_S = 3600.0
NEVER = -math.inf
UNDATED = "its alerts have no time: nothing tells whether more may come"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say of nights."""

    late_s: float = 6 * HOUR_S
    """Seconds after a night's end in which its alerts may still be sent."""
    topics: Mapping[str, Sequence[str]] | None = None
    """Names and patterns that are drained, by cluster; None: whatever the lake has."""

    @classmethod
    def of(cls, settings: Settings | None) -> Rules:
        """Return the rules of some settings, or of none."""
        if settings is None:
            return cls()
        named = {name: cluster.topics for name, cluster in settings.clusters.items()}
        return cls(settings.certificate.late_hours * HOUR_S, named if any(named.values()) else None)

    def is_drained(self, source: TopicGeneration) -> bool:
        """Whether a topic is among those that are drained still."""
        if self.topics is None:
            return True
        return any(fnmatchcase(source.topic, name) for name in self.topics.get(source.cluster, ()))

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield cluster and topic of those that are named in full: a pattern need not match any."""
        yield from ((cluster, name) for cluster, name in self._entries() if not set("*?[") & set(name))

    def patterns(self) -> Iterator[tuple[str, str]]:
        """Yield cluster and pattern of those that are none in full."""
        yield from ((cluster, name) for cluster, name in self._entries() if set("*?[") & set(name))

    def _entries(self) -> Iterator[tuple[str, str]]:
        for cluster, names in (self.topics or {}).items():
            yield from ((cluster, name) for name in names)


@dataclass(frozen=True, slots=True)
class Night:
    """One night of one survey; times in Unix seconds UTC."""

    survey: str
    night: int
    """YYYYMMDD."""
    start: float
    end: float
    closes_at: float
    """When its last alerts are sent, at the latest."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A span of time in which alerts were or may be sent that are not in the lake."""

    source: TopicGeneration | None
    """None: of all topics."""
    partition: int | None
    since: float
    until: float
    why: str
    todo: str
    lost: int = 0
    """Gaps that it is of."""
    quarantined: int = 0
    """Messages in quarantine that it is of."""

    def blocks(self, night: Night) -> bool:
        """Whether it touches the time in which the night's alerts are sent."""
        return self.until >= night.start and self.since < night.closes_at


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a night is complete."""

    night: Night
    rows: int
    blockers: tuple[Blocker, ...]

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
    return day.year * 10000 + day.month * 100 + day.day


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
        Surveys and nights; None: all that have rows.
    now
        Unix seconds UTC; None: the clock's.
    """
    now = time.time() if now is None else now
    coverage = read_coverage(ledger)
    pairs = list(coverage.nights if wanted is None else wanted)
    nights = [night_of(survey, night, rules) for survey, night in pairs]
    found = _Blockers(coverage, rules, now)
    return [
        Verdict(night, coverage.nights.get((night.survey, night.night), 0), tuple(found.of(night)))
        for night in nights
    ]


class _Blockers:
    """All that keeps nights from being complete."""

    def __init__(self, coverage: Coverage, rules: Rules, now: float) -> None:
        self._now = now
        self._clusters = clusters(coverage)
        found = [_not_seen(reach, rules) for reach in coverage.reaches]
        found += _never_drained(coverage, rules)
        found += _not_searched(coverage, rules)
        found += [_lost(lost) for lost in coverage.lost]
        found += [_waiting(waiting) for waiting in coverage.waiting]
        self._found = sorted((b for b in found if b.until >= b.since), key=lambda b: b.since)

    def of(self, night: Night) -> Iterator[Blocker]:
        """Yield what blocks a night."""
        if night.night == UNDATED_NIGHT:
            yield Blocker(None, None, NEVER, math.inf, UNDATED, "look at them")
            return
        if night.closes_at > self._now:
            yield Blocker(None, None, self._now, math.inf, _open(night), "drain until then, and ask again")
            return
        mine = self._clusters.get(night.survey, frozenset())
        for blocker in self._found:
            if blocker.since >= night.closes_at:
                return
            if blocker.blocks(night) and blocker.source is not None and blocker.source.cluster in mine:
                yield blocker


def clusters(coverage: Coverage) -> dict[str, frozenset[str]]:
    """Return the clusters that have delivered alerts of each survey."""
    found: dict[str, frozenset[str]] = {}
    for source, names in coverage.surveys.items():
        for survey in names:
            found[survey] = found.get(survey, frozenset()) | {source.cluster}
    return found


def _not_seen(reach: Reach, rules: Rules) -> Blocker:
    seen = max(_or(reach.reached_at, NEVER), _or(reach.passed_at, NEVER))
    where = _where(reach.source, reach.partition)
    until, why, todo = math.inf, f"{where}: {_last_seen(reach, seen)}", "finkbridge drain"
    if reach.ended_at is not None:
        until, todo = reach.ended_at, "what it got between is lost"
        why = f"{why}, and gone {utc(reach.ended_at)}"
    elif not rules.is_drained(reach.source):
        until = max(seen, _or(reach.seen_at, NEVER))
        until, todo = math.inf if until == NEVER else until, f"finkbridge drain {reach.source.topic}"
        why = f"{why}, and not drained since, as the settings do not name it"
    elif reach.seen_end is not None and reach.seen_end > reach.next_offset:
        why = f"{why}, and {reach.seen_end - reach.next_offset:,} offsets wait"
    return Blocker(reach.source, reach.partition, seen, until, why, todo)


def _never_drained(coverage: Coverage, rules: Rules) -> Iterator[Blocker]:
    """Yield what blocks for topics that have no partition in the lake."""
    known = {reach.source for reach in coverage.reaches}
    for source in coverage.sources.keys() - known:
        until, todo = _or(coverage.sources[source], math.inf), f"finkbridge drain {source.topic}"
        yield Blocker(source, None, NEVER, until, f"{source.topic}: never drained", todo)
    drained = {(source.cluster, source.topic) for source in coverage.sources}
    for cluster, topic in rules.named():
        if (cluster, topic) not in drained:
            todo = "finkbridge drain, or take it out of the settings"
            why = f"{topic}: never drained, and the settings name it"
            yield Blocker(TopicGeneration(cluster, topic, 1), None, NEVER, math.inf, why, todo)


def _not_searched(coverage: Coverage, rules: Rules) -> Iterator[Blocker]:
    """Yield what blocks for topics that nobody saw, as nobody looked for them."""
    for cluster, pattern in rules.patterns():
        at = _or(coverage.searched.get((cluster, pattern)), NEVER)
        when = "never" if at == NEVER else f"last {utc(at)}"
        why = f"{pattern}: its topics were looked for {when}"
        yield Blocker(TopicGeneration(cluster, pattern, 1), None, at, math.inf, why, "finkbridge drain")


def _last_seen(reach: Reach, seen: float) -> str:
    if seen == NEVER:
        return "never seen at its end"
    if seen == reach.reached_at:
        return f"last seen at its end {utc(seen)}"
    return f"drained up to {utc(seen)}, by Kafka's time"


def _lost(lost: Lost) -> Blocker:
    span = lost.range
    why = f"{_where(lost.source, span.partition)}: offsets [{span.start:,}, {span.end:,}) {lost.reason}"
    since, until = _or(lost.after, NEVER), _or(lost.before, math.inf)
    return Blocker(
        lost.source, span.partition, min(since, until), until, why, "they cannot be had any more", lost=1
    )


def _waiting(waiting: Waiting) -> Blocker:
    plural = "s" if waiting.messages > 1 else ""
    where = _where(waiting.source, waiting.partition)
    why = f"{where}: {waiting.messages:,} message{plural} in quarantine"
    since, until = _or(waiting.first, NEVER), _or(waiting.last, waiting.fetched_by)
    todo, many = 'finkbridge sql "FROM quarantine"', waiting.messages
    return Blocker(waiting.source, waiting.partition, since, until, why, todo, quarantined=many)


def _open(night: Night) -> str:
    return f"the night ends {utc(night.end)}, and its alerts may come until {utc(night.closes_at)}"


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _where(source: TopicGeneration, partition: int) -> str:
    life = f" (generation {source.generation})" if source.generation > 1 else ""
    return f"{source.topic}{life} partition {partition}"


def utc(at: float) -> str:
    """Return a time as text, to the minute."""
    if math.isinf(at):
        return "never"
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
