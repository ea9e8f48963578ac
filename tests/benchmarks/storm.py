"""The power comes back, and 200 nodes ask to join within two seconds, all under one gateway. In virtual time.

The nodes are the firmware: `node.cycle` decides when to try, `lorawan.device` makes the frames and keeps the law. The
server is `nest.lorawan`, with a clock instead of a network. Between them are the air of the simulator (path loss,
collisions, capture, half duplex), a concentrator that follows eight frames at a time, a forwarder's queue with its
refusals, and some tens of milliseconds of backhaul both ways. A judge who sees only the air adds up what everybody has
sent; after they have joined, the nodes go on and report every ten minutes.

STORM_NODES sets the nodes, STORM_SEEDS how many seeds.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import random
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from nest.lorawan import Count, Effect, NetworkServer, SendDownlink, Settings
from nest.lorawan import sender as sending
from nest.lorawan.dedup import Copy
from nest.lorawan.downlinks import JOIN_WINDOWS, Way
from nest.model import Device, Downlink, RadioFrame
from spatz.sim.air import Reception, Transmission, airtime_us
from spatz.sim.jit import JitQueue, unwrap

from tests.benchmarks import work
from tests.benchmarks.storm_world import GATEWAY, Ether, Hub, Node

NODES = int(os.environ.get("STORM_NODES", "200"))
SEEDS = int(os.environ.get("STORM_SEEDS", "5"))
ASKED_S = 15 * 60
HOUR_US = 3_600_000_000

# The judge's own table: ERC/REC 70-03, from Hz, to Hz, ms of airtime in an hour.
LAW = (
    (863_000_000, 865_000_000, 3_600),
    (865_000_000, 868_000_000, 36_000),
    (868_000_000, 868_600_000, 36_000),
    (868_700_000, 869_200_000, 3_600),
    (869_400_000, 869_650_000, 360_000),
    (869_700_000, 870_000_000, 36_000),
)


@dataclass
class Result:
    """What came of one storm. Times in seconds of simulated time."""

    joined_s: list[float]  # of each node that has
    requests: list[int]  # JoinRequests of each node
    gateway_airtime_s: float  # until the last had joined
    gateway_worst: float  # fullest hour of a sub-band, as a share of what is allowed
    node_worst: float
    counts: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)  # JoinRequests the gateway did not hear, and why
    refused: Counter[str] = field(default_factory=Counter)  # by the gateway

    @property
    def last_s(self) -> float:
        """When the last one had joined; infinite when not all have."""
        return max(self.joined_s) if len(self.joined_s) == len(self.requests) else math.inf


class Nest:
    """The server, its gateway's forwarder, and the backhaul between them."""

    def __init__(self, hub: Hub, ether: Ether, nodes: list[Node], seed: int, admission: bool) -> None:
        self.hub = hub
        self.ether = ether
        self.random = random.Random(f"{seed}/backhaul")  # noqa: S311
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        devices = [Device(node.dev_eui, bytes(8), node.app_key, node.name) for node in nodes]
        self.server = NetworkServer(Settings(), devices, (), (), random.Random(seed))  # noqa: S311
        if not admission:
            self.server._sender = Naive(self.server._settings, self.server._sessions)  # type: ignore[attr-defined]
        self._queue = JitQueue()
        self._offset_us = self.random.getrandbits(32)
        self._polled_at: float | None = None
        ether.hear = self._heard

    def _heard(self, transmission: Transmission, reception: Reception) -> None:
        frame = RadioFrame(
            transmission.data,
            GATEWAY,
            1_800_000_000.0 + transmission.end_us / 1e6,
            transmission.freq_hz,
            transmission.sf,
            transmission.bw_hz,
            reception.rssi,
            reception.snr,
            (transmission.end_us + self._offset_us) & 0xFFFFFFFF,
        )
        self._later(lambda: self._carry_out(self.server.receive(frame, self._now)))

    def _later(self, do: Callable[[], None]) -> None:
        self.hub.at(self.hub.now_us + self.random.randrange(15_000, 45_000), do)

    @property
    def _now(self) -> float:
        return 1000.0 + self.hub.now_us / 1e6

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Count):
                self.counts[effect.kind] += 1
            elif isinstance(effect, SendDownlink):
                downlink = effect.downlink
                self._later(lambda downlink=downlink: self._to_gateway(downlink))
        due = self.server.next_deadline()
        if due is not None and due != self._polled_at:
            self._polled_at = due
            self.hub.at(round((due - 1000.0) * 1e6) + 1, lambda: self._carry_out(self.server.poll(self._now)))

    def _to_gateway(self, downlink: Downlink) -> None:
        now_us = self.hub.now_us
        start_us = unwrap(downlink.tmst, now_us + self._offset_us) - self._offset_us
        duration_us = airtime_us(downlink.sf, downlink.bw_hz, len(downlink.phy), crc=False)
        error = self._queue.add(start_us, duration_us, now_us)
        if error is None:
            transmission = Transmission(
                GATEWAY,
                start_us,
                duration_us,
                downlink.freq_hz,
                downlink.sf,
                downlink.bw_hz,
                downlink.power_dbm,
                downlink.phy,
                iq_inverted=True,
                crc_on=False,
            )
            self.hub.at(start_us, lambda: self.ether.begin(transmission))
        else:
            self.refused[error] += 1
        self._later(lambda: self._carry_out(self.server.transmit_result(downlink, error, self._now)))


class Naive(sending.Sender):
    """What most servers do: an answer for each, at once, in RX1, or RX2 when the gateway refuses that. It knows nothing
    of airtime, transmitters and storms."""

    def join_way(self, copies: Sequence[Copy], now: float) -> sending.JoinWay | None:
        ways = self._ways(copies, JOIN_WINDOWS, now)
        best = self._best(ways, 33, now)
        return None if best is None else sending.JoinWay(best, ways)

    def _best(self, ways: Any, size: int, now: float, first: int | None = None) -> Way | None:
        able = [way for way in ways if size <= way.max_phy and way.starts_at - 0.05 >= now]
        return min(able, key=lambda way: way.window, default=None)


def storm(
    nodes: int,
    seed: int,
    *,
    admission: bool = True,
    limit_s: float = 3600.0,
) -> Result:
    """One storm, until all have joined or `limit_s` is over."""
    sensor = types.ModuleType("sensors.storm")
    sensor.read = lambda i2c, address, sleep_ms: {"temperature": 21.5, "humidity": 48.0}  # type: ignore[attr-defined]
    hub = Hub()
    ether = Ether(hub, seed)
    with (
        contextlib.redirect_stdout(_Nowhere()),
        mock.patch.dict(sys.modules, {"sensors.storm": sensor}),
    ):
        flock = [Node(hub, ether, number, seed) for number in range(1, nodes + 1)]
        nest = Nest(hub, ether, flock, seed, admission)
        try:
            hub.run(round(limit_s * 1e6), lambda: all(node.joined_us is not None for node in flock))
        finally:
            for node in flock:
                node.thread.end()
    of_gateway = [transmission for transmission in ether.sent if transmission.sender == GATEWAY]
    return Result(
        joined_s=[node.joined_us / 1e6 for node in flock if node.joined_us is not None],
        requests=[node.requests for node in flock],
        gateway_airtime_s=sum(transmission.airtime_us for transmission in of_gateway) / 1e6,
        gateway_worst=fullest_hour(of_gateway),
        node_worst=max(fullest_hour([t for t in ether.sent if t.sender == node.name]) for node in flock),
        counts=nest.counts,
        missed=ether.missed,
        refused=nest.refused,
    )


def fullest_hour(transmissions: list[Transmission]) -> float:
    """Of one transmitter: airtime in the fullest hour of any sub-band, as a share of what is allowed there."""
    worst = 0.0
    for low, high, limit_ms in LAW:
        times = sorted((t.start_us, t.end_us) for t in transmissions if low <= t.freq_hz < high)
        for _, end_us in times:
            in_hour = sum(min(end, end_us) - max(start, end_us - HOUR_US) for start, end in times
                          if start < end_us and end > end_us - HOUR_US)  # fmt: skip
            worst = max(worst, in_hour / 1000 / limit_ms)
    return worst


class _Nowhere(io.StringIO):
    def write(self, text: str) -> int:
        return len(text)


def rows() -> Iterator[tuple[str, str, str]]:
    for name, admission in (("", True), ("without admission: ", False)):
        results = [storm(NODES, seed, admission=admission) for seed in range(1, SEEDS + 1)]
        yield from _told(name, results, asked=not name)


def _told(name: str, results: list[Result], asked: bool) -> Iterator[tuple[str, str, str]]:
    def judged(text: str, bad: bool) -> str:
        return f"{text} {work.MISSED}" if asked and bad else text

    times = ", ".join(f"{result.last_s / 60:.1f}" for result in results)
    late = sum(sum(at <= ASKED_S for at in result.joined_s) < NODES for result in results)
    yield f"{name}minutes until all {NODES} have joined", "<= 15" if asked else "", judged(times, late > 0)
    unjoined = [NODES - sum(at <= ASKED_S for at in result.joined_s) for result in results]
    yield f"{name}nodes not joined after 15 min", "0" if asked else "", judged(", ".join(map(str, unjoined)), late > 0)
    requests = sorted(count for result in results for count in result.requests)
    yield f"{name}JoinRequests of a node: median, most", "", f"{requests[len(requests) // 2]}, {requests[-1]}"
    yield f"{name}seconds on air of the gateway", "", ", ".join(f"{result.gateway_airtime_s:.1f}" for result in results)
    for who, worst in (
        ("gateway", max(result.gateway_worst for result in results)),
        ("node", max(result.node_worst for result in results)),
    ):
        yield (
            f"{name}{who}, fullest hour of a sub-band",
            "<= 100 %" if asked else "",
            judged(f"{100 * worst:.0f} %", worst > 1),
        )


def main() -> None:
    for row in rows():
        print(*row, sep=" | ")


if __name__ == "__main__":
    main()
