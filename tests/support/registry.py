"""A schema registry in this process: a real HTTP server on loopback that knows some ids."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class RegistryServer:
    """Answers ``/schemas/ids/<id>`` as Confluent's does.

    Parameters
    ----------
    schemas
        Text of each schema by its id.
    """

    def __init__(self, schemas: Mapping[int, str]) -> None:
        self.asked: list[int] = []
        self.auth: str | None = None
        """``user:password`` that it wants."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                number = int(self.path.removeprefix("/schemas/ids/"))
                registry.asked.append(number)
                said = self.headers.get("Authorization", "")
                wanted = registry.auth and "Basic " + base64.b64encode(registry.auth.encode()).decode()
                if wanted and said != wanted:
                    self._answer(401, {"error_code": 40101})
                elif number in schemas:
                    self._answer(200, {"schema": schemas[number]})
                else:
                    self._answer(404, {"error_code": 40403})

            def _answer(self, code: int, told: object) -> None:
                body = json.dumps(told).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def answering(raw: bytes, *, then: float = 0) -> Iterator[str]:
    """Serve these bytes at the address given, to whoever asks; the last one is repeated for some seconds."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(raw)
                    until = time.monotonic() + then
                    while time.monotonic() < until:
                        time.sleep(0.05)
                        connection.sendall(raw[-1:])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def answer(status: str, body: bytes) -> bytes:
    """Return an answer of HTTP."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
