"""The web side as a part of the nest's process: uvicorn in the event loop that is there, on a socket that is open.

Whoever looks at the page shares a process with the gateways. So connections that ask nothing are cut off, there is an
end to their number (what they occupy, gateways and the database could not open any more), and few requests are worked
on at once: each thread takes its turns from the event loop, which has a second to answer a node.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import anyio.to_thread
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from nest.archive import Archive
from nest.live import Live
from nest.town import Town
from nest.web.app import create_app
from nest.web.operations import Operations

_STOP_S = 1.0  # what open connections get to end by themselves
HEAD_S = 10.0  # what a connection gets for the head of its first request, and of each further one
MOST_CONNECTIONS = 500
THREADS = 8  # requests that ask the database at once
_TICKS_PER_S = 10  # uvicorn's


def serve(
    archive: Archive,
    live: Live,
    town: Town,
    public: Callable[[], dict[str, Any]],
    engine: Engine,
    snapshot: Callable[[], dict[str, Any]],
) -> Server:
    """The server for a town; `public` and `snapshot` as `create_app` and `Operations` want them."""
    operations = Operations(engine, snapshot, town.join_eui)
    return Server(create_app(archive, live, town, public, operations=operations))


class Server(uvicorn.Server):
    """uvicorn, leaving the signals to whoever runs the nest, and saying when it serves (`ready`)."""

    def __init__(self, app: FastAPI) -> None:
        config = uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=int(_STOP_S), ws="none"
        )
        super().__init__(config)
        self.ready = asyncio.Event()
        self._silent: dict[Any, int] = {}  # connections that wait for the head of a request, and for how many ticks
        self._app = app

    def end(self) -> None:
        """Let `serve` return soon."""
        self._app.state.events.close()  # uvicorn would wait for the open event streams
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        self._cut_off()
        return await super().on_tick(counter)

    def _cut_off(self) -> None:
        """End connections that take too long to ask; and the longest silent ones while there are too many."""
        connections: set[Any] = self.server_state.connections
        asking_nothing = [one for one in connections if one.cycle is None or one.cycle.response_complete]
        self._silent = {one: self._silent.get(one, 0) + 1 for one in asking_nothing}
        too_many = len(connections) - MOST_CONNECTIONS
        for place, one in enumerate(sorted(self._silent, key=self._silent.__getitem__, reverse=True)):
            if place < too_many or self._silent[one] > HEAD_S * _TICKS_PER_S:
                one.transport.abort()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
