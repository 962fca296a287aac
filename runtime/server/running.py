"""Running an application with uvicorn: slow clients are cut off, and a signal ends the service gracefully."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from padinv.runtime.errors import OutputError
from padinv.runtime.server.gate import App
from padinv.runtime.server.limits import Limits


def protocol_with_deadline(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, which closes a connection whose request head takes longer than `seconds` to arrive.

    uvicorn itself waits for a head for ever ("slow loris"); of the body the gate takes care.
    """

    class Deadline(H11Protocol):
        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_watching()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """The clock runs from the first moment that a head is awaited to the last byte of it."""
            if self.conn.their_state is not h11.IDLE:
                self._stop_watching()
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(seconds, self._too_slow)

        def _stop_watching(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _too_slow(self) -> None:
            self._head_timer = None
            if not self.transport.is_closing():
                self.transport.close()

    return Deadline


class Server(uvicorn.Server):
    """A server that ends on SIGINT or SIGTERM after the requests it has accepted, and then returns normally."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and self._on_started is not None:
            self._on_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kinds = (signal.SIGINT, signal.SIGTERM)
        before = {kind: signal.signal(kind, self.handle_exit) for kind in kinds}
        try:
            yield  # uvicorn raises the signal again at this point; a service that was asked to stop has done its work
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        OutputError: the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        raise OutputError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; choose another --port"
        ) from error
    return listening


def make_server(app: App, limits: Limits, on_started: Callable[[], None] | None = None) -> Server:
    """A server for `app`; run it with `run(sockets=[...])`."""
    config = uvicorn.Config(
        app,
        http=protocol_with_deadline(limits.head_seconds),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=int(max(1, min(limits.head_seconds, 5))),
        # Every request that was accepted is answered within its own limits; no shorter one may cut it off.
        timeout_graceful_shutdown=math.ceil(limits.body_seconds + limits.answer_seconds),
        h11_max_incomplete_event_size=1 << 15,
    )
    return Server(config, on_started)
