"""A node with I2C sensors on the virtual board: it finds them, waits for them, and asks each in its own rhythm."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false
import time

import esp32
import machine
from board import Board, default_world
from expect import equal
from fault import SimFault
from node import measure
from node.hardware import Hardware

ONLY = "micropython"
PATH = ("tools/spatz/sim/device",)

NOON = 1782043200  # 2026-06-21, 12:00 UTC
CONFIG = {
    "radio": {"chip": "sx1262", "cs": 8},
    "vext": {"pin": 36, "on": 0, "settle_ms": 10},
    "i2c": {"id": 0, "sda": 41, "scl": 42, "freq": 100000},
}
AIR = ["temperature", "humidity"]
CO2 = ["co2", "temperature", "humidity"]
DUST = ["pm2_5", "pm10"]
# as spatz.wiring writes "find", by rank: driver, addresses, quantities, and what else there is to say
KNOWN = (
    ("sht4x", (0x44, 0x45, 0x46), AIR, {}),
    ("sht3x", (0x44, 0x45), AIR, {}),
    ("veml7700", (0x10,), ["illuminance"], {}),
    ("bme280", (0x76, 0x77), ["temperature", "humidity", "pressure"], {}),
    ("sps30", (0x69,), DUST, {"every_s": 3600, "warm_up_ms": 30000, "startup_ms": 90}),
    ("bh1750", (0x23, 0x5C), ["illuminance"], {}),
    ("scd4x", (0x62,), CO2, {"every_s": 1800, "warm_up_ms": 60000, "startup_ms": 20, "altitude_m": 0}),
    ("scd30", (0x61,), CO2, {"every_s": 3600, "warm_up_ms": 60000, "startup_ms": 1990, "altitude_m": 0}),
)


def find():
    result = []
    for driver, addresses, quantities, more in KNOWN:
        for address in addresses:
            entry = {"driver": driver, "bus": "i2c", "address": address, "quantities": quantities}
            entry.update(more)
            result.append(entry)
    return result


class Memory:
    sensors = b""


class Node:
    def __init__(self, *chips):
        """chips: (name, address)"""
        world = dict(default_world()["chips"])
        world["sensors"] = [{"chip": name, "i2c": 0, "address": at, "sda": 41, "scl": 42} for name, at in chips]
        weather = {"seed": 3, "unix_s": NOON, "offset_s": 0}
        self.board = Board({"clock": "virtual", "chips": world, "weather": weather})
        self.hardware = Hardware(CONFIG, machine, esp32, time)
        self.memory = Memory()
        self.began = self.board.clock.now

    def take(self, sensors=(), found=True):
        """A wake's reading."""
        now_s = (self.board.clock.now - self.began) // 1000000
        return measure.take(list(sensors), self.hardware, self.memory, now_s, find() if found else None)

    def until(self, second):
        self.board.clock.run_until(self.began + second * 1000000)

    def chip(self, name):
        return [chip for config, chip in self.board.sensors if config["chip"] == name][0]  # noqa: RUF015

    def agrees(self, reading, *quantities):
        """These are in it, and true; some seconds may lie between them and now."""
        true = self.board.weather().values(self.board.unix_now())
        equal(sorted(reading), sorted(quantities))
        for quantity in quantities:
            value = reading[quantity]
            assert not isinstance(value, str), f"{quantity} {value}"
            assert abs(value - true[quantity]) <= 0.5 + 0.01 * true[quantity], f"{quantity}: {value}, {true[quantity]}"


def on_the_chip(check):
    def run(*_vectors):
        try:
            check()
        except SimFault as fault:
            raise AssertionError(f"SimFault: {fault}")  # noqa: B904 - MicroPython keeps no exception chains

    return run


@on_the_chip
def check_every_sensor_is_found_alone():
    for name, addresses, quantities, _ in KNOWN:
        for address in addresses:
            node = Node((name, address))
            node.agrees(node.take(), *quantities)


@on_the_chip
def check_a_full_bus():
    """All on one bus: each is asked, and what two of them measure is that of the better one."""
    node = Node(*[(name, addresses[-1]) for name, addresses, _, _ in KNOWN])
    node.agrees(node.take(), "temperature", "humidity", "pressure", "co2", "illuminance", "pm2_5", "pm10")


@on_the_chip
def check_hungry_ones_have_their_rhythm():
    """15 minutes: dust every fourth time, CO2 every second, the air every time."""
    node = Node(("sht3x", 0x45), ("scd4x", 0x62), ("sps30", 0x69))
    for wake in range(9):
        node.until(900 * wake)
        wanted = AIR + (["co2"] if wake % 2 == 0 else []) + (DUST if wake % 4 == 0 else [])
        node.agrees(node.take(), *wanted)


@on_the_chip
def check_fan_is_cleaned_once_a_week():
    node = Node(("sps30", 0x69))
    sensors = [entry for entry in find() if entry["driver"] == "sps30"]
    for hour in range(15 * 24):
        node.until(3600 * hour)
        if hour % 167 < 3 or hour % 24 == 0:  # the others would only take time
            node.agrees(node.take(sensors, found=False), *DUST)
    equal(node.chip("sps30").cleanings, 3)


@on_the_chip
def check_one_that_is_silent_costs_the_others_nothing():
    node = Node(("sht3x", 0x44), ("scd30", 0x61), ("sps30", 0x69))
    node.take()
    for silent in ("scd30", "sps30"):
        node.chip(silent).broken = True
    node.until(3700)
    reading = node.take()
    failed = [quantity for quantity in sorted(reading) if isinstance(reading[quantity], str)]
    equal(failed, ["co2", "pm10", "pm2_5"])
