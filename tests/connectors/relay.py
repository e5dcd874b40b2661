"""A wire between a client and a server that a test cuts where it hurts."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class Relay:
    """Passes bytes on at a port of its own until told otherwise.

    ``on_request`` is asked about all that a client sends, before it is passed on: ``cut`` closes both ends at once,
    ``cut_after_reply`` passes it on and closes them when the server has answered, without passing that on, ``silence``
    passes nothing on any more and closes nothing; anything else lets it through. ``on_reply`` is asked about what the
    server sends: ``cut`` and ``silence`` mean the same.
    """

    def __init__(
        self,
        port: int,
        on_request: Callable[[bytes], str] = lambda _: "",
        on_reply: Callable[[bytes], str] = lambda _: "",
    ) -> None:
        self._to = ("127.0.0.1", port)
        self._on_request = on_request
        self._on_reply = on_reply
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for end in self._open:
            _close(end)
        for thread in self._threads:
            thread.join()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._to)
                self._open += [client, server]
                _Wire(client, server, self._on_request, self._on_reply).run(self._start)


class _Wire:
    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        on_request: Callable[[bytes], str],
        on_reply: Callable[[bytes], str],
    ) -> None:
        self._client, self._server = client, server
        self._on_request, self._on_reply = on_request, on_reply
        self._cut_at_reply = self._silent = False

    def run(self, start: Callable[..., None]) -> None:
        start(self._requests)
        start(self._replies)

    def _requests(self) -> None:
        with contextlib.suppress(OSError):
            while piece := self._client.recv(1 << 16):
                order = self._on_request(piece)
                self._silent |= order == "silence"
                self._cut_at_reply |= order == "cut_after_reply"
                if order == "cut":
                    break
                if not self._silent:
                    self._server.sendall(piece)
        self._close()

    def _replies(self) -> None:
        with contextlib.suppress(OSError):
            while piece := self._server.recv(1 << 16):
                order = self._on_reply(piece)
                self._silent |= order == "silence"
                if order == "cut" or self._cut_at_reply:
                    break
                if not self._silent:
                    self._client.sendall(piece)
        self._close()

    def _close(self) -> None:
        for end in (self._client, self._server):
            _close(end)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
