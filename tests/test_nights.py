"""Which nights are complete: by what runs saw of topics' ends, what is lost, and what waits in quarantine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge import catalog, surveys
from finkbridge.blockers import Blocker, Night, Rules
from finkbridge.certificate import certificates, summaries
from finkbridge.errors import LakeError, SettingsError
from finkbridge.land import Lander
from finkbridge.ledger import Coordinator, Ledger, coordinate, kafka_times, seen
from finkbridge.ledger.coverage import drained, read_counts
from finkbridge.ledger.quarantined import Selection, accept, find
from finkbridge.ledger.store import KnownGeneration
from finkbridge.nights import Verdict, verdicts
from finkbridge.rebuild.ledger import rebuild_ledger
from finkbridge.settings import Settings
from finkbridge.values import UNDATED_NIGHT, Message, OffsetRange
from pipelines.checks import nights_complete
from tests.support.lake import POINT, encode, points, real_alerts
from tests.support.offline import POINT_KEY, Given, fill, generation_of, messages_of, plan_of

HOUR = 3600.0
NIGHT = 20260320
START = datetime(2026, 3, 20, tzinfo=UTC).timestamp()
END = START + 24 * HOUR
CLOSES = END + 6 * HOUR
GARBAGE = b"\xff" * 9


def message(offset: int, at: float, partition: int = 0, value: bytes | None = None) -> Message:
    bare = encode(POINT, {"x": float(offset)}) if value is None else value
    return Message(partition, offset, int(at * 1000), 1, POINT_KEY, bare)


class World:
    """A lake that is drained by hand, at any time one likes."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        self.ledger = coordinator.ledger

    def drain(self, messages: Sequence[Message], topic: str = "fink_a", start: int | None = None) -> None:
        """Land messages, from `start` or from the first one on."""
        spans = []
        for partition in sorted({m.partition for m in messages}):
            mine = [m.offset for m in messages if m.partition == partition]
            first = min(mine) if start is None else start
            spans.append(OffsetRange(partition, first, max(mine) + 1))
        plan = plan_of(self.coordinator, topic, spans)
        self.coordinator.commit_segment(plan, Lander(self.ledger.lake, Given(messages)).land(plan))

    def begin(self, topic: str, start: int, end: int, at: float) -> KnownGeneration:
        """See a topic for the first time: its messages from `start` on are there."""
        known = generation_of(self.coordinator, topic)
        self.coordinator.start_partitions(known, {0: start})
        self.look(at, {0: end}, topic)
        return known

    def look(self, at: float, ends: Mapping[int, int], topic: str = "fink_a") -> None:
        """See a topic's partitions end at offsets."""
        known = generation_of(self.coordinator, topic).row_id
        with self.coordinator.writing() as connection:
            seen.note_looks(connection, {(known, p): end for p, end in ends.items()}, at)

    def search(self, at: float, *patterns: str) -> None:
        """Look for topics."""
        with self.coordinator.writing() as connection:
            seen.note_searched(connection, {("ztf", pattern): at for pattern in patterns})

    def verdict(self, rules: Rules = Rules(), now: float = CLOSES + 100 * HOUR) -> Verdict:  # noqa: B008
        (found,) = verdicts(self.ledger, rules, [("other", NIGHT)], now)
        return found

    def why(self, rules: Rules = Rules(), now: float = CLOSES + 100 * HOUR) -> str:  # noqa: B008
        """Return why the night is not complete, and expect that it is not."""
        found = self.verdict(rules, now)
        assert not found.complete
        assert found.why
        return found.why


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Ledger(tmp_path / "lake", create=True) as ledger, coordinate(ledger) as coordinator:
        yield World(coordinator)


def test_complete_once_the_end_was_seen_after_the_night_closed(world: World) -> None:
    world.drain([message(0, START + HOUR), message(1, START + 2 * HOUR)])
    assert world.why() == (
        "fink_a partition 0: drained up to 2026-03-20 01:00 UTC, by Kafka's time: finkbridge drain"
    )
    world.look(START + 4 * HOUR, {0: 2})
    assert world.why() == "fink_a partition 0: last seen at its end 2026-03-20 04:00 UTC: finkbridge drain"
    world.look(CLOSES - 1, {0: 2})
    assert "last seen at its end 2026-03-21 05:59 UTC" in world.why()
    world.look(CLOSES, {0: 2})
    assert world.verdict() == Verdict(Night("other", NIGHT, START, END, CLOSES), 2, ())


def test_a_night_that_is_not_over_is_not_complete_whatever_was_seen(world: World) -> None:
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES + HOUR, {0: 1})
    assert world.why(now=CLOSES - 1).startswith(
        "the night ends 2026-03-21 00:00 UTC, and its alerts may come until 2026-03-21 06:00 UTC"
    )
    assert world.verdict(now=CLOSES + HOUR).complete


def test_late_hours_are_a_setting(world: World) -> None:
    world.drain([message(0, START + HOUR)])
    world.look(END + HOUR, {0: 1})
    rules = Rules.of(Settings.model_validate({"certificate": {"late_hours": 1}}))
    assert rules.late_s == HOUR
    assert world.verdict(rules).complete
    assert not world.verdict().complete
    quiet = world.coordinator.add_generation("ztf", "fink_quiet", None)
    world.coordinator.start_partitions(quiet, {0: 0})
    assert world.why(rules) == "fink_quiet partition 0: never seen at its end: finkbridge drain"


def test_what_a_look_saw_counts_only_when_it_is_drained(world: World) -> None:
    world.drain([message(0, START + HOUR)])
    world.look(START + 2 * HOUR, {0: 1})
    world.look(CLOSES + HOUR, {0: 3})
    assert world.why() == (
        "fink_a partition 0: last seen at its end 2026-03-20 02:00 UTC, and 2 offsets wait: finkbridge drain"
    )
    world.drain([message(1, START + 3 * HOUR), message(2, START + 4 * HOUR)])
    assert world.verdict().complete
    world.look(CLOSES + 2 * HOUR, {0: 9})  # more came since: what was seen before holds
    assert world.verdict().complete


def test_kafkas_time_of_what_is_drained_tells_it_too(world: World) -> None:
    """A backlog that is drained bit by bit: the end that was seen is far behind."""
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES + 50 * HOUR, {0: 100})
    assert not world.verdict().complete
    world.drain([message(1, CLOSES - 1), message(2, CLOSES + HOUR)])
    assert not world.verdict().complete  # the part begins before the night closed
    world.drain([message(3, CLOSES + 2 * HOUR)])
    assert world.verdict().complete


def test_every_partition_of_every_topic_of_the_cluster_counts(world: World) -> None:
    world.drain([message(0, START + HOUR, 0), message(0, START + HOUR, 1)])
    world.drain([message(0, START - 50 * HOUR)], "fink_b")
    world.look(CLOSES, {0: 1, 1: 1})
    assert world.why().startswith("fink_b partition 0: drained up to 2026-03-17 22:00 UTC")
    world.look(CLOSES, {0: 1}, "fink_b")
    assert world.verdict().complete


def test_another_cluster_blocks_nothing(world: World) -> None:
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    other = world.coordinator.add_generation("lsst", "fink_c", None)
    world.coordinator.start_partitions(other, {0: 0})
    assert world.verdict().complete


def test_a_topic_that_the_settings_no_longer_name_blocks_only_the_night_it_was_left_in(world: World) -> None:
    world.drain([message(0, START + HOUR)])
    world.drain([message(0, START - 50 * HOUR)], "fink_b")
    world.look(CLOSES, {0: 1})
    world.look(START - HOUR, {0: 1}, "fink_b")
    left = Rules(topics={"ztf": ("fink_a*",)})
    world.search(CLOSES, "fink_a*", "fink_*")
    assert world.verdict(left).complete
    assert "fink_b" in world.why(Rules(topics={"ztf": ("fink_*",)}))
    world.look(START + HOUR, {0: 1}, "fink_b")
    assert "not drained since, as the settings do not name it: finkbridge drain fink_b" in world.why(left)


def test_gaps_block_the_nights_between_their_neighbours(world: World) -> None:
    known = generation_of(world.coordinator, "fink_a")
    world.drain([message(0, START - 30 * HOUR), message(1, START - 20 * HOUR)])
    world.coordinator.commit_gap(known, OffsetRange(0, 2, 50), "expired")
    world.drain([message(50, START - 2 * HOUR), message(51, START + HOUR)])
    world.look(CLOSES, {0: 52})
    assert world.verdict().complete  # all of the gap was sent before the night
    world.coordinator.commit_gap(known, OffsetRange(0, 52, 60), "expired")
    world.drain([message(60, CLOSES + HOUR)])
    world.look(CLOSES + 2 * HOUR, {0: 61})
    found = world.verdict()
    assert (found.gaps, found.complete) == (1, False)
    assert found.why == "fink_a partition 0: offsets [52, 60) expired: they cannot be had any more"


def test_what_was_there_before_the_lake_began_blocks_the_night_of_its_first_message(world: World) -> None:
    world.drain([message(100, START + HOUR)])
    world.look(CLOSES, {0: 101})
    assert "offsets [0, 100) sent before the lake began with it" in world.why()
    world.drain([message(10, START - 5 * 24 * HOUR), message(11, END + HOUR)], "fink_b")
    world.look(CLOSES, {0: 12}, "fink_b")
    late, over = verdicts(world.ledger, Rules(), [("other", NIGHT - 1), ("other", NIGHT - 2)], CLOSES + HOUR)
    assert "fink_a" in str(late.why), "its last alerts may be among them"
    assert over.complete, "it was over by then: the lake has nothing of it"
    early = generation_of(world.coordinator, "fink_early")
    world.coordinator.start_partitions(early, {0: 70})
    world.look(START - 40 * HOUR, {0: 70}, "fink_early")
    world.look(CLOSES, {0: 70}, "fink_early")
    assert "fink_early" not in str(world.verdict().blockers)  # its first look was before the night


def test_a_first_message_before_the_night_closes_the_time_before_the_lake(world: World) -> None:
    world.drain([message(100, START - 2 * HOUR), message(101, START + HOUR)])
    world.look(CLOSES, {0: 102})
    world.look(CLOSES + 1, {0: 102})  # writes the first message's time down
    assert world.verdict().complete


def test_quarantine_blocks_the_night_of_its_time_until_it_is_landed(world: World) -> None:
    world.drain([message(0, START - 50 * HOUR, value=GARBAGE), message(1, START + HOUR)])
    world.drain([message(2, START + 2 * HOUR, value=GARBAGE), message(3, CLOSES + HOUR, value=GARBAGE)])
    world.look(CLOSES + 2 * HOUR, {0: 4})
    found = world.verdict()
    assert (found.quarantined, len(found.blockers)) == (1, 1)
    assert found.why == "fink_a partition 0: 1 message in quarantine: finkbridge quarantine list"


def test_messages_in_quarantine_of_one_partition_are_one_reason(world: World) -> None:
    """They are counted by the hour, which nobody asks for."""
    bad = [message(offset, START + offset * 2 * HOUR, value=GARBAGE) for offset in range(1, 4)]
    world.drain([message(0, START + HOUR), *bad])
    world.look(CLOSES, {0: 4})
    (blocker,) = world.verdict().blockers
    assert (blocker.quarantined, blocker.why) == (3, "fink_a partition 0: 3 messages in quarantine")
    assert (blocker.since, blocker.until) == (START + 2 * HOUR, START + 6 * HOUR)


def test_reasons_name_the_cluster_where_there_are_several(world: World) -> None:
    """They may have topics of one name."""
    world.drain([message(0, START + HOUR)])
    assert world.why().startswith("fink_a partition 0: ")
    other = world.coordinator.add_generation("lsst", "fink_a", None)
    world.coordinator.start_partitions(other, {0: 0})
    assert [b.why.partition(" partition")[0] for b in world.verdict().blockers] == ["ztf: fink_a"]


def test_quarantine_without_a_time_blocks_every_night(world: World) -> None:
    world.drain([message(0, START + HOUR)])
    world.drain([Message(0, 1, None, 0, POINT_KEY, GARBAGE)])
    world.look(CLOSES, {0: 2})
    assert "1 message in quarantine" in world.why()


@pytest.mark.parametrize("at", [1e-3, START - 20 * 24 * HOUR, 4e9])
def test_a_quarantined_message_whose_time_cannot_be_true_is_of_any_time(world: World, at: float) -> None:
    world.drain([message(0, START + HOUR)])
    world.drain([message(1, at, value=GARBAGE), message(2, CLOSES + HOUR)])
    world.look(CLOSES + 2 * HOUR, {0: 3})
    assert "1 message in quarantine" in world.why()


def test_a_topic_drained_by_name_and_not_to_its_end_blocks_though_the_settings_do_not_name_it(
    world: World,
) -> None:
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    world.drain([message(i, START + i * HOUR) for i in range(3)], "fink_b")
    world.look(CLOSES, {0: 10}, "fink_b")
    assert world.why(Rules(topics={"ztf": ("fink_a",)})) == (
        "fink_b partition 0: drained up to 2026-03-20 00:00 UTC, by Kafka's time, and not drained since, "
        "as the settings do not name it: finkbridge drain fink_b"
    )


def test_a_message_proves_no_time_later_than_when_it_was_fetched(world: World) -> None:
    world.drain([message(0, START + HOUR)])
    world.drain([message(1, 4e9)])
    world.look(CLOSES + HOUR, {0: 9})
    assert "drained up to 2026-03-20 01:00 UTC, by Kafka's time, and 7 offsets wait" in world.why()


@pytest.mark.parametrize("at", [1e-3, START - 20 * 24 * HOUR, 4e9])
def test_a_gap_whose_neighbour_has_a_wrong_time_was_lost_when_it_was_noticed(world: World, at: float) -> None:
    world.drain([message(i, START + HOUR) for i in range(3)])
    known = generation_of(world.coordinator, "fink_a")
    world.coordinator.commit_gap(known, OffsetRange(0, 3, 9), "expired")
    world.drain([message(9, at)])
    world.drain([message(10, CLOSES + HOUR)])
    world.look(CLOSES + 2 * HOUR, {0: 11})
    assert "offsets [3, 9) expired" in world.why()


def test_a_first_message_with_a_wrong_time_hides_nothing_that_was_there_before(world: World) -> None:
    world.drain([message(100, 1e-3)])
    world.drain([message(101, START + HOUR)])
    world.look(CLOSES, {0: 102})
    assert "offsets [0, 100) sent before the lake began with it" in world.why()


def test_a_topic_of_which_nothing_was_ever_drained_blocks(world: World) -> None:
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    named = Rules(topics={"ztf": ("fink_*", "fink_b"), "lsst": ("fink_c",)})
    world.search(CLOSES, "fink_*")
    assert world.why(named) == (
        "fink_b: never drained, and the settings name it: finkbridge drain, or take it out of the settings"
    )
    assert len(world.verdict(named).blockers) == 1
    begun = world.coordinator.add_generation("ztf", "fink_b", None)
    assert world.why(named) == "fink_b: never drained: finkbridge drain fink_b"
    with world.coordinator.writing() as connection:
        seen.note_gone(connection, [begun.row_id], time.time())  # it was deleted meanwhile
    assert world.verdict(named).complete
    tonight = surveys.night_at("other", time.time())
    (now,) = verdicts(world.ledger, named, [("other", tonight)], time.time() + 100 * HOUR)
    assert any("fink_b: never drained, and gone" in blocker.why for blocker in now.blockers)
    world.coordinator.start_partitions(begun, {0: 0})
    world.look(CLOSES, {0: 0}, "fink_b")
    assert world.verdict(named).complete


def test_what_waits_of_a_topic_that_is_not_drained_may_be_of_any_night(world: World) -> None:
    """It is there: unlike of one that is gone, a drain tells."""
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    world.begin("fink_other", 0, 5, time.time())
    world.search(CLOSES, "fink_a")
    named = Rules(topics={"ztf": ("fink_a",)})
    assert "fink_other partition 0: never seen at its end" in world.why(named)


def test_what_was_known_to_wait_of_a_topic_may_be_of_any_night_once_it_is_gone(world: World) -> None:
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    known = world.begin("fink_gone", 0, 5, time.time())
    assert not world.verdict().complete
    with world.coordinator.writing() as connection:
        seen.note_gone(connection, [known.row_id], time.time())
    assert "fink_gone partition 0: never seen at its end, and gone" in world.why()
    world.coordinator.give_up([], known, "gone")
    assert any(blocker.lost for blocker in world.verdict().blockers)


def test_a_topic_whose_survey_nobody_knows_blocks_by_what_is_known_to_wait(world: World) -> None:
    """Its cluster has sent alerts of another survey, which tells nothing of this topic."""
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    known = world.coordinator.add_generation("lsst", "fink_known", None)
    with world.coordinator.writing() as connection:
        seen.note_surveys(connection, known.row_id, ["lsst"])
    world.coordinator.start_partitions(known, {0: 0})
    unknown = world.coordinator.add_generation("lsst", "fink_new", None)
    world.coordinator.start_partitions(unknown, {0: 0})
    assert world.verdict().complete
    with world.coordinator.writing() as connection:
        seen.note_looks(connection, {(known.row_id, 0): 500}, CLOSES)
    assert world.verdict().complete
    with world.coordinator.writing() as connection:
        seen.note_looks(connection, {(unknown.row_id, 0): 500}, CLOSES)
    assert "fink_new partition 0: never seen at its end, and 500 offsets wait" in world.why()


def test_a_look_of_the_future_tells_nothing(world: World) -> None:
    """The clock was ahead by a day, for one run; others, with the right time, found what waits."""
    world.drain([message(0, START + HOUR)])
    world.look(START + 2 * HOUR, {0: 1})
    world.look(CLOSES + 12 * HOUR, {0: 1})
    world.search(CLOSES + 12 * HOUR, "fink_*")
    assert "never seen at its end" in world.why(now=CLOSES)
    rules = Rules(topics={"ztf": ("fink_*",)})
    assert any("looked for never" in b.why for b in world.verdict(rules, CLOSES).blockers)
    for later in (1, 2):
        world.look(CLOSES + later * HOUR, {0: 500 + later})
        assert f"{500 + later - 1} offsets wait" in world.why()
    world.drain([message(n, START + 3 * HOUR) for n in range(1, 502)])
    assert world.verdict().complete


def test_a_pattern_that_was_not_looked_for_since_the_night_closed_blocks(world: World) -> None:
    """Its topics may be many that nobody drained: only one was, by its name."""
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    rules = Rules(topics={"ztf": ("fink_*", "fink_a"), "lsst": ("fink_*",)})
    assert world.why(rules) == "fink_*: its topics were looked for never: finkbridge drain"
    world.search(CLOSES - 1, "fink_*")
    assert (
        world.why(rules) == "fink_*: its topics were looked for last 2026-03-21 05:59 UTC: finkbridge drain"
    )
    world.search(CLOSES, "fink_?")
    assert not world.verdict(rules).complete
    world.search(CLOSES, "fink_*")
    assert world.verdict(rules).complete
    assert world.verdict(Rules(topics={"ztf": ("fink_a",)})).complete


def test_a_topic_that_is_named_and_gone_blocks_unless_it_was_looked_for_since_the_night_closed(
    world: World,
) -> None:
    """It may be there again, with alerts of the night."""
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    world.drain([message(0, START - 50 * HOUR)], "fink_gone")
    world.look(START - 40 * HOUR, {0: 1}, "fink_gone")
    named = Rules(topics={"ztf": ("fink_a", "fink_gone")})
    assert "fink_gone partition 0: last seen at its end" in world.why(named)
    known = generation_of(world.coordinator, "fink_gone").row_id
    with world.coordinator.writing() as connection:
        seen.note_gone(connection, [known], START - 30 * HOUR)
    assert world.why(named) == (
        "fink_gone: gone, and looked for last 2026-03-18 18:00 UTC: finkbridge drain, or take it out of the "
        "settings"
    )
    world.search(CLOSES - 1, "fink_gone")
    assert "fink_gone: gone, and looked for last 2026-03-21 05:59 UTC" in world.why(named)
    assert world.verdict(Rules(topics={"ztf": ("fink_a",)})).complete
    world.search(CLOSES, "fink_gone")
    assert world.verdict(named).complete


def test_neighbours_of_a_gap_are_found_by_an_index(world: World) -> None:
    """The table has a million ranges in a year, and each publishing asks for every gap."""
    with world.ledger.reading() as connection:
        for query in (kafka_times._BEFORE, kafka_times._AFTER, kafka_times._NEWEST):
            told = connection.exec_driver_sql(
                f"EXPLAIN QUERY PLAN {query.compile(connection)}", (1, 0, 0, 16, 0)
            )
            plan = [row[3] for row in told]
            assert "SEARCH segment_ranges USING INDEX segment_ranges_in_order" in plan[0]
            assert not any("SCAN" in step or "TEMP B-TREE" in step for step in plan)
        first = kafka_times._FIRST.compile(connection, compile_kwargs={"literal_binds": True})
        told = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {first}")
        scanned = [row[3] for row in told if "SCAN" in row[3] and "CONSTANT" not in row[3]]
        assert len(scanned) == 1
        assert scanned[0].startswith("SCAN partitions")


def test_a_recreated_topic_blocks_the_nights_in_which_it_was_not_seen(world: World) -> None:
    world.drain([message(0, START + HOUR)])
    world.look(START + 3 * HOUR, {0: 1})
    new = world.coordinator.add_generation("ztf", "fink_a", "id-2")  # first seen now, long after the night
    world.coordinator.start_partitions(new, {0: 0})
    world.look(CLOSES + HOUR, {0: 0})
    found = world.verdict()
    assert "fink_a partition 0: last seen at its end 2026-03-20 03:00 UTC, and gone" in str(found.why)
    assert "what it got between is lost" in str(found.why)
    assert len(found.blockers) == 1


def test_a_topic_that_is_recreated_by_a_clock_that_is_behind_blocks_the_night_it_was_last_seen_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.drain([message(0, START + HOUR)])
    world.look(START + 3 * HOUR, {0: 1})
    monkeypatch.setattr(time, "time", lambda: START - 30 * HOUR)
    new = world.coordinator.add_generation("ztf", "fink_a", "id-2")
    world.coordinator.start_partitions(new, {0: 0})
    world.look(CLOSES + HOUR, {0: 0})
    assert "fink_a partition 0: never seen at its end, and gone 2026-03-20 03:00 UTC" in world.why()


def test_a_deleted_topic_blocks_the_night_it_went_in_and_none_after(world: World) -> None:
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    world.drain([message(0, START - 50 * HOUR)], "fink_b")
    world.look(START - 40 * HOUR, {0: 1}, "fink_b")
    known = generation_of(world.coordinator, "fink_b").row_id
    with world.coordinator.writing() as connection:
        seen.note_gone(connection, [known], START + HOUR)
        seen.note_gone(connection, [known], CLOSES)  # the first time counts
    assert "fink_b partition 0: last seen at its end 2026-03-18 08:00 UTC, and gone" in world.why()
    with world.coordinator.writing() as connection:
        seen.note_looks(connection, {(known, 0): 1}, CLOSES)  # it was only hidden
    assert world.verdict().complete
    with world.coordinator.writing() as connection:
        seen.note_gone(connection, [known], CLOSES + HOUR)
    assert world.verdict().complete


def test_a_topic_that_went_before_any_look_at_it_blocks_until_that_was_noticed(world: World) -> None:
    """A ledger that was rebuilt knows of no look: nobody can tell any more what the topic had got."""
    world.drain([message(0, START + HOUR)])
    known = generation_of(world.coordinator, "fink_a").row_id
    with world.coordinator.writing() as connection:
        seen.note_gone(connection, [known], CLOSES + HOUR)
        seen.note_gone(connection, [known], CLOSES + 2 * HOUR)  # the first time counts
        assert seen.gone(connection) == {known}
    assert world.why() == (
        "fink_a partition 0: drained up to 2026-03-20 01:00 UTC, by Kafka's time, and gone "
        "2026-03-21 07:00 UTC: what it got between is lost"
    )
    (later,) = verdicts(world.ledger, Rules(), [("other", 20260323)])
    assert later.complete
    world.look(CLOSES + 3 * HOUR, {0: 1})  # it was only hidden
    assert world.verdict().complete


def test_what_is_lost_of_a_deleted_topic_was_sent_by_the_last_look_that_saw_it(world: World) -> None:
    """However long after that it is written down as lost."""
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    world.drain([message(0, START - 50 * HOUR)], "fink_b")
    world.look(START - 40 * HOUR, {0: 3}, "fink_b")
    known = generation_of(world.coordinator, "fink_b")
    with world.coordinator.writing() as connection:
        seen.note_gone(connection, [known.row_id], START - HOUR)
    assert world.verdict().complete
    assert world.coordinator.give_up([], known, "gone") == [OffsetRange(0, 1, 3)]
    assert world.coordinator.give_up([], known, "gone") == []
    assert world.verdict().complete
    (before,) = verdicts(world.ledger, Rules(), [("other", 20260318)])
    assert before.gaps == 1


def test_an_end_before_what_the_lake_has_is_no_look(world: World) -> None:
    world.drain([message(0, START + HOUR), message(1, START + HOUR)])
    world.look(CLOSES, {0: 1})
    assert "drained up to 2026-03-20 01:00 UTC" in world.why()


def test_rows_without_a_time_are_never_complete(world: World) -> None:
    world.drain([Message(0, 0, None, 0, *points(1)[0])])
    world.look(CLOSES, {0: 1})
    (found,) = verdicts(world.ledger, Rules(), None, CLOSES + HOUR)
    assert (found.night.night, found.rows, found.complete) == (0, 1, False)
    assert "have no time" in str(found.why)


def test_a_night_of_which_all_is_in_quarantine_is_known(world: World) -> None:
    next_night = CLOSES + 2 * HOUR
    world.drain([message(0, START + 2 * HOUR), message(1, next_night, value=GARBAGE)])
    world.look(CLOSES + 24 * HOUR, {0: 2})
    first, second = verdicts(world.ledger, Rules())
    assert first == Verdict(Night("other", NIGHT, START, END, CLOSES), 1, ())
    assert (second.night.night, second.rows, second.quarantined) == (NIGHT + 1, 0, 1)
    assert "1 message in quarantine" in str(second.why)
    catalog.publish(world.coordinator)
    with catalog.connect(world.ledger) as connection:
        told = "SELECT night, rows, alerts, duplicates, quarantined, complete, last_received FROM nights"
        (_, row) = connection.execute(told).fetchall()
    assert row == (NIGHT + 1, 0, 0, 0, 1, False, None)
    assert [line.verdict.rows for line in summaries(Settings(lake=world.ledger.lake))] == [1, 0]


def test_a_gap_between_nights_is_told_by_a_night_that_it_blocks(world: World) -> None:
    """Of what was received around it nothing landed, and a person has accepted that."""
    later = START + (9 * 24 + 3) * HOUR
    world.drain([message(0, START + HOUR), message(1, later, value=GARBAGE)])
    known = generation_of(world.coordinator, "fink_a")
    world.coordinator.commit_gap(known, OffsetRange(0, 2, 5), "expired")
    world.drain([message(5, later + 2 * HOUR, value=GARBAGE)])
    world.drain([message(6, later + 10 * 24 * HOUR)])
    world.look(later + 12 * 24 * HOUR, {0: 7})
    shown = {v.night.night: (v.rows, v.gaps, v.complete) for v in verdicts(world.ledger, Rules())}
    assert shown == {NIGHT: (1, 0, True), NIGHT + 9: (0, 1, False), 20260408: (1, 0, True)}
    accept(world.coordinator, find(world.ledger, Selection()))
    (accepted,) = [v for v in verdicts(world.ledger, Rules()) if not v.rows]
    assert (accepted.gaps, accepted.accepted, accepted.complete) == (1, 2, False)


def test_what_a_topic_sends_is_told_of_its_own_surveys(world: World) -> None:
    world.drain([message(0, START + HOUR), message(1, CLOSES + HOUR, value=GARBAGE)])
    world.look(CLOSES + 24 * HOUR, {0: 2})
    ztf = world.coordinator.add_generation("ztf", "fink_ztf", None)
    with world.coordinator.writing() as connection:
        seen.note_surveys(connection, ztf.row_id, ["ztf"])
    told = {(v.night.survey, v.night.night) for v in verdicts(world.ledger, Rules())}
    assert told == {("other", NIGHT), ("other", NIGHT + 1)}


def test_a_lake_of_which_all_is_in_quarantine_has_no_complete_night(world: World) -> None:
    world.drain([message(0, START, value=GARBAGE)])
    world.look(CLOSES, {0: 1})
    found = verdicts(world.ledger, Rules())
    assert [v.night.survey for v in found] == ["lsst", "other", "ztf"]
    assert {(v.rows, v.complete, v.quarantined) for v in found} == {(0, False, 1)}
    assert all(v.night.closes_at <= time.time() for v in found)
    settings = Settings(lake=world.ledger.lake)
    assert {c.summary.verdict.complete for c in certificates(settings, NIGHT)} == {False}


def test_a_lake_of_which_nothing_landed_is_complete_only_as_far_as_was_seen(world: World) -> None:
    """Its topic was empty, or all that it had was accepted as lost."""
    empty = world.coordinator.add_generation("ztf", "fink_a", None)
    world.coordinator.start_partitions(empty, {0: 0})
    world.look(CLOSES, {0: 0})
    settings = Settings(lake=world.ledger.lake)

    def shown(night: int) -> set[tuple[bool, str]]:
        found = [c.summary.verdict for c in certificates(settings, night)]
        return {(v.complete, str(v.why)) for v in found}

    assert {complete for complete, _ in shown(NIGHT - 1)} == {True}
    ((complete, why),) = shown(NIGHT + 1)
    assert not complete
    assert why.startswith("fink_a partition 0: last seen at its end 2026-03-21 06:00 UTC")
    world.drain([message(0, CLOSES + HOUR, value=GARBAGE)])
    accept(world.coordinator, find(world.ledger, Selection()))
    assert {complete for complete, _ in shown(NIGHT + 1)} == {False}


def test_a_survey_that_lacks_all_of_a_night_is_told_of(tmp_path: Path, shared_data: Path) -> None:
    ztf, lsst = real_alerts(shared_data / "ztf"), real_alerts(shared_data / "lsst")
    lake = tmp_path / "other"
    fill(lake, {"a": messages_of(ztf.records[:1]), "b": messages_of(lsst.records[:1])})
    settings = Settings(lake=lake)
    (night,) = {
        line.verdict.night.night for line in summaries(settings) if line.verdict.night.survey == "ztf"
    }
    lines = {c.summary.verdict.night.survey: c.summary.verdict for c in certificates(settings, night)}
    assert lines["ztf"].rows == 1
    assert (lines["lsst"].rows, lines["lsst"].complete) == (0, False)
    (only,) = certificates(settings, night, "ztf")
    assert only.summary.verdict == lines["ztf"]
    assert {line.verdict.night.survey for line in summaries(settings, "ztf")} == {"ztf"}


def test_a_survey_that_has_nothing_of_a_night_and_lacks_nothing_is_left_out(
    world: World,
) -> None:
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES + 24 * HOUR, {0: 1})
    with world.coordinator.writing() as connection:
        seen.note_surveys(connection, generation_of(world.coordinator, "fink_a").row_id, ["ztf"])
    settings = Settings(lake=world.ledger.lake)
    assert [c.summary.verdict.night.survey for c in certificates(settings, NIGHT)] == ["other"]
    assert [c.summary.verdict.night.survey for c in certificates(settings, NIGHT - 1)] == ["other", "ztf"]


def test_a_lake_of_no_topic_has_no_certificate(world: World) -> None:
    settings = Settings(lake=world.ledger.lake)
    for asked in (lambda: certificates(settings, NIGHT), lambda: summaries(settings)):
        with pytest.raises(LakeError, match="nothing of any topic yet: run finkbridge drain"):
            asked()


def test_a_survey_of_which_nothing_landed_has_none(world: World) -> None:
    world.drain([message(0, START + HOUR)])
    settings = Settings(lake=world.ledger.lake)
    for asked in (lambda: certificates(settings, NIGHT, "lsst"), lambda: summaries(settings, "lsst")):
        with pytest.raises(SettingsError, match="the lake has no alerts of lsst: it has other"):
            asked()
    assert len(summaries(settings, "other")) == 1


def test_rows_without_a_time_hide_no_quarantine_and_no_gap(world: World) -> None:
    """Their night, which never closes, tells of neither."""
    world.drain([Message(0, 0, None, 0, *points(1)[0])])
    world.look(CLOSES + HOUR, {0: 1})
    world.drain([message(0, START + HOUR, value=GARBAGE)], "fink_b")
    world.look(CLOSES + HOUR, {0: 1}, "fink_b")
    settings = Settings(lake=world.ledger.lake)
    assert [v.quarantined for v in verdicts(world.ledger, Rules()) if v.night.night != UNDATED_NIGHT] == [1]
    assert not nights_complete(settings).passed
    accept(world.coordinator, find(world.ledger, Selection()))
    found = [v for v in verdicts(world.ledger, Rules()) if v.night.night != UNDATED_NIGHT]
    assert [(v.accepted, v.quarantined) for v in found] == [(1, 0)], "it is listed still"
    assert {c.summary.verdict.accepted for c in certificates(settings, NIGHT)} == {1}


def test_what_is_lost_on_a_cluster_named_as_another_survey_is_of_that(world: World) -> None:
    """Or of those that are neither ZTF's nor LSST's, which each of them sends."""
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    with world.coordinator.writing() as connection:
        seen.note_surveys(connection, generation_of(world.coordinator, "fink_a").row_id, ["ztf"])

    def is_complete(survey: str) -> bool:
        (found,) = verdicts(world.ledger, Rules(), [(survey, NIGHT)], CLOSES + 101 * HOUR)
        return found.complete

    for cluster, zs, others in (("lsst", True, False), ("mirror", False, False)):
        new = world.coordinator.add_generation(cluster, "fink_new", None)
        world.coordinator.start_partitions(new, {0: 0})
        with world.coordinator.writing() as connection:
            seen.note_looks(connection, {(new.row_id, 0): 5000}, START + HOUR)
        world.coordinator.commit_gap(new, OffsetRange(0, 0, 5000), "expired")
        with world.coordinator.writing() as connection:
            seen.note_looks(connection, {(new.row_id, 0): 5000}, CLOSES + 100 * HOUR)
        assert (is_complete("ztf"), is_complete("other")) == (zs, others)
    assert "mirror: fink_new partition 0: offsets [0, 5,000) expired" in str(world.verdict().blockers)


def test_a_cluster_that_sent_another_survey_counts_by_what_is_known_of_it(world: World) -> None:
    """Whatever its name says: of a topic that sent nothing yet nobody knows whose alerts it sends."""
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    mirror = world.coordinator.add_generation("mirror", "fink_lsst", None)
    with world.coordinator.writing() as connection:
        seen.note_surveys(connection, mirror.row_id, ["lsst"])
    named = Rules(topics={"ztf": ("fink_a",), "mirror": ("fink_lsst", "fink_b", "fink_*")})
    assert world.verdict(named).complete
    new = world.coordinator.add_generation("mirror", "fink_b", None)
    world.coordinator.start_partitions(new, {0: 0})
    with world.coordinator.writing() as connection:
        seen.note_looks(connection, {(new.row_id, 0): 50}, START + HOUR)
    world.coordinator.commit_gap(new, OffsetRange(0, 0, 50), "expired")
    assert "mirror: fink_b partition 0: offsets [0, 50) expired" in str(world.verdict(named).blockers)


def test_a_topic_that_is_begun_late_changes_no_night_that_was_over(world: World) -> None:
    """All that it had has expired, as of any topic that is older than the broker keeps."""
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    begun = CLOSES + 50 * HOUR
    world.begin("fink_new", 5000, 5000, begun)
    assert world.verdict().complete
    world.drain([message(5000, begun + 30 * HOUR)], "fink_new")
    world.look(begun + 40 * HOUR, {0: 5001}, "fink_new")
    assert world.verdict().complete
    (then,) = verdicts(world.ledger, Rules(), [("other", NIGHT + 3)], CLOSES + 100 * HOUR)
    assert "fink_new partition 0: offsets [0, 5,000) sent before the lake began" in str(then.blockers)


def test_a_cluster_that_nobody_reached_may_send_any_survey(world: World) -> None:
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    for cluster, is_complete in (("lsst", True), ("mirror", False), ("other", False)):
        named = Rules(topics={"ztf": ("fink_a",), cluster: ("fink_b", "fink_*")})
        assert world.verdict(named).complete == is_complete
    assert "fink_b: never drained, and the settings name it" in world.why(named)


def test_what_is_lost_before_anything_landed_is_of_no_night_that_was_over(world: World) -> None:
    """As where retention passes between the first plan of a topic and its fetch."""
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    begun = CLOSES + 20 * HOUR
    new = world.begin("fink_new", 5000, 6000, begun)
    world.coordinator.commit_gap(new, OffsetRange(0, 5000, 6000), "expired")
    world.drain([message(6000, begun + 30 * HOUR)], "fink_new")
    world.look(begun + 70 * HOUR, {0: 6001}, "fink_new")
    assert world.verdict().complete
    (then,) = verdicts(world.ledger, Rules(), [("other", NIGHT + 2)], CLOSES + 99 * HOUR)
    assert "offsets [5,000, 6,000) expired" in str(then.blockers)


def test_an_older_life_bounds_what_a_recreated_topic_had_before(world: World) -> None:
    """By Kafka's time of its last message, where nobody saw its end."""
    world.drain([message(0, START - 4 * 24 * HOUR), message(1, START - 2 * 24 * HOUR + HOUR)], "fink_new")
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    new = world.coordinator.add_generation("ztf", "fink_new", "id-2")
    world.coordinator.start_partitions(new, {0: 50})
    world.drain([message(50, START + 2 * HOUR)], "fink_new")
    world.look(CLOSES, {0: 51}, "fink_new")
    assert "(generation 2) partition 0: offsets [0, 50)" in str(world.verdict().blockers)
    (before,) = verdicts(world.ledger, Rules(), [("other", NIGHT - 4)], CLOSES + 99 * HOUR)
    assert "(generation 2)" not in str(before.blockers)


def test_an_older_life_bounds_what_a_recreated_topic_lost_first(world: World) -> None:
    """As where retention passes between the plan of the new life and its fetch."""
    world.drain([message(0, START - 2 * 24 * HOUR + HOUR)], "fink_new")
    new = world.coordinator.add_generation("ztf", "fink_new", "id-2")
    world.coordinator.start_partitions(new, {0: 0})
    world.coordinator.commit_gap(new, OffsetRange(0, 0, 50), "expired")
    world.drain([message(50, START + 2 * HOUR)], "fink_new")
    world.look(CLOSES, {0: 51}, "fink_new")
    assert "(generation 2) partition 0: offsets [0, 50) expired" in str(world.verdict().blockers)
    (before,) = verdicts(world.ledger, Rules(), [("other", NIGHT - 4)], CLOSES + 99 * HOUR)
    assert before.complete


def test_an_older_life_that_claims_to_be_later_bounds_nothing(world: World) -> None:
    world.drain([message(0, START - 4 * 24 * HOUR)], "fink_new")
    world.drain([message(1, START + 20 * 24 * HOUR, value=GARBAGE)], "fink_new")
    new = world.coordinator.add_generation("ztf", "fink_new", "id-2")
    world.coordinator.start_partitions(new, {0: 50})
    world.drain([message(50, START + 2 * HOUR)], "fink_new")
    accept(world.coordinator, find(world.ledger, Selection()))
    world.look(CLOSES + 30 * 24 * HOUR, {0: 51}, "fink_new")
    (found,) = verdicts(world.ledger, Rules(), [("other", NIGHT)])
    assert "(generation 2) partition 0: offsets [0, 50)" in str(found.blockers)


def test_partitions_that_begin_later_than_others_block_since_the_first(world: World) -> None:
    """The topic's alerts of the nights between are in the lake in part."""
    world.drain([message(100, START - 3 * 24 * HOUR, 0), message(50, CLOSES + HOUR, 1)])
    world.look(CLOSES + 2 * HOUR, {0: 101, 1: 51})
    assert "partition 1: offsets [0, 50) sent before the lake began" in world.why()
    early = NIGHT - 3, NIGHT - 5
    first, before = verdicts(world.ledger, Rules(), [("other", n) for n in early], CLOSES + 9 * HOUR)
    # one that had nothing before counts as well
    world.drain([message(0, START - 6 * 24 * HOUR, 2)], start=0)
    world.look(CLOSES + 2 * HOUR, {0: 101, 1: 51, 2: 1})
    (earlier,) = verdicts(world.ledger, Rules(), [("other", NIGHT - 5)], CLOSES + 9 * HOUR)
    assert [b.partition for b in earlier.blockers] == [0, 1]
    assert [b.partition for b in first.blockers] == [0, 1]
    assert before.blockers == ()


def test_first_messages_without_a_time_do_not_tell_when_the_lake_began(world: World) -> None:
    """Those of the next range do not either: what is between may be in the lake in part."""
    first = [message(100, 1e-3, value=GARBAGE), message(101, START + HOUR)]
    world.drain([*first, message(102, START + 3 * 24 * HOUR)])
    world.drain([message(103, START + 4 * 24 * HOUR)])
    world.look(CLOSES + 5 * 24 * HOUR, {0: 104})
    accept(world.coordinator, find(world.ledger, Selection()))
    (found,) = verdicts(world.ledger, Rules(), [("other", NIGHT)])
    assert "offsets [0, 100) sent before the lake began with it" in str(found.why)


FORGOTTEN = "what had been lost before of topics and partitions that have no file is not known"
TRUSTING = Rules.of(Settings.model_validate({"certificate": {"trust_rebuilt": True}}))


def test_a_ledger_that_was_made_again_does_not_know_what_was_lost_before(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger, coordinate(ledger) as coordinator:
        world = World(coordinator)
        world.drain([message(0, START + HOUR)])
        world.look(CLOSES, {0: 1})
        assert world.verdict().complete
    rebuild_ledger(Settings(lake=tmp_path), replace_old=True)
    made = time.time()
    with Ledger(tmp_path) as ledger, coordinate(ledger) as coordinator:
        anew = World(coordinator)
        anew.look(made + 9 * 24 * HOUR, {0: 1})
        now = made + 10 * 24 * HOUR
        assert FORGOTTEN in anew.why(now=now)
        assert anew.verdict(TRUSTING, now).complete
        today, later = (surveys.night_at("other", at) for at in (made - HOUR, made + 2 * 24 * HOUR))
        wanted = [("other", today), ("other", later)]
        assert [v.complete for v in verdicts(ledger, Rules(), wanted, now)] == [False, True]
        anew.drain([message(1, START + 2 * HOUR, value=GARBAGE)])
        told = anew.verdict(now=now).blockers
        assert [b.source is None for b in told] == [False, True]  # what can be mended comes first


def test_a_ledger_made_again_may_have_forgotten_lives_partitions_and_topics(tmp_path: Path) -> None:
    """Such as had only gaps: nothing of them is in any file."""
    with Ledger(tmp_path, create=True) as ledger, coordinate(ledger) as coordinator:
        world = World(coordinator)
        world.drain([message(0, START + HOUR, 1)])
        gone = world.begin("fink_gone", 0, 2, START + HOUR)
        coordinator.commit_gap(gone, OffsetRange(0, 0, 2), "expired")
        world.look(CLOSES, {1: 1})
        world.look(CLOSES, {0: 2}, "fink_gone")
        assert not world.verdict().complete
    rebuild_ledger(Settings(lake=tmp_path), replace_old=True)
    with Ledger(tmp_path) as ledger, coordinate(ledger) as coordinator:
        World(coordinator).look(CLOSES, {1: 1})
        (night,) = verdicts(ledger, Rules(), [("other", NIGHT)])
        assert [b.why.endswith(FORGOTTEN) for b in night.blockers] == [True]


def test_a_replay_that_is_gone_before_a_ledger_made_again_looked_is_judged_by_the_files(
    tmp_path: Path,
) -> None:
    """Nothing would ever tell what it got between."""
    with Ledger(tmp_path, create=True) as ledger, coordinate(ledger) as coordinator:
        world = World(coordinator)
        world.drain([message(0, START + HOUR)])
        undated = Message(0, 0, None, 0, POINT_KEY, encode(POINT, {"x": 1.0}))
        world.drain([undated], "fink_replay")  # as of a replay, its time tells nothing
    rebuild_ledger(Settings(lake=tmp_path), replace_old=True)
    made = time.time()
    with Ledger(tmp_path) as ledger, coordinate(ledger) as coordinator:
        anew = World(coordinator)
        anew.look(made + 9 * 24 * HOUR, {0: 1})
        known = generation_of(coordinator, "fink_replay").row_id
        with coordinator.writing() as connection:
            seen.note_gone(connection, [known], made + 3 * 24 * HOUR)
        now = made + 10 * 24 * HOUR
        assert "fink_replay partition 0: never seen at its end, and gone" in anew.why(now=now)
        assert anew.verdict(TRUSTING, now).complete
        between = surveys.night_at("other", made + 24 * HOUR)
        (told,) = verdicts(ledger, TRUSTING, [("other", between)], now)
        assert "fink_replay partition 0: not seen since the ledger was made again" in str(told.why)


def test_a_life_of_which_nothing_landed_is_taken_for_what_the_one_before_it_was(world: World) -> None:
    """What it had lost by its first look came after the last one at the life before it."""
    world.drain([message(0, START - 4 * 24 * HOUR + HOUR)])
    world.look(START - 3 * 24 * HOUR, {0: 1})
    new = world.coordinator.add_generation("ztf", "fink_a", "id-2")
    world.coordinator.start_partitions(new, {0: 50, 1: 70})
    world.look(CLOSES, {0: 50, 1: 70})
    early, before = verdicts(world.ledger, Rules(), [("other", NIGHT), ("other", NIGHT - 5)])
    assert [(b.source, b.partition) for b in early.blockers if b.lost] == [(new.source, 0), (new.source, 1)]
    assert before.complete


def test_a_counting_topic_is_not_drained_by_a_pattern(world: World) -> None:
    """It was drained by its name, once: no later drain looks at it, and so it counts only until then."""
    world.drain([message(0, START + HOUR)])
    world.look(CLOSES, {0: 1})
    for topic in ("fink_ztf_20260320", "fink_a_schema"):
        world.drain([message(0, START - 40 * HOUR)], topic)
        world.look(START - 30 * HOUR, {0: 1}, topic)
    rules = Rules(topics={"ztf": ("fink_*",)})
    world.search(CLOSES, "fink_*")
    assert world.verdict(rules).complete
    by_name = Rules(topics={"ztf": ("fink_*", "fink_ztf_20260320")})
    assert world.why(by_name).startswith("fink_ztf_20260320 partition 0: last seen at its end")


def test_drained_ranges_are_one_but_for_gaps(world: World) -> None:
    known = generation_of(world.coordinator, "fink_a")
    world.drain([message(0, START), message(2, START)])
    world.drain([message(3, START), message(4, START, value=GARBAGE)])
    world.coordinator.commit_gap(known, OffsetRange(0, 5, 9), "expired")
    world.drain([message(9, START), message(0, START, 1)])
    found = [(d.range, d.messages, d.rows, d.quarantined, d.holes) for d in drained(world.ledger)]
    assert found == [
        (OffsetRange(0, 0, 5), 4, 3, 1, 1),
        (OffsetRange(0, 9, 10), 1, 1, 0, 0),
        (OffsetRange(1, 0, 1), 1, 1, 0, 0),
    ]


def test_closed_nights_are_counted_once_when_published(world: World) -> None:
    world.drain([message(0, START + HOUR), message(1, START + 2 * HOUR)])
    catalog.publish(world.coordinator)
    (counted,) = read_counts(world.ledger).values()
    assert (counted.rows, counted.first_ms, counted.last_ms) == (
        2,
        int((START + HOUR) * 1000),
        int((START + 2 * HOUR) * 1000),
    )
    world.drain([message(2, START + 3 * HOUR)])
    with catalog.connect(world.ledger) as connection:  # the old counts no longer hold: it counts by itself
        (row,) = connection.execute("SELECT rows, epoch_ms(last_received) FROM nights").fetchall()
    assert row == (3, int((START + 3 * HOUR) * 1000))
    catalog.publish(world.coordinator)
    assert [c.rows for c in read_counts(world.ledger).values()] == [3]


def test_a_look_that_finds_nothing_new_makes_the_catalog_stale_once_an_hour(world: World) -> None:
    def is_stale() -> bool:
        with world.ledger.reading() as connection:
            return seen.is_stale(connection)

    world.drain([message(0, START + HOUR)])
    world.look(CLOSES + 100, {0: 1})
    catalog.publish(world.coordinator)
    assert not is_stale()
    world.look(CLOSES + 200, {0: 1})
    assert not is_stale()
    world.look(CLOSES + 200 + HOUR, {0: 1})
    assert is_stale()
    catalog.publish(world.coordinator)
    assert not is_stale()


TIMES = st.floats(-1e6, 1e6)


@given(TIMES, TIMES, TIMES, st.floats(1, 1e5))
def test_a_blocker_blocks_what_it_touches(since: float, length: float, start: float, lasts: float) -> None:
    blocker = Blocker(None, None, since, since + abs(length), "", "")
    night = Night("ztf", 1, start, start + lasts / 2, start + lasts)
    touches = not (blocker.until < night.start or blocker.since >= night.closes_at)
    assert blocker.blocks(night) == touches


@pytest.mark.parametrize("query", ["FROM nights", "FROM night_facts", None])
def test_the_views_of_nights_are_filled_where_they_are_asked_for(world: World, query: str | None) -> None:
    world.drain([message(0, START + HOUR)])
    with catalog.connect(world.ledger, query) as connection:
        for name in ("nights", "night_facts"):
            assert connection.execute(f"SELECT night FROM {name}").fetchall() == [(NIGHT,)]
