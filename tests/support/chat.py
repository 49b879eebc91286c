"""A real HTTP server on loopback in the place of Slack, Telegram and a webhook: it says what it is told."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs


@dataclass(frozen=True)
class Reply:
    """What the server says; status 0: it hangs up once it has read the request."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0.0


@dataclass(frozen=True)
class Got:
    """A request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def method(self) -> str:
        return self.path.rpartition("/")[2]

    def json(self) -> Any:
        return json.loads(self.body)

    def form(self) -> dict[str, str]:
        return {name: value for name, (value,) in parse_qs(self.body.decode(), strict_parsing=True).items()}

    def parts(self) -> dict[str, bytes]:
        """Return the fields of a multipart form."""
        whole = b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + self.body
        message = message_from_bytes(whole, policy=policy.HTTP)
        return {
            str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)  # type: ignore[misc]
            for part in message.iter_parts()  # type: ignore[attr-defined]
        }


class Chat:
    """The server: what it got, and what it says next to a method (the end of the path)."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.next: dict[str, deque[Reply]] = {}
        self.came = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def say(self, method: str, *replies: Reply) -> None:
        self.next.setdefault(method, deque()).extend(replies)

    def methods(self) -> list[str]:
        return [got.method for got in self.got]

    def of(self, method: str) -> list[Got]:
        return [got for got in self.got if got.method == method]

    def await_requests(self, number: int, within_s: float = 60) -> None:
        with self.came:
            assert self.came.wait_for(lambda: len(self.got) >= number, within_s), self.methods()

    @contextmanager
    def serving(self) -> Iterator[Chat]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def reply(self, got: Got) -> Reply:
        with self.came:
            self.got.append(got)
            self.came.notify_all()
        waiting = self.next.get(got.method)
        return waiting.popleft() if waiting else self._usual(got)

    def _usual(self, got: Got) -> Reply:
        said: dict[str, Any] = {"ok": True}
        if got.method == "files.getUploadURLExternal":
            said |= {"upload_url": f"{self.url}/upload/v1/F1", "file_id": "F1"}
        return Reply(body=json.dumps(said).encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away in the middle is what some tests are about."""


def _handler(chat: Chat) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            reply = chat.reply(Got(self.path, self.headers, body))
            time.sleep(reply.after_s)
            if not reply.status:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its signature
            pass

    return Handler
