"""The LNS endpoint: gateways that speak LoRa Basics Station, over WebSocket and, with a certificate, TLS.

A station asks at /router-info where to go and is sent to /station/<eui>; there it says what it runs, is told how to set
its radios, and from then on frames come and downlinks go. Both need the gateway's token in the Authorization header,
as a station sends it over TLS from its tc.key; whoever has none is refused without being told why.

There are no acknowledgements: TCP is the only promise. So nothing is dropped here: while frames cannot be taken, no
more are read, and the gateway keeps them. Nor does a station say that it could not send; silence means that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable
from typing import Any, cast

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from nest import tokens
from nest.forwarders import station_door
from nest.forwarders import station_messages as messages
from nest.forwarders.gateways import Gateway, Gateways, OnDrained, OnFrames, OnResult
from nest.forwarders.station_clock import StationClock
from nest.forwarders.station_config import HasNetId, router_config
from nest.forwarders.station_door import Failures, address_to, peer, token_of
from nest.forwarders.station_messages import UPLINKS, MalformedError
from nest.model import Downlink

KINDS: dict[str, str] = {**station_door.KINDS, **messages.KINDS}

PROTOCOL = "basics_station"
NO_TX_CONFIRMATION = "NO_TX_CONFIRMATION"
DISCOVERY, STATIONS = "/router-info", "/station/"

PING_S = 30.0
PONG_S = 60.0  # two pings unanswered
HANDSHAKE_S = 10.0
CLOSE_S = 0.5
TIMESYNC_S = 200.0
FIRST_TIMESYNC_S = 2.0  # a first message soon: stations were seen deaf that had none for long [basicstation issue 128]
CONFIRM_S = 3.0  # after its start a downlink without dntxed is lost

MESSAGE_SIZE = 16 << 10  # a frame of 255 bytes takes a kilobyte
MESSAGES_WAITING = 64  # of one station, before no more are read
DOWNLINKS_WAITING = 64
MOST_STRANGERS = 100  # connections that have not shown a token

HELD_BACK_S = 2.0  # a frame older than this cannot be answered any more
OLDEST_S = 31 * 86_400.0
RETRY_S = 0.1
BREATH = 32  # messages of one station after which others have their turn

_log = logging.getLogger(__name__)
# The library would log headers, tokens in them, and every stranger's nonsense. Not one of `getLogger`, which anybody's
# logging configuration can switch on.
_no_log = logging.Logger("websockets", logging.CRITICAL + 1)


class _Connection(ServerConnection):
    """`gateway`: whose token it has shown."""

    gateway: Gateway | None = None
    room: Callable[[], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.room()
        super().connection_made(transport)


class _Link:
    """A gateway's connection. `configured`: it has been told how to set its radios, and may be given downlinks."""

    __slots__ = ("configured", "connection", "gateway", "out", "token")

    def __init__(self, connection: _Connection, gateway: Gateway) -> None:
        self.connection, self.gateway, self.token = connection, gateway, gateway.info.token
        self.configured = False
        self.out: asyncio.Queue[str] = asyncio.Queue(DOWNLINKS_WAITING)

    def is_welcome(self) -> bool:
        """False: the gateway was removed or got a new token since."""
        return self.gateway.admitted and self.gateway.info.token == self.token


class BasicsStation:
    """The endpoint. Open it by `await BasicsStation.listen(...)`; everything is called from the event loop.

    `counters` counts by `KINDS` and by those of `gateways`; `clock` gives Unix time.
    """

    def __init__(
        self,
        gateways: Gateways,
        settings: HasNetId,
        on_frames: OnFrames,
        on_drained: OnDrained,
        on_result: OnResult,
        counters: dict[str, int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counters: dict[str, int] = {} if counters is None else counters
        for kind in (*KINDS, "rate_limited", "frames_refused", "no_downlink_path"):
            self.counters.setdefault(kind, 0)
        self._gateways, self._settings, self._clock = gateways, settings, clock
        self._on_frames, self._on_drained, self._on_result = on_frames, on_drained, on_result
        self._links: dict[str, _Link] = {}
        self._clocks: dict[str, StationClock] = {}  # beyond a connection: what comes after it may be of before
        self._in_flight: dict[tuple[str, int], tuple[Downlink, asyncio.TimerHandle]] = {}
        self._failures = Failures()
        self._draining = self._closing = self._tls = False
        self._loop = asyncio.get_running_loop()
        self._server: Server | None = None

    @classmethod
    async def listen(
        cls,
        host: str,
        port: int,
        gateways: Gateways,
        settings: HasNetId,
        on_frames: OnFrames,
        on_drained: OnDrained,
        on_result: OnResult,
        counters: dict[str, int] | None = None,
        clock: Callable[[], float] = time.time,
        ssl: ssl.SSLContext | None = None,
    ) -> BasicsStation:
        """Open the socket; port 0: any free one (see `port`). Raises OSError: port occupied, no such address."""
        self = cls(gateways, settings, on_frames, on_drained, on_result, counters, clock)
        self._tls = ssl is not None
        tls: Any = {"ssl_handshake_timeout": HANDSHAKE_S} if self._tls else {}  # usual is a minute
        self._server = await serve(
            self._handle,  # type: ignore[arg-type]
            host,
            port,
            ssl=ssl,
            process_request=self._ask_in,  # type: ignore[arg-type]
            create_connection=cast("type[ServerConnection]", self._connection),
            compression=None,  # no station knows it
            server_header=None,
            open_timeout=HANDSHAKE_S,
            **tls,
            close_timeout=CLOSE_S,
            ping_interval=PING_S,
            ping_timeout=PONG_S,
            max_size=MESSAGE_SIZE,
            max_queue=MESSAGES_WAITING,
            logger=_no_log,
        )
        return self

    @property
    def port(self) -> int:
        """The TCP port in use."""
        if self._server is None:
            raise RuntimeError("the endpoint is not open")
        return next(iter(self._server.sockets)).getsockname()[1]

    async def close(self) -> None:
        """Say goodbye to every station, which has half a second to answer."""
        if self._server is None:
            return
        self._closing = True
        for _, timer in self._in_flight.values():
            timer.cancel()
        self._in_flight.clear()
        for connection in list(self._server.handlers):
            if connection.state is State.CONNECTING:
                connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()
        self._server = None

    def send(self, downlink: Downlink) -> bool:
        """Give a downlink to its gateway. False: there is no way to it, or it has no reception that this answers; the
        network server must be told (`transmit_result(downlink, "NO_DOWNLINK_PATH", now)`)."""
        eui, now = downlink.gateway, self._loop.time()
        link = self._links.get(eui)
        try:
            if link is None or not link.configured or not link.is_welcome():
                raise ValueError
            link.out.put_nowait(messages.dnmsg(downlink, self._clock()))
        except (ValueError, asyncio.QueueFull):
            self.counters["no_downlink_path"] += 1
            return False
        link.gateway.downlinks += 1
        key = (eui, downlink.id)
        if former := self._in_flight.pop(key, None):
            former[1].cancel()
        _, xtime = cast("tuple[int, int]", downlink.context)
        heard = self._clocks[eui].moment(xtime) if eui in self._clocks else None
        start = max(now, (now if heard is None else heard) + downlink.delay_s + (downlink.fallback is not None))
        self._in_flight[key] = (downlink, self._loop.call_at(start + CONFIRM_S, self._missing, key))
        return True

    # -- the door

    def _connection(self, *args: Any, **settings: Any) -> _Connection:
        connection = _Connection(*args, **settings)
        connection.room = self._make_room
        return connection

    def _make_room(self) -> None:
        """The longest waiting stranger goes when there are too many: a gateway shows its token in no time."""
        assert self._server is not None  # noqa: S101 - it has taken a connection
        strangers = [one for one in self._server.handlers if cast("_Connection", one).gateway is None]
        if len(strangers) >= MOST_STRANGERS:
            self.counters["station_crowded"] += 1
            strangers[0].transport.abort()

    def _ask_in(self, connection: _Connection, request: Request) -> Response | None:
        """The opening handshake: None lets it through."""
        path, address, now = (
            request.path.partition("?")[0].rstrip("/"),
            peer(connection.remote_address),
            self._loop.time(),
        )
        token = token_of(request.headers.get_all("Authorization"))
        throttled = self._failures.too_many(address, now)
        if path == DISCOVERY and not throttled:
            return None  # whose gateway it is comes with the first message
        if path == DISCOVERY and any(tokens.matches(token, one.info.token) for one in self._gateways.known.values()):
            return None
        eui = None
        if path.startswith(STATIONS):
            with contextlib.suppress(ValueError):
                eui = f"{messages.parse_eui(path.removeprefix(STATIONS)):016x}"
        gateway = None if eui is None else self._gateways.get(eui)
        if gateway is not None and tokens.matches(token, gateway.info.token):
            connection.gateway = gateway
            return None
        if throttled:
            self.counters["station_throttled"] += 1
            return connection.respond(429, "")  # type: ignore[arg-type]
        self._refused(eui, address)
        return connection.respond(403 if token else 401, "")  # type: ignore[arg-type]

    def _refused(self, eui: str | None, address: str) -> None:
        self.counters["station_refused"] += 1
        self._failures.note(address, self._loop.time())
        if eui is None:
            return
        gateway = self._gateways.get(eui)
        if gateway is None:
            self._gateways.knock(eui, PROTOCOL, address, self._clock())
        else:
            lacking = "a token here" if gateway.info.token is None else "the right token"
            _log.warning("gateway %s (%s) at %s has not %s", gateway.info.name, eui, address, lacking)

    # -- a connection

    async def _handle(self, connection: _Connection) -> None:
        try:
            if connection.gateway is None:
                await self._discover(connection)
            else:
                await self._serve(_Link(connection, connection.gateway))
        except ConnectionClosed:
            pass
        except Exception:  # a mistake of ours: the library would end the connection without a word in the log
            _log.exception("the connection of a Basics Station at %s is cut off", peer(connection.remote_address))
            raise

    async def _discover(self, connection: _Connection) -> None:
        """One question, one answer."""
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                question = await connection.recv()
            eui = messages.parse_router(question)
        except TimeoutError:
            return
        except MalformedError as error:
            self.counters[error.kind] += 1
            self._failures.note(peer(connection.remote_address), self._loop.time())
            return
        request = connection.request
        assert request is not None  # noqa: S101 - the handshake is over
        gateway, uri = self._gateways.get(eui), None
        if gateway and tokens.matches(token_of(request.headers.get_all("Authorization")), gateway.info.token):
            connection.gateway = gateway
            own, host = connection.local_address[:2], request.headers.get_all("Host")
            uri = address_to(STATIONS + eui, host[0] if host else "", own, tls=self._tls)
        else:
            self._refused(eui, peer(connection.remote_address))
        await connection.send(messages.router_info(eui, uri))

    async def _serve(self, link: _Link) -> None:
        """Until the station goes, another connection takes its place, or it is not welcome any more."""
        eui, gateway = link.gateway.info.eui, link.gateway
        self.counters["station_connected"] += 1
        former, self._links[eui] = self._links.get(eui), link
        if former is not None:
            self.counters["station_replaced"] += 1
            former.connection.transport.abort()
        gateway.reachable = False  # until it is configured
        writing = asyncio.create_task(self._write(link))
        try:
            count = 0
            while self._links.get(eui) is link and link.is_welcome():
                await self._take(link, await link.connection.recv())
                count += 1
                if count % BREATH == 0:
                    await asyncio.sleep(0)
        finally:
            writing.cancel()
            if self._links.get(eui) is link:
                del self._links[eui]
                gateway.reachable = False

    async def _write(self, link: _Link) -> None:
        due = self._loop.time() + FIRST_TIMESYNC_S
        with contextlib.suppress(ConnectionClosed):
            while True:
                try:
                    async with asyncio.timeout_at(due):
                        text = await link.out.get()
                except TimeoutError:
                    due = self._loop.time() + TIMESYNC_S
                    if not link.is_welcome():
                        await link.connection.close()
                    link.gateway.last_seen = self._clock()  # it has answered the pings
                    if not link.configured:
                        continue
                    text = messages.timesync(self._clock())
                await link.connection.send(text)

    async def _take(self, link: _Link, text: str | bytes) -> None:
        link.gateway.last_seen = self._clock()
        try:
            kind, message = messages.parse(text)
            if kind in UPLINKS:
                await self._frame(link, kind, message)
            elif kind == "dntxed":
                self._sent(link, message)
            elif kind == "timesync":
                self._tell(link, messages.timesync(self._clock(), message))
            elif kind == "version":
                self._configure(link, message)
            else:
                self.counters["station_unknown"] += 1
        except MalformedError as error:
            self.counters[error.kind] += 1
            link.gateway.charge(1, self._loop.time())

    def _tell(self, link: _Link, text: str) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # it does not read what it asked for
            link.out.put_nowait(text)

    def _configure(self, link: _Link, message: dict[str, Any]) -> None:
        version = messages.parse_version(message)
        self._tell(link, router_config(version.region, self._settings.net_id, self._clock()))
        link.configured = True
        gateway = link.gateway
        gateway.software, gateway.protocol, gateway.reachable = version.software, PROTOCOL, True

    async def _frame(self, link: _Link, kind: str, message: dict[str, Any]) -> None:
        self.counters["station_frame"] += 1
        gateway, eui, arrived = link.gateway, link.gateway.info.eui, self._loop.time()
        frame = messages.parse_uplink(kind, message, eui, self._clock())
        gateway.frames += 1
        if frame.context is not None:
            _, xtime = cast("tuple[int, int]", frame.context)
            age = self._clocks.setdefault(eui, StationClock()).age_s(xtime, arrived)
            if HELD_BACK_S < age < OLDEST_S:
                frame.received_at, frame.buffered = frame.received_at - age, True
        if not gateway.may_send(arrived):
            self.counters["rate_limited"] += 1
            await asyncio.sleep(RETRY_S)  # no more is read meanwhile
        useful = self._on_frames((frame,), None)
        if useful is None:
            self.counters["frames_refused"] += 1
        while useful is None and not self._closing:
            await asyncio.sleep(RETRY_S)
            frame.buffered |= self._loop.time() - arrived > HELD_BACK_S
            useful = self._on_frames((frame,), None)
        if useful == 0:
            gateway.useless += 1
            gateway.charge(1, self._loop.time())
        if not self._draining:
            self._draining = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._draining = False
        self._on_drained()

    # -- what becomes of downlinks

    def _sent(self, link: _Link, message: dict[str, Any]) -> None:
        self.counters["dntxed"] += 1
        sent = messages.parse_dntxed(message)
        downlink, timer = self._in_flight.pop((link.gateway.info.eui, sent.diid), (None, None))
        if downlink is None or timer is None:
            self.counters["dntxed_unknown"] += 1
            return
        timer.cancel()
        self._on_result(downlink, None, messages.window_of(sent, downlink))

    def _missing(self, key: tuple[str, int]) -> None:
        downlink, _ = self._in_flight.pop(key)
        self.counters["dntxed_missing"] += 1
        if gateway := self._gateways.get(downlink.gateway):
            gateway.refused += 1
        self._on_result(downlink, NO_TX_CONFIRMATION, None)
