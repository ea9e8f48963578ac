"""A node, the air and the nest for days of virtual time: the firmware's own life (node.app, on CPython) measures the
simulator's weather, and the nest's own core (network server, journal, archive, healing, keeper) hears it. No socket and
no sleeping; what is made up here is the radio between them, its loss, and the accidents.

Times are seconds of true time since the beginning, which is `BEGAN` (Unix s); the node's own clock goes wrong by `ppm`.
"""

from __future__ import annotations

import contextlib
import io
import random
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from nest import lorawan, moments
from nest.archive import Archive, open_database
from nest.archive.downlinks import DownlinkQueue
from nest.archive.journal import Journal
from nest.keeper import Keeper
from nest.live import Live, ReadingEvent
from nest.model import Downlink, RadioFrame, Uplink
from nest.network import Network
from nest.registry import Registry
from spatz.sim.air import airtime_us
from spatz.sim.device.weather import Weather, battery_mv

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "firmware"))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "firmware" / "cpython"))
sys.path.insert(2, str(Path(__file__).resolve().parents[1] / "firmware" / "common"))

from lorawan.actions import Heard, Listen, Transmit
from node.app import Life
from node.identity import Identity
from node.log import Log
from node.memory import Memory
from node_fakes import APP_KEY, DEV_EUI, JOIN_EUI, DeepSleep, Fault, Files, Hardware, Nvs, Reset, Rtc, Time
from node_fakes import config as node_config

BEGAN = 1_780_000_000  # Unix s
DAY_S = 86_400
NODE = "amsel"
GATEWAY = "00800000a0000001"
QUANTITIES = ("temperature", "humidity", "pressure")
KEEPER_EVERY_S = 300  # in the nest every minute; a plan is made every quarter of an hour
BACKHAUL_S = 0.03
SAME_WAKE_S = 40.0  # two downlinks as near answer one frame and its repetition; each has a counter of its own

if not hasattr(sys, "print_exception"):
    sys.print_exception = lambda error: print("Traceback:", repr(error))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Accident:
    """What goes wrong in a wake. `what`: "power cut", or "reset", which RTC memory survives; `when`: "tx", "rx", or
    "write", while the log is written; `off_s`: how long it is without power then."""

    what: str
    when: str
    off_s: float = 0.0


@dataclass(frozen=True)
class Plan:
    """`loss_up`, `loss_down`: shares of frames lost; a frame shares its fate with its repetitions unless `each`, where
    every transmission has its own. `silent`: from when to when the gateway hears and sends nothing. `accidents`: by the
    number of the wake."""

    seed: int
    days: float
    interval_s: int = 900
    loss_up: float = 0.3
    loss_down: float = 0.3
    each: bool = False
    silent: tuple[float, float] = (0.0, 0.0)
    accidents: dict[int, Accident] = field(default_factory=dict)


@dataclass
class Measured:
    """A reading that the node made at `time` (Unix s); `cut_off`: the power went while it was written to the log."""

    time: float
    cut_off: bool = False


@dataclass(frozen=True)
class Sent:
    """A downlink that went on the air at `time`: "join", "application" or "mac"; what it says beside. `again`: it went
    out before, and the node has repeated its frame, as ADR asks it to."""

    time: float
    kind: str
    says: str
    again: bool = False


class Skies(Hardware):
    """The node's board: its sensor measures the weather."""

    def __init__(self, town: Town, woke_from_sleep: bool) -> None:
        super().__init__(town.node_time, woke_from_sleep)
        self._town = town

    def bus(self, entry: dict[str, Any]) -> Any:
        return self._town

    def battery(self) -> float:
        return self._town.battery(self._town.measured[-1].time)


class Published:
    """Where stored readings go; all of it counts as published at once."""

    def __init__(self) -> None:
        self.done = 0
        self.readings: list[ReadingEvent] = []

    def offer(self, items: Any) -> None:
        self.readings += [event for _, event in items]
        self.done = max(self.done, *(number for number, _ in items))

    def heard(self, uplink: Uplink) -> None:
        pass

    def forget(self, slug: str) -> None:
        pass


class Town:
    """See above. `run` lets the days pass; then `archive`, `measured`, `downlinks` and `counters` can be looked at."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan = plan
        self.now = 0.0
        self.random = random.Random(f"town {plan.seed}")  # noqa: S311  to be repeated
        self.ppm = self.random.uniform(-400, 400)
        self.weather = Weather(plan.seed)
        self.measured: list[Measured] = []
        self.uplinks: Counter[str] = Counter()
        self.airtime_s = 0.0
        self.downlinks: list[Sent] = []
        self.engine = open_database(folder / "nest.db")
        self.archive = Archive(self.engine)
        self.published = Published()
        self.counters: Counter[str] = Counter()
        self._results: list[tuple[float, Downlink]] = []
        self._on_air: list[Downlink] = []
        self._fates: dict[bytes, bool] = {}
        self._keeper_at = 0.0
        self._keeper = Keeper(self.engine, lambda _: None)
        registry = Registry(self.engine)
        registry.add(NODE, DEV_EUI.hex(), JOIN_EUI.hex(), APP_KEY)
        with self._clock():
            self.network = Network(
                lorawan.Settings(), registry, self.archive, Journal(self.engine, alone=True),
                DownlinkQueue(self.engine), self.published, Live(), self._send, lambda: None, self.counters,
                lambda: self.now,
            )  # fmt: skip
        self.node_time = Time()
        self._nvs, self._rtc, self._files = Nvs(), Rtc(), Files()
        self._wake = -1
        self._ended_us = 0
        self._accident: Accident | None = None

    @property
    def end(self) -> float:
        """When the days are over."""
        return self.plan.days * DAY_S

    def run(self) -> None:
        """Let the days pass."""
        sensor = types.ModuleType("sensors.sky")
        sensor.read = lambda town, entry, sleep_ms: town.measure(sleep_ms)  # type: ignore[attr-defined]
        sky = mock.patch.dict(sys.modules, {"sensors.sky": sensor})
        tidy = mock.patch("gc.collect")  # which the node calls in each wake: here it would look through the nest, too
        with self._clock(), sky, tidy, contextlib.redirect_stdout(_Nowhere()):
            woke = False
            while self.now < self.end:
                woke = self._boot(woke)
            self._advance(self.now + 10)
            self.network.flush()

    def told_downlinks(self) -> str:
        """How many of what."""
        counted = Counter(f"{sent.kind} {sent.says}".strip() for sent in self.downlinks)
        return ", ".join(f"{count} {what}" for what, count in counted.most_common())

    @contextlib.contextmanager
    def _clock(self) -> Iterator[None]:
        clock = types.SimpleNamespace(time_ns=lambda: round((BEGAN + self.now) * 1e9))
        with mock.patch.object(moments, "time", clock):
            yield

    # the node

    def _boot(self, woke_from_sleep: bool) -> bool:
        """From a start of the node's program to deep sleep (True) or to an accident."""
        self._nvs = self._nvs.after_reset()
        config = node_config(
            interval_s=self.plan.interval_s,
            sensors=[{"driver": "sky", "address": 0x76, "quantities": list(QUANTITIES)}],
        )
        log = Log(Memory(self._rtc).log, "log", self._files.open, self._files.mkdir)
        hardware, dice = Skies(self, woke_from_sleep), self.random
        try:
            identity = Identity(self._nvs, config)
            life = Life(config, identity, hardware, self._rtc, self.node_time, self._exchange, dice.randrange, log)
            life.run()
        except DeepSleep as slept:
            self._pass(slept.ms * 1000)
            return True
        except Reset:
            accident = self._accident
            assert accident is not None
            if accident.when == "write":
                self.measured[-1].cut_off = True
            if accident.what == "power cut":
                self._rtc.data = b""
            self._files.cut_at = self._accident = None
            self._pass(round(accident.off_s * 1e6))
            return False
        except Fault as fault:
            raise AssertionError(str(fault)) from None
        raise AssertionError("it returned")

    def _pass(self, us: int) -> None:
        self.node_time.now_us += us
        self._catch_up()

    def _catch_up(self) -> None:
        """The nest's time goes on to where the node's is."""
        self._advance(self.node_time.now_us * (1 + self.ppm / 1e6) / 1e6)

    def measure(self, sleep_ms: Callable[[int], None]) -> dict[str, float]:
        """What the sensor says, which takes it 10 ms."""
        self._wake += 1
        self._accident = self.plan.accidents.get(self._wake)
        if self._accident and self._accident.when == "write":
            self._files.cut_at = self.random.randrange(1, 20)  # type: ignore[assignment]
        self._catch_up()
        self.measured.append(Measured(BEGAN + self.now))
        sleep_ms(10)
        return self.truth(self.measured[-1].time)

    def truth(self, unix_s: float) -> dict[str, float]:
        """The weather at that moment."""
        return {name: self.weather.value(name, unix_s) for name in QUANTITIES}

    def battery(self, unix_s: float) -> float:
        """Its voltage at that moment."""
        return battery_mv(self.plan.seed, unix_s) / 1000

    def _fails(self, when: str) -> None:
        if self._accident and self._accident.when == when:
            raise Reset

    def _exchange(self, exchange: Any, radio: object, clock: object, before: Callable[[Any], None]) -> Any:
        answer = None
        while True:
            try:
                action = exchange.send(answer)
            except StopIteration as end:
                return end.value
            answer = None
            if isinstance(action, Transmit):
                before(action)
                answer = self._transmit(action)
            elif isinstance(action, Listen):
                self._fails("rx")
                answer = self._listen(action)
            else:
                self._pass(action.us)

    def _transmit(self, action: Transmit) -> int:
        if self._accident and self._accident.when == "tx":
            self.node_time.now_us += action.airtime_us // 2
            raise Reset
        self._pass(action.airtime_us)
        self._ended_us = self.node_time.now_us
        frame = bytes(action.frame)
        self.uplinks["joins" if frame[0] == 0 else "transmissions"] += 1
        self.airtime_s += action.airtime_us / 1e6
        if frame not in self._fates:
            self.uplinks["frames"] += frame[0] != 0
            if not self.plan.each:
                self._fates = {}
            self._fates[frame] = self.random.random() < self.plan.loss_up
        elif self.plan.each:
            self._fates[frame] = self.random.random() < self.plan.loss_up
        if not self._fates[frame] and not self._silent():
            snr = max(-20.0, 6.0 + action.eirp_dbm - 16 + self.random.gauss(0, 1.5))
            tmst = round(self.now * 1e6) & 0xFFFFFFFF
            received = RadioFrame(
                frame, GATEWAY, BEGAN + self.now, action.freq_hz, action.sf, action.bw_hz, -90.0, snr, tmst
            )
            self.network.receive([received])
            self.network.drained()
        return self.node_time.ticks_us()

    def _silent(self) -> bool:
        return self.plan.silent[0] <= self.now < self.plan.silent[1]

    def _listen(self, action: Listen) -> Heard | None:
        symbol_us = (1 << action.sf) * 1_000_000 // action.bw_hz
        self._pass(max(0, self._ended_us + action.delay_us + action.symbols * symbol_us - self.node_time.now_us))
        answering, self._on_air = self._on_air, []
        for downlink in answering:
            same = (downlink.freq_hz, downlink.sf) == (action.freq_hz, action.sf)
            if not same or downlink.window != action.window:
                self._on_air.append(downlink)
            elif self.random.random() >= self.plan.loss_down:
                self._pass(airtime_us(downlink.sf, downlink.bw_hz, len(downlink.phy), crc=False))
                return Heard(downlink.phy, -90, 7.0)
        return None

    # the nest

    def _advance(self, until: float) -> None:
        while True:
            due = self.network.due()
            step = min(at for at in (due, self._keeper_at, *(at for at, _ in self._results[:1])) if at is not None)
            if step > until:
                break
            self.now = max(self.now, step)
            if self._results and self._results[0][0] <= self.now:
                self.network.transmit_result(self._results.pop(0)[1], None)
            elif due is not None and due <= self.now:
                self.network.poll()
            else:
                self._keeper_at = self.now + KEEPER_EVERY_S
                self.network.keep_house()
                self._keeper.work(round((BEGAN + self.now) * 1000))
        self.now = max(self.now, until)

    def _send(self, downlink: Downlink) -> bool:
        if self._silent():
            return False
        self._results.append((self.now + BACKHAUL_S, downlink))
        self._on_air = [*self._on_air[-3:], downlink]
        again = bool(self.downlinks) and self.now - self.downlinks[-1].time < SAME_WAKE_S
        self.downlinks.append(_told(self.now, downlink.phy, again))
        return True


_COMMANDS = {  # name, bytes behind the CID
    0x02: ("LinkCheck", 2),
    0x03: ("LinkADR", 4),
    0x05: ("RXParam", 4),
    0x06: ("DevStatus", 0),
    0x08: ("RXTiming", 1),
    0x0D: ("DeviceTime", 5),
}


def _told(now: float, phy: bytes, again: bool) -> Sent:
    if phy[0] >> 5 == 1:
        return Sent(now, "join", "JoinAccept")
    options = phy[5] & 15
    commands, at = [], 8
    while at < 8 + options:
        name, size = _COMMANDS[phy[at]]
        commands.append(name)
        at += 1 + size
    application = len(phy) - 4 > 8 + options and phy[8 + options] != 0
    says = " ".join(commands) or ("" if application else "ACK or empty")
    return Sent(now, "application" if application else "mac", says, again)


class _Nowhere(io.StringIO):
    def write(self, text: str) -> int:
        return len(text)
