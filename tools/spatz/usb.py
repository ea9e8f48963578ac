"""Which boards are at this computer's USB sockets, and how a device is followed when its port changes its name.

A port's name is worth nothing: after a reset, or in the boot loader, COM20 becomes COM19 (esptool issue 798). So a
device is known by its serial number, else by the socket it is in; the name is looked up each time. Cheap bridges may
share a serial number that looks like a real one: where two that are plugged in do, each is known by its socket.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

VIRTUAL_BOARDS = "SPATZ_VIRTUAL_BOARDS"
"""Environment variable: a folder in which virtual boards (`spatz virtual`) say which port they are at."""

_LOOK_EVERY_S = 0.1
_SETTLES_S = 1.0  # until a device that is being recognised has its driver
_ESPRESSIF = 0x303A


@dataclass(frozen=True, slots=True)
class Bridge:
    """What sits between the USB socket and the chip. `native`: the chip itself, which is gone while it sleeps."""

    name: str
    native: bool = False
    driver: str = ""  # where it is had, on a computer that does not bring it


@dataclass(frozen=True, slots=True)
class Port:
    """A serial port, or a USB device that should be one (`device` is "" then: the driver is missing)."""

    device: str
    vid: int | None
    pid: int | None
    serial_number: str | None = None
    product: str = ""
    location: str = ""

    @property
    def bridge(self) -> Bridge | None:
        """What it is, as far as the USB identity says; None for a device that no board has."""
        return BRIDGES.get((self.vid or 0, self.pid or 0))

    @property
    def usb_id(self) -> str:
        """The USB identity as board files write it: 10c4:ea60."""
        return f"{self.vid or 0:04x}:{self.pid or 0:04x}"

    @property
    def key(self) -> str:
        """By what the device is followed. The cheap bridges all have the same serial number, or none: for them it is
        the socket."""
        if self.serial_number and self.vid == _ESPRESSIF:
            # its MAC address: F4:12:FA:… in the boot loader; while MicroPython runs f412fa… and two bytes that mean
            # nothing (ports/esp32/usb.c: a buffer of eight bytes, of which six are filled)
            return f"serial {self.serial_number.replace(':', '').lower()[:12]}"
        if self.serial_number and self.serial_number not in _SHARED_NUMBERS:
            return f"serial {self.serial_number}"
        return f"socket {self.location}" if self.location else f"port {self.device}"


_WCH = "https://www.wch-ic.com/downloads"
_CH9102 = {"darwin": f"{_WCH}/CH34XSER_MAC_ZIP.html", "linux": "https://github.com/WCHSoftGroup/ch343ser_linux"}
_CH340 = {"darwin": f"{_WCH}/CH34XSER_MAC_ZIP.html", "linux": f"{_WCH}/CH341SER_LINUX_ZIP.html"}

# USB-IF numbers; and the page of its maker from which this computer has the driver
BRIDGES = {
    (0x10C4, 0xEA60): Bridge("CP2102", driver="https://www.silabs.com/developer-tools/usb-to-uart-bridge-vcp-drivers"),
    (0x1A86, 0x55D4): Bridge("CH9102", driver=_CH9102.get(sys.platform, f"{_WCH}/CH343SER_EXE.html")),
    (0x1A86, 0x7523): Bridge("CH340", driver=_CH340.get(sys.platform, f"{_WCH}/CH341SER_EXE.html")),
    (0x0403, 0x6001): Bridge("FT232", driver="https://ftdichip.com/drivers/vcp-drivers/"),
    (0x303A, 0x1001): Bridge("ESP32-S3", native=True),  # USB Serial/JTAG: in the boot loader, and while a program runs
    (0x303A, 0x4001): Bridge("ESP32-S3", native=True),  # MicroPython's own USB on an ESP32-S3
}
_SHARED_NUMBERS = {"0001", "0000", "0", "00000000"}
_seen_at: dict[str, str] = {}  # key by serial number -> socket, where there was only one of it


def list_ports() -> list[Port]:
    """Every serial port that has a USB identity, and the virtual boards, by name. Of two with the same serial number
    none has it."""
    there = told_apart(_as_they_say())
    _remember_all(there)
    return there


def remember(key: str, location: str) -> None:
    """Where the device `key` was seen by another process: should a second one with its serial number be there by the
    first look of this one, it is still known which is meant."""
    if location:
        _seen_at[key] = location


def _remember_all(ports: Sequence[Port]) -> None:
    for port in ports:
        if port.serial_number:
            remember(port.key, port.location)


def told_apart(ports: Sequence[Port]) -> list[Port]:
    """The same ports, each with a `key` of its own: without a serial number that two of them show."""
    often = Counter(port.key for port in ports)
    return [replace(port, serial_number=None) if often[port.key] > 1 else port for port in ports]


def _as_they_say() -> list[Port]:
    return sorted([*_real(), *_virtual()], key=lambda port: port.device)


def _real() -> list[Port]:
    from serial.tools.list_ports import comports

    return [
        Port(port.device, port.vid, port.pid, port.serial_number, port.product or "", port.location or "")
        for port in comports()
        if port.vid is not None
    ]


def without_driver() -> list[Port]:
    """The bridges in this computer's sockets that have no driver, each without a `device`; none while there are
    virtual boards.

    Only for when no board was found: it may take seconds. A chip whose USB is its own needs no driver. What was
    plugged in just now, or comes back, is given a moment: who is still without a port after it is meant.
    """
    if os.environ.get(VIRTUAL_BOARDS):
        return []
    first = _driverless()
    if not first:
        return []
    time.sleep(_SETTLES_S)
    still = _driverless()
    return [port for port in first if port in still]


def _driverless() -> list[Port]:
    from spatz.usb_devices import without_port

    found = [
        Port("", device.vid, device.pid, device.serial_number, location=device.location)
        for device in without_port(_real())
    ]
    return [port for port in found if port.bridge and not port.bridge.native]


def boards_at_usb() -> list[Port]:
    """The ports that may be a board: those with the identity of a bridge that boards have."""
    return [port for port in list_ports() if port.bridge]


def find(
    key: str, within_s: float, *, now: Callable[[], float] = time.monotonic, other_than: str | None = None
) -> Port | None:
    """The port of the device `key` (`Port.key`), as soon as it is there; None when it is not within `within_s`.

    other_than: a `device` that does not count, when it is known that the name changes.
    """
    until = now() + within_s
    while True:
        for port in at_key(key):
            if port.device and port.device != other_than:
                return port
        if now() >= until:
            return None
        time.sleep(_LOOK_EVERY_S)


def at_key(key: str) -> list[Port]:
    """The device `key` as it is plugged in now, the likeliest first.

    Its `key` may be another one by now: one that was known by its socket is alone and has its serial number again, or
    a second one with the same serial number was plugged in.
    """
    said = _as_they_say()
    alone = [port for port in told_apart(said) if port.key == key]
    if alone:
        _remember_all(alone)
        return alone
    return [
        port
        for port in said
        if port.location
        and (key == f"socket {port.location}" or (port.key == key and port.location == _seen_at.get(key)))
    ]


def _virtual() -> list[Port]:
    folder = os.environ.get(VIRTUAL_BOARDS)
    if not folder or not Path(folder).is_dir():
        return []
    ports = []
    for file in sorted(Path(folder).glob("*.port.json")):
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
            ports.append(Port(**{name: said[name] for name in Port.__dataclass_fields__}))
        except (OSError, ValueError, KeyError):  # it was pulled out, or is being plugged in
            continue
    return ports
