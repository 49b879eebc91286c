"""Messages of the quarantine sent through again: their rows land exactly once, whatever dies meanwhile."""

from __future__ import annotations

import importlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from finkbridge import quarantine
from finkbridge.avro.archive import read_archive
from finkbridge.disk import Staging
from finkbridge.errors import (
    CommitConflictError,
    LakeAccessError,
    LakeBusyError,
    NameTakenError,
    SettingsError,
)
from finkbridge.land import Bounds
from finkbridge.ledger import Coordinator, Ledger, coordinate
from finkbridge.ledger import quarantined as q
from finkbridge.ledger import schema as s
from finkbridge.ledger.quarantined import Selection
from finkbridge.ledger.summary import read_facts
from finkbridge.ledger.writers import read_schemas
from finkbridge.quarantine import RequeueReport
from finkbridge.retire import delete_unfinished_merges
from finkbridge.values import LandedFile, Message
from tests.support.lake import (
    POINT,
    RealAlerts,
    alive_files,
    assert_consistent,
    data_files,
    encode,
    ledger_rows,
    real_alerts,
    sql,
)
from tests.support.offline import POINT_KEY, assert_verified, fill, messages_of, point, settings_of

NO_KEY = (None, encode(POINT, {"x": 7.5}))
"""A good datum that came without its schema."""
BAD = (POINT_KEY, b"garbage")
REQUEUE = importlib.import_module("finkbridge.quarantine.requeue")
"""The module: its package has the function by this name. What dies at a step is to die in this process."""


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Three segments: a mixed one, a good one, and one with nothing but bad messages."""
    path = tmp_path / "lake"
    records = [
        point(0),
        NO_KEY,
        BAD,
        (POINT_KEY, None),
        NO_KEY,
        point(5),
        point(6),
        point(7),
        NO_KEY,
        BAD,
        NO_KEY,
    ]
    fill(path, {"t": messages_of(records), "u": messages_of([NO_KEY])}, offsets=4)
    return path


def requeue(lake: Path, *named: str, schema: bytes | None = POINT_KEY, **more: Any) -> RequeueReport:
    return quarantine.requeue(settings_of(lake), Selection(named, **more), schema)


def test_a_name_that_is_taken_is_left_to_whom_it_is(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next coordinator deletes what it finds announced and not committed: not this one's file."""

    def refuse(_: Staging) -> None:
        raise NameTakenError("is there with other content")

    monkeypatch.setattr(Staging, "publish", refuse)
    with pytest.raises(NameTakenError):
        requeue(lake)
    assert ledger_rows(lake, s.merging) == []


def test_schemas_over_the_budget_land_by_name_alone(tmp_path: Path) -> None:
    """Else who sends all others through again would get them too, each with files and views of its own."""
    lake = tmp_path / "lake"
    keys = [json.dumps(POINT | {"name": f"s{number}"}).encode() for number in range(6)]
    records = [(key, encode(POINT, {"x": 1.0})) for key in keys]
    fill(lake, {"t": messages_of(records)}, bounds=Bounds(60, 2, 20_000))
    few = settings_of(lake, decode={"max_schemas": 2})
    report = quarantine.requeue(few, Selection())
    assert (report.selected, report.landed) == (4, 0)
    (reason,) = report.reasons
    assert reason.endswith(
        "the key: more than 2 writer schemas in one topic: requeue the message by its number if it is "
        "wanted, or all with a higher decode.max_schemas"
    )
    number = str(report.still[0][0].id)
    assert quarantine.requeue(few, Selection((number,))).landed == 1
    report = quarantine.requeue(settings_of(lake, decode={"max_schemas": 4}), Selection())
    assert (report.selected, report.landed) == (3, 1)
    assert_sound(lake)
    assert sql(lake, "SELECT count(*) FROM deliveries") == [(4,)]


def test_what_lands_too_late_for_the_budget_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another piece of the segment has landed meanwhile, and brought the last schema that there may be."""
    lake, told = tmp_path / "lake", []
    keys = [json.dumps(POINT | {"name": f"s{number}"}).encode() for number in range(3)]
    fill(
        lake, {"t": messages_of([(k, encode(POINT, {"x": 1.0})) for k in keys])}, bounds=Bounds(60, 2, 20_000)
    )

    def read(*of: Any) -> dict[str, int]:
        told.append({} if not told else read_schemas(*of))
        return told[-1]

    monkeypatch.setattr(REQUEUE, "read_schemas", read)
    report = quarantine.requeue(settings_of(lake, decode={"max_schemas": 2}), Selection())
    assert (report.selected, report.landed) == (1, 0)
    assert [len(known) for known in told] == [0, 2, 2, 2]
    assert_sound(lake)


def states(lake: Path) -> dict[tuple[str, int], str]:
    topics = {g.id: g.topic for g in ledger_rows(lake, s.generations)}
    return {(topics[r.generation_id], r.offset): r.state for r in ledger_rows(lake, s.quarantine)}


def assert_sound(lake: Path) -> None:
    """Check that counts, files and rows agree with each other, in the ledger and on disk."""
    assert_consistent(lake)
    assert ledger_rows(lake, s.merging) == []
    waiting = Counter(r.segment_id for r in ledger_rows(lake, s.quarantine) if r.state != "landed")
    ranges = ledger_rows(lake, s.segment_ranges)
    for segment in ledger_rows(lake, s.segments):
        mine = [r for r in ranges if r.segment_id == segment.id]
        assert segment.quarantined == sum(r.quarantined for r in mine) == waiting[segment.id]
        assert segment.rows == sum(r.rows for r in mine)
        for r in mine:
            holes = sum(end - start for start, end in json.loads(r.holes))
            assert r.end_offset - r.start_offset == r.rows + r.quarantined + holes
        for table in ("archive", "deliveries", "packets"):
            files = [f for f in ledger_rows(lake, s.files) if (f.segment_id, f.table) == (segment.id, table)]
            assert sum(f.rows for f in files) == segment.rows


def contents(lake: Path) -> dict[str, Any]:
    """Return all that a lake says, but for names of files and numbers of commits."""
    return {
        "deliveries": sql(lake, "SELECT * EXCLUDE (archive_file, archive_pos) FROM deliveries ORDER BY ALL"),
        "packets": sql(lake, "SELECT * FROM packets_other ORDER BY _topic, _kafka_offset"),
        "quarantine": sql(lake, "SELECT * FROM quarantine ORDER BY ALL"),
        "topics": sql(lake, "SELECT * FROM topics ORDER BY ALL"),
        "segments": sql(lake, "SELECT * EXCLUDE commit FROM segments ORDER BY ALL"),
    }


def test_what_is_good_now_lands_once_and_the_rest_waits(lake: Path) -> None:
    report = requeue(lake)
    assert (report.selected, report.landed, report.waiting) == (8, 5, 3)
    assert [e.place for e, _ in report.still] == ["t:0:2", "t:0:3", "t:0:9"]
    assert report.still[1][1] == "null value"
    assert {k for k, v in states(lake).items() if v == "waiting"} == {("t", 2), ("t", 3), ("t", 9)}
    assert_sound(lake)
    rows = sql(lake, "SELECT _topic, _kafka_offset, x FROM packets_other ORDER BY ALL")
    assert rows == [
        *(("t", o, x) for o, x in ((0, 0), (1, 7.5), (4, 7.5), (5, 5), (6, 6), (7, 7), (8, 7.5), (10, 7.5))),
        ("u", 0, 7.5),
    ]
    assert sql(lake, "SELECT topic, messages, rows, quarantined FROM topics ORDER BY 1") == [
        ("t", 11, 8, 3),
        ("u", 1, 1, 0),
    ]
    with Ledger(lake) as ledger:
        assert read_facts(ledger).quarantined == {("ztf", "t"): 3}
    again = requeue(lake)
    assert (again.landed, again.waiting) == (0, 3)
    assert_sound(lake)
    assert_verified(lake)


def test_that_no_schema_topic_is_read_is_said(lake: Path) -> None:
    """There may be one, which a drain would have read."""
    report = requeue(lake, schema=None)
    assert (report.selected, report.landed) == (8, 0)
    told = [reason for e, reason in report.still if e.place in {"t:0:1", "u:0:0"}]
    assert [reason.partition("; a schema registry")[0] for reason in told] == [
        f"no writer schema: neither in the key, nor given with --schema; {topic}_schema is not read in a "
        "requeue: `finkbridge consumer --dump_schema` saves what the topic has now"
        for topic in "tu"
    ]


def test_archive_positions_point_at_the_messages(lake: Path) -> None:
    before = {f.path for f in ledger_rows(lake, s.files)}
    requeue(lake, "t:0:1", "t:0:10")
    new = [f for f in ledger_rows(lake, s.files) if f.path not in before]
    assert sorted(f.table for f in new) == sorted(["archive", "deliveries", "packets"] * 2)
    archive = next(f.path for f in new if f.table == "archive" and "o0000000000000000001" in f.path)
    found = read_archive(lake / archive)
    assert found.messages == tuple(messages_of([NO_KEY], first=1))
    assert found.facts["requeued"] == {"plan": 1, "part": 0}
    assert found.facts["ranges"] == []
    for path in [f.path for f in new if f.table == "deliveries"]:
        for row in pq.ParquetFile(lake / path).read().to_pylist():
            with (lake / row["archive_file"]).open("rb") as stream:
                stream.seek(row["archive_pos"])
                assert stream.read(row["archive_len"]) == NO_KEY[1]


def test_selections(lake: Path) -> None:
    assert requeue(lake, topics=("u*",)).landed == 1
    number = next(r.id for r in ledger_rows(lake, s.quarantine) if r.offset == 8)
    assert requeue(lake, str(number)).landed == 1
    assert requeue(lake, "t:0:1", schema=None).still[0][1].startswith("no writer schema")
    assert requeue(lake, "t:0:1").landed == 1
    assert_sound(lake)
    for name, said in [
        ("t:0:1", "no waiting or accepted message t:0:1"),
        ("t:1", "names no message"),
        ("x:0:0", "no waiting"),
    ]:
        with pytest.raises(SettingsError, match=said):
            requeue(lake, name)
    with pytest.raises(SettingsError, match="no Avro schema"):
        requeue(lake, schema=b"{}")


def test_thousands_of_names(lake: Path) -> None:
    with Ledger(lake) as ledger:
        places = [entry.place for entry in q.find(ledger, Selection())]
        many = Selection(tuple(places) * 400)
        assert [entry.place for entry in q.find(ledger, many)] == places
        assert q.segments(ledger, many) == q.segments(ledger, Selection())
        with pytest.raises(SettingsError, match="no waiting message t:0:9999"):
            q.find(ledger, Selection((*places * 400, "t:0:9999")))


def test_only_one_coordinator(lake: Path) -> None:
    with Ledger(lake) as ledger, coordinate(ledger), pytest.raises(LakeBusyError):
        requeue(lake)


class Died(BaseException):
    """As a kill: nothing of the run gets to clean up after it but what a new process does."""


def dying(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, after: bool) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    def die(*args: Any, **kwargs: Any) -> Any:
        if after:
            original(*args, **kwargs)
        raise Died

    monkeypatch.setattr(owner, name, die)


STEPS = [
    ("finkbridge.ledger.quarantined", "begin_requeue"),
    ("finkbridge.landing", "write_archive"),
    ("finkbridge.parquet", "write"),
    ("finkbridge.ledger.quarantined", "announce"),
    ("finkbridge.disk", "sync_folder"),
    ("finkbridge.ledger.quarantined", "_move"),
    ("finkbridge.ledger.landed", "add_files"),
    ("finkbridge.ledger.quarantined", "commit_requeue"),
    ("finkbridge.catalog", "_write"),
]


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("module", "name"), STEPS, ids=[name for _, name in STEPS])
def test_death_at_a_step_and_a_second_try(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, after: bool
) -> None:
    reference = tmp_path / "reference"
    shutil.copytree(lake, reference)
    requeue(reference)
    with monkeypatch.context() as patch:
        patch.setattr(REQUEUE, "WORKERS", 0)
        dying(patch, importlib.import_module(module), name, after=after)
        # what a kill leaves aside stays aside
        patch.setattr("finkbridge.disk.Staging.discard", lambda self: None)
        with pytest.raises(Died):
            requeue(lake)
    requeue(lake)
    assert_sound(lake)
    assert contents(lake) == contents(reference)


def test_drain_deletes_what_a_dead_requeue_left(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        dying(patch, q, "commit_requeue", after=False)
        with pytest.raises(Died):
            requeue(lake)
    assert len(data_files(lake) - alive_files(lake)) == 3
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        delete_unfinished_merges(coordinator)
    assert_sound(lake)


def test_message_that_waits_no_more_is_not_landed_again(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if two requeues had read the same rows."""
    with Ledger(lake) as ledger:
        entries = q.find(ledger, Selection(("t:0:1",)))
    requeue(lake, "t:0:1")
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        files = [f for f in ledger_rows(lake, s.files) if f.segment_id == entries[0].segment_id]
        last = ledger.last_commit()
        fakes = [as_landed(f, n) for n, f in enumerate(files) if f.table != "quarantine" and f.rows == 1]
        with pytest.raises(CommitConflictError, match="does not wait"):
            q.commit_requeue(coordinator, entries, fakes[:3], [])
        assert ledger.last_commit() == last
    assert_sound(lake)


def as_landed(row: Any, number: int) -> Any:
    names = ("table", "survey", "night", "rows", "bytes", "checksum", "schema_id")
    return LandedFile(f"{number}", *(getattr(row, name) for name in names))


def test_zombie_lands_nothing(lake: Path) -> None:
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        Coordinator(ledger)
        entries = q.find(ledger, Selection(("t:0:1",)))
        for write in (
            lambda: q.begin_requeue(coordinator),
            lambda: q.announce(coordinator, []),
            lambda: q.accept(coordinator, entries),
        ):
            with pytest.raises(CommitConflictError, match="took this lake over"):
                write()


def test_damaged_quarantine_file_is_a_problem_of_its_own_messages(lake: Path) -> None:
    path = next(lake / f.path for f in ledger_rows(lake, s.files) if f.table == "quarantine")
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    report = requeue(lake)
    assert report.landed == 4
    (problem,) = report.problems
    assert "is damaged" in problem


def test_accepted_messages_wait_no_more(lake: Path) -> None:
    accepted = quarantine.accept(settings_of(lake), Selection(("t:0:3",)))
    assert [e.place for e in accepted] == ["t:0:3"]
    assert states(lake)["t", 3] == "accepted"
    assert sql(lake, "SELECT quarantined FROM topics WHERE topic = 't'") == [(6,)]
    assert_sound(lake)
    assert_verified(lake)
    assert requeue(lake).selected == 7


def test_an_accepted_message_lands_where_it_is_named(lake: Path) -> None:
    """Whoever gave it up may get its schema after all."""
    assert len(quarantine.accept(settings_of(lake), Selection(("t:0:1",)))) == 1
    assert len(quarantine.accept(settings_of(lake), Selection(("t:0:3",)))) == 1
    assert requeue(lake, "t:0:1", schema=POINT_KEY).landed == 1
    assert states(lake)["t", 1] == "landed"
    assert states(lake)["t", 3] == "accepted"
    with pytest.raises(SettingsError, match="no waiting or accepted message t:0:1 "):
        requeue(lake, "t:0:1", schema=POINT_KEY)
    assert_sound(lake)
    assert_verified(lake)


def test_full_disk_changes_nothing(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    before = states(lake)
    with monkeypatch.context() as patch:
        patch.setattr(REQUEUE, "WORKERS", 0)
        patch.setattr("finkbridge.landing.parquet.write", full)
        with pytest.raises(LakeAccessError, match="No space"):
            requeue(lake)
    assert states(lake) == before
    assert_sound(lake)


@pytest.fixture(scope="module")
def ztf(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "ztf")


def test_real_alerts_land_as_if_they_had_had_their_schema(tmp_path: Path, ztf: RealAlerts) -> None:
    """Alerts whose key was lost, with the schema given later; an override may not help all."""
    records = ztf.records[:12]
    lost = [(None, value) if i % 3 == 0 else (key, value) for i, (key, value) in enumerate(records)]
    fill(tmp_path / "whole", {"t": messages_of(records)}, offsets=5)
    fill(tmp_path / "lost", {"t": messages_of(lost)}, offsets=5)
    assert requeue(tmp_path / "lost", schema=ztf.key).waiting == 0
    assert_sound(tmp_path / "lost")
    for query in (
        "SELECT * EXCLUDE (archive_file, archive_pos) FROM deliveries ORDER BY kafka_offset",
        "SELECT COLUMNS(*)::VARCHAR FROM packets_ztf ORDER BY _kafka_offset",
        "SELECT * EXCLUDE (commit) FROM segments ORDER BY ALL",
        "SELECT * FROM topics",
    ):
        assert sql(tmp_path / "lost", query) == sql(tmp_path / "whole", query)


def test_many_segments_of_several_schemas(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    other = {"type": "record", "name": "o", "fields": [{"name": "y", "type": "string"}]}
    messages: list[Message] = []
    for i in range(60):
        record = NO_KEY if i % 2 else (json.dumps(other).encode(), encode(other, {"y": str(i)}))
        messages += messages_of([record], partition=i % 3, first=i // 3)
    fill(lake, {"t": messages}, offsets=4)
    assert requeue(lake).landed == 30
    assert_sound(lake)
    assert sql(lake, "SELECT count(*), count(DISTINCT (kafka_partition, kafka_offset)) FROM deliveries") == [
        (60, 60)
    ]
