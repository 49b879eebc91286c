"""Posting over HTTP to a real server: what is tried again, what is not, and what no error says."""

from __future__ import annotations

import contextlib
import gc
import logging
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Self

import pytest

from finkbridge.bot import http as module
from finkbridge.bot.http import ATTEMPTS, LONGEST_ASKED_S, Http
from finkbridge.errors import (
    ChannelDownError,
    ChannelError,
    MessageRefusedError,
    NoAnswerError,
    SettingsError,
)
from tests.support.chat import Chat, Reply

WAIT_S = 20.0
SECRET = "123456:AAF-very_secret"


@pytest.fixture
def chat() -> Iterator[Chat]:
    with Chat().serving() as served:
        yield served


class Clock:
    """Waits in no time, and remembers."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.stops_at = 99

    def __call__(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) >= self.stops_at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def http(clock: Clock) -> Iterator[Http]:
    with Http("telegram", [SECRET], clock) as opened:
        yield opened


def post(http: Http, chat: Chat, *, repeatable: bool = False) -> bytes:
    return http.post(f"{chat.url}/bot{SECRET}/send", b"x", "text/plain", repeatable=repeatable).body


def test_an_answer_is_given_back(http: Http, chat: Chat) -> None:
    chat.say("send", Reply(201, b'{"a": 1}'))
    assert http.post(f"{chat.url}/send", b"body", "text/plain", token="t", headers={"X-A": "b"}).json() == {
        "a": 1
    }
    (got,) = chat.got
    assert (got.body, got.headers["Authorization"], got.headers["X-A"]) == (b"body", "Bearer t", "b")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 521])
def test_what_was_not_done_is_tried_again(http: Http, chat: Chat, clock: Clock, status: int) -> None:
    chat.say("send", Reply(status), Reply(status), Reply(200, b"done"))
    assert post(http, chat) == b"done"
    assert clock.waits == [1, 2]
    assert len(chat.got) == 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply(429, headers={"Retry-After": "7"}),
        Reply(429, headers={"retry-after": "7"}),
        Reply(429, b'{"ok": false, "parameters": {"retry_after": 7}}'),
        Reply(429, b'{"retry_after": 7.0}'),
    ],
)
def test_it_waits_as_long_as_it_is_asked_to(http: Http, chat: Chat, clock: Clock, reply: Reply) -> None:
    chat.say("send", reply)
    post(http, chat)
    assert clock.waits == [7]


def test_it_may_be_asked_to_wait_until_a_time(http: Http, chat: Chat, clock: Clock) -> None:
    chat.say("send", Reply(429, headers={"Retry-After": formatdate(time.time() + 30, usegmt=True)}))
    post(http, chat)
    assert 20 < clock.waits[0] <= 30


def test_it_may_be_asked_to_wait_for_centuries(http: Http, chat: Chat) -> None:
    chat.say("send", Reply(429, headers={"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}))
    with pytest.raises(ChannelDownError) as caught:
        post(http, chat)
    assert caught.value.wait_s == LONGEST_ASKED_S


def test_an_answer_that_is_cut_counts_by_its_status(
    http: Http, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_S", 0.3)
    cut = {"Content-Length": "1000"}
    chat.say("send", Reply(429, b"no", cut), Reply(200, b"do", cut), Reply(404, b"no", cut))
    with pytest.raises(NoAnswerError):
        post(http, chat)
    assert len(chat.got) == 2
    with pytest.raises(ChannelError, match="answered 404"):
        post(http, chat)


@pytest.mark.parametrize(
    "said", ["Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Oct 2015", "-5", "nan", "1e99", "", "9" * 40]
)
def test_odd_times_to_wait_do_not_count(http: Http, chat: Chat, clock: Clock, said: str) -> None:
    chat.say("send", Reply(503, b'{"retry_after": [1], "parameters": 3}', {"Retry-After": said}))
    post(http, chat)
    assert clock.waits == [1]


def test_a_long_wait_is_left_to_the_caller(http: Http, chat: Chat, clock: Clock) -> None:
    chat.say("send", Reply(429, headers={"Retry-After": "3600"}))
    with pytest.raises(ChannelDownError) as caught:
        post(http, chat)
    assert caught.value.wait_s == 3600
    assert (clock.waits, len(chat.got)) == ([], 1)


def test_in_the_end_it_is_down(http: Http, chat: Chat, clock: Clock) -> None:
    chat.say("send", *[Reply(503, b"busy")] * 9)
    with pytest.raises(ChannelDownError, match="telegram answered 503: busy"):
        post(http, chat)
    assert clock.waits == [1, 2, 4, 8]
    assert len(chat.got) == ATTEMPTS


def test_told_to_stop_it_waits_no_more(http: Http, chat: Chat, clock: Clock) -> None:
    chat.say("send", *[Reply(503)] * 9)
    clock.stops_at = 2
    with pytest.raises(ChannelDownError):
        post(http, chat)
    assert len(chat.got) == 2


def test_a_connection_that_is_refused_is_tried_again(http: Http, clock: Clock) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/bot{SECRET}/x"
        with pytest.raises(ChannelDownError, match=r"telegram cannot be reached \(new connection\)"):
            http.post(url, b"", "text/plain")
    assert len(clock.waits) == ATTEMPTS - 1


@pytest.mark.parametrize("reply", [Reply(0), Reply(504), Reply(524), Reply(599)])
def test_without_an_answer_it_is_not_posted_twice(http: Http, chat: Chat, clock: Clock, reply: Reply) -> None:
    chat.say("send", reply)
    with pytest.raises(NoAnswerError, match="got the message and did not answer"):
        post(http, chat)
    assert len(chat.got) == 1
    chat.say("send", reply)
    post(http, chat, repeatable=True)
    assert len(chat.got) == 3


def test_a_server_that_never_answers_is_no_answer(
    http: Http, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(NoAnswerError, match="read timeout"):
        http.post(f"http://127.0.0.1:{silent.getsockname()[1]}/", b"", "text/plain")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, MessageRefusedError), (413, MessageRefusedError), (401, ChannelError), (404, ChannelError)],
)
def test_what_is_refused_is_not_tried_again(
    http: Http, chat: Chat, status: int, kind: type[Exception]
) -> None:
    chat.say("send", Reply(status, f"no \x1b[31m{SECRET} for you\n".encode() + b"\xff" * 5000))
    with pytest.raises(kind, match=f"telegram answered {status}") as caught:
        post(http, chat)
    assert type(caught.value) is kind
    said = str(caught.value)
    assert SECRET not in said
    assert "\x1b" not in said
    assert len(said) < 400
    assert len(chat.got) == 1


def test_a_redirect_is_not_followed(http: Http, chat: Chat) -> None:
    chat.say("send", Reply(302, headers={"Location": f"{chat.url}/elsewhere"}))
    with pytest.raises(ChannelError, match="answered 302"):
        post(http, chat)
    assert chat.methods() == ["send"]


def test_an_endless_answer_is_cut(http: Http, chat: Chat) -> None:
    chat.say("send", Reply(200, b"x" * (3 << 20)))
    assert len(post(http, chat)) == module.MOST_BYTES


@pytest.mark.parametrize(
    "url", ["", "ftp://h/x", "http://", f"nothing {SECRET}", f"http://[{SECRET}/", "http://a:99999/"]
)
def test_an_address_that_is_none_is_not_repeated(http: Http, url: str) -> None:
    with pytest.raises((SettingsError, ChannelDownError, ChannelError)) as caught:
        http.post(url, b"", "text/plain")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_no_error_and_no_log_has_the_secret(http: Http, chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    chat.say("send", Reply(503), Reply(0), Reply(401, SECRET.encode()), Reply(400))
    for _ in range(3):
        with pytest.raises(ChannelError) as caught:
            post(http, chat)
        assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert "send HTTP/1.1" in caplog.text
    assert SECRET not in caplog.text


def test_a_proxy_is_used(http: Http, chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", chat.url.replace("//", "//me:pw%40@"))
    monkeypatch.setenv("no_proxy", "")
    http.post("http://chat.invalid/send", b"x", "text/plain")
    (got,) = chat.got
    assert got.path == "http://chat.invalid/send"
    assert got.headers["Proxy-Authorization"] == "Basic bWU6cHdA"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost with its key, which nobody trusts yet."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    file = tmp_path / "both.pem"
    asked = (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(
        ["openssl", *asked.split(), "-keyout", file, "-out", tmp_path / "c.pem"],
        check=True,
        capture_output=True,
    )
    file.write_bytes(file.read_bytes() + (tmp_path / "c.pem").read_bytes())
    return file


class Middlebox:
    """Takes posts by TLS, and answers them without."""

    def __init__(self, certificate: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("localhost", 0))
        self.url = f"https://localhost:{self._listener.getsockname()[1]}/x"
        self.connections = self.posts = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with raw, contextlib.suppress(OSError):
                self._take(raw)

    def _take(self, raw: socket.socket) -> None:
        with self._context.wrap_socket(raw.dup(), server_side=True) as secured:
            got = b""
            while not got.endswith(b"the alert"):
                piece = secured.recv(1 << 16)
                if not piece:
                    return
                got += piece
            self.posts += 1
            raw.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")


def test_tls_that_fails_after_the_post_is_no_answer(
    http: Http, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Middlebox(certificate) as box:
        with pytest.raises(NoAnswerError, match=r"did not answer \(ssl\)"):
            http.post(box.url, b"the alert", "text/plain")
        assert box.posts == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python leaves one open
@pytest.mark.parametrize("ending", ["reset", "silence"])
def test_a_handshake_that_fails_is_tried_again(
    http: Http, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a load balancer that begins again: nothing of the post went out."""
    monkeypatch.setattr(module, "CONNECT_S", 0.2)
    connections = []

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            if ending == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(ChannelDownError, match="telegram cannot be reached") as caught:
            http.post(url, b"the alert", "text/plain")
        listener.shutdown(socket.SHUT_RDWR)
    del caught
    gc.collect()  # what was left open is told in this test
    for connection in connections:
        connection.close()
    assert len(connections) == ATTEMPTS


def test_each_post_has_a_connection_of_its_own(http: Http) -> None:
    """As a firewall leaves one that was quiet for long: the next post would be lost in it."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    posts = []

    def serve(listener: socket.socket) -> None:
        for _ in range(3):
            connection, _ = listener.accept()
            with connection:
                got = b""
                while not got.endswith(b"the alert"):
                    got += connection.recv(1 << 16)
                posts.append(got)
                connection.sendall(answer)
                connection.settimeout(WAIT_S)
                connection.recv(1 << 16)  # who sends it another post is hung up on

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=(listener,), daemon=True)
        serving.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        assert [http.post(url, b"the alert", "text/plain").status for _ in range(3)] == [200] * 3
        serving.join(WAIT_S)
    assert len(posts) == 3


def test_tls_that_fails_before_the_post_is_tried_again(http: Http, certificate: Path) -> None:
    with Middlebox(certificate) as box:
        with pytest.raises(ChannelDownError, match=r"cannot be reached \(ssl\)"):
            http.post(box.url, b"the alert", "text/plain")
        assert (box.connections, box.posts) == (ATTEMPTS, 0)
