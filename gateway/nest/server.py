"""One process, one event loop: forwarder, network server, archive, MQTT and the web side, wired together."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from nest import lorawan, status
from nest.archive import Archive, NodeLatest, open_database
from nest.archive.database import database_errors
from nest.archive.downlinks import DownlinkQueue
from nest.errors import UserError
from nest.forwarders.semtech_udp import SemtechUdp
from nest.i18n import tr
from nest.live import Live, ReadingEvent
from nest.network import Network
from nest.publish.broker import EmbeddedBroker
from nest.publish.mqtt import Broker, MqttPublisher
from nest.registry import Registry
from nest.town import Town
from nest.web import create_app

_log = logging.getLogger(__name__)

HOUSEKEEPING_S = 2.0  # how soon a removed node is forgotten and the counters are on the disk
_STOP_S = 1.0  # what open connections of the web side get to end by themselves

Announce = Callable[[dict[str, Any]], None]


class Nest:
    """A town's nest. `announce` is told `{"event": "listening", "part": …, "host": …, "port": …}` for each part."""

    def __init__(self, town: Town, announce: Announce = lambda _: None) -> None:
        self._town, self._announce = town, announce
        self._stopping = asyncio.Event()
        self.live = Live()
        self.ports: dict[str, int] = {}

    def stop(self) -> None:
        """Ask `run` to end. Call it from the event loop's thread, for example from a signal handler."""
        self._stopping.set()

    async def run(self) -> None:
        """Start every part, serve until `stop`, and close them in the opposite order.

        Raises UserError: the town runs already, its database cannot be used, or a port is occupied.
        """
        async with contextlib.AsyncExitStack() as parts:
            parts.enter_context(_only_one(self._town.path))
            engine = open_database(self._town.database, check=True)
            parts.callback(engine.dispose)
            self._registry, self._archive = Registry(engine), Archive(engine)
            self._queue = DownlinkQueue(engine)
            self._engine, self._started_at = engine, time.time()
            before = status.load(engine)
            self._counters = Counter(before["counters"] if before else {})
            with database_errors(self._town.database):
                if late := self._archive.decode_waiting():
                    _log.info("decoded %d frames that the last run had stored", late)

            broker = await self._open_broker(parts)
            web_socket = self._open_web_socket(parts)
            await self._open_udp(parts)
            self._publisher = MqttPublisher(
                broker,
                f"{self._town.settings.mqtt.prefix}/{self._town.slug}",
                self.live,
                lambda: [event for node in self._archive.latest() if (event := _latest_reading(node))],
                self._registry.removed_slugs,
            )
            self._save_status(running=True)
            parts.callback(self._save_status, running=False)
            await self._start(parts, self._publisher.run())
            await self._start(parts, self._keep_house())
            await self._start_web(parts, web_socket)
            self._announce({"event": "ready"})
            await self._stopping.wait()

    # opening: everything that can be refused comes first

    async def _open_broker(self, parts: contextlib.AsyncExitStack) -> Broker:
        settings = self._town.settings.mqtt
        if settings.url:
            return Broker.from_url(settings.url)
        embedded = EmbeddedBroker()
        with _port_errors("mqtt", settings.host, settings.port):
            await embedded.start(settings.host, settings.port)
        parts.push_async_callback(embedded.stop)
        self._listening("mqtt", settings.host, embedded.port)
        return Broker(_reachable_as(settings.host), embedded.port)

    def _open_web_socket(self, parts: contextlib.AsyncExitStack) -> socket.socket:
        settings = self._town.settings.web
        with _port_errors("web", settings.host, settings.port):
            family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
            both = settings.host == "::" and socket.has_dualstack_ipv6()  # as UDP does by itself
            web_socket = socket.create_server((settings.host, settings.port), family=family, dualstack_ipv6=both)
        parts.callback(web_socket.close)
        self._listening("web", settings.host, web_socket.getsockname()[1])
        return web_socket

    async def _open_udp(self, parts: contextlib.AsyncExitStack) -> None:
        settings = self._town.settings
        with database_errors(self._town.database):
            self._network = Network(
                lorawan.Settings(net_id=settings.lorawan.net_id, rx1_delay_s=settings.lorawan.rx1_delay_s),
                self._registry,
                self._archive,
                self._queue,
                self.live,
                lambda downlink: self._udp.send(downlink),
                self._counters,
            )
        self._timer: asyncio.TimerHandle | None = None
        with _port_errors("semtech_udp", settings.semtech_udp.host, settings.semtech_udp.port):
            self._udp = await SemtechUdp.listen(
                settings.semtech_udp.host,
                settings.semtech_udp.port,
                self._and_wait_for_next(self._network.receive),
                self._and_wait_for_next(self._network.transmit_result),
                self._counters,
            )
        parts.callback(self._udp.close)
        self._listening("semtech_udp", settings.semtech_udp.host, self._udp.port)

    def _listening(self, part: str, host: str, port: int) -> None:
        self.ports[part] = port
        self._announce({"event": "listening", "part": part, "host": host, "port": port})

    # running

    def _and_wait_for_next(self, step: Callable[..., None]) -> Callable[..., None]:
        """`step`, then a timer for whatever the network server has to do next."""

        def stepped(*args: object) -> None:
            try:
                step(*args)
            finally:  # an error in one frame must not leave the others waiting
                self._set_timer()

        return stepped

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait = self._network.seconds_to_wait()
        if wait is not None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._and_wait_for_next(self._network.poll))

    async def _start(self, parts: contextlib.AsyncExitStack, work: Any) -> None:
        """Run `work` until the nest stops; should it end by itself, by an error of ours, the nest stops too."""
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._stopping.set())

        async def end() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        parts.push_async_callback(end)

    async def _start_web(self, parts: contextlib.AsyncExitStack, web_socket: socket.socket) -> None:
        app = create_app(self._archive, self.live, self._town, lambda: status.public(self._snapshot(running=True)))
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=int(_STOP_S))
        server = _Uvicorn(config)
        task = asyncio.create_task(server.serve(sockets=[web_socket]))
        task.add_done_callback(lambda _: self._stopping.set())

        async def end() -> None:
            app.state.events.close()  # uvicorn would wait for the open event streams
            server.should_exit = True
            await task

        parts.push_async_callback(end)
        ready = asyncio.create_task(server.ready.wait())
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()

    async def _keep_house(self) -> None:
        since, saved, saved_at = self._started_at, {}, 0.0
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            try:
                now = time.time()
                for slug in self._network.forget_removed(since):
                    self._publisher.forget(slug)
                self._network.decode_stored()
                since = now - HOUSEKEEPING_S  # twice rather than never, should a removal be committed late
                full = self._snapshot(running=True)
                if full != saved or now - saved_at > status.HEARTBEAT_S:
                    status.save(self._engine, full)
                    saved, saved_at = full, now
            except SQLAlchemyError as error:
                _log.error("the database refuses: %s", getattr(error, "orig", error))

    def _snapshot(self, *, running: bool) -> dict[str, Any]:
        return status.snapshot(
            running=running,
            started_at=self._started_at,
            ports=self.ports,
            counters=self._counters,
            gateways=self._udp.gateways,
            nodes=len(self._registry.list()),
            downlinks_waiting=self._queue.count(),
            mqtt=self._publisher.status(),
        )

    def _save_status(self, *, running: bool) -> None:
        with contextlib.suppress(SQLAlchemyError):
            status.save(self._engine, self._snapshot(running=running))


class _Uvicorn(uvicorn.Server):
    """uvicorn, leaving the signals to whoever runs the nest, and saying when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _latest_reading(node: NodeLatest) -> ReadingEvent | None:
    """The values of a node's latest moment; None for a node that has never sent any."""
    if not node.values:
        return None
    moment = max(value.time for value in node.values.values())
    now = {name: value for name, value in node.values.items() if value.time == moment}
    return ReadingEvent(
        node.slug,
        moment,
        {name: value.value for name, value in now.items()},
        {name: value.quality for name, value in now.items()},
    )


def _reachable_as(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two nests on one town would use the same downlink counters twice. The lock ends with the process, however it
    ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            tr("This town is running already: {folder}", folder=folder),
            tr("Look at it with: nest status {folder}", folder=folder),
        ) from error
    else:
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _port_errors(section: str, host: str, port: int) -> Iterator[None]:
    """Turn a refused port into a UserError that names the place in `town.toml`."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            what = tr("Port {port} is already in use by another program.", port=port)
        elif error.errno in (errno.EACCES, errno.EPERM):
            what = tr("Port {port} may be opened by the administrator only.", port=port)
        else:
            what = tr("{host}, port {port}, cannot be opened: {reason}.", host=host, port=port, reason=error.strerror)
        raise UserError(
            what, tr("End that program, or set another port in town.toml under [{section}].", section=section)
        ) from error
