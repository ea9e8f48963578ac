"""The web side as a part of the nest's process: uvicorn in the event loop that is there, on a socket that is open."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from nest.archive import Archive
from nest.live import Live
from nest.town import Town
from nest.web.app import create_app
from nest.web.operations import Operations

_STOP_S = 1.0  # what open connections get to end by themselves


def serve(
    archive: Archive,
    live: Live,
    town: Town,
    public: Callable[[], dict[str, Any]],
    engine: Engine,
    snapshot: Callable[[], dict[str, Any]],
) -> Server:
    """The server for a town; `public` and `snapshot` as `create_app` and `Operations` want them."""
    return Server(create_app(archive, live, town, public, operations=Operations(engine, snapshot)))


class Server(uvicorn.Server):
    """uvicorn, leaving the signals to whoever runs the nest, and saying when it serves (`ready`)."""

    def __init__(self, app: FastAPI) -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=int(_STOP_S))
        super().__init__(config)
        self.ready = asyncio.Event()
        self._app = app

    def end(self) -> None:
        """Let `serve` return soon."""
        self._app.state.events.close()  # uvicorn would wait for the open event streams
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
