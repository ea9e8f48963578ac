"""The UDP endpoint on a real socket: acknowledgements, both directions, and what strangers send."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nest.forwarders import semtech_udp
from nest.forwarders.semtech_udp import SemtechUdp
from nest.model import Downlink, RadioFrame

from .test_semtech_packets import EUI, PHY, RXPK, push

PULL = bytes([2, 0, 7, 2]) + bytes.fromhex(EUI)
DOWNLINK = Downlink(EUI, 1_000_000, 868_100_000, 7, 125_000, 16.0, PHY, bytes(8), 1, id=3)


class Peer:
    """A gateway's socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(("127.0.0.1", port))

    def send(self, datagram: bytes) -> None:
        self._socket.send(datagram)

    async def receive(self) -> bytes:
        async with asyncio.timeout(5):
            return await asyncio.get_running_loop().sock_recv(self._socket, 2048)

    async def ask(self, datagram: bytes) -> bytes:
        self.send(datagram)
        return await self.receive()

    async def in_order(self) -> None:
        """Everything sent before has been worked off."""
        assert await self.ask(bytes([2, 0xFF, 0xFF, 0]) + bytes(8) + b"{}") == b"\x02\xff\xff\x01"

    def close(self) -> None:
        self._socket.close()


class Nest:
    """The endpoint under test, what it reported, and gateways to talk to it."""

    def __init__(self) -> None:
        self.frames: list[RadioFrame] = []
        self.results: list[tuple[Downlink, str | None]] = []
        self.peers: list[Peer] = []
        self.endpoint: SemtechUdp

    async def open(self) -> Nest:
        self.endpoint = await SemtechUdp.listen(
            "127.0.0.1", 0, self.frames.append, lambda d, e: self.results.append((d, e)), clock=lambda: 1234.5
        )
        return self

    def peer(self) -> Peer:
        self.peers.append(Peer(self.endpoint.port))
        return self.peers[-1]

    def counted(self) -> dict[str, int]:
        return {kind: count for kind, count in self.endpoint.counters.items() if count}

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.endpoint.close()


@pytest.fixture
async def nest() -> AsyncIterator[Nest]:
    nest = await Nest().open()
    yield nest
    nest.close()


async def test_frames_are_acknowledged_and_handed_on(nest: Nest) -> None:
    gateway = nest.peer()
    answer = await gateway.ask(push(RXPK, RXPK | {"modu": "FSK"}, stat={"rxnb": 3}))
    assert answer == b"\x02\x12\x34\x01"
    await gateway.in_order()
    assert [(frame.phy, frame.gateway, frame.received_at) for frame in nest.frames] == [(PHY, EUI, 1234.5)]
    known = nest.endpoint.gateways[EUI]
    assert (known.frames, known.stat, known.last_seen, known.pull_address) == (1, {"rxnb": 3}, 1234.5, None)
    assert nest.counted() == {"push_data": 2, "rxpk_fsk": 1}


async def test_the_acknowledgement_comes_before_the_work(nest: Nest) -> None:
    order: list[str] = []
    nest.endpoint._on_frame = lambda _frame: order.append("frame")
    nest.endpoint._reply = lambda answer, addr: order.append("ack")
    nest.endpoint.datagram_received(push(RXPK), ("127.0.0.1", 9))
    assert order == ["ack", "frame"]


async def test_a_downlink_goes_to_the_last_pull_data(nest: Nest) -> None:
    up, down, moved = nest.peer(), nest.peer(), nest.peer()
    await up.ask(push(RXPK))
    assert nest.endpoint.send(DOWNLINK) is False  # PUSH_DATA opens no way back
    assert await down.ask(PULL) == b"\x02\x00\x07\x04"
    assert nest.endpoint.send(DOWNLINK) is True
    datagram = await down.receive()
    assert (datagram[0], datagram[3]) == (2, 3)
    assert json.loads(datagram[4:])["txpk"]["tmst"] == 1_000_000

    await moved.ask(b"\x01" + PULL[1:])  # a router gave it a new port, and it speaks version 1 now
    nest.endpoint.send(DOWNLINK)
    assert (await moved.receive())[0] == 1
    assert nest.counted()["no_downlink_path"] == 1


@pytest.mark.parametrize(
    ("body", "error", "kind"),
    [
        (b"", None, None),
        (b'{"txpk_ack":{"error":"TOO_LATE"}}', "TOO_LATE", "tx_ack_error"),
        (b'{"txpk_ack":{"warn":"TX_POWER","value":14}}', None, "tx_ack_warning"),
        (b'{"txpk_ack":', None, "tx_ack_malformed"),
    ],
)
async def test_the_gateway_s_word_on_a_downlink(nest: Nest, body: bytes, error: str | None, kind: str | None) -> None:
    gateway = nest.peer()
    await gateway.ask(PULL)
    nest.endpoint.send(DOWNLINK)
    token = (await gateway.receive())[1:3]
    ack = b"\x02" + token + b"\x05" + bytes.fromhex(EUI) + body
    gateway.send(ack)
    gateway.send(ack)  # once more: already known
    stranger = b"\x02" + token + b"\x05" + bytes(8)
    gateway.send(stranger)
    await gateway.in_order()
    assert nest.results == [(DOWNLINK, error)]
    counted = nest.counted()
    assert counted["tx_ack_unknown"] == 2
    assert kind is None or counted[kind] == 1
    assert nest.endpoint.gateways[EUI].refused == (error is not None)


async def test_tokens_are_told_apart(nest: Nest) -> None:
    gateway = nest.peer()
    await gateway.ask(PULL)
    tokens = set()
    for _ in range(50):
        nest.endpoint.send(DOWNLINK)
        tokens.add((await gateway.receive())[1:3])
    assert len(tokens) == 50


HOSTILE: list[tuple[bytes, str]] = [
    (b"", "datagram_short"),
    (b"\x02\0\0\0" + bytes(7), "datagram_short"),
    (b"\x07\0\0\0" + bytes(8), "datagram_version"),
    (b"\x02\0\0\x04" + bytes(8), "datagram_type"),
    (b"\x02\0\0\0" + bytes(8), "datagram_json"),
    (b"\x02\0\0\0" + bytes(8) + b"[" * 60_000, "datagram_json"),
    (push(RXPK | {"data": "!"}), "rxpk_malformed"),
    (b"\x02\0\0\x05" + bytes(8), "tx_ack_unknown"),
]


@pytest.mark.parametrize(("datagram", "kind"), HOSTILE, ids=[f"{kind}-{len(d)}" for d, kind in HOSTILE])
async def test_hostile_datagrams_are_counted_and_gain_nothing(nest: Nest, datagram: bytes, kind: str) -> None:
    stranger = nest.peer()
    stranger.send(datagram)
    answers = []
    stranger.send(bytes([2, 0xEE, 0xEE, 0]) + bytes(8) + b"{}")
    while (answer := await stranger.receive()) != b"\x02\xee\xee\x01":
        answers.append(answer)
    assert sum(map(len, answers)) <= len(datagram)
    assert nest.counted()[kind] == 1
    assert nest.frames == []
    assert await nest.peer().ask(push(RXPK)) == b"\x02\x12\x34\x01"  # and the nest goes on
    assert len(nest.frames) == 1


async def test_forged_gateways_cannot_fill_the_memory(nest: Nest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semtech_udp, "MAX_GATEWAYS", 10)
    monkeypatch.setattr(semtech_udp, "MAX_IN_FLIGHT", 10)
    gateway = nest.peer()
    for i in range(50):
        await gateway.ask(PULL[:4] + i.to_bytes(8, "big"))
        await gateway.ask(PULL)
        nest.endpoint.send(DOWNLINK)
        await gateway.receive()
    assert len(nest.endpoint.gateways) == 10
    assert EUI in nest.endpoint.gateways
    assert len(nest.endpoint._in_flight) == 10


async def test_an_occupied_port_is_an_error_at_once(nest: Nest) -> None:
    def ignore(*_: Any) -> None: ...

    with pytest.raises(OSError, match="in use"):
        await SemtechUdp.listen("127.0.0.1", nest.endpoint.port, ignore, ignore)


async def test_after_closing_there_is_no_way_to_send(nest: Nest) -> None:
    await nest.peer().ask(PULL)
    nest.endpoint.close()
    assert nest.endpoint.send(DOWNLINK) is False
    with pytest.raises(RuntimeError):
        _ = nest.endpoint.port
