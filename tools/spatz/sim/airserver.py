"""The air as a TCP server on the loopback: virtual nodes connect, virtual gateways are attached.

One JSON object per line, UTF-8. All times are microseconds on CLOCK_MONOTONIC, which MicroPython's `time.ticks_us` and
Python's `time.monotonic_ns` share.

- node to air: `hello` (answered by `welcome` or `refused`), `tx` when a transmission starts, `state` (boot, deepsleep);
- air to node: `rx`, a downlink announced ahead of its start to every node in range. Whether the node's radio was
  listening in time, on that channel, is for its emulated chip to decide.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from spatz.sim.air import PUBLIC_SYNC_WORD, Air, Missed, Reception, Station, Transmission

PROTOCOL_VERSION = 1

SETTLE_US = 10_000
"""An uplink is delivered this long after its end: a node tells of a transmission when it starts, but on a busy machine
the telling may come late, and whoever collided with it must be known by then."""

_MAX_LINE = 4096


def monotonic_us() -> int:
    """CLOCK_MONOTONIC in microseconds."""
    return time.monotonic_ns() // 1000


class Receiver(Protocol):
    """A gateway as the air sees it."""

    station: Station

    def listens_to(self, transmission: Transmission) -> bool:
        """True when the gateway's channels include this transmission's."""
        ...

    def heard(self, transmission: Transmission, reception: Reception) -> None:
        """Take a received uplink; called at the end of its airtime."""
        ...


@dataclass(slots=True)
class _Downlink:
    transmission: Transmission
    told: set[str] = field(default_factory=set)


class ProtocolError(ValueError):
    """A node that does not keep to the air protocol; the text says how."""


class AirServer:
    """Carries frames between connected nodes and attached gateways.

    `on_transmission(tx, outcomes)` is called at the end of each uplink with what became of it at every gateway;
    `on_state(node, message)` for each `state` line. `counts` counts outcomes and violations of the protocol by kind.
    """

    def __init__(
        self,
        air: Air,
        *,
        on_transmission: Callable[[Transmission, dict[str, Reception | Missed]], None] | None = None,
        on_state: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        self.air = air
        self.counts: dict[str, int] = {}
        self._nodes: set[str] = set()
        self._gateways: list[Receiver] = []
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._downlinks: list[_Downlink] = []
        self._server: asyncio.Server | None = None
        self._on_transmission = on_transmission
        self._on_state = on_state

    async def start(self) -> int:
        """Listen on a free port of the loopback; returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_MAX_LINE)
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the server and every connection."""
        if self._server:
            self._server.close()
        for writer in list(self._writers.values()):
            writer.close()

    def add_node(self, station: Station) -> None:
        """A node that may connect, and where it stands."""
        self._nodes.add(station.name)
        self.air.add(station)

    def attach(self, gateway: Receiver) -> None:
        """A gateway that hears what the nodes send."""
        self._gateways.append(gateway)
        self.air.add(gateway.station)

    def transmit(self, transmission: Transmission) -> None:
        """Announce a gateway's transmission to every node in range; to be called ahead of its start."""
        self.air.begin(transmission)
        downlink = _Downlink(transmission)
        now = monotonic_us()
        self._downlinks = [old for old in self._downlinks if old.transmission.end_us > now]
        self._downlinks.append(downlink)
        for node in list(self._writers):
            self._announce(downlink, node)

    def _announce(self, downlink: _Downlink, node: str) -> None:
        if node in downlink.told:
            return
        downlink.told.add(node)
        tx = downlink.transmission
        outcome = self.air.hear(tx, node)
        if isinstance(outcome, Missed):
            self._count(f"down_{outcome.why}")
            return
        self._count("down_in_range")
        message = {
            "t": "rx",
            "at": tx.start_us,
            "airtime": tx.airtime_us,
            "freq": tx.freq_hz,
            "sf": tx.sf,
            "bw": tx.bw_hz,
            "cr": tx.cr,
            "iq": int(tx.iq_inverted),
            "crc": int(tx.crc_on),
            "sync": tx.sync,
            "rssi": outcome.rssi,
            "snr": outcome.snr,
            "data": tx.data.hex(),
        }
        _send(self._writers[node], message)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node = ""
        try:
            node = await self._welcome(reader, writer)
            while line := await reader.readline():
                self._take(node, _parse(line))
        except ProtocolError as error:
            self._count("protocol_error")
            _send(writer, {"t": "refused", "why": str(error)})
        except (ConnectionError, ValueError):  # ValueError: a line longer than the limit
            self._count("connection_lost")
        finally:
            if self._writers.get(node) is writer:
                del self._writers[node]
            writer.close()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        hello = _parse(await reader.readline())
        node = hello.get("node")
        if hello.get("t") != "hello" or hello.get("v") != PROTOCOL_VERSION:
            raise ProtocolError(f"expected hello of version {PROTOCOL_VERSION}")
        if not isinstance(node, str) or node not in self._nodes:
            raise ProtocolError(f"unknown node {node!r}")
        if node in self._writers:  # the process before it was killed and its end has not been seen yet
            self._writers.pop(node).close()
        self._writers[node] = writer
        _send(writer, {"t": "welcome", "v": PROTOCOL_VERSION})
        now = monotonic_us()
        for downlink in self._downlinks:
            if downlink.transmission.start_us > now:
                self._announce(downlink, node)
        return node

    def _take(self, node: str, message: dict[str, Any]) -> None:
        kind = message.get("t")
        if kind == "tx":
            for flaw in message.get("flaws") or ():  # what the emulated chip found wrong with the driver's settings
                self._count(f"flaw: {flaw}")
            self._uplink(_transmission(node, message))
        elif kind == "state":
            if self._on_state:
                self._on_state(node, message)
        else:
            raise ProtocolError(f"unknown message {kind!r}")

    def _uplink(self, transmission: Transmission) -> None:
        self.air.begin(transmission)
        delay_us = transmission.end_us + SETTLE_US - monotonic_us()
        asyncio.get_running_loop().call_later(max(delay_us, 0) / 1e6, self._deliver, transmission)

    def _deliver(self, transmission: Transmission) -> None:
        outcomes: dict[str, Reception | Missed] = {}
        for gateway in self._gateways:
            if not gateway.listens_to(transmission):
                outcome: Reception | Missed = Missed("channel")
            else:
                outcome = self.air.hear(transmission, gateway.station.name)
            outcomes[gateway.station.name] = outcome
            if isinstance(outcome, Missed):
                self._count(f"up_{outcome.why}")
            else:
                self._count("up_heard")
                gateway.heard(transmission, outcome)
        if self._on_transmission:
            self._on_transmission(transmission, outcomes)

    def _count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1


def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    if not writer.is_closing():
        writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")


def _parse(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not a line of JSON") from error
    if not isinstance(message, dict):
        raise ProtocolError("not an object")
    return message


def _transmission(node: str, message: dict[str, Any]) -> Transmission:
    try:
        transmission = Transmission(
            sender=node,
            start_us=int(message["at"]),
            airtime_us=int(message["airtime"]),
            freq_hz=int(message["freq"]),
            sf=int(message["sf"]),
            bw_hz=int(message["bw"]),
            eirp_dbm=float(message["eirp"]),
            data=bytes.fromhex(message["data"]),
            iq_inverted=bool(message["iq"]),
            crc_on=bool(message["crc"]),
            cr=int(message["cr"]),
            sync=int(message.get("sync", PUBLIC_SYNC_WORD)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"tx: {error!r}") from error
    if not 5 <= transmission.sf <= 12 or transmission.bw_hz <= 0 or not 0 < len(transmission.data) <= 255:
        raise ProtocolError("tx: sf, bw or data out of range")
    return transmission
