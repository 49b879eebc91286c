"""The bot against real HTTP servers: what each service gets, and that it gets each alert at most once."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from finkbridge import layout
from finkbridge.bot.options import Counts, Options
from finkbridge.bot.post import Post
from finkbridge.bot.run import LEFT_OUT
from finkbridge.bot.start import Run
from finkbridge.bot.state import Position, State
from finkbridge.errors import ChannelDownError, ChannelError, LakeAccessError, SettingsError
from finkbridge.ledger import Ledger, coordinate
from finkbridge.merge import merge_crowds
from finkbridge.rebuild import rebuild
from finkbridge.rebuild.ledger import rebuild_ledger
from finkbridge.rebuild.tables import RebuildReport
from finkbridge.settings import load_settings
from tests.consumer.samples import ELASTICC, MULTI_MESSENGER, record
from tests.support.chat import Chat, Reply
from tests.support.lake import real_alerts, sql
from tests.support.offline import assert_verified, fill, messages_of, point

SLACK_TOKEN, TELEGRAM_TOKEN, HOOK_TOKEN = (
    "xoxb-12-slack-secret",
    "123456:AAF-telegram-secret",
    "hook-secret-token",
)
NOT_THERE = Reply(body=b'{"ok": false, "error": "not_in_channel"}')
NO_CHAT = Reply(400, b'{"description": "Bad Request: chat not found"}')
PNG = b"\x89PNG\r\n"
OPTIONS = Options(since="earliest", rate=1e9, pictures=False)


class Listener:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.posts: list[Post] = []

    def posted(self, post: Post) -> None:
        self.posts.append(post)

    def problem(self, line: str) -> None:
        self.said.append(line)


class World:
    """A lake, a server in the place of all services, and runs of bots."""

    def __init__(self, folder: Path, chat: Chat) -> None:
        self.folder, self.chat, self.lake = folder, chat, folder / "lake"
        self.listener = Listener()
        self.stop = threading.Event()
        self.environ = {
            "HOME": str(folder),
            "FINKBRIDGE_LAKE": str(self.lake),
            "FINKBRIDGE_BOT__SLACK__TOKEN": SLACK_TOKEN,
            "FINKBRIDGE_BOT__SLACK__API": f"{chat.url}/api",
            "FINKBRIDGE_BOT__TELEGRAM__TOKEN": TELEGRAM_TOKEN,
            "FINKBRIDGE_BOT__TELEGRAM__API": chat.url,
            "FINKBRIDGE_BOT__WEBHOOK__URL": f"{chat.url}/secret-path/hook",
            "FINKBRIDGE_BOT__WEBHOOK__TOKEN": HOOK_TOKEN,
        }

    def fill(self, **topics: list[float]) -> None:
        """Drain messages of other schemas: they have no picture, and are quick."""
        for topic, numbers in topics.items():
            first = 0
            if (self.lake / layout.LEDGER).exists():
                with Ledger(self.lake) as ledger:
                    known = ledger.generations().get(("ztf", topic))
                    first = ledger.partitions(known.row_id)[0].next_offset if known else 0
            fill(self.lake, {topic: messages_of([point(x) for x in numbers], first=first)})

    def run(self, service: str = "webhook", channel: str | None = None, **more: Any) -> Counts:
        options = replace(OPTIONS, **{k: v for k, v in more.items() if k != "dry_run"})
        loaded = load_settings(environ=self.environ)
        bot = Run(loaded, service, channel, options, self.listener, self.stop)  # type: ignore[arg-type]
        return bot(once=True, dry_run=more.get("dry_run", False))

    @property
    def ids(self) -> list[str]:
        """What the webhook was told of, in order."""
        return [got.json()["id"] for got in self.chat.of("hook") if "id" in got.json()]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)
    with Chat().serving() as chat:
        yield World(tmp_path, chat)


def message(topic: str, offset: int) -> str:
    return f"message ztf {topic} 1 0 {offset}"


@pytest.fixture
def real(world: World, shared_data: Path) -> World:
    """Return a world whose lake has an alert that came by two topics, and one of LSST."""
    ztf, lsst = real_alerts(shared_data / "ztf"), real_alerts(shared_data / "lsst")
    topics = {
        "fink_a_ztf": messages_of(ztf.records[:1]),
        "fink_b_ztf": messages_of(ztf.records[:1], partition=4, first=70),
        "fink_lsst": messages_of(lsst.records[:1], first=0),
    }
    fill(world.lake, topics)
    return world


def test_slack_gets_a_message_with_a_picture(real: World) -> None:
    counts = real.run("slack", "C0123456789", topics=("fink_?_ztf",), pictures=True)
    assert counts == Counts(posted=1)
    place, upload, complete = real.chat.got
    assert [got.path for got in real.chat.got] == [
        "/api/files.getUploadURLExternal", "/upload/v1/F1", "/api/files.completeUploadExternal",
    ]  # fmt: skip
    assert place.form() == {"filename": "alert.png", "length": str(len(upload.body))}
    assert upload.body.startswith(PNG)
    assert place.headers["Authorization"] == complete.headers["Authorization"] == f"Bearer {SLACK_TOKEN}"
    assert "Authorization" not in upload.headers
    form = complete.form()
    assert form["channel_id"] == "C0123456789"
    assert json.loads(form["files"]) == [{"id": "F1", "title": "ZTF26aamcbly"}]
    (block,) = json.loads(form["blocks"])
    assert block["text"]["type"] == "mrkdwn"
    assert "brightness: `r = 16.45 +- 0.09 mag, fainter than the template`" in block["text"]["text"]
    assert "topics: `fink_a_ztf, fink_b_ztf`" in block["text"]["text"]
    assert "<https://ztf.fink-portal.org/ZTF26aamcbly>" in block["text"]["text"]


def test_telegram_gets_a_photo(real: World) -> None:
    assert real.run("telegram", "@alerts", filter="survey = 'lsst'", pictures=True).posted == 1
    (got,) = real.chat.got
    assert got.path == f"/bot{TELEGRAM_TOKEN}/sendPhoto"
    parts = got.parts()
    assert parts["photo"].startswith(PNG)
    assert (parts["chat_id"], parts["parse_mode"]) == (b"@alerts", b"HTML")
    assert b"<b><code>LSST 170028485706776685</code></b>" in parts["caption"]


def test_a_webhook_gets_all_as_json(real: World) -> None:
    assert real.run(filter="survey = 'ztf'", pictures=True).posted == 1
    (got,) = real.chat.got
    assert got.headers["Authorization"] == f"Bearer {HOOK_TOKEN}"
    assert len(got.headers["Idempotency-Key"]) == 64
    said = got.json()
    assert said["id"] == "ztf 3367463101415010117"
    assert said["text"].startswith("ZTF26aamcbly\n")
    assert said["url"] == "https://ztf.fink-portal.org/ZTF26aamcbly"
    assert said["alert"]["mag"] == pytest.approx(16.449, abs=1e-3)
    assert said["alert"]["topics"] == ["fink_a_ztf", "fink_b_ztf"]
    assert base64.b64decode(said["picture"]["base64"]).startswith(PNG)


def test_a_picture_that_is_refused_is_left_out(real: World) -> None:
    real.chat.say("sendPhoto", Reply(400, b'{"description": "Bad Request: IMAGE_PROCESS_FAILED"}'))
    assert real.run("telegram", "-100123", topics=("fink_a_ztf",), pictures=True) == Counts(posted=1)
    assert real.chat.methods() == ["sendPhoto", "sendMessage"]
    sent = real.chat.got[1].json()
    assert sent["chat_id"] == "-100123"
    assert sent["link_preview_options"] == {"is_disabled": True}


def test_a_chat_that_takes_no_photos_gets_the_text(real: World) -> None:
    said = b'{"ok": false, "description": "Bad Request: not enough rights to send photos to the chat"}'
    real.chat.say("sendPhoto", Reply(400, said))
    assert real.run("telegram", "@x", topics=("fink_a_ztf",), pictures=True) == Counts(posted=1)
    assert real.chat.methods() == ["sendPhoto", "sendMessage"]


def test_a_topic_that_the_lake_has_not_is_told(world: World) -> None:
    world.fill(fink_a=[1.0])
    assert world.run(topics=("fink_*", "nosuchtopic", "x?")) == Counts(posted=1)
    (said,) = (line for line in world.listener.said if "warning" in line)
    assert "the lake has no topic 'nosuchtopic' and no 'x?'" in said
    world.listener.said.clear()
    world.run(topics=("fink_*",), dry_run=True)
    world.run()
    assert not any("warning" in line for line in world.listener.said)


@pytest.mark.parametrize(("service", "key"), [("webhook", "webhook.url"), ("slack", "slack.webhook")])
def test_an_address_that_is_none_names_its_setting(world: World, service: str, key: str) -> None:
    world.fill(fink_a=[1.0])
    world.environ |= {f"FINKBRIDGE_BOT__{key.upper().replace('.', '__')}": "ftp://secret"}
    with pytest.raises(SettingsError, match=f"the address in bot.{key} is no address of a webhook") as error:
        world.run(service)
    assert "secret" not in str(error.value)


@pytest.fixture
def others(world: World) -> World:
    """Return a world whose lake has alerts that are neither ZTF's nor LSST's."""
    grb = {"objectId": "ZTF21abc", "candid": 17, "fink_class": "SN", "rate": 0.3, "observatory": "Fermi"}
    source = {"diaSourceId": 5, "diaObjectId": 747, "midPointTai": 6e4, "filterName": "r", "psFlux": 1.0}
    topics = {
        "fink_elasticc": [record(ELASTICC, {"alertId": 1, "diaSource": source})],
        "fink_grb_bronze": [record(MULTI_MESSENGER, grb | {"triggerId": "683"})],
        "fink_grb_silver": [record(MULTI_MESSENGER, grb | {"triggerId": "683"})],
    }
    fill(world.lake, {topic: messages_of(records) for topic, records in topics.items()})
    return world


def test_alerts_of_other_kinds_are_named(others: World) -> None:
    assert others.run(pictures=True) == Counts(posted=2)
    burst, simulated = sorted((got.json() for got in others.chat.got), key=lambda got: -len(got["text"]))
    assert burst["text"].splitlines() == [
        "ZTF21abc", "class: SN", "trigger: 683", "observatory: Fermi",
        "time: 2026-03-20 23:40:00 UTC (received)", "alert: 17", "topics: fink_grb_bronze, fink_grb_silver",
    ]  # fmt: skip
    assert burst["alert"]["topics"] == ["fink_grb_bronze", "fink_grb_silver"]
    assert "object_id" not in burst["alert"]
    assert simulated["text"].startswith("747\ntime: ")
    assert "alert: 5\n" in simulated["text"]


def test_an_alert_of_another_kind_that_comes_by_another_topic_is_not_posted_again(others: World) -> None:
    assert others.run(topics=("fink_grb_bronze",)) == Counts(posted=1)
    assert others.run(topics=("fink_grb_silver",)) == Counts()
    assert len(others.chat.got) == 1


def test_alerts_of_other_kinds_are_found_as_the_docs_say(others: World) -> None:
    for query, topic in (
        ("SELECT min(_topic) FROM packets_other WHERE objectId = 'ZTF21abc'", "fink_grb_bronze"),
        ("SELECT _topic FROM packets_other WHERE diaSource.diaObjectId = 747", "fink_elasticc"),
    ):
        assert sql(others.lake, query) == [(topic,)]


def test_an_alert_of_another_kind_that_cannot_be_read_is_not_posted(others: World) -> None:
    """By its message's place it would be another one than by its names, and be posted twice."""
    (archive,) = others.lake.glob("archive/fink_grb_bronze/**/*.avro")
    whole = archive.read_bytes()
    archive.write_bytes(b"junk")
    assert others.run(topics=("fink_grb_b*",)) == Counts(unreadable=1)
    assert others.chat.got == []
    assert sum("a message of fink_grb_bronze is not posted" in line for line in others.listener.said) == 1
    assert others.run(topics=("fink_grb_*",)) == Counts(posted=1, unreadable=1)
    archive.write_bytes(whole)
    assert others.run(topics=("fink_grb_*",)) == Counts()
    assert others.run(topics=("fink_grb_b*",)) == Counts()


@pytest.mark.parametrize("topics", [("fink_a_ztf",), ("fink_a_ztf", "fink_b_ztf")])
def test_an_archive_that_is_damaged_costs_the_picture(real: World, topics: tuple[str, ...]) -> None:
    """But for what another topic brought as well."""
    for path in real.lake.glob("archive/fink_a_ztf/**/*.avro"):
        path.write_bytes(b"junk")
    assert real.run(topics=topics, pictures=True) == Counts(posted=1)
    assert ("picture" in real.chat.got[0].json()) == (len(topics) > 1)
    told = any("no picture: " in line and "damaged" in line for line in real.listener.said)
    assert told == (len(topics) == 1)


def test_slack_without_pictures(world: World) -> None:
    world.fill(t=[1.0])
    assert world.run("slack", "#alerts").posted == 1
    (got,) = world.chat.got
    assert (got.method, got.form()["channel"]) == ("chat.postMessage", "#alerts")
    world.environ["FINKBRIDGE_BOT__SLACK__WEBHOOK"] = f"{world.chat.url}/services/T/B/x"
    assert world.run("slack").posted == 1
    assert world.chat.got[1].path == "/services/T/B/x"
    assert list(world.chat.got[1].json()) == ["text"]


def test_each_alert_is_posted_once(world: World) -> None:
    world.fill(t=[1.0, 2.0])
    assert world.run().posted == 2
    assert world.run().posted == 0
    assert world.run(since=None).posted == 0
    world.fill(t=[3.0])
    assert world.run(since=None).posted == 1
    assert world.ids == [message("t", 0), message("t", 1), message("t", 2)]
    assert world.run("telegram", "@other").posted == 3
    assert_verified(world.lake)


def test_an_alert_that_comes_again_by_another_topic_is_not_posted_again(
    real: World, shared_data: Path
) -> None:
    assert real.run(topics=("fink_a_ztf",)).posted == 1
    assert real.run(topics=("fink_b_ztf",)).posted == 0
    assert len(real.chat.got) == 1


def test_merging_posts_nothing_again(world: World) -> None:
    world.fill(t=[1.0], u=[2.0], v=[3.0])
    assert world.run().posted == 3
    with Ledger(world.lake) as ledger, coordinate(ledger) as coordinator:
        assert merge_crowds(coordinator, ledger.crowds(1)) == []
    assert world.run(since=None).posted == 0
    # rows that were merged before anybody looked are found where they are now
    assert world.run("telegram", "@late").posted == 3


def test_a_new_bot_begins_with_what_comes(world: World) -> None:
    world.fill(t=[1.0])
    assert world.run(since=None).posted == 0
    assert any("begins with what comes from now on" in line for line in world.listener.said)
    world.fill(t=[2.0])
    assert world.run(since=None).posted == 1
    assert world.ids == [message("t", 1)]
    # another filter is another bot
    assert world.run(since=None, filter="kafka_offset = 0").posted == 0
    assert world.run(filter="kafka_offset = 0").posted == 1


def test_what_is_over_the_limit_is_left_out_and_told_once(world: World) -> None:
    world.fill(t=[float(x) for x in range(7)])
    assert world.run(limit=3) == Counts(posted=3, left_out=4)
    assert [got.json()["text"] for got in world.chat.got[3:]] == [
        "alerts left out: 4 (the limit is 3 an hour)"
    ]
    world.fill(t=[8.0])
    assert world.run(limit=3, since=None) == Counts(left_out=1)
    assert len(world.chat.got) == 4  # it was told within this hour
    assert world.run(limit=0).posted == 5


def test_a_service_that_is_down_loses_nothing(world: World) -> None:
    world.fill(t=[1.0, 2.0, 3.0])
    world.chat.say("hook", Reply(), Reply(503, headers={"Retry-After": "600"}))
    with pytest.raises(ChannelDownError, match="webhook answered 503") as caught:
        world.run()
    assert caught.value.wait_s == 600
    assert world.run(since=None).posted == 2
    assert world.ids == [message("t", 0), message("t", 1), message("t", 1), message("t", 2)]


def test_what_got_no_answer_is_not_posted_again(world: World) -> None:
    world.fill(t=[1.0, 2.0])
    world.chat.say("hook", Reply(0))
    assert world.run() == Counts(posted=1, unknown=1)
    assert world.run() == Counts()
    assert world.ids == [message("t", 0), message("t", 1)]
    assert any("may be there, and is not posted again" in line for line in world.listener.said)


def test_an_outage_without_answers_costs_two_alerts(world: World) -> None:
    world.fill(t=[1.0, 2.0, 3.0, 4.0])
    world.chat.say("hook", Reply(0), Reply(504), Reply(200))
    with pytest.raises(ChannelDownError, match=r"did not answer .*, 2 times in a row"):
        world.run()
    assert world.run(since=None) == Counts(posted=2)
    assert world.ids == [message("t", number) for number in range(4)]


def test_what_was_noted_when_a_bot_died_is_not_posted_again(world: World) -> None:
    world.fill(t=[1.0, 2.0])
    world.run(dry_run=True)
    world.chat.say("hook", Reply(429, headers={"Retry-After": "999"}))
    with pytest.raises(ChannelDownError):
        world.run()
    name = _channel(world)
    with State(world.lake / layout.BOT, name) as state:
        assert state.note(message("t", 0))
    assert world.run(since=None) == Counts(posted=1, unknown=1)
    assert world.ids[1:] == [message("t", 1)]
    assert any(f"when it died: {message('t', 0)}; they may be" in line for line in world.listener.said)


def test_what_was_refused_for_the_moment_when_a_bot_died_is_posted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(t=[1.0, 2.0])
    world.chat.say("hook", Reply(500))

    def die(seconds: float) -> bool:
        if seconds:
            raise KeyboardInterrupt
        return False

    with monkeypatch.context() as patch:
        patch.setattr(world.stop, "wait", die)
        with pytest.raises(KeyboardInterrupt):
            world.run()
    assert world.run(since=None) == Counts(posted=2)
    assert world.ids == [message("t", 0), message("t", 0), message("t", 1)]


def test_what_another_bot_was_still_at_is_looked_at_again(world: World) -> None:
    """It may die between two tries, or take its note back."""
    world.fill(t=[1.0, 2.0])
    assert world.run() == Counts(posted=2)
    world.fill(t=[3.0, 4.0])
    with State(world.lake / layout.BOT, _channel(world)) as other:

        def begun(seconds: float) -> bool:
            """The other one begins when this one has."""
            if other.noted(message("t", 2)) is None:
                assert other.note(message("t", 2))
            return False

        world.stop.wait = begun  # type: ignore[method-assign]
        assert world.run(since=None, rate=60.0) == Counts(posted=1)
        del world.stop.wait  # type: ignore[method-assign]
        world.fill(t=[5.0])
        other.withdraw(message("t", 2))
    assert world.run(since=None) == Counts(posted=2)
    assert sorted(world.ids) == [message("t", n) for n in range(5)]


def _channel(world: World) -> str:
    with closing(sqlite3.connect(world.lake / layout.BOT)) as db:
        ((name,),) = db.execute("SELECT DISTINCT channel FROM positions").fetchall()
    assert "secret" not in name
    return str(name)


def test_one_alert_that_is_refused_stops_nobody(world: World) -> None:
    world.fill(t=[1.0, 2.0, 3.0])
    world.chat.say("hook", Reply(), Reply(422, b"not this one"))
    assert world.run() == Counts(posted=2, refused=1)
    assert world.chat.of("hook")[2].json() == {"text": LEFT_OUT}
    assert any("is left out: webhook answered 422: not this one" in line for line in world.listener.said)


def test_a_line_without_an_answer_may_be_there(world: World) -> None:
    world.fill(t=[1.0, 2.0])
    world.chat.say("hook", Reply(422), Reply(504))
    assert world.run() == Counts(posted=1, refused=1)
    assert world.run() == Counts()


def test_a_service_that_is_down_at_the_line_is_down(world: World) -> None:
    world.fill(t=[1.0])
    world.chat.say("hook", Reply(422), *[Reply(503)] * 5)
    with pytest.raises(ChannelDownError, match="503"):
        world.run()
    assert world.run(since=None) == Counts(posted=1)


def test_an_answered_post_ends_a_row_of_unanswered_ones(world: World) -> None:
    world.fill(t=[1.0, 2.0, 3.0, 4.0])
    world.chat.say("hook", Reply(0), Reply(422), Reply(), Reply(0), Reply())
    assert world.run() == Counts(posted=1, unknown=2, refused=1)


@pytest.mark.parametrize(
    ("reply", "said"), [(Reply(400, b"no id"), "(alert message ztf t 1 0 0)"), (Reply(401), "401")]
)
def test_a_channel_that_takes_no_line_either_is_at_fault(world: World, reply: Reply, said: str) -> None:
    world.fill(t=[1.0, 2.0])
    world.chat.say("hook", Reply(400), reply)
    with pytest.raises(ChannelError, match=re.escape(said)):
        world.run()
    world.fill(t=[3.0])
    assert world.run(since=None) == Counts(posted=3)
    assert world.ids[-3:] == [message("t", n) for n in range(3)]


def test_alerts_that_a_working_channel_refuses_hold_up_no_other(world: World) -> None:
    world.fill(t=[1.0, 2.0, 3.0, 4.0])
    world.chat.say("hook", *[Reply(422), Reply()] * 3)
    assert world.run() == Counts(posted=1, refused=3)
    assert world.ids == [message("t", n) for n in range(4)]
    assert world.run().posted == 0, "left out is for good"


def test_told_to_stop_before_the_line_an_alert_waits(world: World) -> None:
    world.fill(t=[1.0, 2.0])
    world.chat.say("hook", Reply(400))
    world.stop.wait = lambda seconds: seconds > 1  # type: ignore[method-assign,assignment]
    assert world.run(rate=10.0) == Counts()
    del world.stop.wait  # type: ignore[method-assign]
    assert world.run(since=None) == Counts(posted=2)


def test_told_to_stop_before_it_tells_what_was_left_out_it_does_later(world: World) -> None:
    world.fill(t=[1.0, 2.0])
    world.stop.wait = lambda seconds: seconds > 1  # type: ignore[method-assign,assignment]
    assert world.run(limit=1, rate=10.0) == Counts(posted=1, left_out=1)
    del world.stop.wait  # type: ignore[method-assign]
    assert world.run(limit=1, since=None) == Counts()
    assert [got.json().get("text") for got in world.chat.of("hook")][1:] == [
        "alerts left out: 1 (the limit is 1 an hour)"
    ]


def test_a_time_to_go_back_to_passes_over_nothing_that_waits(world: World) -> None:
    world.fill(t=[1.0])
    assert world.run() == Counts(posted=1)
    world.fill(t=[2.0])
    for later in (datetime.now(UTC), "latest"):
        assert world.run(since=later, dry_run=True) == Counts(posted=1)
    assert world.run(since="latest") == Counts(posted=1)
    assert world.ids == [message("t", 0), message("t", 1)]
    assert world.run("telegram", "@new", since="latest") == Counts(), "a new bot has nothing that waits"


def test_a_bot_moves_no_position_that_another_wrote_meanwhile(world: World) -> None:
    """Another bot of the job was called with --since while this one was at a batch."""
    world.fill(t=[1.0])
    assert world.run() == Counts(posted=1)
    world.fill(t=[2.0])
    with State(world.lake / layout.BOT, _channel(world)) as other:
        calls: list[float] = []

        def called(seconds: float) -> bool:
            if not calls:
                other.go_back(OPTIONS.job, Position(0, 0.0))
                with closing(sqlite3.connect(other.path)) as db, db:
                    db.execute("DELETE FROM posts")
            calls.append(seconds)
            return False

        world.stop.wait = called  # type: ignore[method-assign]
        assert world.run(since=None) == Counts(posted=2), "it looks again from there"
        del world.stop.wait  # type: ignore[method-assign]
    assert world.ids == [message("t", 0), message("t", 1), message("t", 0)]


@pytest.mark.parametrize(
    ("service", "channel", "method", "reply", "said"),
    [
        (
            "slack",
            "#x",
            "chat.postMessage",
            Reply(body=b'{"ok": false, "error": "not_in_channel"}'),
            "invite the bot",
        ),
        ("slack", "#x", "chat.postMessage", Reply(body=b"<html>"), "no answer that is known"),
        (
            "telegram",
            "@x",
            "sendMessage",
            Reply(400, b'{"description": "Bad Request: chat not found"}'),
            "name a chat",
        ),
        ("telegram", "@x", "sendMessage", Reply(200, b"<html>log in"), "no answer that is known"),
        (
            "telegram",
            "@x",
            "sendMessage",
            Reply(200, b'{"ok": false, "description": "no"}'),
            "sendMessage: no",
        ),
        ("telegram", "@x", "sendMessage", Reply(401, b'{"description": "Unauthorized"}'), "Unauthorized"),
        ("webhook", None, "hook", Reply(410), "correct its address"),
    ],
)
def test_a_channel_that_takes_nothing_ends_it(
    world: World, service: str, channel: str | None, method: str, reply: Reply, said: str
) -> None:
    world.fill(t=[1.0])
    world.chat.say(method, reply)
    with pytest.raises(ChannelError, match=said):
        world.run(service, channel)
    assert world.run(service, channel, since=None).posted == 1


@pytest.mark.parametrize("error", ["fatal_error", "internal_error"])
def test_slack_that_may_have_done_it_is_not_asked_again(world: World, error: str) -> None:
    world.fill(t=[1.0])
    world.chat.say("chat.postMessage", Reply(body=json.dumps({"ok": False, "error": error}).encode()))
    assert world.run("slack", "#x") == Counts(unknown=1)
    assert world.run("slack", "#x") == Counts()
    assert any(f"slack got the message and says {error}" in line for line in world.listener.said)


def test_no_error_shows_the_path_that_a_server_quotes(world: World) -> None:
    world.fill(t=[1.0])
    world.chat.say("hook", Reply(404, b"<pre>Cannot POST /Secret-Path/hook</pre>"))
    with pytest.raises(ChannelError, match=r"webhook answered 404: .*a part of the address") as caught:
        world.run()
    assert "secret-path" not in str(caught.value).lower()


def test_a_user_in_the_address_is_refused(world: World) -> None:
    world.fill(t=[1.0])
    world.environ["FINKBRIDGE_BOT__WEBHOOK__URL"] = "https://me:pw1@host/x"
    with pytest.raises(SettingsError, match="without a user") as caught:
        world.run()
    assert "pw1" not in str(caught.value)


def test_slack_that_is_busy_is_down(world: World) -> None:
    world.fill(t=[1.0])
    world.chat.say("chat.postMessage", Reply(body=b'{"ok": false, "error": "ratelimited"}'))
    with pytest.raises(ChannelDownError, match="ratelimited"):
        world.run("slack", "#x")


def test_a_dry_run_posts_and_notes_nothing(world: World) -> None:
    world.fill(t=[1.0, 2.0, 3.0])
    assert world.run(dry_run=True, limit=2) == Counts(posted=2, left_out=1)
    assert [post.key for post in world.listener.posts] == [message("t", 0), message("t", 1)]
    assert world.chat.got == []
    assert not (world.lake / layout.BOT).exists()
    assert world.run().posted == 3
    assert world.run(dry_run=True).posted == 0


@pytest.mark.parametrize("since", [None, "latest"])
def test_a_ledger_that_was_made_again_is_noticed(world: World, since: str | None) -> None:
    world.fill(t=[1.0])
    assert world.run().posted == 1
    with State(world.lake / layout.BOT, _channel(world)) as state:
        state.go_back(OPTIONS.job, Position(1, 12.5))
    assert world.run(since=since).posted == 0
    assert sum("the ledger was made again" in line for line in world.listener.said) == 1
    assert world.run(since=None) == Counts()
    assert sum("the ledger was made again" in line for line in world.listener.said) == 1


def test_it_goes_back_in_a_ledger_that_was_made_again(world: World) -> None:
    world.fill(t=[1.0])
    assert world.run() == Counts(posted=1)
    world.fill(t=[2.0])
    rebuild_ledger(load_settings(environ=world.environ).settings, replace_old=True)
    assert world.run() == Counts(posted=1)
    assert world.ids == [message("t", 0), message("t", 1)]


def test_a_ledger_whose_tables_are_not_made_yet_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(t=[1.0])
    settings = load_settings(environ=world.environ).settings
    with monkeypatch.context() as patch:
        patch.setattr("finkbridge.rebuild.ledger._make_tables", lambda *_: RebuildReport())
        rebuild_ledger(settings, replace_old=True)
    with pytest.raises(LakeAccessError, match="finkbridge rebuild"):
        world.run()
    rebuild(settings)
    assert world.run() == Counts(posted=1)


def test_what_an_ai_says_of_alerts_is_no_alert(world: World) -> None:
    said = json.dumps({"source": {"candid": 7}, "predictions": {"m": {"prediction": 0.5}}}).encode()
    fill(world.lake, {"fink_ai_2026": messages_of([(None, said)]), "t": messages_of([point(1.0)])})
    assert sql(world.lake, "SELECT count(*) FROM deliveries") == [(2,)]
    assert world.run() == Counts(posted=1)
    assert world.ids == [message("t", 0)]


def test_two_at_once_post_each_alert_once(world: World) -> None:
    world.fill(t=[float(x) for x in range(12)])
    counts: list[Counts] = []
    bots = [threading.Thread(target=lambda: counts.append(world.run())) for _ in range(3)]
    for bot in bots:
        bot.start()
    for bot in bots:
        bot.join()
    assert sum(count.posted for count in counts) == 12
    assert sorted(world.ids) == sorted(message("t", x) for x in range(12))


def test_the_rate_is_kept(world: World) -> None:
    world.fill(t=[1.0, 2.0, 3.0])
    waits: list[float] = []
    world.stop.wait = lambda seconds: waits.append(seconds) or False  # type: ignore[method-assign,assignment,func-returns-value]
    assert world.run(rate=2.0).posted == 3
    assert [round(wait) for wait in waits] == [0, 30, 30]


def test_told_to_stop_it_goes_on_later(world: World) -> None:
    world.fill(t=[1.0, 2.0])
    world.stop.set()
    assert world.run() == Counts()
    world.stop.clear()
    assert world.run(since=None).posted == 2


@pytest.mark.parametrize(
    ("service", "channel", "more", "said"),
    [
        ("slack", None, {}, "say which channel"),
        ("slack", "#alerts", {"pictures": True}, "no ID of a Slack channel"),
        ("telegram", None, {}, "say which channel"),
        ("webhook", "x", {}, "leave -channel out"),
        ("webhook", None, {"filter": "mag"}, "no condition"),
    ],
)
def test_bad_calls(world: World, service: str, channel: str | None, more: dict[str, Any], said: str) -> None:
    world.fill(t=[1.0])
    with pytest.raises(SettingsError, match=said):
        world.run(service, channel, **more)
