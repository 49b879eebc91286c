"""What keeps nights from being complete: no message that is known, and not in the lake, is of one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from finkbridge.blockers import HOUR_S, Rules
from finkbridge.land import Lander
from finkbridge.ledger import Coordinator, Ledger, coordinate, seen
from finkbridge.ledger.coverage import read_coverage
from finkbridge.nights import Verdict, night_of, verdicts
from finkbridge.surveys import night_span
from finkbridge.values import Message, OffsetRange
from tests.support.lake import encode
from tests.support.offline import Given, generation_of, plan_of

NIGHTS = (20260317, 20260318, 20260319, 20260320, 20260321)
BEGIN = night_span("ztf", NIGHTS[1])[0]
RULES = Rules()
GARBAGE = b"\xff" * 9
CANDIDATE = {
    "type": "record",
    "name": "candidate",
    "fields": [{"name": name, "type": "double"} for name in ("jd", "ra", "dec")],
}
ALERT = {
    "type": "record",
    "name": "alert",
    "fields": [
        {"name": "candid", "type": "long"},
        {"name": "objectId", "type": "string"},
        {"name": "candidate", "type": CANDIDATE},
    ],
}
KEY = json.dumps(ALERT).encode()


@dataclass(frozen=True)
class Sent:
    """A message as its producer knows it; times are Unix seconds UTC."""

    night: int
    at: float
    """When it got to the broker."""
    kafka_time: float | None
    good: bool = True

    def message(self, offset: int) -> Message:
        jd = (night_span("ztf", self.night)[0] + 8 * HOUR_S) / 86400 + 2440587.5
        alert = {"candid": offset, "objectId": "ZTF", "candidate": {"jd": jd, "ra": 1.0, "dec": 2.0}}
        value = encode(ALERT, alert) if self.good else GARBAGE
        timed_ms = None if self.kafka_time is None else int(self.kafka_time * 1000)
        return Message(0, offset, timed_ms, int(timed_ms is not None), KEY, value)

    @property
    def in_time(self) -> bool:
        night = night_of("ztf", self.night, RULES)
        return self.kafka_time is not None and night.start <= self.kafka_time <= night.closes_at


class Drained:
    """One topic of one partition, drained by hand."""

    def __init__(self, coordinator: Coordinator, topic: str, sent: Sequence[Sent], first: int = 0) -> None:
        self.coordinator, self.topic, self.sent = coordinator, topic, sent
        self.known = generation_of(coordinator, topic)
        coordinator.start_partitions(self.known, {0: first})
        self.first, self.begun = first, math.inf
        self.next, self.seen, self.landed = first, 0, set[int]()
        self.front, self.has_any = first, False
        """Where the first message is that is in the lake, whole or in quarantine."""

    def look(self, at: float) -> None:
        """See its end."""
        end = sum(s.at <= at for s in self.sent)
        with self.coordinator.writing() as connection:
            seen.note_looks(connection, {(self.known.row_id, 0): end}, at)
        self.begun = min(self.begun, at)
        self.seen = max(self.seen, end)

    def drain(self, many: int) -> None:
        """Land so many of those that were seen."""
        if (many := min(many, self.seen - self.next)) > 0:
            span = OffsetRange(0, self.next, self.next + many)
            given = [s.message(i) for i, s in enumerate(self.sent)]
            plan = plan_of(self.coordinator, self.topic, [span])
            self.coordinator.commit_segment(
                plan, Lander(self.coordinator.ledger.lake, Given(given)).land(plan)
            )
            self.has_any = True
            self.landed |= {i for i in range(span.start, span.end) if self.sent[i].good}
            self.next = span.end

    def lose(self, many: int) -> None:
        """Let so many of those that were seen expire."""
        if (many := min(many, self.seen - self.next)) > 0:
            self.coordinator.commit_gap(self.known, OffsetRange(0, self.next, self.next + many), "expired")
            self.next += many
            if not self.has_any:
                self.front = self.next

    @property
    def missing(self) -> list[Sent]:
        """Messages that are known and not in the lake, but for nights that were over when it began."""
        known = list(enumerate(self.sent[: self.seen]))
        return [s for i, s in known if i not in self.landed and not self._was_over(i, s)]

    def _was_over(self, index: int, one: Sent) -> bool:
        """Whether the lake has nothing of a message's night of this topic, as it began with it later."""
        if self.landed and not self.is_taken_for_live:
            return False
        if index >= (self.front if self.landed else self.first):
            return False
        told = self.sent[self.front].kafka_time if self.has_any else None
        begun = self.begun if told is None else min(self.begun, told)
        return night_of("ztf", one.night, RULES).closes_at <= begun

    @property
    def is_taken_for_live(self) -> bool:
        return bool(self.landed) and all(self.sent[i].in_time for i in self.landed)


@contextmanager
def lake() -> Iterator[Coordinator]:
    with (
        TemporaryDirectory() as folder,
        Ledger(Path(folder) / "lake", create=True) as ledger,
        coordinate(ledger) as coordinator,
    ):
        yield coordinator


def judged(coordinator: Coordinator, now: float) -> dict[int, Verdict]:
    found = verdicts(coordinator.ledger, RULES, [("ztf", night) for night in NIGHTS], now)
    return {verdict.night.night: verdict for verdict in found}


def live(nights: Sequence[int], after_h: float = 9.0) -> list[Sent]:
    """Return an alert of each night, sent so long after its begin."""
    at = [night_span("ztf", night)[0] + after_h * HOUR_S for night in nights]
    return [Sent(night, t, t) for night, t in zip(nights, at, strict=True)]


LATER = night_span("ztf", NIGHTS[-1])[1] + 100 * HOUR_S


def test_unread_messages_of_a_live_topic_leave_older_nights_complete() -> None:
    with lake() as coordinator:
        topic = Drained(coordinator, "fink_a", live(NIGHTS))
        topic.look(LATER)
        for _ in range(4):
            topic.drain(1)
        found = judged(coordinator, LATER)
        assert [found[night].complete for night in NIGHTS] == [True, True, True, False, False]
        why = "drained up to 2026-03-20 09:00 UTC, by Kafka's time, and 1 offsets wait: finkbridge drain"
        assert found[NIGHTS[-1]].why == f"fink_a partition 0: {why}"
        topic.drain(1)
        assert all(verdict.complete for verdict in judged(coordinator, LATER).values())


def test_unread_messages_of_a_replay_may_be_of_any_night() -> None:
    """Kafka got them all long after the nights; those that were drained first are of other nights."""
    replay = [Sent(night, LATER, LATER) for night in reversed(NIGHTS)]
    with lake() as coordinator:
        topic = Drained(coordinator, "ftransfer_a", replay)
        topic.look(LATER + HOUR_S)
        topic.drain(2)
        found = judged(coordinator, LATER + 2 * HOUR_S)
        assert not any(verdict.complete for verdict in found.values())
        assert found[NIGHTS[0]].why == (
            "ftransfer_a partition 0: never seen at its end, and 3 offsets wait, which may be of any night: "
            "the topic sent alerts when their night was long over, as replays do: finkbridge drain"
        )
        topic.drain(3)
        assert all(v.complete for v in judged(coordinator, LATER + 2 * HOUR_S).values())


def test_a_topic_of_which_nothing_is_drained_may_have_any_night() -> None:
    """It was empty when it was seen after the night: so Kafka's time would tell, were it known to be live."""
    with lake() as coordinator:
        mine = Drained(coordinator, "fink_a", live(NIGHTS))
        mine.look(LATER)
        mine.drain(5)
        new = Drained(coordinator, "fink_new", [Sent(NIGHTS[2], LATER + HOUR_S, LATER + HOUR_S)])
        new.look(LATER)
        assert all(verdict.complete for verdict in judged(coordinator, LATER + 2 * HOUR_S).values())
        new.look(LATER + 2 * HOUR_S)
        found = judged(coordinator, LATER + 2 * HOUR_S)
        assert not any(verdict.complete for verdict in found.values())
        assert "nothing of the topic is in the lake that tells" in str(found[NIGHTS[2]].why)


def test_quarantine_and_gaps_of_a_replay_may_be_of_any_night_before() -> None:
    replay = [Sent(NIGHTS[0], LATER, LATER), Sent(NIGHTS[3], LATER, LATER, good=False)]
    with lake() as coordinator:
        topic = Drained(coordinator, "ftransfer_a", [*replay, replay[0]])
        topic.look(LATER + HOUR_S)
        topic.drain(2)
        topic.lose(1)
        found = judged(coordinator, LATER + 2 * HOUR_S)
        assert {(v.quarantined, v.gaps, v.complete) for v in found.values()} == {(1, 1, False)}
        assert "1 message in quarantine, which may be of any night" in str(
            [b.why for b in found[NIGHTS[3]].blockers]
        )
        (later,) = verdicts(coordinator.ledger, RULES, [("ztf", 20260328)], LATER + 100 * HOUR_S)
        assert later.night.start > LATER + HOUR_S
        assert not any(blocker.lost for blocker in later.blockers)  # it was seen before that night began


def test_a_replay_that_had_more_before_the_lake_began_blocks_every_night() -> None:
    """Of a live topic it is of no night that was over by then."""
    for after_h, are_complete in ((9.0, True), (60.0, False)):
        with lake() as coordinator:
            topic = Drained(coordinator, "fink_a", live(NIGHTS, after_h), first=3)
            topic.look(LATER)
            topic.drain(5)
            found = judged(coordinator, LATER)
            assert all(found[night].complete == are_complete for night in NIGHTS[:2])
            assert not found[NIGHTS[3]].complete


@pytest.mark.parametrize("is_replay", [True, False])
def test_a_life_of_which_nothing_landed_is_taken_for_what_the_one_before_was(*, is_replay: bool) -> None:
    sent = [Sent(night, LATER, LATER) for night in NIGHTS] if is_replay else live(NIGHTS)
    with lake() as coordinator:
        topic = Drained(coordinator, "fink_a", sent)
        topic.look(LATER)
        topic.drain(5)
        assert all(verdict.complete for verdict in judged(coordinator, LATER + HOUR_S).values())
        new = coordinator.add_generation("ztf", "fink_a", "id-2")
        coordinator.start_partitions(new, {0: 50})  # what was before had expired
        with coordinator.writing() as connection:
            seen.note_looks(connection, {(new.row_id, 0): 50}, LATER + HOUR_S)
        found = judged(coordinator, LATER + 2 * HOUR_S)
        assert {verdict.complete for verdict in found.values()} == {not is_replay}


def test_a_clock_that_is_a_day_slow_makes_unread_messages_of_any_night() -> None:
    early = [Sent(s.night, s.at, s.at - 24 * HOUR_S) for s in live(NIGHTS)]
    with lake() as coordinator:
        topic = Drained(coordinator, "fink_a", early)
        topic.look(LATER)
        topic.drain(4)
        found = judged(coordinator, LATER)
        assert not any(verdict.complete for verdict in found.values())
        assert "the topic sent alerts before their night" in str(found[NIGHTS[0]].why)


def test_what_waits_on_a_cluster_that_has_delivered_nothing_counts_for_every_survey() -> None:
    with lake() as coordinator:
        mine = Drained(coordinator, "fink_a", live(NIGHTS))
        mine.look(LATER)
        mine.drain(5)
        other = coordinator.add_generation("replays", "fink_b", None)
        coordinator.start_partitions(other, {0: 0})
        assert "fink_b partition 0: never seen at its end" in str(judged(coordinator, LATER)[NIGHTS[0]].why)
        with coordinator.writing() as connection:
            seen.note_looks(connection, {(other.row_id, 0): 0}, LATER)
        assert judged(coordinator, LATER)[NIGHTS[0]].complete
        with coordinator.writing() as connection:
            seen.note_looks(connection, {(other.row_id, 0): 1}, LATER)
        assert "fink_b partition 0" in str(judged(coordinator, LATER)[NIGHTS[0]].why)


@pytest.mark.parametrize("hours", [0.0, 6.0])
def test_late_hours_tell_what_is_live(hours: float) -> None:
    with lake() as coordinator:
        topic = Drained(coordinator, "fink_a", live(NIGHTS, after_h=26.0))
        topic.look(LATER)
        for _ in range(4):
            topic.drain(1)
        (delays,) = read_coverage(coordinator.ledger).delays.values()
        assert (delays.after_start_s, delays.after_end_s) == (26 * HOUR_S, 2 * HOUR_S)
        (found,) = verdicts(coordinator.ledger, Rules(late_s=hours * HOUR_S), [("ztf", NIGHTS[0])], LATER)
        assert found.complete == (hours > 0)


@st.composite
def live_topics(draw: st.DrawFn) -> list[Sent]:
    """Alerts of which Kafka's time is in their night, or soon after; in order but for an hour."""
    at, found = BEGIN, []
    for _ in range(draw(st.integers(1, 7))):
        at += draw(st.floats(0.1, 20)) * HOUR_S
        kafka_time = max(BEGIN, at - draw(st.floats(0, 1)) * HOUR_S)
        one = [Sent(night, at, kafka_time, draw(st.booleans())) for night in NIGHTS]
        if own := [s for s in one if s.in_time]:  # none once all nights are over
            found.append(draw(st.sampled_from(own)))
    return found


@st.composite
def other_topics(draw: st.DrawFn) -> list[Sent]:
    """Alerts of any night that has begun; Kafka's time of them may be any, or none."""
    at, found = BEGIN, []
    for _ in range(draw(st.integers(1, 7))):
        at += draw(st.floats(0.1, 20)) * HOUR_S
        ahead_h = draw(st.none() | st.floats(-60, 1))
        told = None if ahead_h is None else at + ahead_h * HOUR_S
        begun = [night for night in NIGHTS if night_span("ztf", night)[0] <= at]
        found.append(Sent(draw(st.sampled_from(begun)), at, told, draw(st.booleans())))
    return found


STEPS = st.lists(
    st.tuples(st.floats(0, 40), st.sampled_from(["look", "drain", "drain", "lose"]), st.integers(1, 4)),
    max_size=7,
)


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.data(), st.lists(live_topics() | other_topics(), min_size=1, max_size=3))
def test_no_known_message_of_a_complete_night_is_missing(data: Any, topics: list[list[Sent]]) -> None:
    """But for topics that sent all alerts in their time so far, and then others: nobody can know."""
    with lake() as coordinator:
        drained, now = [], BEGIN
        for number, sent in enumerate(topics):
            topic = Drained(coordinator, f"fink_{number}", sent, data.draw(st.sampled_from([0, 0, 1])))
            at = sent[topic.first - 1].at if topic.first else BEGIN
            for hours, step, many in data.draw(STEPS):
                at += hours * HOUR_S
                topic.look(at)
                {"look": lambda _: None, "drain": topic.drain, "lose": topic.lose}[step](many)
            now = max(now, at + 60 * HOUR_S)
            drained.append(topic)
        found = judged(coordinator, now)
        for topic in drained:
            is_live = all(s.in_time for s in topic.sent)
            if topic.is_taken_for_live and not is_live:
                continue
            for one in topic.missing:
                assert not found[one.night].complete, (topic.topic, one)
