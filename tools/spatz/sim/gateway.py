"""A virtual gateway whose packet forwarder speaks Semtech UDP both ways.

It behaves as the reference forwarder does: uplinks and downlinks have a UDP socket each, PULL_DATA keeps the way for
downlinks open, downlinks wait in a just-in-time queue and are answered by TX_ACK, `stat` goes out every 30 seconds,
and `tmst` is the 32-bit microsecond counter at the end of a reception. In one thing it does better: a PUSH_DATA that
was not acknowledged is sent again, with the same token.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nest.errors import UserError
from nest.i18n import tr

from spatz.sim import semtech
from spatz.sim.air import Reception, Station, Transmission, airtime_us
from spatz.sim.airserver import monotonic_us
from spatz.sim.concentrator import CHANNELS_EU868, Concentrator, channel_of
from spatz.sim.jit import JitQueue, unwrap

KEEPALIVE_S = 5.0
STAT_S = 30.0
PUSH_RETRY_S = (0.2, 0.5, 1.0, 2.0, 4.0)
"""How long an acknowledgement of a PUSH_DATA is waited for before it is sent again: at first late enough for a busy
server and early enough for RX1 of a join, then twice as long each time, so that a server that is overloaded is not
buried. Of frames on a way that loses a fifth of the datagrams, one in 15 000 is lost (0.2^6)."""

TX_BAND_HZ = (863_000_000, 870_000_000)
MAX_POWER_DBM = 27.0


@dataclass(slots=True)
class GatewayCounters:
    """What `stat` reports, and what tests ask. `rxnb` is received, `rxfw` sent on, `dwnb` asked for, `txnb` sent."""

    rxnb: int = 0
    rxfw: int = 0
    dwnb: int = 0
    txnb: int = 0
    push_sent: int = 0
    push_acked: int = 0
    push_repeated: int = 0
    pull_acked: int = 0
    malformed: int = 0
    unreachable: int = 0
    refused: dict[str, int] = field(default_factory=dict)


class VirtualGateway(Concentrator):
    """Attach it to an AirServer and `start` it. `transmit` puts a frame on the air; `now_us` is the gateway's clock.

    `tmst_offset_us` shifts the counter that the server sees, so that a test can have it wrap at a chosen moment.
    """

    def __init__(
        self,
        eui: bytes,
        station: Station,
        server: tuple[str, int],
        transmit: Callable[[Transmission], None],
        *,
        now_us: Callable[[], int] = monotonic_us,
        tmst_offset_us: int = 0,
    ) -> None:
        super().__init__(station, transmit, now_us)
        self.eui = eui
        self.counters = GatewayCounters()
        self._server = server
        self._tmst_offset_us = tmst_offset_us
        self._queue: JitQueue = JitQueue()
        self._pending: dict[bytes, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._up: asyncio.DatagramTransport | None = None
        self._down: asyncio.DatagramTransport | None = None
        self._acknowledged_pull = asyncio.Event()

    async def start(self) -> None:
        """Open both sockets and begin to keep the way for downlinks open. UserError when the server has no address."""
        loop = asyncio.get_running_loop()
        try:
            self._up, _ = await loop.create_datagram_endpoint(
                lambda: _Socket(self._on_up, self), remote_addr=self._server
            )
            self._down, _ = await loop.create_datagram_endpoint(
                lambda: _Socket(self._on_down, self), remote_addr=self._server
            )
        except OSError as error:
            host, port = self._server
            raise UserError(
                tr("The server {host}:{port} cannot be reached: {error}.", host=host, port=port, error=error.strerror),
                tr("Check the address and the network, then start again."),
            ) from error
        self._tasks = [asyncio.create_task(self._keep_alive()), asyncio.create_task(self._report())]

    async def stop(self) -> None:
        """Close both sockets; what waits in the queue is dropped."""
        tasks = [*self._tasks, *self._pending.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for transport in (self._up, self._down):
            if transport:
                transport.close()

    async def wait_connected(self, timeout_s: float) -> bool:
        """True as soon as the server has acknowledged a PULL_DATA, False when it has not within the time."""
        try:
            await asyncio.wait_for(self._acknowledged_pull.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    # Uplink

    def heard(self, transmission: Transmission, reception: Reception) -> None:
        """Forward a received frame at once."""
        self.counters.rxnb += 1
        self._push({"rxpk": [self._rxpk(transmission, reception)]})
        self.counters.rxfw += 1

    def _rxpk(self, transmission: Transmission, reception: Reception) -> dict[str, Any]:
        ago_s = (self._now_us() - transmission.end_us) / 1e6
        received = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=ago_s)
        channel = channel_of(transmission) or 0
        return {
            "time": received.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "tmst": (transmission.end_us + self._tmst_offset_us) & 0xFFFFFFFF,
            "chan": channel,
            "rfch": int(CHANNELS_EU868[channel][0] >= 868_000_000),
            "freq": CHANNELS_EU868[channel][0] / 1e6,
            "stat": 1,
            "modu": "LORA",
            "datr": f"SF{transmission.sf}BW{transmission.bw_hz // 1000}",
            "codr": f"4/{transmission.cr}",
            "rssi": reception.rssi,
            "lsnr": reception.snr,
            "size": len(transmission.data),
            "data": base64.b64encode(transmission.data).decode(),
        }

    def _push(self, content: dict[str, Any]) -> None:
        token = _token()
        while token in self._pending:
            token = _token()
        self._pending[token] = asyncio.create_task(self._push_until_acknowledged(token, content))

    async def _push_until_acknowledged(self, token: bytes, content: dict[str, Any]) -> None:
        datagram = semtech.push_data(token, self.eui, content)
        self.counters.push_sent += 1
        try:
            _send(self._up, datagram)
            for delay_s in PUSH_RETRY_S:
                await asyncio.sleep(delay_s)
                self.counters.push_repeated += 1
                _send(self._up, datagram)
            await asyncio.sleep(PUSH_RETRY_S[-1])
        finally:
            self._pending.pop(token, None)

    def _on_up(self, datagram: bytes) -> None:
        message = semtech.parse(datagram)
        if not isinstance(message, semtech.Ack) or message.kind != semtech.PUSH_ACK:
            raise semtech.MalformedError("only PUSH_ACK is expected here")
        task = self._pending.pop(message.token, None)
        if task:
            self.counters.push_acked += 1
            task.cancel()

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(STAT_S)
            self._push({"stat": self._stat()})

    def _stat(self) -> dict[str, Any]:
        counters = self.counters
        now = time.strftime("%Y-%m-%d %H:%M:%S GMT", time.gmtime())
        acked = 100.0 * counters.push_acked / counters.push_sent if counters.push_sent else 0.0
        return {
            "time": now,
            "lati": round(self.station.position.latitude, 5),
            "long": round(self.station.position.longitude, 5),
            "alti": 0,
            "rxnb": counters.rxnb,
            "rxok": counters.rxnb,
            "rxfw": counters.rxfw,
            "ackr": round(acked, 1),
            "dwnb": counters.dwnb,
            "txnb": counters.txnb,
        }

    # Downlink

    async def _keep_alive(self) -> None:
        while True:
            _send(self._down, semtech.pull_data(_token(), self.eui))
            # Until the server has answered once, ask again soon: it may still be starting.
            await asyncio.sleep(KEEPALIVE_S if self._acknowledged_pull.is_set() else 0.25)

    def _on_down(self, datagram: bytes) -> None:
        message = semtech.parse(datagram)
        if isinstance(message, semtech.PullResp):
            self.counters.dwnb += 1
            result = self._schedule(message.txpk)
            _send(self._down, semtech.tx_ack(message.token, self.eui, result))
        elif message.kind == semtech.PULL_ACK:
            self.counters.pull_acked += 1
            self._acknowledged_pull.set()
        else:
            raise semtech.MalformedError("only PULL_ACK and PULL_RESP are expected here")

    def _schedule(self, txpk: semtech.Txpk) -> dict[str, Any] | None:
        """Queue a downlink; what the TX_ACK says: None, an error, or a warning."""
        error = self._refusal(txpk)
        if error is None:
            error = self._enqueue(txpk)
        if error is not None:
            self.counters.refused[error] = self.counters.refused.get(error, 0) + 1
            return {"error": error}
        if txpk.power_dbm > MAX_POWER_DBM:
            return {"warn": "TX_POWER", "value": MAX_POWER_DBM}
        return None

    def _refusal(self, txpk: semtech.Txpk) -> str | None:
        if not TX_BAND_HZ[0] <= txpk.freq_hz <= TX_BAND_HZ[1]:
            return "TX_FREQ"
        return "GPS_UNLOCKED" if txpk.gps else None

    def _enqueue(self, txpk: semtech.Txpk) -> str | None:
        now_us = self._now_us()
        duration_us = airtime_us(
            txpk.sf, txpk.bw_hz, len(txpk.data), crc=txpk.crc_on, preamble=txpk.preamble, cr=txpk.cr
        )
        if txpk.tmst is None:
            start_us, error = self._queue.add_soon(duration_us, now_us)
        else:
            start_us = unwrap(txpk.tmst, now_us + self._tmst_offset_us) - self._tmst_offset_us
            error = self._queue.add(start_us, duration_us, now_us)
        if error is None:
            self._announce_in_time(self._transmission(txpk, start_us, duration_us), self._announce)
        return error

    def _transmission(self, txpk: semtech.Txpk, start_us: int, duration_us: int) -> Transmission:
        # The server subtracts the antenna's gain from the EIRP it wants, so the gain comes on top again here.
        power_dbm = min(txpk.power_dbm, MAX_POWER_DBM) + self.station.gain_dbi
        return Transmission(
            sender=self.station.name,
            start_us=start_us,
            airtime_us=duration_us,
            freq_hz=txpk.freq_hz,
            sf=txpk.sf,
            bw_hz=txpk.bw_hz,
            eirp_dbm=power_dbm,
            data=txpk.data,
            iq_inverted=txpk.iq_inverted,
            crc_on=txpk.crc_on,
            cr=txpk.cr,
        )

    def _announce(self, transmission: Transmission) -> None:
        if self._down is not None and not self._down.is_closing():
            self.counters.txnb += 1
            self._transmit(transmission)


class _Socket(asyncio.DatagramProtocol):
    """One of the gateway's two sockets: what cannot be understood is counted, nothing stops it."""

    def __init__(self, take: Callable[[bytes], None], gateway: VirtualGateway) -> None:
        self._take = take
        self._gateway = gateway

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        try:
            self._take(data)
        except semtech.MalformedError:
            self._gateway.counters.malformed += 1

    def error_received(self, exc: Exception) -> None:
        self._gateway.counters.unreachable += 1


def _token() -> bytes:
    return random.randbytes(2)  # noqa: S311 - it only matches answers to questions


def _send(transport: asyncio.DatagramTransport | None, datagram: bytes) -> None:
    if transport is not None and not transport.is_closing():
        transport.sendto(datagram)
