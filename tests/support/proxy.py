"""A TCP proxy on loopback between a Kafka client and its broker: cuts, slows and silences connections."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Self

BLOCK = 16_384


class Proxy:
    """Passes on what comes to a port, both ways, until it is told otherwise.

    Parameters
    ----------
    port, target : int
        Where it listens, and where it connects to, both on loopback.
    """

    def __init__(self, port: int, target: int) -> None:
        self.bytes_per_s: float | None = None
        """How fast all connections together bring answers; None is as fast as they come."""
        self.cut_every: int | None = None
        """Bytes of answers after which a connection is cut, each anew."""
        self.cuts = 0
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or its thread would keep it open
        self._listener.close()
        self._open.set()
        self.cut()

    def cut(self) -> None:
        """Close all connections, as a network does that goes away; new ones are taken."""
        with self._lock:
            pairs = list(self._pairs)
            self._pairs.clear()
        for pair in pairs:
            _close(*pair)

    def silence(self) -> None:
        """Pass nothing on, and keep the connections."""
        self._open.clear()

    def resume(self) -> None:
        """Pass everything on again."""
        self._open.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:  # the broker is down: its clients see a connection that is closed at once
            client.close()
            return
        with self._lock:
            self._pairs.add((client, server))
        threading.Thread(target=self._pass, args=(client, server), daemon=True).start()
        self._pass(server, client, answers=True)

    def _pass(self, source: socket.socket, sink: socket.socket, *, answers: bool = False) -> None:
        passed = 0
        with suppress(OSError):
            while block := source.recv(BLOCK):
                self._open.wait()
                if answers and self.bytes_per_s:
                    time.sleep(len(block) / self.bytes_per_s)
                sink.sendall(block)
                passed += len(block)
                if answers and self.cut_every and passed >= self.cut_every:
                    self.cuts += 1
                    break
        _close(source, sink)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
