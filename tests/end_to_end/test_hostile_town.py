"""Everything at once: ghosts, damaged frames, copies 2 s late, a counter that wraps, ports that change, a fifth of the
datagrams lost each way, and an attacker who replays, forges and speaks in the gateways' names."""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path

import pytest
from benchmarks.town_load import LoadNode, make_town
from gateway.running import RunningNest, free_port
from spatz.sim.air import Position, Reception, Station, Transmission, airtime_us
from spatz.sim.airserver import monotonic_us
from spatz.sim.gateway import VirtualGateway
from spatz.sim.simulation import Plan, Simulation

from .channels import Attacker, Channel, Faults, Witness, can_attack, doubled, joins
from .towns import LIMIT_S, QUIET_S, town_behind

FRAMES = 40
TALKERS = 4
"""Of so many nodes frames are waited for. There are more nodes: where each way loses a fifth, one in fifty has lost
three joins in a row, and its fourth comes minutes later."""
LEAST_ARCHIVED = 0.999
WRAPS_IN_US = 20_000_000
UP = Faults(loss=0.2, late=0.05, copied=0.3, copy_s=2.0, overtaken=0.2)
DOWN = Faults(loss=0.2, copied=0.1, overtaken=0.1, overtaken_s=0.1)

pytestmark = pytest.mark.skipif(not can_attack(), reason="this machine has one loopback address only")


def wrap_soon(simulation: Simulation) -> None:
    """The gateways' counters turn from 2^32 - 1 to 0 while nodes are joining."""
    for gateway in simulation.gateways:
        assert isinstance(gateway, VirtualGateway)
        gateway._tmst_offset_us = -(monotonic_us() + WRAPS_IN_US) % 2**32


async def test_a_hostile_town_loses_no_frame_and_no_session(tmp_path: Path) -> None:
    plan = Plan(nodes=TALKERS + 2, gateways=2, interval_s=5, seed=31, spread_s=2.0)

    def hostile(server: tuple[str, int]) -> Channel:
        return Channel(server, UP, DOWN, seed=31, moves_s=4.0)

    async with town_behind(tmp_path, plan, hostile, wrap_soon) as small:
        witness, channel, names = small.witness, small.channel, set(small.simulation.reports)
        for gateway in small.simulation.gateways:  # the first to speak for a gateway is believed: nothing tells better
            assert await gateway.wait_connected(LIMIT_S)
        began_us = monotonic_us()
        attacker = Attacker(channel, [gateway.eui for gateway in small.simulation.gateways], seed=31)
        await attacker.start()

        def enough() -> bool:
            wrapped = monotonic_us() - began_us > WRAPS_IN_US * 1.5
            return len(witness.heard) >= FRAMES and len(set(witness.heard.values())) >= TALKERS and wrapped

        await small.until(enough, f"{FRAMES} frames, some of each of {TALKERS} nodes")
        await small.end_of_the_day()
        await attacker.stop()

        missing = witness.missing(small.folder)
        assert len(missing) <= (1 - LEAST_ARCHIVED) * len(witness.heard), f"{missing}: {channel.counts}"
        assert doubled(small.folder) == 0
        assert witness.foreign(small.folder) == 0

        assert attacker.received == [], "the nest has answered somebody who only says that he is a gateway"
        answered = joins(small.folder)
        assert set(witness.heard.values()) <= set(answered) <= names
        for node, nonces in answered.items():
            assert set(nonces) <= witness.asked[node], "a session that the node did not ask for"
            assert len(nonces) == len(set(nonces)), "a JoinRequest was answered twice"

        # all of it has really happened
        did = small.nest.api("/api/v1/status")["counters"]
        for kind in ("crc_bad", "mic_bad", "duplicate", "source_locked", "path_moved"):
            assert did.get(kind, 0) > 0, kind
        assert did.get("dev_nonce_used", 0) + did.get("dev_nonce_low", 0) > 0
        assert did.get("replay", 0) + did.get("retransmission", 0) > 0
        for kind in ("ghost", "crc_bad", "forged", "forged_join", "replayed", "replayed_join", "spoofed_pull"):
            assert attacker.counts[kind] > 0, kind
        for kind in ("moved", "up_lost", "down_lost", "up_copied", "up_late", "up_overtaken"):
            assert channel.counts[kind] > 0, kind


NODES, ROUNDS, INTERVAL_S = 120, 10, 3.0
"""Twelve hundred frames; a node sends its next one only when the quick repetitions of the last are over."""


async def test_of_a_thousand_frames_a_hostile_way_loses_none(tmp_path: Path) -> None:
    """Joined nodes whose frames come straight to the gateways: as many as 99.9 % can be measured with."""
    chance = random.Random(32)  # noqa: S311  to be repeated
    euis = ["aa" * 8, "bb" * 8]
    udp_port = free_port(socket.SOCK_DGRAM)
    nodes = make_town(tmp_path / "town", NODES, euis, udp_port=udp_port, mqtt_url="")
    channel = Channel(("127.0.0.1", udp_port), UP, DOWN, seed=32, moves_s=2.0)
    port = await channel.open()
    gateways = [
        VirtualGateway(
            bytes.fromhex(eui),
            Station(eui, Position(51.3, 12.6)),
            ("127.0.0.1", port),
            lambda _: None,
            tmst_offset_us=-(monotonic_us() + WRAPS_IN_US) % 2**32,
        )
        for eui in euis
    ]
    witness = Witness()
    nest = RunningNest(tmp_path / "town")
    try:
        await asyncio.to_thread(nest.start)
        for gateway in gateways:
            await gateway.start()
            assert await gateway.wait_connected(LIMIT_S)
        attacker = Attacker(channel, [gateway.eui for gateway in gateways], seed=32)
        await attacker.start()
        await asyncio.gather(*(_speak(node, gateways, witness, chance) for node in nodes))
        end = asyncio.get_running_loop().time() + QUIET_S
        while witness.missing(tmp_path / "town") and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        await attacker.stop()

        missing = witness.missing(tmp_path / "town")
        assert len(witness.heard) == NODES * ROUNDS
        assert len(missing) <= (1 - LEAST_ARCHIVED) * NODES * ROUNDS, f"{len(missing)} are missing: {channel.counts}"
        assert doubled(tmp_path / "town") == 0
        assert witness.foreign(tmp_path / "town") == 0
        assert attacker.received == []
        assert joins(tmp_path / "town") == {node.slug: [0] for node in nodes}, "somebody has joined in a node's name"
        assert channel.counts["up_lost"] > NODES * ROUNDS * 0.1
        assert channel.counts["moved"] > 3
    finally:
        for gateway in gateways:
            await gateway.stop()
        await channel.close()
        nest.__exit__()


async def _speak(node: LoadNode, gateways: list[VirtualGateway], witness: Witness, chance: random.Random) -> None:
    """A node's frames; each is heard by one gateway or by all."""
    await asyncio.sleep(chance.uniform(0, INTERVAL_S))
    for _ in range(ROUNDS):
        phy = node.uplink()
        airtime = airtime_us(7, 125_000, len(phy))
        sent = Transmission(node.slug, monotonic_us() - airtime, airtime, 868_100_000, 7, 125_000, 14.0, phy)
        for gateway in gateways if chance.random() < 0.5 else [chance.choice(gateways)]:
            gateway.heard(sent, Reception(chance.randint(-110, -70), 7.0))
        witness.heard[phy] = node.slug
        await asyncio.sleep(INTERVAL_S)
