"""Which wire of a sensor goes to which pin of a board, in words for whoever holds both.

Made from the entries that a node's `config.json` gets (`spatz.wiring`), so what is told is what the node uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nest.i18n import tr

from spatz.catalogue import Board, Sensor
from spatz.wiring import AUTO, NONE, Wish, sensor_of, wire

_RAIL_V = 3.3  # of every board
_FEW = {"uart": (("TX", "rx"), ("RX", "tx")), "onewire": (("data", "pin"),), "adc": (("signal", "pin"),)}
"""Of each bus, what is printed on the sensor, and the key of its entry that says where it goes."""


def wiring(board: Board, sensors: Sequence[Wish]) -> list[str]:
    """ "BME280: SDA to GPIO 41, …": a line for each sensor that is wished for, in their order, and at the end one for
    all that the node finds by itself. Raises UserError: as `spatz.wiring.wire`."""
    return [f"{name}: {wires}" for name, wires in wires_of(board, sensors)]


def wires_of(board: Board, sensors: Sequence[Wish]) -> list[tuple[str, str]]:
    """The same as (name, wires): first those of the configuration's "sensors", one by one."""
    known = [sensor_of(wish) for wish in sensors if wish not in (AUTO, NONE)]
    entries = wire(board, sensors)["sensors"]
    told = [(one.name.upper(), _wires(board, one, entry)) for one, entry in zip(known, entries, strict=True)]
    return [*told, ("I2C", _on_bus(board))] if AUTO in sensors else told


def ports_of(board: Board) -> str:
    """The pins for sensors that are not on the I2C bus, the best first; "" when there are none."""
    ports = board.ports
    if ports is None:
        return ""
    uarts = [f"{port.rx}/{port.tx}" for port in ports.uart]
    told = [
        tr("serial (TX/RX of the sensor) {pins}", pins=", ".join(uarts)) if uarts else "",
        tr("one-wire {pins}", pins=_listed(ports.onewire)) if ports.onewire else "",
        tr("soil probe {pins}", pins=_listed(ports.adc)) if ports.adc else "",
        tr("rain gauge {pins}", pins=_listed(ports.pulse)) if ports.pulse else "",
    ]
    return "; ".join(filter(None, told))


def _listed(pins: Sequence[int]) -> str:
    return ", ".join(map(str, pins))


def _wires(board: Board, sensor: Sensor, entry: Mapping[str, Any]) -> str:
    kind = entry["bus"]
    volts = sensor.power.supply_v[0]
    if kind == "i2c":
        told = _on_bus(board, volts)
        several = len(sensor.bus.addresses or ()) > 1
        return tr("{wires}; address {address}", wires=told, address=hex(entry["address"])) if several else told
    if kind == "pulse":
        return tr("one wire to GPIO {pin}, the other to GND, 100 kOhm from GPIO {pin} to 3.3 V", pin=entry["pin"])
    told = [tr("{wire} to GPIO {pin}", wire=tr(name), pin=entry[key]) for name, key in _FEW[kind]]
    if kind == "onewire":
        told.append(tr("4.7 kOhm from data to power"))
    return _fed(board, told, volts)


def _on_bus(board: Board, volts: float = 0) -> str:
    pins = [("SDA", board.i2c.sda), ("SCL", board.i2c.scl)] if board.i2c else []
    return _fed(board, [tr("{wire} to GPIO {pin}", wire=name, pin=pin) for name, pin in pins], volts)


def _fed(board: Board, wires: list[str], volts: float) -> str:
    """And where its power comes from. volts: the least that it needs."""
    if volts > _RAIL_V:
        power = tr("power to 5 V")
    elif board.ports and board.ports.power:
        power = tr("power to {pin} (3.3 V)", pin=board.ports.power)
    else:
        power = tr("power to 3.3 V")
    return ", ".join([*wires, power, tr("GND to GND")])
