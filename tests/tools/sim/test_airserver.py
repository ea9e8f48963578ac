"""The air over TCP: what a node may say, what it is told, and how uplinks reach gateways."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from spatz.sim.air import Air, Missed, Position, Propagation, Reception, Station, Transmission
from spatz.sim.airserver import AirServer, monotonic_us

HERE = Position(51.0, 10.0)


class Ear:
    """A gateway that only remembers."""

    def __init__(self, name: str = "g", position: Position = HERE) -> None:
        self.station = Station(name, position)
        self.frames: list[tuple[Transmission, Reception, int]] = []
        self.came = asyncio.Event()

    def listens_to(self, transmission: Transmission) -> bool:
        return transmission.freq_hz == 868_100_000

    def heard(self, transmission: Transmission, reception: Reception) -> None:
        self.frames.append((transmission, reception, monotonic_us()))
        self.came.set()


class NodeEnd:
    """A node's end of the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, message: object) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            return json.loads(await self.reader.readline())

    async def at_end(self) -> bool:
        async with asyncio.timeout(5):
            return await self.reader.read() == b""


@asynccontextmanager
async def an_air(
    *nodes: Station, on_state: Any = None, on_transmission: Any = None
) -> AsyncIterator[tuple[AirServer, Ear, int]]:
    server = AirServer(Air(Propagation(1, shadowing_db=0.0)), on_state=on_state, on_transmission=on_transmission)
    ear = Ear()
    server.attach(ear)
    for station in nodes:
        server.add_node(station)
    port = await server.start()
    yield server, ear, port
    await server.stop()


async def connect(port: int, name: str) -> NodeEnd:
    node = NodeEnd(*await asyncio.open_connection("127.0.0.1", port))
    node.say({"t": "hello", "node": name, "v": 1})
    assert await node.hear() == {"t": "welcome", "v": 1}
    return node


def tx(start_us: int, **changes: Any) -> dict[str, Any]:
    fields = {
        "t": "tx", "at": start_us, "airtime": 61_696, "freq": 868_100_000, "sf": 7, "bw": 125_000, "cr": 5, "iq": 0,
        "crc": 1, "sync": 0x3444, "preamble": 8, "eirp": 14.0, "data": "00112233",
    }  # fmt: skip
    return {**fields, **changes}


NEAR, FAR = Station("near", Position(51.001, 10.0)), Station("far", Position(51.8, 10.0))


async def test_an_uplink_is_delivered_at_the_end_of_its_airtime() -> None:
    async with an_air(NEAR) as (_, ear, port):
        node = await connect(port, "near")
        start_us = monotonic_us()
        node.say(tx(start_us))
        async with asyncio.timeout(5):
            await ear.came.wait()
        transmission, reception, at_us = ear.frames[0]
        assert at_us >= start_us + 61_696
        assert (transmission.data, transmission.end_us) == (bytes.fromhex("00112233"), start_us + 61_696)
        # 111.2 m: 14 - (128.95 - 22.13) = -92.8 dBm
        assert reception.rssi == -93


async def test_outcomes_are_told_for_each_gateway() -> None:
    told: list[dict[str, Reception | Missed]] = []
    done = asyncio.Event()

    def on_transmission(transmission: Transmission, outcomes: dict[str, Reception | Missed]) -> None:
        told.append(outcomes)
        if len(told) == 3:
            done.set()

    async with an_air(NEAR, FAR, on_transmission=on_transmission) as (server, _, port):
        near, far = await connect(port, "near"), await connect(port, "far")
        near.say(tx(monotonic_us() - 100_000, freq=868_300_000))
        far.say(tx(monotonic_us() - 100_000))
        near.say(tx(monotonic_us() - 100_000, sf=8))
        async with asyncio.timeout(5):
            await done.wait()
        assert {repr(outcomes["g"])[:20] for outcomes in told} == {
            repr(Missed("channel"))[:20], repr(Missed("weak"))[:20], "Reception(rssi=-93, "
        }  # fmt: skip
        assert server.counts == {"up_channel": 1, "up_weak": 1, "up_heard": 1}


async def test_a_downlink_is_announced_to_who_is_in_range_also_to_who_connects_before_it_starts() -> None:
    third = Station("third", Position(51.002, 10.0))
    async with an_air(NEAR, FAR, third) as (server, _, port):
        near, far = await connect(port, "near"), await connect(port, "far")
        start_us = monotonic_us() + 2_000_000
        server.transmit(
            Transmission(
                "g", start_us, 71_936, 868_100_000, 7, 125_000, 14.0, b"\x20abc", iq_inverted=True, crc_on=False
            )
        )
        message = await near.hear()
        assert monotonic_us() < start_us - 20_000
        assert message == {
            "t": "rx", "at": start_us, "airtime": 71_936, "freq": 868_100_000, "sf": 7, "bw": 125_000, "cr": 5, "iq": 1,
            "crc": 0, "sync": 0x3444, "rssi": -93, "snr": 24.25, "data": "20616263",
        }  # fmt: skip
        late = await connect(port, "third")
        assert (await late.hear())["at"] == start_us
        far.writer.close()
        await server.stop()
        assert await far.at_end()
        assert server.counts == {"down_in_range": 2, "down_weak": 1}


async def test_states_are_passed_on() -> None:
    states: list[tuple[str, dict[str, Any]]] = []
    came = asyncio.Event()

    def on_state(node: str, message: dict[str, Any]) -> None:
        states.append((node, message))
        came.set()

    async with an_air(NEAR, on_state=on_state) as (_, _, port):
        node = await connect(port, "near")
        node.say({"t": "state", "state": "boot", "cause": "power_on"})
        async with asyncio.timeout(5):
            await came.wait()
        assert states == [("near", {"t": "state", "state": "boot", "cause": "power_on"})]


@pytest.mark.parametrize(
    "first",
    [
        {"t": "hello", "node": "nobody", "v": 1},
        {"t": "hello", "node": "near", "v": 2},
        {"t": "tx"},
        [],
        7,
        {"t": "hello"},
    ],
    ids=repr,
)
async def test_who_does_not_introduce_itself_is_refused(first: object) -> None:
    async with an_air(NEAR) as (server, _, port):
        node = NodeEnd(*await asyncio.open_connection("127.0.0.1", port))
        node.say(first)
        assert (await node.hear())["t"] == "refused"
        assert await node.at_end()
        assert server.counts == {"protocol_error": 1}


@pytest.mark.parametrize(
    "message",
    [
        {"t": "dance"},
        tx(0, data="zz"),
        tx(0, sf=13),
        tx(0, data=""),
        tx(0, at="now"),
        {key: value for key, value in tx(0).items() if key != "eirp"},
    ],
    ids=lambda message: json.dumps(message)[:60],
)
async def test_a_node_that_breaks_the_protocol_is_cut_off_and_others_go_on(message: object) -> None:
    async with an_air(NEAR, FAR) as (server, ear, port):
        bad, good = await connect(port, "far"), await connect(port, "near")
        bad.say(message)
        assert (await bad.hear())["t"] == "refused"
        assert await bad.at_end()
        good.say(tx(monotonic_us() - 100_000))
        async with asyncio.timeout(5):
            await ear.came.wait()
        assert server.counts["protocol_error"] == 1


async def test_garbage_and_endless_lines_cut_the_connection() -> None:
    async with an_air(NEAR) as (server, _, port):
        for garbage in (b"\xff\xfe\n", b"x" * 100_000, b"[" * 3000 + b"\n"):
            node = await connect(port, "near")
            node.writer.write(garbage)
            with contextlib.suppress(ConnectionResetError):
                async with asyncio.timeout(5):
                    await node.reader.read()
        assert sum(server.counts.values()) == 3


async def test_a_node_that_connects_again_replaces_its_old_connection() -> None:
    async with an_air(NEAR) as (server, ear, port):
        old = await connect(port, "near")
        new = await connect(port, "near")
        assert await old.at_end()
        new.say(tx(monotonic_us() - 100_000))
        async with asyncio.timeout(5):
            await ear.came.wait()
        server.transmit(
            Transmission("g", monotonic_us() + 1_000_000, 50_000, 868_100_000, 7, 125_000, 14.0, b"x", iq_inverted=True)
        )
        assert (await new.hear())["t"] == "rx"
