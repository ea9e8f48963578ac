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
import heapq
import io
import math
import os
import random
import sys
import threading
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from nest.lorawan import Count, Effect, NetworkServer, SendDownlink, Settings
from nest.lorawan import sender as sending
from nest.lorawan.dedup import Copy
from nest.lorawan.downlinks import JOIN_WINDOWS, Way
from nest.model import Device, Downlink, RadioFrame
from spatz.sim.air import (
    SENSITIVITY_DBM,
    Air,
    Missed,
    Position,
    Propagation,
    Reception,
    Station,
    Transmission,
    airtime_us,
)
from spatz.sim.jit import JitQueue, unwrap

from tests.benchmarks import work

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "firmware"))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "firmware" / "cpython"))
sys.path.insert(2, str(Path(__file__).resolve().parents[1] / "firmware" / "common"))

from lorawan import eu868 as region
from lorawan.actions import Heard, Listen, Transmit
from lorawan.timing import Timing
from node import cycle as node_cycle
from node import schedule as node_schedule
from node.identity import Identity
from node.memory import Memory
from node_fakes import Nvs, Rtc

NODES = int(os.environ.get("STORM_NODES", "200"))
SEEDS = int(os.environ.get("STORM_SEEDS", "5"))
ASKED_S = 15 * 60
GATEWAY = "00800000a0000001"
TOWN = Position(51.34, 12.37)
RADIUS_M = 1500.0
SLOWEST_SF = 9  # all nodes are heard at this, most of them at SF7
DEMODULATORS = 8
SPREAD_MS = 90_000
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


class Hub:
    """Virtual time in microseconds, and what happens in it."""

    def __init__(self) -> None:
        self.now_us = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, us: int, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (max(us, self.now_us), self._count, do))

    def run(self, until_us: int, enough: Callable[[], bool]) -> None:
        while self._events and self._events[0][0] <= until_us and not enough():
            self.now_us, _, do = heapq.heappop(self._events)
            do()


class Stop(BaseException):
    """The storm is over; no Exception, because a node survives those."""


class Thread:
    """A function that waits in virtual time: the node's code runs to its end and knows of no events."""

    def __init__(self, hub: Hub, function: Callable[[], None]) -> None:
        self._hub = hub
        self._function = function
        self._mine = threading.Semaphore(0)
        self._hubs = threading.Semaphore(0)
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        hub.at(0, self._resume)

    def wait_until(self, us: int) -> None:
        self._hub.at(us, self._resume)
        self._pause()

    def end(self) -> None:
        if self._thread.is_alive():
            self._over = True
            self._resume()
            self._thread.join()

    def _resume(self) -> None:
        self._mine.release()
        self._hubs.acquire()

    def _pause(self) -> None:
        self._hubs.release()
        self._mine.acquire()
        if self._over:
            raise Stop

    def _run(self) -> None:
        self._mine.acquire()
        with contextlib.suppress(Stop):
            if not self._over:
                self._function()
        self._hubs.release()


class Ether:
    """The air, what the gateway makes of it, and the judge's records."""

    def __init__(self, hub: Hub, seed: int) -> None:
        self.hub = hub
        self.air = Air(Propagation(seed))
        self.air.add(Station(GATEWAY, TOWN, 2.15))
        self.sent: list[Transmission] = []
        self.downlinks: list[Transmission] = []
        self.hear: Callable[[Transmission, Reception], None] = lambda transmission, reception: None
        self.missed: Counter[str] = Counter()
        self._following: list[int] = []  # when the demodulators are free again

    def begin(self, transmission: Transmission) -> None:
        self.air.begin(transmission)
        self.sent.append(transmission)
        if transmission.iq_inverted:
            self.downlinks.append(transmission)
        else:
            self._following = [end_us for end_us in self._following if end_us > transmission.start_us]
            free = len(self._following) < DEMODULATORS
            if free:
                self._following.append(transmission.end_us)
            self.hub.at(transmission.end_us, lambda: self._end(transmission, free))

    def _end(self, transmission: Transmission, free: bool) -> None:
        reception = self.air.hear(transmission, GATEWAY) if free else Missed("demodulators")
        if isinstance(reception, Reception):
            self.hear(transmission, reception)
        elif transmission.data[0] == 0:
            self.missed[reception.why] += 1


class Node:
    """A node as it is, and a radio of our making."""

    def __init__(self, hub: Hub, ether: Ether, number: int, seed: int) -> None:
        self.hub = hub
        self.ether = ether
        self.random = random.Random(f"{seed}/{number}")  # noqa: S311
        self.name = f"node{number}"
        _place(ether.air, self.name, self.random)
        self.dev_eui = bytes.fromhex("70b3d57ed0") + number.to_bytes(3, "big")
        self.app_key = number.to_bytes(16, "big")
        self.requests = 0
        self.joined_us: int | None = None
        self._ppm = self.random.uniform(-20, 20)
        self._ended_us = 0
        self.thread = Thread(hub, self._live)

    def _live(self) -> None:
        identity = Identity(Nvs(dev_eui=self.dev_eui, join_eui=bytes(8), app_key=self.app_key))
        config = {
            "interval_s": 600,
            "radio": {"max_eirp_dbm": 16},
            "sensors": [{"driver": "storm", "address": 0, "quantities": ["temperature", "humidity"]}],
        }
        cycle = node_cycle.Cycle(
            config,
            region,
            Timing(),
            identity,
            Memory(Rtc()),
            _Hardware(),
            self,
            self._exchange,
            lambda n: self.random.randrange(n),
        )
        self._rest(cycle.started())
        while True:
            began_us = self.hub.now_us
            wait_ms, from_start = cycle.run()
            passed_ms = (self.hub.now_us - began_us) // 1000
            self._rest(wait_ms - passed_ms if from_start else wait_ms)

    def uptime_ms(self) -> int:
        return self.hub.now_us // 1000

    def _rest(self, ms: int) -> None:
        if ms > 0:
            self.thread.wait_until(self.hub.now_us + ms * 1000)

    def _exchange(self, exchange: Any, radio: object, clock: object, before_transmit: Callable[[Any], None]) -> Any:
        answer = None
        while True:
            try:
                action = exchange.send(answer)
            except StopIteration as end:
                if end.value is not None and hasattr(end.value, "join_nonce") and self.joined_us is None:
                    self.joined_us = self.hub.now_us
                return end.value
            if isinstance(action, Transmit):
                before_transmit(action)
                answer = self._transmit(action)
            elif isinstance(action, Listen):
                answer = self._listen(action)
            else:
                self.thread.wait_until(self.hub.now_us + action.us)
                answer = None

    def _transmit(self, action: Transmit) -> int:
        self.requests += action.frame[0] == 0
        transmission = Transmission(
            self.name,
            self.hub.now_us,
            action.airtime_us,
            action.freq_hz,
            action.sf,
            action.bw_hz,
            action.eirp_dbm,
            bytes(action.frame),
        )
        self.ether.begin(transmission)
        self._ended_us = transmission.end_us
        self.thread.wait_until(transmission.end_us)
        return transmission.end_us

    def _listen(self, action: Listen) -> Heard | None:
        symbol_us = (1 << action.sf) * 1_000_000 // action.bw_hz
        open_us = self._ended_us + round(action.delay_us * (1 + self._ppm / 1e6))
        close_us = open_us + action.symbols * symbol_us
        self.thread.wait_until(close_us)
        for downlink in reversed(self.ether.downlinks):
            if downlink.end_us < open_us - 10_000_000:
                break
            # Five symbols of the preamble are enough to find it.
            seen = open_us - 3 * symbol_us <= downlink.start_us <= close_us - 5 * symbol_us
            if seen and (downlink.freq_hz, downlink.sf) == (action.freq_hz, action.sf):
                self.thread.wait_until(downlink.end_us)
                reception = self.ether.air.hear(downlink, self.name)
                if isinstance(reception, Reception):
                    after_us = downlink.start_us - self._ended_us
                    return Heard(downlink.data, reception.rssi, reception.snr, after_us)
        return None


class _Hardware:
    """A board with a sensor that always says the same."""

    woke_from_sleep = False
    sleep_ms = staticmethod(lambda ms: None)
    sensor_power = staticmethod(lambda on: None)
    i2c = staticmethod(lambda: None)
    battery = staticmethod(lambda: 3.9)
    radio = staticmethod(lambda: None)


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
    retry: Callable[[int, Callable[[int], int]], int] | None = None,
    limit_s: float = 3600.0,
) -> Result:
    """One storm, until all have joined or `limit_s` is over. `retry`: in place of the node's own after_failed_join."""
    sensor = types.ModuleType("sensors.storm")
    sensor.read = lambda i2c, address, sleep_ms: {"temperature": 21.5, "humidity": 48.0}  # type: ignore[attr-defined]
    hub = Hub()
    ether = Ether(hub, seed)
    own = node_schedule.after_failed_join
    with (
        contextlib.redirect_stdout(_Nowhere()),
        mock.patch.dict(sys.modules, {"sensors.storm": sensor}),
        mock.patch.object(node_schedule, "after_failed_join", retry or own),
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


def spread(failures: int, rng: Callable[[int], int]) -> int:
    """A proposal for node.schedule: the waits as they are, but the random part of each is at least 90 s."""
    wait_ms = min(5000 << min(failures - 1, 12), 7_200_000)
    return wait_ms * 3 // 4 + rng(max(wait_ms // 2, SPREAD_MS) + 1)


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


def _place(air: Air, name: str, rng: random.Random) -> None:
    """Somewhere in the town, where the gateway's reach at `SLOWEST_SF` ends not."""
    radius_m = RADIUS_M
    while True:
        turn = rng.random() * math.tau
        degrees = rng.random() ** 0.5 * radius_m / 111_195
        east = degrees * math.sin(turn) / math.cos(math.radians(TOWN.latitude))
        station = Station(name, Position(TOWN.latitude + degrees * math.cos(turn), TOWN.longitude + east))
        loss_db = air.propagation.path_loss_db(station, air.stations[GATEWAY])
        if region.MAX_EIRP_DBM - loss_db + air.stations[GATEWAY].gain_dbi >= SENSITIVITY_DBM[SLOWEST_SF]:
            air.add(station)
            return
        radius_m *= 0.8  # behind a thick wall one has to be nearer


class _Nowhere(io.StringIO):
    def write(self, text: str) -> int:
        return len(text)


def rows() -> Iterator[tuple[str, str, str]]:
    for name, admission, retry in (
        ("", True, None),
        ("without admission: ", False, None),
        ("retries spread over 90 s: ", True, spread),
    ):
        results = [storm(NODES, seed, admission=admission, retry=retry) for seed in range(1, SEEDS + 1)]
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
