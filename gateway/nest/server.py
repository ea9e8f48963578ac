"""One process, one event loop: forwarders, network server, archive, MQTT and the web side, wired together."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import importlib
import json
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from nest import lorawan, status, systemd
from nest.archive import Archive, meta, open_database
from nest.archive.database import database_errors
from nest.archive.day_files_folder import NAME as DATA
from nest.archive.day_files_folder import DataFolder
from nest.archive.days import DayWorker
from nest.archive.downlinks import DownlinkQueue
from nest.archive.journal import Journal
from nest.archive.outbox import Outbox
from nest.errors import UserError
from nest.forwarders.basics_station import BasicsStation
from nest.forwarders.gateways import Gateways
from nest.forwarders.semtech_udp import SemtechUdp
from nest.forwarders.station_door import tls_context
from nest.gateways import GatewayRegistry, noted
from nest.i18n import tr
from nest.keeper import EVERY_S, Keeper
from nest.live import Live
from nest.locks import locked
from nest.model import Downlink
from nest.moments import now_ms
from nest.network import Network
from nest.publish.broker import EmbeddedBroker
from nest.publish.login import Broker
from nest.publish.mqtt import MqttPublisher
from nest.registry import Registry
from nest.town import Town

_log = logging.getLogger(__name__)

_AIRTIME = "airtime"  # under this name `meta` keeps what gateways have sent

HOUSEKEEPING_S = 2.0  # how soon a new gateway or node is known and the counters are on the disk

_GC_THRESHOLD = (20_000, 20, 50)  # an uplink makes dozens of objects, and nothing of the hot path is a cycle

Announce = Callable[[dict[str, Any]], None]


class Nest:
    """A town's nest. `announce` is told `{"event": "listening", "part": …, "host": …, "port": …}` for each part."""

    def __init__(self, town: Town, announce: Announce = lambda _: None) -> None:
        self._town, self._announce = town, announce
        self._stopping = asyncio.Event()
        self._again = False
        self.live = Live()
        self.ports: dict[str, int] = {}

    def stop(self) -> None:
        """Ask `run` to end. Call it from the event loop's thread, for example from a signal handler."""
        self._again = False
        self._stopping.set()

    async def run(self) -> None:
        """Start every part, serve until `stop`, and close them in the opposite order.

        When a backup is restored over the town meanwhile, everything starts anew on the same ports.
        Raises UserError: the town runs already, its database cannot be used, or a port is occupied.
        """
        with _only_one(self._town.path):
            while True:
                self._again = False
                self._stopping.clear()
                await self._serve()
                if not self._again:
                    return

    def _start_anew(self) -> None:
        self._again = True
        self._stopping.set()

    async def _serve(self) -> None:
        async with contextlib.AsyncExitStack() as parts:
            engine = open_database(self._town.database, check=True)
            parts.callback(engine.dispose)
            self._engine, self._started_at = engine, time.time()
            self._registry, self._archive, self._queue = Registry(engine), Archive(engine), DownlinkQueue(engine)
            self._gateway_registry, self._outbox = GatewayRegistry(engine), Outbox(engine)
            before = status.load(engine)
            self._counters = Counter(before["counters"] if before else {})
            with database_errors(self._town.database):
                if late := self._archive.decode_waiting():
                    _log.info("decoded %d frames that the last run had stored", late)
                self._journal = Journal(engine, alone=True)
                parts.callback(self._journal.close)
            self._disk = ThreadPoolExecutor(1, "disk")
            parts.callback(self._disk.shutdown)

            broker = await self._open_broker(parts)
            web_socket = self._open_web_socket(parts)
            with database_errors(self._town.database):
                self._open_network(broker)
            parts.callback(self._network.end)  # when the forwarders have closed: their last frames
            await self._open_forwarders(parts)
            self._save_status(running=True)
            parts.callback(self._save_status, running=False)
            parts.callback(self._save_airtime, clean=True)
            parts.callback(self._network.flush)  # what has been taken is stored before the end
            await self._start(parts, self._publisher.run())
            await self._start(parts, self._keep_house())
            await self._start(parts, self._keep_complete())
            await self._start(parts, self._close_days())
            await self._start_web(parts, web_socket)
            gc.collect()
            gc.freeze()  # what is there now stays: no collection has to look through it again
            gc.set_threshold(*_GC_THRESHOLD)
            self._announce({"event": "ready"})
            systemd.notify("READY=1")
            await self._stopping.wait()
            systemd.notify("STOPPING=1")

    # opening: everything that can be refused comes first

    async def _open_broker(self, parts: contextlib.AsyncExitStack) -> Broker:
        settings = self._town.settings.mqtt
        if settings.url:
            ca_file = self._town.path / settings.ca_file if settings.ca_file else None
            return Broker.from_url(settings.url, ca_file)
        embedded = EmbeddedBroker()
        with _port_errors("mqtt", settings.host, settings.port):
            await embedded.start(settings.host, self._port("mqtt", settings.port))
        parts.push_async_callback(embedded.stop)
        self._listening("mqtt", settings.host, embedded.port)
        return Broker(_reachable_as(settings.host), embedded.port)

    def _open_web_socket(self, parts: contextlib.AsyncExitStack) -> socket.socket:
        settings = self._town.settings.web
        with _port_errors("web", settings.host, settings.port):
            family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
            both = settings.host == "::" and socket.has_dualstack_ipv6()  # as UDP does by itself
            address = (settings.host, self._port("web", settings.port))
            web_socket = socket.create_server(address, family=family, dualstack_ipv6=both)
        parts.callback(web_socket.close)
        self._listening("web", settings.host, web_socket.getsockname()[1])
        return web_socket

    def _open_network(self, broker: Broker) -> None:
        loop = asyncio.get_running_loop()
        settings = self._town.settings.lorawan
        self._publisher = MqttPublisher(
            broker,
            f"{self._town.settings.mqtt.prefix}/{self._town.slug}",
            self._outbox,
            self._outbox.mark(),
            self._outbox.latest,
            self._registry.removed_slugs,
        )
        self._network = Network(
            lorawan.Settings(
                net_id=settings.net_id,
                rx1_delay_s=settings.rx1_delay_s,
                rx2_dr=settings.rx2_dr,
                adr=settings.adr,
                adr_margin_db=settings.adr_margin_db,
            ),
            self._registry,
            self._archive,
            self._journal,
            self._queue,
            self._publisher,
            self.live,
            self._send,
            self._start_anew,
            self._counters,
            executor=self._disk,
            wake=lambda: _soon(loop, self._committed),
        )
        self._airtime_saved = True
        self._restore_airtime()
        self._save_airtime()  # from now on the end may be one that nobody tells of

    async def _open_forwarders(self, parts: contextlib.AsyncExitStack) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._gateways = Gateways()
        self._gateways_since = now_ms()
        for info in self._gateway_registry.list():
            self._gateways.admit(info)
        with self._engine.begin() as connection:
            for eui, before in noted(connection).items():
                gateway = self._gateways.get(eui)
                if gateway is not None:
                    gateway.protocol, gateway.last_seen = before["protocol"], before["last_seen"] or 0.0
                    gateway.stat = before["stat"]
        engine = (self._network.receive, self._drained, self._result, self._counters)
        udp = self._town.settings.semtech_udp
        with _port_errors("semtech_udp", udp.host, udp.port):
            port = self._port("semtech_udp", udp.port)
            self._udp = await SemtechUdp.listen(udp.host, port, self._gateways, *engine)
        parts.callback(self._udp.close)
        self._listening("semtech_udp", udp.host, self._udp.port)
        station = self._town.settings.basics_station
        tls = tls_context(self._town.path, station.certificate, station.key)
        with _port_errors("basics_station", station.host, station.port):
            port = self._port("basics_station", station.port)
            lorawan_settings = self._town.settings.lorawan
            self._station = await BasicsStation.listen(
                station.host, port, self._gateways, lorawan_settings, *engine, ssl=tls
            )
        parts.push_async_callback(self._station.close)
        self._listening("basics_station", station.host, self._station.port)

    def _port(self, part: str, wanted: int) -> int:
        """The port of the last start, when everything starts anew and any free one was wanted."""
        return wanted or self.ports.get(part, 0)

    def _listening(self, part: str, host: str, port: int) -> None:
        if self.ports.get(part) != port:
            self._announce({"event": "listening", "part": part, "host": host, "port": port})
        self.ports[part] = port

    # running

    def _send(self, downlink: Downlink) -> bool:
        gateway = self._gateways.get(downlink.gateway)
        station = gateway is not None and gateway.protocol == "basics_station"
        return (self._station if station else self._udp).send(downlink)

    def _drained(self) -> None:
        self._network.drained()
        self._set_timer()

    def _result(self, downlink: Downlink, error: str | None, window: int | None = None) -> None:
        self._network.transmit_result(downlink, error, window)
        self._set_timer()

    def _committed(self) -> None:
        self._network.finish()
        self._set_timer()

    def _poll(self) -> None:
        self._timer = None
        try:
            self._network.poll()
        finally:  # an error in one frame must not leave the others waiting
            self._set_timer()

    def _set_timer(self) -> None:
        due = self._network.due()
        if self._timer is not None:
            if due is not None and self._timer.when() <= due:
                return  # it looks again when it fires
            self._timer.cancel()
            self._timer = None
        if due is not None:
            # the loop's clock is time.monotonic, as the network's
            self._timer = asyncio.get_running_loop().call_at(due, self._poll)

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
        # Half of the start is loading the web side: gateways are heard meanwhile.
        web = await asyncio.to_thread(importlib.import_module, "nest.web.serving")
        server = web.serve(
            self._archive,
            self.live,
            self._town,
            lambda: status.public(self._snapshot(running=True)),
            self._engine,
            lambda: self._snapshot(running=True),
        )
        task = asyncio.create_task(server.serve(sockets=[web_socket]))
        task.add_done_callback(lambda _: self._stopping.set())

        async def end() -> None:
            server.end()
            await task

        parts.push_async_callback(end)
        ready = asyncio.create_task(server.ready.wait())
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()

    async def _keep_house(self) -> None:
        saved, saved_at = {}, 0.0
        refused: str | None = None
        while True:
            await asyncio.sleep(min(HOUSEKEEPING_S, systemd.watchdog_s() or HOUSEKEEPING_S))
            systemd.notify("WATCHDOG=1")
            try:
                now = time.time()
                self._network.keep_house()
                self._save_airtime()
                self._look_for_gateways()
                full = self._snapshot(running=True)
                if full != saved or now - saved_at > status.HEARTBEAT_S:
                    status.save(self._engine, full)
                    saved, saved_at = full, now
                refused = None
            except SQLAlchemyError as error:
                reason = str(getattr(error, "orig", error))
                if reason != refused:  # once, not every two seconds
                    _log.error("the database refuses: %s", reason)
                refused = reason

    async def _keep_complete(self) -> None:
        """Order of nodes what is missing, in another thread: it waits for the database, and nobody waits for it."""
        keeper = Keeper(self._engine)
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await asyncio.to_thread(keeper.work)
            except SQLAlchemyError as error:
                _log.warning("missing readings are asked for later: %s", getattr(error, "orig", error))

    async def _close_days(self) -> None:
        """Sum up what has come, and write the files of days that are over, in another thread."""
        worker = DayWorker(self._engine, DataFolder(self._town.path / DATA, (self._town.slug, self._town.name)))
        try:
            while True:
                await asyncio.sleep(EVERY_S)
                try:
                    await asyncio.to_thread(worker.work)
                except (SQLAlchemyError, OSError) as error:
                    _log.warning("day files are written later: %s", getattr(error, "orig", error))
        finally:
            worker.stop()

    def _save_airtime(self, *, clean: bool = False) -> None:
        """What gateways have sent counts against the law in the next run, too. `clean`: nothing comes after this."""
        sent = self._network.core.export_airtime(time.monotonic(), time.time())
        sent["clean"] = clean
        if clean or sent["gateways"] or self._airtime_saved:
            with contextlib.suppress(SQLAlchemyError):
                meta.put(self._engine, _AIRTIME, json.dumps(sent))
            self._airtime_saved = bool(sent["gateways"])

    def _restore_airtime(self) -> None:
        try:
            sent = json.loads(meta.get(self._engine, _AIRTIME) or "null")
            if sent is not None:
                now, unix = time.monotonic(), time.time()
                unsaved_s = 0.0 if sent.get("clean") else HOUSEKEEPING_S
                self._network.core.restore_airtime(sent, now, unix, unsaved_s)
        except (KeyError, TypeError, ValueError):
            _log.warning("what gateways have sent in the last hour cannot be read; it counts as nothing")

    def _look_for_gateways(self) -> None:
        now = now_ms()
        since = self._gateways_since - int(HOUSEKEEPING_S * 2000) if now >= self._gateways_since else 0
        self._gateways_since = now
        added, removed = self._gateway_registry.changed_since(since)
        for info in added:
            self._gateways.admit(info)
        for eui in removed:
            self._gateways.dismiss(eui)

    def _snapshot(self, *, running: bool) -> dict[str, Any]:
        return status.snapshot(
            running=running,
            started_at=self._started_at,
            ports=self.ports,
            counters=self._counters,
            gateways=self._gateways,
            airtime_left=self._network.core.airtime_left(time.monotonic()),
            nodes=self._network.nodes,
            downlinks_waiting=self._queue.count(),
            outbox_waiting=self._outbox.waiting(),
            batch_waiting=self._network.waiting,
            trouble=self._network.trouble,
            mqtt=self._publisher.status(),
        )

    def _save_status(self, *, running: bool) -> None:
        with contextlib.suppress(SQLAlchemyError):
            status.save(self._engine, self._snapshot(running=running))


def _soon(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended: `flush` has seen to everything
        loop.call_soon_threadsafe(work)


def _reachable_as(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two nests on one town would use the same downlink counters twice. The lock ends with the process, however it
    ends."""
    with locked(folder) as free:
        if not free:
            raise UserError(
                tr("This town is running already: {folder}", folder=folder),
                tr("Look at it with: nest status {folder}", folder=folder),
            )
        yield


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
