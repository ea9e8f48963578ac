"""USB devices that have no serial port, as the operating system knows them: pyserial lists only what has a driver.

One reader per system, each a command or a folder, and a table or a loop that understands it. Whatever cannot be asked
or understood gives no device: nothing here raises. Which of the devices may be boards is for whoever asks.
"""

from __future__ import annotations

import json
import os
import plistlib
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spatz.usb import Port

_PATIENCE_S = 5.0
_LINUX = Path("/sys/bus/usb/devices")
_MACOS = ("/usr/sbin/ioreg", "-p", "IOUSB", "-l", "-w0", "-a")
_QUESTION = (
    "Get-CimInstance Win32_PnPEntity -Filter 'ConfigManagerErrorCode <> 0' | "
    "Select-Object DeviceID, ConfigManagerErrorCode, Present | ConvertTo-Json -Compress"
)
# below %SYSTEMROOT%: another powershell.exe may lie in the folder that somebody is in
_WINDOWS = (r"System32\WindowsPowerShell\v1.0\powershell.exe", "-NoProfile", "-NonInteractive", "-Command", _QUESTION)

# Microsoft, "Error codes in Device Manager in Windows": those against which it says to install the driver. Not the ones
# of a device that is switched off (22), not there (24, 45), being removed (21, 47) or broken (43).
_DRIVER_MISSES = {1, 10, 18, 19, 28, 31, 32, 37, 39, 40, 48, 52}

# Microsoft, "Standard USB identifiers"; and of FTDI's own bus, at which its ports are, as pyserial reads it:
# FTDIBUS\VID_0403+PID_6001+A50285BIA\0000
_INSTANCE = re.compile(
    r"(?:USB|FTDIBUS)\\VID_(?P<vid>[0-9A-F]{4})[&+]PID_(?P<pid>[0-9A-F]{4})"
    r"(?:\+(?P<ftdi>\w+))?(?P<part>&MI_[0-9A-F]{2})?\\(?P<name>.+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Device:
    """A USB device. location: the socket as pyserial writes it (1-1.4), "" where nobody says."""

    vid: int
    pid: int
    serial_number: str | None = None
    location: str = ""


def without_port(ports: Iterable[Port]) -> list[Device]:
    """The USB devices of this computer that have no driver, each once; as far as macOS is concerned, all that are none
    of these `ports`. Takes up to 5 s."""
    reader = {"linux": read_linux, "win32": read_windows, "darwin": read_macos}.get(sys.platform)
    try:
        found = reader() if reader else []
    except Exception:  # no such command, no time, or an answer that no system of that name should give
        return []
    there = list(ports)
    return [device for device in dict.fromkeys(found) if not any(_is_it(device, port) for port in there)]


def _is_it(device: Device, port: Port) -> bool:
    """Whether that port may be the device's: by the socket, else by the serial number, if both are known."""
    if (device.vid, device.pid) != (port.vid, port.pid):
        return False
    if device.location and port.location:
        return device.location == port.location.partition(":")[0]  # 1-1.4:1.0 is an interface of 1-1.4
    if device.serial_number and port.serial_number:
        return device.serial_number == port.serial_number
    return True


# --- Linux ------------------------------------------------------------------------------------------------------------


def read_linux(root: Path = _LINUX) -> list[Device]:
    """The devices that no driver, and no other program (`usbfs`), has taken. One without interfaces is still being
    recognised. root: the tree in which pyserial's list_ports_linux looks, too; there may be none."""
    found = []
    for folder in sorted(root.glob("*-*")):
        interfaces = list(folder.glob("*:*"))
        if ":" in folder.name or not interfaces or any(_is_taken(interface) for interface in interfaces):
            continue
        vid, pid = (_line(folder / name) for name in ("idVendor", "idProduct"))
        if vid and pid:
            found.append(Device(int(vid, 16), int(pid, 16), _line(folder / "serial") or None, folder.name))
    return found


def _is_taken(interface: Path) -> bool:
    return (interface / "driver").exists() or any(interface.glob("tty*"))  # tty/ttyACM0, or ttyUSB0


def _line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # it was pulled out, or has no such number
        return ""


# --- Windows ----------------------------------------------------------------------------------------------------------


def read_windows() -> list[Device]:
    """The devices of which Windows says that a driver misses."""
    program, *asked = _WINDOWS
    return understand_windows(_said([str(Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / program), *asked]))


def understand_windows(said: bytes) -> list[Device]:
    """said: JSON as ConvertTo-Json writes it: nothing, one object, or a list of them. Raises ValueError: it is none.

    The interfaces of one device (MI_00, MI_02) are one; who they are is not known, but that they are the same.
    """
    text = said.decode("utf-8-sig", "replace").strip()
    rows = json.loads(text) if text else []
    whole: list[Device] = []
    parts: dict[str, Device] = {}
    for row in rows if isinstance(rows, list) else [rows]:
        found = _INSTANCE.fullmatch(str(row.get("DeviceID")))
        if not found or row.get("ConfigManagerErrorCode") not in _DRIVER_MISSES or row.get("Present") is False:
            continue
        vid, pid = int(found["vid"], 16), int(found["pid"], 16)
        number = found["ftdi"] or found["name"]
        if found["part"]:  # 6&2A9B1F0&0&0000 and 6&2A9B1F0&0&0002 hang at the same device
            parts[number.rpartition("&")[0]] = Device(vid, pid)
        else:  # with an & it is a number that Windows gave it, for it has none
            whole.append(Device(vid, pid, number if re.fullmatch(r"\w+", number) else None))
    known = {(device.vid, device.pid) for device in whole}
    return [*whole, *(device for device in parts.values() if (device.vid, device.pid) not in known)]


# --- macOS ------------------------------------------------------------------------------------------------------------


def read_macos() -> list[Device]:
    """All devices, with a driver or without."""
    return understand_macos(_said(_MACOS))


def understand_macos(said: bytes) -> list[Device]:
    """said: the tree of USB as a property list. Raises ValueError or an error of XML: it is none."""
    return [
        Device(node["idVendor"], node["idProduct"], _number(node), _location(node.get("locationID")))
        for node in _nodes(plistlib.loads(said) if said.strip() else [])
        if isinstance(node.get("idVendor"), int) and isinstance(node.get("idProduct"), int)
    ]


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left += reversed(node)
        elif isinstance(node, dict):
            yield node
            left.append(node.get("IORegistryEntryChildren"))


def _number(node: dict[str, Any]) -> str | None:
    number = node.get("USB Serial Number") or node.get("kUSBSerialNumberString")
    return number if isinstance(number, str) else None


def _location(number: Any) -> str:
    """As pyserial writes it: the bus in the first byte, then a digit per hub: 0x14120000 is 20-1.2."""
    if not isinstance(number, int):
        return ""
    digits = f"{number & 0xFFFFFF:06x}".partition("0")[0]
    return f"{number >> 24}-{'.'.join(str(int(digit, 16)) for digit in digits)}"


def _said(asked: Sequence[str]) -> bytes:
    """What a command of the system says. Raises OSError: it is not there; TimeoutExpired."""
    hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0) if sys.platform == "win32" else 0
    return subprocess.run(  # noqa: S603  by its full path
        asked, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S, check=False, creationflags=hidden
    ).stdout
