"""The Semtech UDP endpoint: gateways' datagrams in, frames out, downlinks to the gateways.

The protocol has no authentication: whoever knows a gateway's EUI can speak for it. So nothing is answered with more
bytes than were received, and what a datagram says is believed only as far as the MIC inside it reaches.
A gateway has two sockets, one for PUSH_DATA and one for PULL_DATA; downlinks go to where its last PULL_DATA came from,
which moves when a router between gives it a new port.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from nest.forwarders.semtech_packets import (
    KINDS,
    PULL_DATA,
    PUSH_DATA,
    Header,
    MalformedError,
    parse_header,
    parse_push,
    parse_tx_ack,
    pull_ack,
    pull_resp,
    push_ack,
)
from nest.model import Downlink, RadioFrame

OnFrame = Callable[[RadioFrame], None]
OnTxAck = Callable[[Downlink, str | None], None]

RECEIVE_BUFFER = 8 << 20  # bytes asked of the kernel: a gateway that was cut off delivers its backlog in one burst
MAX_GATEWAYS = 1000  # the longest silent is forgotten: EUIs are easily forged
MAX_IN_FLIGHT = 1000  # downlinks whose TX_ACK is awaited


@dataclass(slots=True)
class Gateway:
    """What is known of one gateway since the start. Times are Unix seconds."""

    eui: str
    version: int = 2
    last_seen: float = 0.0
    last_pull: float | None = None
    pull_address: Any = None  # where downlinks go; None until its first PULL_DATA
    frames: int = 0  # frames taken over
    downlinks: int = 0  # PULL_RESP sent
    refused: int = 0  # of these, refused by TX_ACK
    stat: dict[str, Any] | None = None  # its latest statistics: rxnb, rxok, rxfw, ackr, dwnb, txnb, lati, long, alti


class SemtechUdp(asyncio.DatagramProtocol):
    """The endpoint. Open it by `await SemtechUdp.listen(...)`.

    `on_frame(frame)` is called for every frame taken, `on_tx_ack(downlink, error)` for every answer to a `send`; both
    from the event loop. `counters` counts by the kinds of `semtech_packets.KINDS`; `clock` gives Unix time.
    """

    def __init__(
        self,
        on_frame: OnFrame,
        on_tx_ack: OnTxAck,
        counters: dict[str, int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counters: dict[str, int] = {} if counters is None else counters
        for kind in KINDS:
            self.counters.setdefault(kind, 0)
        self.gateways: OrderedDict[str, Gateway] = OrderedDict()  # the longest silent first
        self._on_frame = on_frame
        self._on_tx_ack = on_tx_ack
        self._clock = clock
        self._transport: asyncio.DatagramTransport | None = None
        self._in_flight: OrderedDict[tuple[str, int], Downlink] = OrderedDict()

    @classmethod
    async def listen(
        cls,
        host: str,
        port: int,
        on_frame: OnFrame,
        on_tx_ack: OnTxAck,
        counters: dict[str, int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> SemtechUdp:
        """Open the socket; port 0: any free one (see `port`). Raises OSError: port occupied, no such address."""
        loop = asyncio.get_running_loop()
        _, endpoint = await loop.create_datagram_endpoint(
            lambda: cls(on_frame, on_tx_ack, counters, clock), local_addr=(host, port)
        )
        return endpoint

    @property
    def port(self) -> int:
        """The UDP port in use."""
        if self._transport is None:
            raise RuntimeError("the endpoint is not open")
        return self._transport.get_extra_info("sockname")[1]

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def send(self, downlink: Downlink) -> bool:
        """Send a PULL_RESP. False: the gateway has no open way for downlinks; the network server must be told
        (`transmit_result(downlink, "NO_DOWNLINK_PATH", now)`)."""
        gateway = self.gateways.get(downlink.gateway)
        if gateway is None or gateway.pull_address is None or self._transport is None:
            self.counters["no_downlink_path"] += 1
            return False
        token = secrets.randbelow(0x10000)
        while (downlink.gateway, token) in self._in_flight:
            token = secrets.randbelow(0x10000)
        self._in_flight[downlink.gateway, token] = downlink
        if len(self._in_flight) > MAX_IN_FLIGHT:
            self._in_flight.popitem(last=False)
        gateway.downlinks += 1
        self._transport.sendto(pull_resp(gateway.version, token, downlink), gateway.pull_address)
        return True

    # -- asyncio.DatagramProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        with contextlib.suppress(OSError):  # a smaller buffer will do as well
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def error_received(self, exc: Exception) -> None:
        self.counters["send_error"] += 1

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Acknowledge first, the gateway waits only 100 ms; then take the datagram apart."""
        try:
            header = parse_header(data)
            if header.kind == PUSH_DATA:
                self._push_data(header, data, addr)
            elif header.kind == PULL_DATA:
                self._pull_data(header, addr)
            else:
                self._tx_ack(header, data)
        except MalformedError as error:
            self.counters[error.kind] += 1

    # -- packets

    def _push_data(self, header: Header, data: bytes, addr: Any) -> None:
        self._reply(push_ack(header), addr)
        self.counters["push_data"] += 1
        now = self._clock()
        gateway = self._seen(header, now)
        body = parse_push(data, header.eui, now)
        for problem in body.problems:
            self.counters[problem] += 1
        if body.stat is not None:
            gateway.stat = body.stat
        gateway.frames += len(body.frames)
        for frame in body.frames:
            self._on_frame(frame)

    def _pull_data(self, header: Header, addr: Any) -> None:
        self._reply(pull_ack(header), addr)
        self.counters["pull_data"] += 1
        now = self._clock()
        gateway = self._seen(header, now)
        gateway.version = header.version
        gateway.last_pull = now
        gateway.pull_address = addr

    def _tx_ack(self, header: Header, data: bytes) -> None:
        self.counters["tx_ack"] += 1
        downlink = self._in_flight.pop((header.eui, header.token), None)
        if downlink is None:
            self.counters["tx_ack_unknown"] += 1
            return
        gateway = self._seen(header, self._clock())
        error = None
        try:
            result = parse_tx_ack(data)
            error = result.error
            if result.warning is not None:
                self.counters["tx_ack_warning"] += 1
        except MalformedError as malformed:
            self.counters[malformed.kind] += 1
        if error is not None:
            self.counters["tx_ack_error"] += 1
            gateway.refused += 1
        self._on_tx_ack(downlink, error)

    def _seen(self, header: Header, now: float) -> Gateway:
        gateway = self.gateways.get(header.eui)
        if gateway is None:
            if len(self.gateways) >= MAX_GATEWAYS:
                self.gateways.popitem(last=False)
            gateway = self.gateways[header.eui] = Gateway(header.eui, header.version)
        self.gateways.move_to_end(header.eui)
        gateway.last_seen = now
        return gateway

    def _reply(self, answer: bytes, addr: Any) -> None:
        if self._transport is not None:
            self._transport.sendto(answer, addr)
