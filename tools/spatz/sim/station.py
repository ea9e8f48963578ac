"""A virtual gateway that runs LoRa Basics Station: discovery, configuration, frames up, downlinks with two windows.

It behaves as the real one: nothing is sent before it is configured, each configuration begins a new session of its
64-bit counter, RX2 follows where RX1 is closed by its own duty cycle, another transmission or the time, and what could
not be sent is never spoken of. Frames that it hears while the connection is broken wait, 64 of them. In one thing it
does better: it tries again sooner.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import re
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nest.errors import UserError
from nest.i18n import tr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from spatz.sim import lns
from spatz.sim.air import Reception, Station, Transmission, airtime_us
from spatz.sim.airserver import monotonic_us
from spatz.sim.concentrator import CHANNELS_EU868, Concentrator, channel_of
from spatz.sim.jit import TOO_EARLY, JitQueue
from spatz.sim.lns import Config, Dnmsg, LnsError, Window

RETRY_S = 0.5
ANSWER_S = 10.0
TIMESYNC_RETRY_S = 5.0
FRAMES_WAITING = 64
REPORT_US = 5_000
"""How long after the start of a transmission it is told that it is on the air."""

_US = (1 << 48) - 1
_ADDRESS = re.compile(r"wss?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
# The library would log the token. Not one of `getLogger`, which anybody's logging configuration can switch on.
_no_log = logging.Logger("websockets", logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class StationServer:
    """Where a station connects: tc.uri, what it shows, tc.key, and whom it trusts, tc.trust (None: the system)."""

    uri: str
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None


@dataclass(slots=True)
class StationCounters:
    """`rxnb` is received, `rxfw` sent on, `dwnb` asked for, `txnb` sent; `refused`: why not; `malformed`: what came."""

    rxnb: int = 0
    rxfw: int = 0
    dwnb: int = 0
    txnb: int = 0
    connections: int = 0
    configured: int = 0
    timesyncs: int = 0
    filtered: int = 0
    malformed: list[str] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)


def parse_address(text: str) -> str:
    """ws://HOST:PORT or wss://HOST:PORT, as tc.uri has it. Raises UserError."""
    found = _ADDRESS.fullmatch(text.removesuffix("/"))
    if not found or not 0 < int(found["port"]) < 65536:
        raise UserError(
            tr('"{text}" is not an address of a server.', text=text),
            tr("Write it as wss://HOST:PORT, for example wss://nest.example:8887."),
        )
    return text.removesuffix("/")


def read_tokens(path: Path) -> list[str]:
    """One token per line, alone or as tc.key has it: "Authorization: Bearer TOKEN". Raises UserError."""
    try:
        tokens = [line.split()[-1] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "UTF-8"
        raise UserError(
            tr("{path} cannot be read: {reason}.", path=path, reason=reason), tr("Choose the file with the token.")
        ) from error
    if not tokens or not all(token.isascii() and token.isprintable() for token in tokens):
        raise UserError(tr("There is no token in {path}.", path=path), tr("Choose the file with the token."))
    return tokens


class VirtualStation(Concentrator):
    """Attach it to an AirServer and `start` it.

    `version` is what it says it runs; `gps`: it asks for the time until it knows it; `duty_cycle` False: as a build for
    tests, without limits. `clock_offset_us` shifts its counter.
    """

    def __init__(
        self,
        eui: bytes,
        station: Station,
        server: StationServer,
        transmit: Callable[[Transmission], None],
        *,
        now_us: Callable[[], int] = monotonic_us,
        version: str = lns.VERSION,
        gps: bool = False,
        duty_cycle: bool = True,
        clock_offset_us: int = 0,
    ) -> None:
        super().__init__(station, transmit, now_us)
        self.eui = eui
        self.counters = StationCounters()
        self.trouble: str | None = None
        """Why there is no connection, in words for people."""
        self.config: Config | None = None
        self._server, self._version, self._gps, self._duty_cycle = server, version, gps, duty_cycle
        self._offset_us = clock_offset_us
        self._session = 0
        self._gps_offset_us: int | None = None
        self._queue = JitQueue()
        self._closed_until_us: dict[str, int] = {}
        self._waiting: deque[str] = deque(maxlen=FRAMES_WAITING)
        self._connection: ClientConnection | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._configured = asyncio.Event()

    async def start(self) -> None:
        """Begin to connect, and connect again whenever that ends. UserError: the CA file cannot be used."""
        trust = self._trust() if self._server.uri.startswith("wss") else None
        self._spawn(self._stay_connected(trust))

    async def stop(self) -> None:
        """End the connection; what waits in the queue is dropped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_connected(self, timeout_s: float) -> bool:
        """True as soon as the server has configured it, False when it has not within the time."""
        try:
            await asyncio.wait_for(self._configured.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def break_connection(self) -> None:
        """As when a cable is pulled."""
        if self._connection is not None:
            self._connection.transport.abort()

    # Connection

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._server.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise UserError(
                tr("{path} cannot be read: {reason}.", path=self._server.ca_file, reason=error.strerror or error),
                tr("Choose the certificate of the server or of whoever signed it, as a PEM file."),
            ) from error

    async def _stay_connected(self, trust: ssl.SSLContext | None) -> None:
        while True:
            try:
                async with asyncio.timeout(ANSWER_S):
                    async with self._open(self._server.uri + "/router-info", trust) as asking:
                        await asking.send(lns.router_question(self.eui))
                        uri = lns.parse_router_info(await asking.recv())
                async with self._open(uri, trust) as connection:
                    await self._talk(connection)
            except LnsError as error:
                self.trouble = tr("The server says: {reason}", reason=error)
                self._note(str(error))
            except InvalidStatus as error:
                self.trouble = tr("The server lets this gateway not in ({status}).", status=error.response.status_code)
            except (OSError, TimeoutError, WebSocketException) as error:  # ssl.SSLError is an OSError
                self.trouble = tr("The server cannot be reached: {reason}", reason=str(error) or type(error).__name__)
            finally:
                self._connection = None
            await asyncio.sleep(RETRY_S)

    def _open(self, uri: str, trust: ssl.SSLContext | None) -> connect:
        token = self._server.token
        return connect(
            uri,
            ssl=trust if uri.startswith("wss") else None,
            additional_headers={} if token is None else {"Authorization": f"Bearer {token}"},
            user_agent_header=None,
            compression=None,
            proxy=None,
            open_timeout=ANSWER_S,
            close_timeout=1,
            ping_interval=None,
            max_size=40 << 10,
            logger=_no_log,
        )

    async def _talk(self, connection: ClientConnection) -> None:
        self.counters.connections += 1
        await connection.send(lns.version(self._version, gps=self._gps))
        self._connection = connection
        while self._waiting:
            await connection.send(self._waiting.popleft())
        async for text in connection:
            try:
                self._take(lns.parse(text))
            except LnsError as error:
                self._note(str(error))

    def _take(self, message: dict[str, Any]) -> None:
        kind = message.get("msgtype")
        if kind == "router_config":
            self._configure(lns.parse_config(message, self._version))
        elif kind == "dnmsg":
            self.counters.dwnb += 1
            if self.config is None:
                self._refuse("before router_config")
            else:
                self._place(lns.parse_dnmsg(message, self.config))
        elif kind == "timesync":
            self._set_time(message)
        else:
            raise LnsError(f"msgtype {kind!r}")

    def _configure(self, config: Config) -> None:
        """The radio starts anew: its counter has a new session, and nothing waits to be sent."""
        self.config, self.trouble = config, None
        self.counters.configured += 1
        self._session = random.choice([one for one in range(0x20, 0x100) if one != self._session])  # noqa: S311
        self._gps_offset_us = None
        for name in config.unknown:
            self._note(f"unknown field {name}")
        self._configured.set()
        if self._gps:
            self._spawn(self._ask_for_time())

    def _send(self, message: dict[str, Any]) -> None:
        self._spawn(self._deliver(json.dumps(message, separators=(",", ":"))))

    async def _deliver(self, text: str) -> None:
        try:
            if self._connection is None:
                raise ConnectionError
            await self._connection.send(text)
        except (OSError, WebSocketException):
            self._waiting.append(text)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _note(self, what: str) -> None:
        if len(self.counters.malformed) < 100:
            self.counters.malformed.append(what)

    # Uplink

    def heard(self, transmission: Transmission, reception: Reception) -> None:
        """Forward a received frame at once, unless the server has asked not to see such."""
        self.counters.rxnb += 1
        config, message = self.config, lns.taken_apart(transmission.data)
        if config is None or message is None:
            return
        rate = (transmission.sf, transmission.bw_hz)
        dr = next((dr for dr, known in config.rates.items() if known == rate), None)
        if dr is None or not config.lets_through(transmission.data):
            self.counters.filtered += 1
            return
        xtime = self._xtime(transmission.end_us)
        self.counters.rxfw += 1
        self._send(
            message
            | {
                "RefTime": round(time.time(), 6),
                "DR": dr,
                "Freq": CHANNELS_EU868[channel_of(transmission) or 0][0],
                "upinfo": {
                    "rctx": 0,
                    "xtime": xtime,
                    "gpstime": 0 if self._gps_offset_us is None else self._gps_offset_us + (xtime & _US),
                    "fts": -1,
                    "rssi": reception.rssi,
                    "snr": reception.snr,
                    "rxtime": round(time.time(), 6),
                },
            }
        )

    def _xtime(self, at_us: int) -> int:
        return self._session << 48 | (at_us + self._offset_us) & _US

    # Time

    async def _ask_for_time(self) -> None:
        session = self._session
        while self._gps_offset_us is None and session == self._session:
            self._send({"msgtype": "timesync", "txtime": self._now_us()})
            await asyncio.sleep(TIMESYNC_RETRY_S)

    def _set_time(self, message: dict[str, Any]) -> None:
        self.counters.timesyncs += 1
        txtime, gps_us = message.get("txtime"), message.get("gpstime")
        if txtime is None and gps_us is None:
            return  # it told UTC only
        if not isinstance(txtime, int) or not isinstance(gps_us, int) or not 0 <= self._now_us() - txtime < 2_000_000:
            raise LnsError("timesync")
        self._gps_offset_us = gps_us - (self._xtime(self._now_us()) & _US)

    # Downlink

    def _place(self, downlink: Dnmsg) -> None:
        """Queue it in its first window, or in the second; say nothing where neither is free."""
        if downlink.xtime >> 48 != self._session:
            self._refuse("obsolete session")
            return
        reason = None
        for window in downlink.windows:
            start_us = (downlink.xtime & _US) + window.after_us - self._offset_us
            reason = self._enqueue(downlink, window, start_us)
            if reason is None:
                return
        self._refuse(reason or "")

    def _enqueue(self, downlink: Dnmsg, window: Window, start_us: int) -> str | None:
        assert self.config is not None  # noqa: S101 - nothing is parsed before
        now_us, band = self._now_us(), lns.band_of(window.freq_hz)
        if start_us - now_us > lns.MAX_AHEAD_US:
            return TOO_EARLY
        if self._duty_cycle and start_us < self._closed_until_us.get(band, 0):
            return "DUTY_CYCLE"
        sf, bw_hz = self.config.rates[window.dr]
        duration_us = airtime_us(sf, bw_hz, len(downlink.pdu), crc=False)
        if error := self._queue.add(start_us, duration_us, now_us):
            return error
        self._closed_until_us[band] = start_us + duration_us * lns.BAND_REST[band]
        transmission = Transmission(
            sender=self.station.name,
            start_us=start_us,
            airtime_us=duration_us,
            freq_hz=window.freq_hz,
            sf=sf,
            bw_hz=bw_hz,
            eirp_dbm=lns.eirp_dbm(window.freq_hz),
            data=downlink.pdu,
            iq_inverted=True,
            crc_on=False,
        )
        self._announce_in_time(transmission, self._transmit_and_count)
        self._spawn(self._report(downlink, window, start_us))
        return None

    def _transmit_and_count(self, transmission: Transmission) -> None:
        self.counters.txnb += 1
        self._transmit(transmission)

    async def _report(self, downlink: Dnmsg, window: Window, start_us: int) -> None:
        """dntxed, when it is on the air; not for a DevEui of zero."""
        xtime = self._xtime(start_us)
        await asyncio.sleep(max(start_us + REPORT_US - self._now_us(), 0) / 1e6)
        if not downlink.dev_eui.strip("0-"):
            return
        with contextlib.suppress(OSError, WebSocketException):
            if self._connection is not None:
                await self._connection.send(
                    json.dumps(
                        {
                            "msgtype": "dntxed", "seqno": downlink.diid, "diid": downlink.diid, "DR": window.dr,
                            "Freq": window.freq_hz, "DevEui": downlink.dev_eui, "rctx": 0, "xtime": xtime,
                            "txtime": round(time.time(), 6), "gpstime": 0,
                        }
                    )
                )  # fmt: skip

    def _refuse(self, reason: str) -> None:
        self.counters.refused[reason] = self.counters.refused.get(reason, 0) + 1
