"""Virtual nodes: who they are, where they stand, and the folder each lives in.

Everything about a node follows from the seed, so the same seed gives the same flock again: names, addresses, keys,
positions, weather, and when each is switched on. Keys are made from the seed *only here*, for nodes that exist only in
a simulation; a real node's key is random.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spatz.boards import Board, load_board, load_sensor
from spatz.config import compile_config
from spatz.names import node_name
from spatz.sim.air import Position, Propagation, Station, sensitivity_dbm
from spatz.wiring import Wish, sensor_of, wire

BOARD = "heltec-v3"
SENSORS = ("bme280",)
JOIN_EUI = bytes.fromhex("02737061747a0000")
"""Locally administered, "spatz" in the middle."""

TOWN = Position(51.1634, 10.4477)
"""Niederdorla: the middle of Germany."""

RADIUS_M = 900.0
LINK_MARGIN_DB = 10.0
"""How much stronger than needed at SF7 a node is heard where it stands; people put nodes where they work."""

NODE_EIRP_DBM = 16.0


@dataclass(frozen=True, slots=True)
class VirtualNode:
    """One node of the flock. `phase_s` is when it is switched on, seconds after the start of the simulation; `board` is
    the board that it is made of, `sensors` (without "auto") what hangs on it; they and `join_dr` are as in
    `compile_config`."""

    name: str
    seed: int
    mac_address: bytes
    app_key: bytes
    position: Position
    phase_s: float
    board: str = BOARD
    join_dr: int | None = None
    sensors: tuple[str, ...] = SENSORS

    @property
    def dev_eui(self) -> bytes:
        """From the chip's MAC address, widened as IEEE does it: FF FE in the middle."""
        return self.mac_address[:3] + b"\xff\xfe" + self.mac_address[3:]

    @property
    def join_eui(self) -> bytes:
        """The same for all virtual nodes."""
        return JOIN_EUI

    @property
    def station(self) -> Station:
        """The node's antenna, as the air sees it: the gain counts when it receives."""
        return Station(self.name, self.position, gain_dbi=2.0)


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of a virtual node: its flash (`fs/`), its NVS, its RTC memory, and what it is made of (world.json)."""

    path: Path

    @property
    def fs(self) -> Path:
        """The node's filesystem."""
        return self.path / "fs"

    @property
    def world(self) -> Path:
        """What run.py builds the board from."""
        return self.path / "world.json"

    @property
    def nvs(self) -> Path:
        """Identity and counters; survives everything."""
        return self.path / "nvs.json"

    @property
    def rtc(self) -> Path:
        """RTC memory; survives deep sleep and resets, not a power cut."""
        return self.path / "rtc.bin"

    @property
    def power(self) -> Path:
        """How the last boot ended; written by the device."""
        return self.path / "power.json"


def gateways(count: int, seed: int, centre: Position = TOWN, radius_m: float = RADIUS_M) -> list[tuple[bytes, Station]]:
    """EUI and place of each gateway: one in the middle, the others on a ring around it."""
    result = []
    for index in range(count):
        eui = bytearray(_digest(seed, "gateway", str(index))[:8])
        eui[0] = eui[0] & 0xFC | 0x02  # locally administered
        angle = 2 * math.pi * index / max(count - 1, 1)
        place = centre if index == 0 else _moved(centre, 0.7 * radius_m, angle)
        result.append((bytes(eui), Station(f"gateway-{index + 1}", place, gain_dbi=3.0)))
    return result


def flock(
    count: int,
    seed: int,
    heard_by: Sequence[Station],
    propagation: Propagation,
    *,
    centre: Position = TOWN,
    radius_m: float = RADIUS_M,
    spread_s: float = 2.0,
) -> list[VirtualNode]:
    """`count` nodes around `centre`, each where at least one of the gateways `heard_by` hears it well at SF7.

    They are switched on one after another, evenly spread over `spread_s` seconds with some chance in it.
    """
    nodes: list[VirtualNode] = []
    apart_m = 0.8 * radius_m / math.sqrt(max(count, 1))
    for index in range(count):
        name = node_name(index)
        chance = random.Random(f"{seed}/node/{name}")  # noqa: S311 - a simulation that must repeat
        node = VirtualNode(
            name=name,
            seed=int.from_bytes(_digest(seed, "device", name)[:4], "big") >> 1,
            # Bit 1 of the first byte: locally administered, so it can never be a real chip's.
            mac_address=b"\x02" + _digest(seed, "mac", name)[:5],
            app_key=_digest(seed, "app_key", name)[:16],
            position=_place(
                name, chance, heard_by, propagation, centre, radius_m, [node.position for node in nodes], apart_m
            ),
            phase_s=round(spread_s * (index + chance.random() * 0.5) / count, 3),
        )
        nodes.append(node)
    return nodes


def best_heard(flock: Sequence[VirtualNode], gateways: Sequence[Station], propagation: Propagation) -> VirtualNode:
    """The one whose signal a gateway receives strongest."""
    return max(
        flock,
        key=lambda node: max(gw.gain_dbi - propagation.path_loss_db(node.station, gw) for gw in gateways),
    )


def _place(
    name: str,
    chance: random.Random,
    heard_by: Sequence[Station],
    propagation: Propagation,
    centre: Position,
    radius_m: float,
    taken: Sequence[Position],
    apart_m: float,
) -> Position:
    """Places are drawn until one is good and not beside another node; behind too much concrete the node ends up at the
    best of them."""
    needed = sensitivity_dbm(7, 125_000) + LINK_MARGIN_DB
    best, best_rssi = centre, -math.inf
    for _ in range(100):
        place = _moved(centre, radius_m * math.sqrt(chance.random()), 2 * math.pi * chance.random())
        losses = (propagation.path_loss_db(Station(name, place), gateway) - gateway.gain_dbi for gateway in heard_by)
        rssi = NODE_EIRP_DBM - min(losses, default=0.0)
        if rssi >= needed and all(place.distance_m(other) >= apart_m for other in taken):
            return place
        if rssi > best_rssi:
            best, best_rssi = place, rssi
    return best


def make(
    node: VirtualNode,
    path: Path,
    *,
    interval_s: int,
    safe_window_s: int,
    board_name: str | None = None,
    confirmed: bool = False,
) -> Folder:
    """Give a node its folder: configuration as `spatz.config` compiles it, identity in NVS, an empty RTC memory.

    A folder that exists already keeps its NVS, so its counters go on where they were; only the configuration is new.
    """
    folder = Folder(path.absolute())
    folder.fs.mkdir(parents=True, exist_ok=True)
    config = compile_config(
        load_board(board_name or node.board),
        node.sensors,
        node.name,
        interval_s=interval_s,
        safe_window_s=safe_window_s,
        confirmed=confirmed,
        join_dr=node.join_dr,
    )
    write(folder.fs / "config.json", json.dumps(config))
    if not folder.nvs.exists():
        identity = {"dev_eui": node.dev_eui, "join_eui": node.join_eui, "app_key": node.app_key}
        content = {"spatz": {key: {"blob": value.hex()} for key, value in identity.items()}}
        write(folder.nvs, json.dumps(content))
    return folder


def world(
    node: VirtualNode,
    folder: Folder,
    air: tuple[str, int] | None,
    *,
    cause: str,
    boot: int = 0,
    wake_at_us: int | None = None,
    weather_seed: int | None = None,
    clock: str = "paced",
    board_name: str | None = None,
) -> dict[str, Any]:
    """What `device/run.py` builds the board from, for one boot; `cause` is power_on, deepsleep, soft or wdt.

    `boot` counts the boots: chance on the device begins anew with each, and must not repeat itself.
    """
    board = load_board(board_name or node.board)
    return {
        "node": node.name,
        "state_dir": str(folder.path),
        "clock": clock,
        "air": list(air) if air else None,
        "seed": (node.seed + 0x9E3779B1 * boot) & 0x7FFFFFFF,
        "chips": chips(board, node.seed, node.sensors),
        "module": board.module.chip,
        "mac_address": node.mac_address.hex(),
        "boot_us": 250_000,
        "usb": False,
        "weather": _weather(node, weather_seed),
        "clock_error_ppm": 0,
        "cause": cause,
        "wake_at_us": wake_at_us,
    }


def _weather(node: VirtualNode, town_seed: int | None) -> dict[str, int]:
    """The town has one weather; at each node it comes up to an hour earlier or later, so no two measure the same."""
    if town_seed is None:
        return {"seed": node.seed, "offset_s": 0}
    return {"seed": town_seed, "offset_s": node.seed % 7200 - 3600}


def chips(board: Board, seed: int = 0, sensors: Sequence[Wish] = SENSORS) -> dict[str, Any]:
    """The chips on a board and their wiring, from the same files that the node's configuration is compiled from.

    Of a board that is sold with either radio or power chip, `seed` says which one this is. An I2C sensor is left out on
    a board that has no such bus.
    """
    result: dict[str, Any] = {"radio": _radio(board, seed), "sensors": []}
    carried = sensors if board.i2c else [wish for wish in sensors if sensor_of(wish).bus.kind != "i2c"]
    for wish, entry in zip(carried, wire(board, carried)["sensors"], strict=True):
        result["sensors"].append(_sensor(board, sensor_of(wish).name, entry))
    if board.pmu:
        names = list(board.pmu.chips)
        name = names[seed // 2 % len(names)]
        bus = board.pmu.i2c or board.i2c
        assert bus  # noqa: S101  # the catalogue refuses a power chip without one
        rails = board.pmu.chips[name]
        where = {"i2c": bus.id, "address": 0x34, "sda": bus.sda, "scl": bus.scl}
        result["pmu"] = {"chip": name, **where, "radio": rails.radio, "stays": rails.on}
    if board.battery and board.battery.ratio:
        # `trim` is what the firmware corrects the printed resistors by, so it belongs to the real ratio.
        level = board.battery.enable_level
        result["battery"] = {
            "adc": board.battery.adc,
            "ratio": board.battery.ratio * board.battery.trim,
            "enable_pin": board.battery.enable_pin,
            "enable_level": 0 if level == "sense" else level,
        }
    if board.button:
        result["button"] = {"pin": board.button.pin, "idle": 1 - board.button.pressed}
    if board.vext:
        result["vext"] = {"pin": board.vext.pin, "on": board.vext.on}
    return result


def _sensor(board: Board, chip: str, entry: dict[str, Any]) -> dict[str, Any]:
    """A chip where the node's configuration has its sensor; `device/chips.py` says what each bus needs."""
    calibration = {key: entry[key] for key in load_sensor(chip).calibration.settings}
    match entry["bus"]:
        case "i2c" if board.i2c:
            where = {"i2c": board.i2c.id, "address": entry["address"], "sda": board.i2c.sda, "scl": board.i2c.scl}
        case "uart":
            where = {"uart": entry["id"], "tx": entry["tx"], "rx": entry["rx"], "baud": entry["baud"]}
        case bus:
            where = {bus: entry["pin"]}
    return {"chip": chip, **where, **calibration}


def _radio(board: Board, seed: int) -> dict[str, Any]:
    radio = board.radio
    chip = radio.chip if radio.chip != "probe" else ("sx1262", "sx1276")[seed % 2]
    wiring: dict[str, Any] = {
        "chip": chip,
        "spi": radio.spi.id,
        "sck": radio.spi.sck,
        "mosi": radio.spi.mosi,
        "miso": radio.spi.miso,
        "cs": radio.cs,
        "reset": radio.reset,
        "antenna_gain_dbi": board.antenna.gain_dbi,
        "enable": [[supply.pin, supply.level] for supply in radio.enable or ()],
        "amplifier": [[gain.up_to_dbm, gain.gain_db] for gain in radio.amplifier or ()],
    }
    if radio.supply:
        wiring["supply"] = [radio.supply.pin, radio.supply.level]
    if chip == "sx1262":
        wiring |= {"busy": radio.busy, "dio1": radio.dio1, "tcxo_mv": radio.tcxo_mv}
        if radio.rx_enable is not None:
            wiring["rx_enable"] = radio.rx_enable
    else:
        boost = radio.pa_boost is not False
        wiring |= {"dio0": radio.dio0, "tcxo": bool(radio.tcxo), "pa_boost": boost}
    return wiring


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Put `text` in place in one step, readable by nobody else: NVS files hold keys."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")  # the node writes some of them too, and meanwhile
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def _digest(seed: int, *what: str) -> bytes:
    return hashlib.sha256("/".join((str(seed), *what)).encode()).digest()


def _moved(start: Position, distance_m: float, angle: float) -> Position:
    north, east = distance_m * math.cos(angle), distance_m * math.sin(angle)
    metres_per_degree = 111_195.0
    latitude = start.latitude + north / metres_per_degree
    longitude = start.longitude + east / metres_per_degree / math.cos(math.radians(start.latitude))
    return Position(round(latitude, 6), round(longitude, 6))
