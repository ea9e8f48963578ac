"""Everything at once: ghosts, damaged frames, copies 2 s late, a counter that wraps, ports that change, a fifth of the
datagrams lost each way, and an attacker who replays, forges and speaks in the gateways' names."""

from __future__ import annotations

from pathlib import Path

import pytest
from spatz.sim.airserver import monotonic_us
from spatz.sim.gateway import VirtualGateway
from spatz.sim.simulation import Plan, Simulation

from .channels import Attacker, Channel, Faults, can_attack, doubled, joins
from .towns import LIMIT_S, town_behind

FRAMES = 40
LEAST_ARCHIVED = 0.999
WRAPS_IN_US = 20_000_000


def wrap_soon(simulation: Simulation) -> None:
    """The gateways' counters turn from 2^32 - 1 to 0 while nodes are joining."""
    for gateway in simulation.gateways:
        assert isinstance(gateway, VirtualGateway)
        gateway._tmst_offset_us = -(monotonic_us() + WRAPS_IN_US) % 2**32


@pytest.mark.skipif(not can_attack(), reason="this machine has one loopback address only")
async def test_a_hostile_town_loses_no_frame_and_no_session(tmp_path: Path) -> None:
    plan = Plan(nodes=4, gateways=2, interval_s=5, seed=31, spread_s=2.0)
    up = Faults(loss=0.2, late=0.05, copied=0.3, copy_s=2.0, overtaken=0.2)
    down = Faults(loss=0.2, copied=0.1, overtaken=0.1, overtaken_s=0.1)

    def hostile(server: tuple[str, int]) -> Channel:
        return Channel(server, up, down, seed=31, moves_s=4.0)

    async with town_behind(tmp_path, plan, hostile, wrap_soon) as small:
        witness, channel, names = small.witness, small.channel, set(small.simulation.reports)
        for gateway in small.simulation.gateways:  # the first to speak for a gateway is believed: nothing tells better
            assert await gateway.wait_connected(LIMIT_S)
        began_us = monotonic_us()
        attacker = Attacker(channel, [gateway.eui for gateway in small.simulation.gateways], seed=31)
        await attacker.start()

        def enough() -> bool:
            wrapped = monotonic_us() - began_us > WRAPS_IN_US * 1.5
            return len(witness.heard) >= FRAMES and set(witness.heard.values()) == names and wrapped

        await small.until(enough, f"{FRAMES} frames, some of each node")
        await small.end_of_the_day()
        await attacker.stop()

        missing = witness.missing(small.folder)
        assert len(missing) <= (1 - LEAST_ARCHIVED) * len(witness.heard), f"{missing}: {channel.counts}"
        assert doubled(small.folder) == 0
        assert witness.foreign(small.folder) == 0

        assert attacker.received == [], "the nest has answered somebody who only says that he is a gateway"
        answered = joins(small.folder)
        assert set(answered) == names
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
