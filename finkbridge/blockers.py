"""What keeps nights from being complete: spans of time in which alerts were sent that are not in the lake.

Alerts of a night are sent between its begin and its end, or within the late hours that the settings allow.
So it is in *live* topics, and Kafka's time of a message bounds the nights that it can be of. A topic is live
if all alerts that are in the lake of it came so; of replays, transfers and topics that have nothing in the
lake Kafka's times tell nothing, and a message can be of any night that had begun when it was sent:

    unread        known offsets that are not in the lake. Live: from what tells best how far it is drained, a
                  look all of which is in the lake or Kafka's time, until for ever. Else: at any time
    not seen      from the newest look at a partition all of which is in the lake, until for ever; of a topic
                  that the settings do not name, until the newest look
                  Not of a life that the next one goes on from where it ends, as others do where a log was cut
    not drained   a topic that the settings name, or that was begun, and has nothing in the lake: at any time;
                  if it is gone, from its begin until that was noticed
    not searched  a pattern of the settings, from the newest search for topics that it matches: a topic that
                  nobody saw may have some. Likewise a topic that they name, and that is gone: it may be there
                  again
    lost          a gap. Live: between Kafka's times of its neighbours in the lake. Else: until it surely was
                  sent. What was there before the lake began with a topic that is live, or of which nothing
                  is in the lake: from when it began, as nights that were over by then have none of it
    waiting       a quarantined message. Live: at Kafka's time of it; at any time if it has none. Else: until
                  it surely was sent
    forgotten     in a ledger that was made again: until then. It does not know what had been lost of topics
                  and partitions that have no file

What a life of a topic has lost before anything of it landed is judged as the one before it would be.
Kafka's times are the producers', and believed as far as they can be true: `finkbridge.ledger.kafka_times`.
They are in order but for `DISORDER_S`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from finkbridge.broker.names import is_pattern, select
from finkbridge.ledger.coverage import NEVER_HAD, Coverage, Lost, Reach, Waiting
from finkbridge.ledger.kafka_times import DISORDER_S
from finkbridge.settings import Settings
from finkbridge.values import TopicGeneration

HOUR_S = 3600.0
NEVER = -math.inf
NOTHING_TELLS = "nothing of the topic is in the lake that tells"
LATE = "the topic sent alerts when their night was long over, as replays do"
EARLY = "the topic sent alerts before their night, as wrong clocks do"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say of nights."""

    late_s: float = 6 * HOUR_S
    """Seconds after a night's end in which its alerts may still be sent."""
    topics: Mapping[str, Sequence[str]] | None = None
    """Names and patterns that are drained, by cluster; None: whatever the lake has."""
    trust_rebuilt: bool = False
    """Whether nights before a ledger was made again are judged by what the lake's files say."""

    @classmethod
    def of(cls, settings: Settings | None) -> Rules:
        """Return the rules of some settings, or of none."""
        if settings is None:
            return cls()
        named = {name: cluster.topics for name, cluster in settings.clusters.items()}
        mine = settings.certificate
        return cls(mine.late_hours * HOUR_S, named if any(named.values()) else None, mine.trust_rebuilt)

    def drained(self, sources: Collection[TopicGeneration]) -> set[TopicGeneration]:
        """Return those of all topics of the lake that are drained still."""
        if self.topics is None:
            return set(sources)
        there: dict[str, set[str]] = {}
        for source in sources:
            there.setdefault(source.cluster, set()).add(source.topic)
        mine = {cluster: set(select(self.topics.get(cluster, ()), names)) for cluster, names in there.items()}
        return {source for source in sources if source.topic in mine[source.cluster]}

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield cluster and topic of those that are named in full: a pattern need not match any."""
        yield from ((cluster, name) for cluster, name in self._entries() if not is_pattern(name))

    def patterns(self) -> Iterator[tuple[str, str]]:
        """Yield cluster and pattern of those that are none in full."""
        yield from ((cluster, name) for cluster, name in self._entries() if is_pattern(name))

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
    unread: int = 0
    """Offsets that are known and not in the lake that it is of."""

    def blocks(self, night: Night) -> bool:
        """Whether it touches the time in which the night's alerts are sent."""
        return self.until >= night.start and self.since < night.closes_at


def blockers(coverage: Coverage, rules: Rules) -> list[Blocker]:
    """Return all that keeps some night from being complete, in order of time."""
    doubts = {source: _doubt(source, coverage, rules) for source in coverage.sources}
    drained = rules.drained(coverage.sources.keys())
    reaches = (reach for reach in coverage.reaches if not reach.is_followed)
    trusted = coverage.made_again if rules.trust_rebuilt else None
    found = [_not_seen(r, doubts[r.source], trusted, is_drained=r.source in drained) for r in reaches]
    found += _never_drained(coverage, rules)
    found += _not_searched(coverage, rules)
    found += [_lost(lost, _doubt_of_lost(lost.source, coverage, rules)) for lost in coverage.lost]
    found += [_waiting(waiting, doubts[waiting.source]) for waiting in coverage.waiting]
    if len({source.cluster for source in coverage.sources}) > 1:
        found = [_of_cluster(blocker) for blocker in found]
    if coverage.made_again is not None and not rules.trust_rebuilt:
        found.append(_forgotten(coverage.made_again))
    return sorted((b for b in found if b.until >= b.since), key=lambda b: b.since)


def accepted(coverage: Coverage, rules: Rules) -> list[Blocker]:
    """Return what would keep nights from being complete, had it not been accepted."""
    return [_waiting(one, _doubt(one.source, coverage, rules)) for one in coverage.accepted]


def together(found: Iterable[Blocker]) -> list[Blocker]:
    """Return what blocks a night, in order of time, with what is of no topic behind.

    All messages in quarantine of one partition are one.
    """
    whole: dict[object, Blocker] = {}
    for blocker in found:
        key = (blocker.source, blocker.partition) if blocker.quarantined else id(blocker)
        whole[key] = _joined(whole[key], blocker) if key in whole else blocker
    return sorted(whole.values(), key=lambda b: (b.source is None, b.since))


def _joined(one: Blocker, other: Blocker) -> Blocker:
    """Return messages in quarantine of one partition as one."""
    messages = one.quarantined + other.quarantined
    since, until = min(one.since, other.since), max(one.until, other.until)
    why = one.why.replace(_messages(one.quarantined), _messages(messages))
    return replace(one, since=since, until=until, why=why, quarantined=messages)


def _of_cluster(blocker: Blocker) -> Blocker:
    """Say of which cluster a topic is, where there are several: they may have topics of one name."""
    cluster = blocker.source and blocker.source.cluster
    return replace(blocker, why=f"{cluster}: {blocker.why}") if cluster else blocker


def _doubt(source: TopicGeneration, coverage: Coverage, rules: Rules) -> str:
    """Return why Kafka's times of a topic tell nothing of nights; empty of a live one."""
    delays = coverage.delays.get(source)
    if delays is None:
        return NOTHING_TELLS
    if delays.after_end_s > rules.late_s:
        return LATE
    return EARLY if delays.after_start_s < 0 else ""


def _doubt_of_lost(source: TopicGeneration, coverage: Coverage, rules: Rules) -> str:
    """Return the doubt of the newest life that tells, up to this one: what is lost will never tell itself."""
    lives = (replace(source, generation=number) for number in range(source.generation, 0, -1))
    return _doubt(next((life for life in lives if life in coverage.delays), source), coverage, rules)


def _not_seen(reach: Reach, doubt: str, trusted: float | None, *, is_drained: bool) -> Blocker:
    unread = 0 if reach.seen_end is None else max(0, reach.seen_end - reach.next_offset)
    looked, told = _or(reach.reached_at, NEVER), NEVER if doubt else _or(reach.passed_at, NEVER)
    if doubt and reach.seen_at is None and reach.ended_at is not None:
        looked = _or(trusted, NEVER)  # no drain will tell any more, and the files of the lake are to judge
    seen = max(looked, told)
    since = NEVER if unread and doubt else seen - (DISORDER_S if unread or told > looked else 0)
    where = _where(reach.source, reach.partition)
    until, why, todo = math.inf, f"{where}: {_last_seen(reach, seen)}", "finkbridge drain"
    if reach.ended_at is not None:
        until, todo = reach.ended_at, "what it got between is lost"
        why = f"{why}, and {'cut by' if reach.is_cut else 'gone'} {utc(reach.ended_at)}"
    elif not is_drained:
        until = max(seen, _or(reach.seen_at, NEVER))
        until, todo = math.inf if until == NEVER else until, f"finkbridge drain {reach.source.topic}"
        why = f"{why}, and not drained since, as the settings do not name it"
    elif unread:
        why = f"{why}, and {unread:,} offsets wait"
    if unread and doubt:
        why = f"{why}, which may be of any night: {doubt}"
    return Blocker(reach.source, reach.partition, since, until, why, todo, unread=unread)


def _never_drained(coverage: Coverage, rules: Rules) -> Iterator[Blocker]:
    """Yield what blocks for topics that have no partition in the lake."""
    known = {reach.source for reach in coverage.reaches}
    for source in coverage.sources.keys() - known:
        ended, why = coverage.sources[source].ended_at, f"{source.topic}: never drained"
        if ended is None:
            yield Blocker(source, None, NEVER, math.inf, why, f"finkbridge drain {source.topic}")
        else:
            since, why = _begun(source, coverage, rules), f"{why}, and gone {utc(ended)}"
            yield Blocker(source, None, since, ended, why, "what it had is lost")
    drained = {(source.cluster, source.topic) for source in coverage.sources}
    for cluster, topic in rules.named():
        if (cluster, topic) not in drained:
            todo = "finkbridge drain, or take it out of the settings"
            why = f"{topic}: never drained, and the settings name it"
            yield Blocker(TopicGeneration(cluster, topic, 1), None, NEVER, math.inf, why, todo)


def _begun(source: TopicGeneration, coverage: Coverage, rules: Rules) -> float:
    """Return when the lake began with a life of which it knows nothing else: it had no night that was over.

    As what a live topic had lost by then: not where a life before it was one of replays, or where the ledger
    does not know when that was.
    """
    begun = coverage.sources[source].begun_at
    is_known = coverage.made_again is None or begun > coverage.made_again
    is_told = _doubt_of_lost(source, coverage, rules) in {LATE, EARLY}
    return begun - DISORDER_S if is_known and not is_told else NEVER


def _not_searched(coverage: Coverage, rules: Rules) -> Iterator[Blocker]:
    """Yield what blocks for topics that nobody saw, as nobody looked for them."""
    for cluster, pattern in rules.patterns():
        at = _or(coverage.searched.get((cluster, pattern)), NEVER)
        when = "never" if at == NEVER else f"last {utc(at)}"
        why = f"{pattern}: its topics were looked for {when}"
        yield Blocker(TopicGeneration(cluster, pattern, 1), None, at, math.inf, why, "finkbridge drain")
    gone = _gone(coverage)
    for cluster, topic in rules.named():
        if (cluster, topic) in gone:
            at = max(gone[cluster, topic], _or(coverage.searched.get((cluster, topic)), NEVER))
            why = f"{topic}: gone, and looked for last {utc(at)}"
            todo = "finkbridge drain, or take it out of the settings"
            yield Blocker(TopicGeneration(cluster, topic, 1), None, at, math.inf, why, todo)


def _gone(coverage: Coverage) -> dict[tuple[str, str], float]:
    """Return when it was noticed of which clusters and topics that they are gone."""
    ends: dict[TopicGeneration, list[float | None]] = {}
    for reach in coverage.reaches:
        ends.setdefault(reach.source, []).append(reach.ended_at)
    newest = {(s.cluster, s.topic): s for s in sorted(coverage.sources, key=lambda s: s.generation)}
    mine = {key: ends.get(source, [coverage.sources[source].ended_at]) for key, source in newest.items()}
    return {key: max(_or(at, NEVER) for at in told) for key, told in mine.items() if None not in told}


def _last_seen(reach: Reach, seen: float) -> str:
    if seen == NEVER:
        return "never seen at its end"
    if seen == reach.reached_at:
        return f"last seen at its end {utc(seen)}"
    if reach.passed_at is None or seen > reach.passed_at:
        return f"not seen since the ledger was made again {utc(seen)}"
    return f"drained up to {utc(seen)}, by Kafka's time"


def _lost(lost: Lost, doubt: str) -> Blocker:
    span, todo = lost.range, "they cannot be had any more"
    why = f"{_where(lost.source, span.partition)}: offsets [{span.start:,}, {span.end:,}) {lost.reason}"
    is_new = doubt == NOTHING_TELLS and lost.reason == NEVER_HAD
    begun = NEVER if doubt and not is_new else lost.begun
    if doubt and begun == NEVER:
        why = f"{why}, which may be of any night: {doubt}"
        since, until = NEVER, _or(lost.known_at, math.inf)
    else:
        since = max(begun, _or(lost.after, NEVER)) - DISORDER_S
        until = _or(lost.before, math.inf) + DISORDER_S
    return Blocker(lost.source, span.partition, min(since, until), until, why, todo, lost=1)


def _forgotten(made_again: float) -> Blocker:
    why = (
        f"the ledger was lost, and made again {utc(made_again)}: what had been lost before of topics and "
        "partitions that have no file is not known"
    )
    todo = "put a backup of it back, or set certificate.trust_rebuilt"
    return Blocker(None, None, NEVER, made_again, why, todo)


def _waiting(waiting: Waiting, doubt: str) -> Blocker:
    why = f"{_where(waiting.source, waiting.partition)}: {_messages(waiting.messages)}"
    if doubt:
        why = f"{why}, which may be of any night: {doubt}"
        since, until = NEVER, waiting.fetched_by
    else:
        since, until = _or(waiting.first, NEVER), _or(waiting.last, waiting.fetched_by)
    todo, many = "finkbridge quarantine list", waiting.messages
    return Blocker(waiting.source, waiting.partition, since, until, why, todo, quarantined=many)


def _messages(count: int) -> str:
    return f"{count:,} message{'s' if count > 1 else ''} in quarantine"


def _where(source: TopicGeneration, partition: int) -> str:
    life = f" (generation {source.generation})" if source.generation > 1 else ""
    return f"{source.topic}{life} partition {partition}"


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def utc(at: float) -> str:
    """Return a time as text, to the minute."""
    if math.isinf(at):
        return "never"
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
