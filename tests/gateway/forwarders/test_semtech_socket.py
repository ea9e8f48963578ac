"""The UDP endpoint on real sockets."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from nest.forwarders import semtech_udp
from nest.forwarders.gateways import Gateways
from nest.forwarders.semtech_udp import SemtechUdp
from nest.model import Downlink, GatewayInfo, RadioFrame

from .test_semtech_packets import CORPUS, EUI, PHY, RXPK, push

PULL = bytes([2, 0, 7, 2]) + bytes.fromhex(EUI)
DOWNLINK = Downlink(EUI, 1_000_000, 868_100_000, 7, 125_000, 16.0, PHY, bytes(8), 1, id=3)


class Peer:
    """A gateway's socket."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.connect((host, port))

    def send(self, datagram: bytes) -> None:
        self._socket.send(datagram)

    async def receive(self) -> bytes:
        async with asyncio.timeout(5):
            return await asyncio.get_running_loop().sock_recv(self._socket, 2048)

    async def ask(self, datagram: bytes) -> bytes:
        self.send(datagram)
        return await self.receive()

    def close(self) -> None:
        self._socket.close()


class Nest:
    """The endpoint under test, what it reported in which order, and gateways to talk to it."""

    def __init__(self) -> None:
        self.frames: list[RadioFrame] = []
        self.stored: list[Callable[[], None]] = []
        self.bursts: list[int] = []  # frames known at the end of each
        self.results: list[tuple[Downlink, str | None, int | None]] = []
        self.peers: list[Peer] = []
        self.gateways = Gateways([GatewayInfo(EUI, "Rathaus")])
        self.endpoint: SemtechUdp

    async def open(self, host: str = "127.0.0.1") -> Nest:
        self.endpoint = await SemtechUdp.listen(
            host, 0, self.gateways, self.on_frames, self.on_drained, lambda *result: self.results.append(result)
        )
        return self

    def on_frames(self, frames: Sequence[RadioFrame], stored: Callable[[], None] | None) -> int:
        self.frames += frames
        assert stored is not None
        self.stored.append(stored)
        return len(frames)

    def on_drained(self) -> None:
        self.bursts.append(len(self.frames))
        for stored in self.stored:
            stored()
        self.stored.clear()

    def peer(self, host: str = "127.0.0.1") -> Peer:
        self.peers.append(Peer(self.endpoint.port, host))
        return self.peers[-1]

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.endpoint.close()


@pytest.fixture
async def nest() -> AsyncIterator[Nest]:
    nest = await Nest().open()
    yield nest
    nest.close()


async def test_up_and_down_by_two_sockets(nest: Nest) -> None:
    up, down = nest.peer(), nest.peer()
    assert await up.ask(push(RXPK)) == b"\x02\x12\x34\x01"
    assert [frame.phy for frame in nest.frames] == [PHY]
    assert await down.ask(PULL) == b"\x02\x00\x07\x04"
    assert nest.endpoint.send(DOWNLINK)
    datagram = await down.receive()
    assert (datagram[0], datagram[3], json.loads(datagram[4:])["txpk"]["tmst"]) == (2, 3, 1_000_000)
    down.send(b"\x02" + datagram[1:3] + b"\x05" + bytes.fromhex(EUI))
    await down.ask(PULL)
    assert nest.results == [(DOWNLINK, None, None)]


async def test_a_burst_is_taken_whole_before_it_is_committed(nest: Nest) -> None:
    gateway = nest.peer()
    for _ in range(700):
        gateway.send(push(RXPK))
    answers = [await gateway.receive() for _ in range(700)]
    assert set(answers) == {b"\x02\x12\x34\x01"}
    assert nest.bursts == [semtech_udp.BURST, 700]


async def test_an_error_in_the_network_server_costs_one_datagram(nest: Nest) -> None:
    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    good, nest.endpoint._on_frames = nest.endpoint._on_frames, lambda *_: 1 // 0
    gateway = nest.peer()
    gateway.send(push(RXPK))
    await gateway.ask(PULL)  # what came after is taken
    nest.endpoint._on_frames = good
    assert await gateway.ask(push(RXPK)) == b"\x02\x12\x34\x01"
    assert [type(error) for error in errors] == [ZeroDivisionError]


async def test_both_kinds_of_addresses_by_one_socket() -> None:
    try:
        nest = await Nest().open("::")
    except OSError:
        pytest.skip("no IPv6 here")
    for host in ("127.0.0.1", "::1"):
        assert await nest.peer(host).ask(push(RXPK)) == b"\x02\x12\x34\x01"
    nest.close()


async def test_an_occupied_port_is_an_error_at_once(nest: Nest) -> None:
    def ignore(*_: Any) -> None: ...

    with pytest.raises(OSError, match="in use"):
        await SemtechUdp.listen("127.0.0.1", nest.endpoint.port, Gateways(), ignore, ignore, ignore)


async def test_after_closing_there_is_no_way_to_send(nest: Nest) -> None:
    gateway = nest.peer()
    await gateway.ask(PULL)
    acknowledge = nest.stored
    nest.endpoint._on_drained = lambda: None
    gateway.send(push(RXPK))
    await gateway.ask(PULL)
    nest.endpoint.close()
    nest.endpoint.close()
    assert nest.endpoint.send(DOWNLINK) is False
    for stored in acknowledge:
        stored()  # too late, and no error
    with pytest.raises(RuntimeError):
        _ = nest.endpoint.port


async def test_a_gateway_that_has_gone_is_not_reachable(nest: Nest, monkeypatch: pytest.MonkeyPatch) -> None:
    await nest.peer().ask(PULL)
    assert nest.gateways.known[EUI].reachable
    later = nest.endpoint._monotonic() + 1000
    nest.endpoint._monotonic = lambda: later
    nest.endpoint._sweep()
    assert not nest.gateways.known[EUI].reachable


async def test_strangers_get_nothing_however_they_ask(nest: Nest) -> None:
    stranger, gateway = nest.peer(), nest.peer()
    chance = random.Random(3)  # noqa: S311
    for _ in range(5):
        for case in CORPUS.values():
            datagram = bytes.fromhex(case["datagram"])
            stranger.send(datagram[:4] + chance.randbytes(8) + datagram[12:])
        await gateway.ask(PULL)
    with pytest.raises(BlockingIOError):
        stranger._socket.recv(10)
    assert nest.endpoint.counters["unknown_gateway"] == 5 * len(CORPUS)
