"""The energy model: µs by state, as the virtual board adds them up, into mJ, and mJ into years on a pair of cells.

Modelled, not measured: states and their times are what the real firmware does on the emulated board; what a state
costs stands in energy.toml with its source. No MicroPython is needed here.
"""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nest.errors import UserError
from nest.i18n import tr

if TYPE_CHECKING:
    from spatz.catalogue import Board

CONSTANTS = Path(__file__).with_name("energy.toml")

BOOTS = ("files", "frozen")
"""How the firmware lies on a node: as files in its filesystem, or frozen into the image."""

PARTS: tuple[str, ...] = (
    "transmit", "receive", "radio", "awake", "wait", "light_sleep", "sensors", "boot", "deep_sleep",
)  # fmt: skip
"""What the cost of an uplink is split into: the radio sending, receiving, and otherwise; the processor computing,
waiting awake, in light sleep; sensors with their supplies; the boot; deep sleep of the whole board."""

YEAR_S = 365.25 * 86400
_SAME = {"fs_tx": "fs", "fs_rx": "fs", "rx_single": "rx"}  # modes of the SX1276 that draw the same
_ASLEEP = ("cpu deep", "radio sleep_cold", "radio sleep")  # together they are deep sleep; else they hardly count


@dataclass(frozen=True, slots=True)
class States:
    """What a virtual board says: µs by "part state", and counts ("tx 7", "join 7", "boot deepsleep")."""

    us: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Any) -> States:
        """From the device's JSON; nothing at all when it says nothing usable."""
        if not isinstance(said, dict) or not all(isinstance(said.get(key), dict) for key in ("us", "counts")):
            return cls()
        return cls(said["us"], said["counts"])

    def __add__(self, other: States) -> States:
        return States(_added(self.us, other.us), _added(self.counts, other.counts))

    @property
    def transmissions(self) -> dict[int, int]:
        """How many frames by spreading factor, JoinRequests left out."""
        joins = self._by_sf("join")
        return {sf: left for sf, count in self._by_sf("tx").items() if (left := count - joins.get(sf, 0))}

    @property
    def joins(self) -> int:
        """How many JoinRequests."""
        return sum(self._by_sf("join").values())

    @property
    def boots(self) -> int:
        """How many boots, whatever the cause."""
        return sum(count for key, count in self.counts.items() if key.startswith("boot "))

    @property
    def elapsed_us(self) -> int:
        """All the time there was: the processor is always in some state."""
        return sum(us for key, us in self.us.items() if key.startswith("cpu "))

    def is_usual(self) -> bool:
        """Whether this is a usual round of a node: it woke from deep sleep, sent, and did not join."""
        return "boot deepsleep" in self.counts and bool(self.transmissions) and not self.joins

    def _by_sf(self, what: str) -> dict[int, int]:
        return {int(key.split()[1]): count for key, count in self.counts.items() if key.startswith(what + " ")}


@dataclass(frozen=True, slots=True)
class Cell:
    """What a node is fed by."""

    name: str
    title: str
    capacity_mah: float
    usable_percent: float
    self_discharge_per_year: float
    shelf_years: float

    def years(self, mean_ma: float) -> float:
        """How long it lasts at a mean current, its self-discharge beside it."""
        usable_mah = self.capacity_mah * self.usable_percent / 100
        per_year_mah = mean_ma * YEAR_S / 3600
        rate = -math.log1p(-self.self_discharge_per_year)
        return math.log1p(rate * usable_mah / per_year_mah) / rate

    def keeps(self, years: float) -> bool:
        """Whether the cell itself keeps so long, unused."""
        return years <= self.shelf_years


class Model:
    """The costs of one board: its processor ("esp32s3", "esp32"), its radio ("sx1262", "sx1276"), how it boots.

    `tcxo`: the radio's oscillator is one that it feeds. `asleep_ua`: what the whole board was measured to take in deep
    sleep, None when nobody measured it. All energies in mJ.
    """

    def __init__(
        self,
        processor: str = "esp32s3",
        radio: str = "sx1262",
        *,
        boot: str = "files",
        tcxo: bool = True,
        asleep_ua: float | None = None,
    ) -> None:
        constants = load()
        self.volts: float = constants["supply"]["volts"]
        self._processor = constants["processor"][processor]
        self._boot = constants["boot"][processor][boot]
        self._radio = constants["radio"][radio]
        self._drive = constants["radio"]["sx1262"]["drive"]["tx_ma"]
        self._tcxo = tcxo
        self._sensor = constants["sensor"]["bme280"]
        self._board = constants["board"]
        self._always_ua: float = self._board["always_ua"]
        if asleep_ua is not None:  # regulators, lights and bridges do not know whether the processor sleeps
            self._always_ua = max(self._always_ua, asleep_ua - self._processor["deep_ua"])

    @classmethod
    def of(cls, board: Board, radio: str, boot: str = "files") -> Model:
        """The costs of a board of the catalogue with this radio (a board may be sold with either).

        Raises UserError for chips that are not in energy.toml.
        """
        tcxo = board.radio.tcxo_mv if radio == "sx1262" else board.radio.tcxo
        try:
            asleep_ua = None if isinstance(board.sleep.current_ua, str) else board.sleep.current_ua
            return cls(board.module.chip, radio, boot=boot, tcxo=bool(tcxo), asleep_ua=asleep_ua)
        except KeyError as error:
            raise UserError(
                tr("energy.toml has no currents of the chip {chip}.", chip=error.args[0]),
                tr("Add them there, each with its source."),
            ) from error

    def cost(self, states: States) -> dict[str, float]:
        """mJ by PARTS. The computing of each transmission, which the virtual clock does not count, is in "awake"."""
        spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        for key, us in states.us.items():
            part, milliamperes = self._current(key)
            spent[part] += us * milliamperes * self.volts / 1e6
        frames = sum(states.transmissions.values()) + states.joins
        busy_ma = self._processor["busy_ma"]["240"]
        spent["awake"] += frames * self._processor["computing_ms"] * busy_ma * self.volts / 1e3
        spent["boot"] += states.boots * self.volts * (self._boot["charge_mc"] + self._boot["load_ms"] * busy_ma / 1e3)
        return spent

    @property
    def sleep_mj_per_s(self) -> float:
        """What a second of deep sleep costs, the radio in cold sleep."""
        radio_ua = self._radio.get("sleep_cold_ua", self._radio.get("sleep_ua", 0.0))
        return (self._processor["deep_ua"] + self._always_ua + radio_ua) * self.volts / 1e3

    def _current(self, key: str) -> tuple[str, float]:
        """Part of PARTS and mA of a state. KeyError for one that energy.toml does not know."""
        part, state = key.split(" ")
        if part == "cpu":
            return self._processor_current(state)
        if part == "radio":
            return self._radio_current(state)
        if part == "sensor":
            return "sensors", self._sensor[state + "_ma"]
        return "sensors", self._board[part + "_ma"]

    def _processor_current(self, state: str) -> tuple[str, float]:
        always_ma = self._always_ua / 1e3
        kind, _, mhz = state.partition("/")
        match kind:
            case "boot":  # its charge is known as a whole
                return "boot", 0.0
            case "deep":
                return "deep_sleep", self._processor["deep_ua"] / 1e3 + always_ma
            case "light":
                return "light_sleep", self._processor["light_ma"] + always_ma
            case "idle":
                return "wait", self._processor["idle_ma"][mhz] + always_ma
            case _:
                return "awake", self._processor[kind + "_ma"][mhz] + always_ma

    def _radio_current(self, state: str) -> tuple[str, float]:
        radio = self._radio
        kind, _, rest = state.partition("/")
        kind = _SAME.get(kind, kind)
        tcxo_ma = radio.get("tcxo_ma", 0.0) if self._tcxo else 0.0
        match kind:
            case "tx":
                setting, power = rest.split("/")
                drive = int(power) + 22 - radio.get("tx_full_dbm", {}).get(setting, 22)
                return "transmit", radio["tx_ma"][setting] * self._falls(drive) + tcxo_ma
            case "rx":
                listens = radio["rx_ma"]
                return "receive", (listens[rest] if isinstance(listens, dict) else listens) + tcxo_ma
            case "fs" | "stdby_xosc":
                return "radio", radio[kind + "_ma"] + tcxo_ma
            case "startup" | "reset":
                return "radio", radio.get("stdby_rc_ma", radio.get("standby_ma"))
            case _ if kind + "_ua" in radio:
                return "radio", radio[kind + "_ua"] / 1e3
            case _:
                return "radio", radio[kind + "_ma"]

    def _falls(self, power: int) -> float:
        """How much of its full current an amplifier takes at a SetTxParams power (22: full)."""
        return self._drive[str(max(-9, min(power, 22)))] / self._drive["22"]


@dataclass(frozen=True, slots=True)
class Uplink:
    """What one uplink of a node costs, mean of its usual rounds: mJ by PARTS, deep sleep until the next included."""

    rounds: int
    frames: int
    sf: int
    interval_s: float
    mj: Mapping[str, float]
    mean_ma: float

    @property
    def total_mj(self) -> float:
        """All of it."""
        return sum(self.mj.values())

    @property
    def active_mj(self) -> float:
        """Without deep sleep."""
        return self.total_mj - self.mj["deep_sleep"]

    def years(self) -> dict[str, float]:
        """How long each kind of cells lasts."""
        return {name: cell.years(self.mean_ma) for name, cell in cells().items()}

    def as_json(self) -> dict[str, Any]:
        """For programs; "modelled" says what kind of number these are."""
        return {
            "modelled": True,
            "rounds": self.rounds,
            "sf": self.sf,
            "interval_s": self.interval_s,
            "uplink_mj": round(self.total_mj, 2),
            "without_deep_sleep_mj": round(self.active_mj, 2),
            "mj": {part: round(value, 3) for part, value in self.mj.items()},
            "mean_ua": round(self.mean_ma * 1000, 2),
            "cells": {
                name: {"years": round(years, 2), "longer_than_the_cells_keep": not cells()[name].keeps(years)}
                for name, years in self.years().items()
            },
        }


def per_uplink(rounds: Iterable[States], model: Model, interval_s: float | None = None) -> Uplink | None:
    """The mean of the usual rounds, as if the node sent every `interval_s` (None: as it did); None without any.

    The awake part is what was simulated, whatever the interval was then; deep sleep fills the rest of the interval.
    """
    total = functools.reduce(States.__add__, (states for states in rounds if states.is_usual()), States())
    count = total.boots  # a sum of usual rounds may come as one
    if not count:
        return None
    if interval_s is None:
        interval_s = total.elapsed_us / 1e6 / count
    awake = States({key: us for key, us in total.us.items() if key not in _ASLEEP}, total.counts)
    mj = {part: value / count for part, value in model.cost(awake).items()}
    mj["deep_sleep"] = max(0.0, interval_s - awake.elapsed_us / 1e6 / count) * model.sleep_mj_per_s
    frames = total.transmissions
    return Uplink(
        rounds=count,
        frames=sum(frames.values()),
        sf=max(frames, key=lambda sf: frames[sf]),
        interval_s=interval_s,
        mj=mj,
        mean_ma=sum(mj.values()) / interval_s / model.volts,
    )


@functools.cache
def load() -> dict[str, Any]:
    """energy.toml."""
    with CONSTANTS.open("rb") as file:
        return tomllib.load(file)


def cells() -> dict[str, Cell]:
    """What a node may be fed by, by name."""
    fields = ("title", "capacity_mah", "usable_percent", "self_discharge_per_year", "shelf_years")
    return {name: Cell(name, **{key: entry[key] for key in fields}) for name, entry in load()["cells"].items()}


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}
