"""Logs that are cut and grow again, and runs that die, in any order: nothing shown is lost in silence.

The broker is a model of what Kafka keeps of partitions; planning, ledger and archive are the real ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, func, select, update

from finkbridge import sightings
from finkbridge.avro.archive import read_archive
from finkbridge.backlog import Look, TopicAtBroker
from finkbridge.broker import Broker, Watermarks
from finkbridge.errors import BrokerTimeoutError
from finkbridge.land import Lander
from finkbridge.ledger import Coordinator, Ledger
from finkbridge.ledger import schema as s
from finkbridge.planning import Planner
from finkbridge.report import DrainReport
from finkbridge.settling import CUT
from finkbridge.values import Message, OffsetRange
from finkbridge.verify.offsets import check_offsets
from tests.support.offline import TIME_MS, Given, point, settings_of

PARTITIONS = 2
Sent = tuple[int, int, bytes]
"""Partition, offset and value: no two messages have the same value."""


@dataclass
class Log:
    """One partition as its leader has it."""

    messages: list[Message] = field(default_factory=list)
    low: int = 0
    epochs: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
    """Each, and where it began."""

    @property
    def epoch(self) -> int:
        return self.epochs[-1][0]

    @property
    def end(self) -> int:
        return len(self.messages)

    def change_leader(self, kept: int) -> None:
        epoch, kept = self.epoch + 1, max(kept, self.low)
        del self.messages[kept:]
        self.epochs = [(e, at) for e, at in self.epochs if at < kept] + [(epoch, kept)]

    def end_of(self, epoch: int) -> int:
        return max(self.low, min((at for e, at in self.epochs if e > epoch), default=self.end))


class Died(BaseException):
    """Stands for the end of the process."""


class Mortal(Coordinator):
    """Dies before one of its transactions."""

    left = 10**9

    @contextmanager
    def writing(self, *, new_epoch: bool = False) -> Iterator[Connection]:
        if not self.left:
            raise Died
        self.left -= 1
        with super().writing(new_epoch=new_epoch) as connection:
            yield connection


class World:
    """A topic, and a lake that it is drained into; also the topic's broker."""

    def __init__(self, lake: Path) -> None:
        self.logs = [Log() for _ in range(PARTITIONS)]
        self.sent: set[Sent] = set()
        self.shown: set[Sent] = set()
        self.ledger = Ledger(lake, create=True)

    def close(self) -> None:
        self.ledger.close()

    def produce(self, partition: int, many: int) -> None:
        log = self.logs[partition]
        for offset in range(log.end, log.end + many):
            key, value = point(float(len(self.sent)))
            log.messages.append(Message(partition, offset, TIME_MS + len(self.sent), 1, key, value, ()))
            self.sent.add((partition, offset, value or b""))

    def cut(self, partition: int, many: int) -> None:
        """Let another broker lead, which has so many messages less."""
        self.logs[partition].change_leader(max(0, self.logs[partition].end - many))

    def expire(self, partition: int, many: int) -> None:
        self.logs[partition].low = min(self.logs[partition].end, self.logs[partition].low + many)

    def rebuild(self) -> None:
        """Forget what no file tells, as a ledger does that is made again."""
        p, r, g = s.partitions.c, s.segment_ranges.c, s.generations.c
        with self.ledger.engine.begin() as connection:
            ends = select(r.generation_id, r.partition, func.min(r.start_offset), func.max(r.end_offset))
            landed = {
                row[:2]: row[2:] for row in connection.execute(ends.group_by(*ends.selected_columns[:2]))
            }
            connection.execute(delete(s.looks))
            connection.execute(update(s.plans).where(s.plans.c.state == "pending").values(state="abandoned"))
            for row in connection.execute(select(s.partitions)).all():
                mine = p.generation_id == row.generation_id, p.partition == row.partition
                if (span := landed.get(row[:2])) is None:
                    connection.execute(delete(s.partitions).where(*mine))
                    continue
                known = {"first_offset": span[0], "next_offset": span[1], "leader_epoch": None}
                connection.execute(update(s.partitions).where(*mine).values(**known))
            for gap in connection.execute(select(s.gaps)).all():
                span = landed.get((gap.generation_id, gap.partition), (0, 0))
                if not span[0] < gap.start_offset < span[1]:
                    connection.execute(delete(s.gaps).where(s.gaps.c.id == gap.id))
            connection.execute(update(s.generations).values(topic_id=None))
            empty = ~g.id.in_({key[0] for key in landed})
            gone = select(s.plans.c.number).join(s.generations).where(empty)
            connection.execute(delete(s.plan_ranges).where(s.plan_ranges.c.plan.in_(gone)))
            connection.execute(delete(s.plans).where(s.plans.c.number.in_(gone)))
            connection.execute(delete(s.generations).where(empty))
        self.shown &= self.kept().keys()

    def run(self, most: int | None, steps: int, hidden: int = 0) -> DrainReport:
        """Drain, and die before a transaction; leaders hide so many messages at their ends."""
        broker, report = ModelBroker(self.logs, hidden), DrainReport()
        coordinator, brokers = Mortal(self.ledger), {"ztf": cast(Broker, broker)}
        coordinator.left = steps
        settings = settings_of(self.ledger.lake, drain={"max_messages": most})
        planner = Planner(coordinator, brokers, settings, report)
        seen = TopicAtBroker("ztf", "t", "id", broker.marks)
        look = Look((seen,), wanted={"ztf": ["t"]}, at=TIME_MS / 1000)
        plans = planner.plan(look, [("ztf", "t")], planner.settler.pending())
        self.shown |= {sent for plan in plans for r in plan.ranges for sent in broker.sent(r)}
        sightings.note(coordinator, look, look.search, planner.generations, report.topics, brokers)
        if report.topics:
            for p, marks in broker.marks.items():
                self.shown |= set(broker.sent(OffsetRange(p, marks.low, marks.end)))
        for plan in plans:
            coordinator.commit_segment(plan, Lander(self.ledger.lake, Given(broker.messages)).land(plan))
        return report

    def kept(self) -> Counter[Sent]:
        found: Counter[Sent] = Counter()
        for row in self.ledger.alive_files("archive"):
            for m in read_archive(self.ledger.lake / row.path).messages:
                found[m.partition, m.offset, m.value or b""] += 1
        return found

    def there(self) -> set[Sent]:
        """Return what the broker has."""
        return {(m.partition, m.offset, m.value or b"") for log in self.logs for m in log.messages[log.low :]}

    def named(self) -> set[Sent]:
        """Return what was sent and is in a gap."""
        gaps = list(self.gaps())
        return {m for m in self.sent if any(p == m[0] and start <= m[1] < end for p, start, end, _ in gaps)}

    def gaps(self) -> Iterator[tuple[int, int, int, str]]:
        with self.ledger.reading() as connection:
            for row in connection.execute(select(s.gaps)):
                yield row.partition, row.start_offset, row.end_offset, row.reason


class ModelBroker:
    """What planning asks a broker for, of one topic."""

    def __init__(self, logs: Sequence[Log], hidden: int) -> None:
        self.name, self.logs = "ztf", logs
        self.marks = {p: Watermarks(x.low, max(x.low, x.end - hidden), x.epoch) for p, x in enumerate(logs)}
        self.messages = [
            m for p, marks in self.marks.items() for m in logs[p].messages[marks.low : marks.end]
        ]

    def sent(self, span: OffsetRange) -> Iterator[Sent]:
        for m in self.messages:
            if m.partition == span.partition and span.start <= m.offset < span.end:
                yield m.partition, m.offset, m.value or b""

    def first_message(self, topic: str, span: OffsetRange) -> Message | None:
        marks = self.marks[span.partition]
        if span.start < marks.low or span.end > marks.end:
            return None
        return next(
            (m for m in self.messages if m.partition == span.partition and m.offset >= span.start), None
        )

    def message_at(self, topic: str, partition: int, offset: int) -> Message | None:
        return self.first_message(topic, OffsetRange(partition, offset, offset + 1))

    def epoch_ends(self, topic: str, epochs: Mapping[int, int]) -> dict[int, int]:
        ends = {p: self.logs[p].end_of(epoch) for p, epoch in epochs.items()}
        if any(end > self.marks[p].end for p, end in ends.items()):
            raise BrokerTimeoutError("a leader does not show all it has")
        return ends

    def held_back(self, ends: object) -> dict[tuple[str, int], int]:
        return {}


PARTITION, MANY = st.integers(0, PARTITIONS - 1), st.integers(1, 4)
Step = tuple[Any, ...]
PRODUCE = st.tuples(st.just("produce"), PARTITION, st.integers(1, 6))
RUN = st.tuples(st.just("run"), st.just(None), st.just(99))
RUN_IN_PART = st.tuples(
    st.just("run"), st.one_of(st.none(), MANY), st.one_of(st.just(99), st.integers(0, 9)), st.integers(0, 2)
)
CUT_ = st.tuples(st.just("cut"), PARTITION, st.integers(0, 6))
EXPIRE = st.tuples(st.just("expire"), PARTITION, MANY)
REBUILD = st.tuples(st.just("rebuild"))


@pytest.mark.parametrize("more", [(), (EXPIRE,), (REBUILD, EXPIRE)], ids=["cut", "expire", "rebuild"])
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate, Phase.shrink])
@given(data=st.data())
def test_what_was_shown_is_in_the_lake_exactly_once_or_named(
    data: st.DataObject, more: Sequence[st.SearchStrategy[Step]]
) -> None:
    steps = st.one_of(PRODUCE, RUN_IN_PART, CUT_, PRODUCE, RUN, *more)
    with TemporaryDirectory() as folder, closing(World(Path(folder) / "lake")) as world:
        world.produce(0, 3)
        for name, *values in data.draw(st.lists(steps, min_size=6, max_size=16)):
            with suppress(Died):
                getattr(world, name)(*values)
        check(world, is_rebuilt=REBUILD in more)


KNOWN: dict[str, list[Step]] = {
    "cut": [("run", None, 99), ("cut", 0, 3), ("produce", 0, 5)],
    "seen and not drained": [("run", 2, 99), ("cut", 0, 2), ("produce", 0, 4)],
    "shown less by a new leader": [
        *[("run", 2, 99), ("cut", 0, 0), ("run", 1, 99), ("run", 1, 99, 2)],
        *[("cut", 0, 2), ("produce", 0, 4)],
    ],
    "nothing shown yet": [("run", None, 99), ("rebuild",), ("run", None, 99, 6)],
}


@pytest.mark.parametrize("steps", KNOWN.values(), ids=KNOWN)
def test_what_went_wrong_once(tmp_path: Path, steps: Sequence[Step]) -> None:
    with closing(World(tmp_path / "lake")) as world:
        world.produce(0, 6)
        for name, *values in steps:
            getattr(world, name)(*values)
        check(world, is_rebuilt=("rebuild",) in steps)


@pytest.mark.parametrize("many", [3, 5, 8])
def test_what_a_dead_run_landed_of_a_log_that_was_cut_is_committed(tmp_path: Path, many: int) -> None:
    """The cut took what the run had landed: its files alone have it, and the new life begins at the cut."""
    with closing(World(tmp_path / "lake")) as world:
        world.produce(0, 6)
        world.run(None, 99)
        world.produce(0, 6)
        lake = world.ledger.lake
        while not list(lake.glob("archive/*/*/*-o0000000000000000006-*.avro")):
            with suppress(Died):
                world.run(None, 1)
        assert [plan.ranges for plan in world.ledger.pending_plans()] == [(OffsetRange(0, 6, 12),)]
        world.cut(0, many)
        world.produce(0, 9)
        assert world.run(None, 99).total("salvaged") == 6
        assert world.sent - world.kept().keys() == set()
        check(world, is_rebuilt=False)


def check(world: World, *, is_rebuilt: bool) -> None:
    """Drain all that is there, and expect that nothing is lost in silence."""
    world.run(None, 99)
    report = world.run(None, 99)
    kept, named = world.kept(), world.named()
    assert is_rebuilt or report.problems == []
    assert all(
        "ends at" in problem for problem in report.problems
    )  # nobody tells a short log from a slow one
    assert [sent for sent, times in kept.items() if times > 1] == []
    assert world.there() - kept.keys() == set()
    assert world.shown - kept.keys() - named == set()
    for p, start, end, reason in world.gaps():
        gap = {m for m in world.sent if m[0] == p and start <= m[1] < end}
        assert reason != CUT or gap - kept.keys(), "nothing of what it names was lost"
    with world.ledger.reading() as connection:
        assert list(check_offsets(connection)) == []
