"""The Semtech UDP endpoint: gateways' datagrams in, frames out, downlinks to the gateways.

The protocol has no authentication: whoever knows a gateway's EUI can speak for it. So:

- A gateway that is not admitted gets no answer at all; nor does one that has a token, for it can do better than this.
- A PULL_DATA ties its gateway to the address it came from, and downlinks go there. From any other address nothing is
  taken until the tied one has been silent for three of its keep-alives, 15 to 90 s.
- A router between may give the gateway another port of the same address at any time: downlinks follow at once. But when
  the old port speaks on, there are two; the older keeps the downlinks, and for a while ports do not change so easily.
- Frames of no use are taken at the rate of a real gateway (`gateways.Allowance`), before any JSON is read.
- Nothing is answered with more bytes than were received, but for downlinks, which go to the tied address only.
- What a datagram says is believed only as far as the MIC inside it reaches.

A gateway has two sockets, one for PUSH_DATA and one for PULL_DATA, mostly behind one address. A PUSH_DATA is
acknowledged when its frames are on the disk: a forwarder that keeps what was not acknowledged loses nothing.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nest.forwarders import gateways as shared
from nest.forwarders import semtech_packets as packets
from nest.forwarders.gateway_clock import GatewayClock
from nest.forwarders.gateways import Gateway, Gateways, OnDrained, OnFrames, OnResult
from nest.forwarders.semtech_packets import HEADER_SIZE, PULL_DATA, PUSH_DATA, TX_ACK, MalformedError
from nest.model import Downlink

PROTOCOL = "semtech_udp"
BUFFER = 8 << 20  # bytes asked of the kernel: a gateway that was cut off delivers its backlog in one burst
BURST = 512  # datagrams taken before the rest of the nest gets a turn
LARGEST = 65_536  # no datagram is larger
MAX_IN_FLIGHT = 1000  # downlinks whose TX_ACK is awaited
KEEP_ALIVE_S = 30.0  # between two PULL_DATA, until it is known; 5, 10 and 30 s are usual
KEEP_ALIVE_MAX_S = 120.0  # more than this was an absence
SILENT_KEEP_ALIVES = 3
SILENCE_S = (15.0, 90.0)  # the least and the most that these keep-alives are taken for
CONTESTED_S = 600.0  # for so long after two ports have spoken at once, a port must be silent before another follows
SWEEP_S = 5.0  # how often it is looked for gateways that have gone
CLOCK_STEP_S = 1.0  # our own clock was set by so much: what was learnt of the gateways' clocks is void

_VERSIONS, _TYPES = frozenset(packets.VERSIONS), frozenset(packets.FROM_GATEWAY)


@dataclass(slots=True, eq=False)
class _Path:
    """Where one gateway speaks from. Times are monotonic seconds."""

    gateway: Gateway
    eui: str
    clock: GatewayClock = field(default_factory=GatewayClock)
    host: str | None = None  # the address that it is tied to
    address: Any = None  # with the port, and what else the system wants: where downlinks go
    heard: float = 0.0  # when the tied address last spoke
    pulled: float = 0.0  # when the last PULL_DATA came from `address`
    keep_alive: float = KEEP_ALIVE_S  # the usual time between two of them
    older: Any = None  # the address with the port that downlinks went to before
    older_pull: float = 0.0  # its last PULL_DATA
    contested: float = -math.inf  # when two ports last spoke at once
    version: int = 2

    def silence_s(self) -> float:
        """After this long without a word it is believed that the gateway speaks from elsewhere."""
        least, most = SILENCE_S
        return min(max(SILENT_KEEP_ALIVES * self.keep_alive, least), most)

    def is_open(self, now: float) -> bool:
        """Downlinks find their way: no router between has forgotten it yet."""
        return self.address is not None and now - self.pulled <= max(SILENT_KEEP_ALIVES * self.keep_alive, SILENCE_S[1])

    def pull(self, now: float, version: int) -> None:
        """A PULL_DATA has come from where downlinks go. One that is lost now and then must not look like silence."""
        self.keep_alive = max(min(now - self.pulled, KEEP_ALIVE_MAX_S), 0.9 * self.keep_alive)
        self.pulled, self.version = now, version


class SemtechUdp:
    """The endpoint. Open it by `await SemtechUdp.listen(...)`; `take` takes a datagram without any socket.

    `on_frames(frames, stored)` is called for every datagram with frames, `on_drained()` when no more datagrams wait,
    `on_result(downlink, error, None)` for the answer to a `send`; all from the event loop. `counters` counts by the
    kinds of `semtech_packets.KINDS` and `gateways.KINDS`; `clock` gives Unix time, `monotonic` measures silence.
    """

    def __init__(
        self,
        gateways: Gateways,
        on_frames: OnFrames,
        on_drained: OnDrained,
        on_result: OnResult,
        counters: dict[str, int] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters: dict[str, int] = {} if counters is None else counters
        for kind in (*packets.KINDS, *shared.KINDS):
            self.counters.setdefault(kind, 0)
        self._gateways = gateways
        self._on_frames, self._on_drained, self._on_result = on_frames, on_drained, on_result
        self._clock, self._monotonic = clock, monotonic
        self._ahead = clock() - monotonic()
        self._paths: dict[bytes, _Path] = {}
        self._in_flight: OrderedDict[tuple[str, int], Downlink] = OrderedDict()
        self._socket: socket.socket | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @classmethod
    async def listen(
        cls,
        host: str,
        port: int,
        gateways: Gateways,
        on_frames: OnFrames,
        on_drained: OnDrained,
        on_result: OnResult,
        counters: dict[str, int] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> SemtechUdp:
        """Open the socket; port 0: any free one (see `port`); "::" serves IPv4, too.

        Raises OSError: port occupied, no such address.
        """
        endpoint = cls(gateways, on_frames, on_drained, on_result, counters, clock, monotonic)
        endpoint._socket = await _bound(host, port)
        asyncio.get_running_loop().add_reader(endpoint._socket, endpoint._drain)
        endpoint._sweep()
        return endpoint

    @property
    def port(self) -> int:
        """The UDP port in use."""
        if self._socket is None:
            raise RuntimeError("the endpoint is not open")
        return self._socket.getsockname()[1]

    def close(self) -> None:
        """Close the socket. What is not acknowledged by now never will be."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._sweeper is not None:
            self._sweeper.cancel()

    def send(self, downlink: Downlink) -> bool:
        """Send a PULL_RESP. False: the gateway cannot be reached; the network server must be told
        (`transmit_result(downlink, "NO_DOWNLINK_PATH", now)`)."""
        gateway = self._gateways.get(downlink.gateway)
        path = None if gateway is None else self._paths.get(bytes.fromhex(downlink.gateway))
        if gateway is None or path is None or path.gateway is not gateway or not path.is_open(self._monotonic()):
            self.counters["no_downlink_path"] += 1
            return False
        token = secrets.randbelow(0x10000)
        while (path.eui, token) in self._in_flight:
            token = secrets.randbelow(0x10000)
        datagram = packets.pull_resp(path.version, token, downlink, gateway.info.antenna_gain_dbi)
        if not self._send(datagram, path.address):
            return False
        self._in_flight[path.eui, token] = downlink
        if len(self._in_flight) > MAX_IN_FLIGHT:
            self._in_flight.popitem(last=False)
        gateway.downlinks += 1
        return True

    def take(self, datagram: bytes, address: Any) -> None:
        """Take one datagram from `address`, (host, port, …)."""
        if len(datagram) < HEADER_SIZE or datagram[0] not in _VERSIONS or datagram[3] not in _TYPES:
            self.counters[packets.header_problem(datagram) or "datagram_type"] += 1
            return
        path = self._paths.get(datagram[4:12])
        if path is None or not path.gateway.admitted or path.gateway.info.token is not None:
            path = self._admitted(datagram, address)
            if path is None:
                return
        now = self._monotonic()
        kind = datagram[3]
        if path.host == address[0]:
            path.heard = now
        elif (path.host is not None and now - path.heard < path.silence_s()) or kind == TX_ACK:
            self.counters["source_locked"] += 1
            return
        gateway = path.gateway
        if not gateway.may_send(now):
            self.counters["rate_limited"] += 1
            return
        if kind == PUSH_DATA:
            self._push_data(path, datagram, address, now)
        elif kind == PULL_DATA:
            self._pull_data(path, datagram, address, now)
        else:
            self._tx_ack(path, datagram, now)

    # -- packets

    def _push_data(self, path: _Path, datagram: bytes, address: Any, now: float) -> None:
        counters, gateway = self.counters, path.gateway
        counters["push_data"] += 1
        arrival = gateway.last_seen = self._clock()
        gateway.protocol = PROTOCOL
        acknowledge = partial(self._answer, packets.push_ack(datagram), address)
        try:
            push = packets.parse_push(datagram, path.eui, arrival, path.clock)
        except MalformedError as error:
            counters[error.kind] += 1
            gateway.charge(1, now)
            acknowledge()
            return
        if push.stat is not None:
            gateway.stat = push.stat
        for problem in push.problems:
            counters[problem] += 1
        count = len(push.frames)
        useful = 0
        if count:
            taken = self._on_frames(push.frames, acknowledge)
            if taken is None:
                counters["frames_refused"] += 1
                return
            useful = taken
            gateway.frames += count
            gateway.useless += count - useful
        else:
            acknowledge()
        if useful < count or not count or push.unusable:
            gateway.charge(max(count - useful + push.unusable, 1), now)

    def _pull_data(self, path: _Path, datagram: bytes, address: Any, now: float) -> None:
        self.counters["pull_data"] += 1
        gateway = path.gateway
        gateway.last_seen = self._clock()
        gateway.protocol = PROTOCOL
        gateway.charge(1, now)
        if path.address == address:
            path.pull(now, datagram[0])
        elif path.host == address[0]:
            self._other_port(path, datagram, address, now)
        else:
            self._move(path, datagram, address, now)
            path.older, path.keep_alive = None, KEEP_ALIVE_S
        gateway.reachable = True
        self._answer(packets.pull_ack(datagram), address)

    def _other_port(self, path: _Path, datagram: bytes, address: Any, now: float) -> None:
        """A PULL_DATA from another port of the address that the gateway is tied to."""
        silence_s = path.silence_s()
        if address == path.older and now - path.older_pull < silence_s:  # it has been there all the time
            path.contested = now
            self.counters["path_contested"] += 1
            self._move(path, datagram, address, now)
            path.older = None
        elif now - path.contested < CONTESTED_S and now - path.pulled < silence_s:
            path.contested = now
            self.counters["path_contested"] += 1
        else:
            if path.older is None or now - path.older_pull >= silence_s:
                path.older, path.older_pull = path.address, path.pulled
            self._move(path, datagram, address, now)

    def _move(self, path: _Path, datagram: bytes, address: Any, now: float) -> None:
        if path.address is not None:
            self.counters["path_moved"] += 1
        path.host, path.address, path.version = address[0], address, datagram[0]
        path.heard = path.pulled = now

    def _tx_ack(self, path: _Path, datagram: bytes, now: float) -> None:
        counters, gateway = self.counters, path.gateway
        counters["tx_ack"] += 1
        downlink = self._in_flight.pop((path.eui, datagram[1] << 8 | datagram[2]), None)
        if downlink is None:
            counters["tx_ack_unknown"] += 1
            gateway.charge(1, now)
            return
        gateway.last_seen = self._clock()
        error = None
        try:
            result = packets.parse_tx_ack(datagram)
            error = result.error
            if result.warning is not None:
                counters["tx_ack_warning"] += 1
        except MalformedError as malformed:
            counters[malformed.kind] += 1
        if error is not None:
            counters["tx_ack_error"] += 1
            gateway.refused += 1
        self._on_result(downlink, error, None)

    # -- gateways and sockets

    def _admitted(self, datagram: bytes, address: Any) -> _Path | None:
        """The path of a gateway that speaks for the first time, or for the first time again; None: it may not."""
        eui = datagram[4:12].hex()
        gateway = self._gateways.get(eui)
        if gateway is None:
            self._paths.pop(datagram[4:12], None)
            self.counters["unknown_gateway"] += 1
            self._gateways.knock(eui, PROTOCOL, address[0].removeprefix("::ffff:"), self._clock())
            return None
        if gateway.info.token is not None:
            self.counters["token_needed"] += 1
            return None
        path = self._paths[datagram[4:12]] = _Path(gateway, eui)
        return path

    def _drain(self) -> None:
        """Take what waits, at most BURST datagrams; then what came may be committed."""
        endpoint, take = self._socket, self.take
        if endpoint is None:
            return
        ahead = self._clock() - self._monotonic()
        if abs(ahead - self._ahead) > CLOCK_STEP_S:
            self._ahead = ahead
            for path in self._paths.values():
                path.clock = GatewayClock()
        try:
            for _ in range(BURST):
                take(*endpoint.recvfrom(LARGEST))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # word of an earlier datagram that could not be delivered
            self.counters["send_error"] += 1
        finally:
            self._on_drained()

    def _send(self, datagram: bytes, address: Any) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.sendto(datagram, address)
        except OSError:
            self.counters["send_error"] += 1
            return False
        return True

    def _answer(self, datagram: bytes, address: Any) -> None:
        self._send(datagram, address)

    def _sweep(self) -> None:
        """Notice who has gone: a gateway that is silent cannot say so."""
        now = self._monotonic()
        for eui, path in list(self._paths.items()):
            if not path.gateway.admitted:
                del self._paths[eui]
            elif path.gateway.protocol == PROTOCOL:
                path.gateway.reachable = path.is_open(now)
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)


async def _bound(host: str, port: int) -> socket.socket:
    """A socket on the first address of `host` that there is. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
    )
    trouble: OSError | None = None
    for family, kind, protocol, _, address in found:
        endpoint = socket.socket(family, kind, protocol)
        try:
            endpoint.setblocking(False)
            if family == socket.AF_INET6:
                endpoint.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)  # the kernel may give less
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            endpoint.bind(address)
        except OSError as error:
            endpoint.close()
            trouble = trouble or error
        else:
            return endpoint
    raise trouble or OSError("no such address")
