"""The world of a storm of joins (see storm): virtual time, the firmware's own nodes in it, the air between them."""

from __future__ import annotations

import contextlib
import heapq
import math
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spatz.sim.air import SENSITIVITY_DBM, Air, Missed, Position, Propagation, Reception, Station, Transmission

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "firmware"))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "firmware" / "cpython"))
sys.path.insert(2, str(Path(__file__).resolve().parents[1] / "firmware" / "common"))

from lorawan import eu868 as region
from lorawan.actions import Heard, Listen, Transmit
from lorawan.timing import Timing
from node import cycle as node_cycle
from node.identity import Identity
from node.memory import Memory
from node_fakes import Nvs, Rtc

GATEWAY = "00800000a0000001"
TOWN = Position(51.34, 12.37)
RADIUS_M = 1500.0
SLOWEST_SF = 9  # all nodes are heard at this, most of them at SF7
DEMODULATORS = 8


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

    def ticks_us(self) -> int:
        return self.hub.now_us

    def ticks_diff(self, end_us: int, start_us: int) -> int:
        return end_us - start_us

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
    found_sensors = True
    pulses = None
    sleep_ms = staticmethod(lambda ms: None)
    sensor_power = staticmethod(lambda on: None)
    bus = staticmethod(lambda entry: None)
    release = staticmethod(lambda: None)
    battery = staticmethod(lambda: 3.9)
    radio = staticmethod(lambda: None)


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
