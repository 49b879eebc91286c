"""``finkbridge bot`` as a user runs it: processes that are killed and told to stop, and what they print."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from finkbridge import layout
from tests.support.chat import Chat, Reply
from tests.support.command import Command
from tests.support.offline import fill, messages_of, point

SECRET = "123456:AAF-very_secret"
TELEGRAM = ("bot", "--to", "telegram", "-channel", "@x", "-rate", "60000", "--no-picture")


@pytest.fixture
def chat() -> Iterator[Chat]:
    with Chat().serving() as served:
        yield served


@pytest.fixture
def command(tmp_path: Path, chat: Chat) -> Command:
    """Return a user with a lake of two messages."""
    settings = {"FINKBRIDGE_BOT__TELEGRAM__API": chat.url, "FINKBRIDGE_BOT__TELEGRAM__TOKEN": SECRET}
    command = Command(tmp_path, "127.0.0.1:1", **settings)
    fill(command.lake, {"t": messages_of([point(1.0), point(2.0)])})
    return command


def alerts(chat: Chat) -> list[str]:
    """Return the Kafka offsets, by the texts' times, of the messages that were posted."""
    return [got.json()["text"] for got in chat.of("sendMessage")]


def test_it_goes_on_until_told_to_stop(command: Command, chat: Chat) -> None:
    with command.start("-vv", *TELEGRAM, "--since", "earliest") as running:
        chat.await_requests(2)
        fill(command.lake, {"u": messages_of([point(3.0)])})
        chat.await_requests(3)
        running.await_text("(message ztf u 1 0 0)")
        assert running.end(signal.SIGINT) == 130
        assert SECRET not in running.said()
    assert ["<code>u</code>" in text for text in alerts(chat)] == [False, False, True]
    assert "alerts posted: 0\n" in command.run(*TELEGRAM, "--once").stderr
    with command.start(*TELEGRAM) as running:
        running.await_text("", count=0)
        chat.say("sendMessage", *[Reply(503, headers={"Retry-After": "900"})] * 9)
        fill(command.lake, {"u": messages_of([point(4.0)], first=1)})
        running.await_text("next try in 900 s: what is not posted yet waits")
        assert running.end(signal.SIGTERM) == 143
    chat.next.clear()
    assert "alerts posted: 1\n" in command.run(*TELEGRAM, "--once").stderr


def test_a_kill_while_it_posts_never_posts_twice(command: Command, chat: Chat) -> None:
    chat.say("sendMessage", Reply(after_s=25))
    with command.start(*TELEGRAM, "--since", "earliest", "--once") as running:
        chat.await_requests(1)
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
    again = command.run(*TELEGRAM, "--once", code=1)
    assert "when it died: message ztf t 1 0 0; they may be there, and are not posted again" in again.stderr
    assert "alerts posted: 1, without an answer, so they may be there: 1\n" in again.stderr
    assert len(chat.got) == 2
    assert command.run("verify").returncode == 0


def test_a_dry_run_prints_what_would_be_posted(command: Command, chat: Chat) -> None:
    done = command.run(
        *TELEGRAM, "--dry-run", "--once", "--since", "earliest", "t*", "-filter", "kafka_offset = 1"
    )
    assert done.stdout.startswith(
        "alert without an object\ntime: 2026-03-20 23:40:00 UTC (received)\ntopics: t\n"
    )
    assert "alerts that would be posted: 1\n" in done.stderr
    assert chat.got == []
    assert not (command.lake / layout.BOT).exists()


def test_what_fails_is_one_line_without_the_secret(command: Command, chat: Chat) -> None:
    chat.say("sendMessage", Reply(401, f'{{"description": "no bot{SECRET}"}}'.encode()))
    done = command.run("-vv", *TELEGRAM, "--once", "--since", "earliest", code=1)
    assert "telegram answered 401" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    for arguments, code, said in (
        ((*TELEGRAM, "--once", "-filter", "mag < 2; DROP TABLE x"), 2, "the filter cannot be used"),
        ((*TELEGRAM, "--once", "--since", "yesterday"), 2, "--since: write earliest, latest, or an ISO time"),
        (("bot", "--to", "slack", "-channel", "C0123456789"), 2, "FINKBRIDGE_BOT__SLACK__TOKEN"),
        (("--lake", "nowhere", *TELEGRAM), 1, "there is no lake at nowhere"),
    ):
        done = command.run(*arguments, code=code)
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
    assert not (command.folder / "nowhere").exists()
