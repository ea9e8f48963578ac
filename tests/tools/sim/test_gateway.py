"""The virtual gateway against a strict server: both sockets, repetition, downlinks with TX_ACK, stat."""

from __future__ import annotations

import asyncio
import base64
import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from spatz.sim import gateway as gateway_module
from spatz.sim.air import Position, Reception, Station, Transmission
from spatz.sim.airserver import monotonic_us
from spatz.sim.gateway import VirtualGateway
from tools.sim.fake_server import FakeServer, fake_server

EUI = bytes.fromhex("0253a1b2c3d4e5f6")
STATION = Station("g", Position(51.1, 10.2), gain_dbi=3.0)


def uplink(**changes: Any) -> Transmission:
    fields: dict[str, Any] = {
        "sender": "amsel",
        "start_us": monotonic_us() - 61_696,
        "airtime_us": 61_696,
        "freq_hz": 867_500_000,
        "sf": 7,
        "bw_hz": 125_000,
        "eirp_dbm": 14.0,
        "data": bytes(range(23)),
    }
    return Transmission(**{**fields, **changes})


def downlink(server: FakeServer, token: bytes = b"\xab\xcd", **changes: Any) -> None:
    txpk = {
        "imme": False,
        "tmst": (monotonic_us() + 300_000) & 0xFFFFFFFF,
        "freq": 868.1,
        "rfch": 0,
        "powe": 11,
        "modu": "LORA",
        "datr": "SF7BW125",
        "codr": "4/5",
        "ipol": True,
        "prea": 8,
        "size": 33,
        "ncrc": True,
        "data": base64.b64encode(bytes(33)).decode(),
    }
    server.pull_resp(token, {**txpk, **changes})


@asynccontextmanager
async def connected(
    sent: asyncio.Queue[Transmission] | None = None, *, tmst_offset_us: int = 0, **settings: Any
) -> AsyncIterator[tuple[VirtualGateway, FakeServer]]:
    async with fake_server(**settings) as server:
        taken: asyncio.Queue[Transmission] = asyncio.Queue() if sent is None else sent
        gateway = VirtualGateway(EUI, STATION, server.address, taken.put_nowait, tmst_offset_us=tmst_offset_us)
        await gateway.start()
        try:
            assert await gateway.wait_connected(5)
            yield gateway, server
        finally:
            await gateway.stop()
        assert server.violations == []


async def test_an_uplink_arrives_with_all_that_the_protocol_tells() -> None:
    async with connected() as (gateway, server):
        tx = uplink()
        gateway.heard(tx, Reception(-97, 6.25))
        await server.until(lambda: server.pushes)
        rxpk = server.pushes[0][1]["rxpk"][0]
        received = datetime.datetime.fromisoformat(rxpk.pop("time"))
        assert abs((datetime.datetime.now(datetime.UTC) - received).total_seconds()) < 5
        assert rxpk == {
            "tmst": tx.end_us & 0xFFFFFFFF,
            "chan": 2,
            "rfch": 0,
            "freq": 867.5,
            "stat": 1,
            "modu": "LORA",
            "datr": "SF7BW125",
            "codr": "4/5",
            "rssi": -97,
            "lsnr": 6.25,
            "size": 23,
            "data": base64.b64encode(tx.data).decode(),
        }
        assert server.eui == EUI


async def test_up_and_down_use_two_sockets() -> None:
    async with connected() as (gateway, server):
        gateway.heard(uplink(), Reception(-97, 6.25))
        await server.until(lambda: server.pushes)
        assert server.up_address != server.down_address


async def test_a_push_that_was_not_acknowledged_comes_again_with_the_same_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway_module, "PUSH_RETRY_S", (0.02, 0.04, 0.05))
    async with connected(deaf_pushes=2) as (gateway, server):
        gateway.heard(uplink(), Reception(-97, 6.25))
        await server.until(lambda: server.pushes)
        await asyncio.gather(*gateway._pending.values(), return_exceptions=True)  # ended by the acknowledgement
        assert gateway.counters.push_acked == 1
        assert gateway.counters.push_repeated >= 2
        assert len({token for token, _ in server.pushes}) == 1
        assert gateway._pending == {}


async def test_the_way_for_downlinks_is_kept_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "KEEPALIVE_S", 0.02)
    async with connected() as (_, server):
        await server.until(lambda: server.pulls >= 5)


async def test_stat_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "STAT_S", 0.05)
    async with connected() as (gateway, server):
        gateway.heard(uplink(), Reception(-97, 6.25))
        await server.until(lambda: any("stat" in content for _, content in server.pushes))
        stat = next(content["stat"] for _, content in server.pushes if "stat" in content)
        assert datetime.datetime.strptime(stat.pop("time"), "%Y-%m-%d %H:%M:%S GMT").year >= 2025  # noqa: DTZ007
        ackr = stat.pop("ackr")
        assert ackr == 100.0
        assert stat == {"lati": 51.1, "long": 10.2, "alti": 0, "rxnb": 1, "rxok": 1, "rxfw": 1, "dwnb": 0, "txnb": 0}


async def test_a_downlink_goes_on_the_air_at_its_moment_and_is_announced_before() -> None:
    sent: asyncio.Queue[Transmission] = asyncio.Queue()
    async with connected(sent) as (_, server):
        start_us = monotonic_us() + 300_000
        downlink(server, tmst=start_us & 0xFFFFFFFF)
        await server.until(lambda: server.tx_acks)
        assert server.tx_acks == [(b"\xab\xcd", None)]
        tx = await asyncio.wait_for(sent.get(), 5)
        assert monotonic_us() < start_us - 20_000
        assert (tx.start_us, tx.sender, tx.freq_hz, tx.sf) == (start_us, "g", 868_100_000, 7)
        assert (tx.iq_inverted, tx.crc_on, tx.eirp_dbm) == (True, False, 14.0)  # 11 dBm + 3 dBi of the antenna
        assert tx.airtime_us == 12_544 + 58 * 1024


async def test_the_counter_may_wrap_between_uplink_and_downlink() -> None:
    sent: asyncio.Queue[Transmission] = asyncio.Queue()
    offset_us = -(monotonic_us() + 100_000) & 0xFFFFFFFF  # the counter reads 0 in 100 ms
    async with connected(sent, tmst_offset_us=offset_us) as (gateway, server):
        tx = uplink()
        gateway.heard(tx, Reception(-97, 6.25))
        await server.until(lambda: server.pushes)
        tmst = server.pushes[0][1]["rxpk"][0]["tmst"]
        assert tmst > 0xFFFFFFFF - 5_000_000
        downlink(server, tmst=(tmst + 1_000_000) & 0xFFFFFFFF)
        await server.until(lambda: server.tx_acks)
        assert server.tx_acks[0][1] is None
        assert (await asyncio.wait_for(sent.get(), 5)).start_us == tx.end_us + 1_000_000


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"tmst": 0}, {"error": "TOO_LATE"}),
        ({"freq": 902.3}, {"error": "TX_FREQ"}),
        ({"powe": 30}, {"warn": "TX_POWER", "value": 27.0}),
        ({"tmst": None, "tmms": 1_250_000_000_000}, {"error": "GPS_UNLOCKED"}),
        ({"tmst": None, "imme": True}, None),
    ],
)
async def test_tx_ack(changes: dict[str, Any], answer: dict[str, Any] | None) -> None:
    async with connected() as (_, server):
        if changes.get("tmst") == 0:
            changes = {"tmst": (monotonic_us() - 1_000_000) & 0xFFFFFFFF}
        downlink(server, **changes)
        await server.until(lambda: server.tx_acks)
        assert server.tx_acks == [(b"\xab\xcd", answer)]


async def test_too_early_and_collision() -> None:
    async with connected() as (gateway, server):
        downlink(server, b"\x00\x01", tmst=(monotonic_us() + 600_000_000) & 0xFFFFFFFF)
        downlink(server, b"\x00\x02", tmst=(monotonic_us() + 2_000_000) & 0xFFFFFFFF)
        downlink(server, b"\x00\x03", tmst=(monotonic_us() + 2_010_000) & 0xFFFFFFFF)
        await server.until(lambda: len(server.tx_acks) == 3)
        assert dict(server.tx_acks) == {
            b"\x00\x01": {"error": "TOO_EARLY"},
            b"\x00\x02": None,
            b"\x00\x03": {"error": "COLLISION_PACKET"},
        }
        assert gateway.counters.refused == {"TOO_EARLY": 1, "COLLISION_PACKET": 1}


async def test_nonsense_from_the_server_is_counted_and_stops_nothing() -> None:
    async with connected() as (gateway, server):
        assert server.transport is not None
        for datagram in (b"\x00", b"\x02", bytes(100), bytes.fromhex("02000003") + b"{}", b"\xff" * 60):
            server.transport.sendto(datagram, server.down_address)
        downlink(server)
        await server.until(lambda: server.tx_acks)
        assert gateway.counters.malformed == 5


async def test_a_server_that_is_away_is_no_end() -> None:
    async with fake_server() as server:
        address = server.address
    gateway = VirtualGateway(EUI, STATION, address, lambda tx: None)
    await gateway.start()
    gateway.heard(uplink(), Reception(-97, 6.25))
    assert not await gateway.wait_connected(0.6)
    assert gateway.counters.unreachable >= 1
    await gateway.stop()


@pytest.mark.parametrize(
    ("changes", "listens"),
    [
        ({}, True),
        ({"freq_hz": 868_500_000, "sf": 12}, True),
        ({"freq_hz": 868_099_975}, True),  # an SX1276 has steps of 61 Hz
        ({"freq_hz": 868_160_000}, False),
        ({"freq_hz": 868_300_000, "sf": 7, "bw_hz": 250_000}, True),
        ({"freq_hz": 868_300_000, "sf": 8, "bw_hz": 250_000}, False),
        ({"freq_hz": 869_525_000}, False),
        ({"iq_inverted": True}, False),
        ({"sync": 0x1424}, False),
        ({"sf": 6}, False),
    ],
)
def test_channels(changes: dict[str, Any], listens: bool) -> None:
    gateway = VirtualGateway(EUI, STATION, ("127.0.0.1", 9), lambda tx: None)
    assert gateway.listens_to(uplink(**changes)) is listens
