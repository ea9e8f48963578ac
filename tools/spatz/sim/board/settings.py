"""What a virtual board is: FOLDER/board.json, and where its things are in FOLDER."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spatz.boards import load_board
from spatz.sim import nodes

_ESPRESSIF = 0x303A
_MICROPYTHON_USB = 0x4001

FAULTS: dict[str, str] = {
    "no_auto_reset": "esptool cannot reset it: only its buttons lead into the boot loader",
    "renames_port": "its port has another name after each reset",
    "stays_in_boot": "it does not leave the boot loader by itself: the reset button is needed",
    "no_permission": "nobody may open its port",
    "no_driver": "the computer sees a USB device, and no port",
    "charge_only": "the cable has no data lines: nothing is seen at all",
    "max_baud": "n: what is faster than n bits per second arrives damaged",
    "stale_stub": "the boot loader answers nonsense until the port was closed, or silent for a second",
    "boot_loop": "it starts again and again, as with a MicroPython that is not for it",
    "busy_repl": "n: the first n Ctrl-C do nothing",
    "old_revision": "a chip that esptool does not know yet",
}
"""The pains of makers that a board can be made to have; true, or a number where it says n."""


@dataclass(frozen=True, slots=True)
class Usb:
    """How the USB device shows itself."""

    vid: int = 0x10C4
    pid: int = 0xEA60
    serial_number: str | None = None
    product: str = ""
    location: str = ""


@dataclass(slots=True)
class Settings:
    """The contents of board.json. `mac` is 12 hex digits, `air` where the air listens; `battery`: it goes on without
    USB. `faults`: keys of FAULTS."""

    name: str
    board: str
    mac: str
    chip: str
    flash_mb: int
    usb: Usb
    registry: str
    air: tuple[str, int] | None = None
    seed: int = 1
    sensors: list[Any] = field(default_factory=lambda: ["bme280"])
    weather_seed: int | None = None
    battery: bool = False
    faults: dict[str, Any] = field(default_factory=dict)
    baud_limit_bytes_per_s: int | None = None

    def write(self, folder: Path) -> None:
        """Put it into `folder`, where process.py looks for it."""
        (folder / "state").mkdir(parents=True, exist_ok=True)
        nodes.write(folder / "board.json", json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> Settings:
        """The settings in `folder`. OSError or ValueError when there are none."""
        content = json.loads((folder / "board.json").read_text(encoding="utf-8"))
        content["usb"] = Usb(**content["usb"])
        content["air"] = tuple(content["air"]) if content["air"] else None
        unknown = set(content["faults"]) - set(FAULTS)
        if unknown:
            raise ValueError(f"no such fault: {', '.join(sorted(unknown))}")
        return cls(**content)

    @property
    def flash_bytes(self) -> int:
        """The size of the flash."""
        return self.flash_mb << 20

    @property
    def native_usb(self) -> bool:
        """Whether USB ends in the chip itself (Espressif's vendor number), and not at a bridge to its UART."""
        return self.usb.vid == _ESPRESSIF

    def usb_now(self, *, running: bool) -> Usb:
        """How it shows itself. A chip with USB of its own is another device while MicroPython runs: MicroPython brings
        its own USB, and writes the address without colons, with two bytes more that nobody sets (ports/esp32/usb.c)."""
        if not (self.native_usb and running):
            return self.usb
        return Usb(_ESPRESSIF, _MICROPYTHON_USB, f"{self.mac}3ffc", "Board in FS mode", self.usb.location)

    def node(self) -> nodes.VirtualNode:
        """The node that this board is, as the flock knows nodes; its key is in the flash, if anywhere."""
        return nodes.VirtualNode(
            name=self.name,
            seed=self.seed,
            mac_address=bytes.fromhex(self.mac),
            app_key=b"",
            position=nodes.TOWN,
            phase_s=0.0,
            board=self.board,
            sensors=tuple(self.sensors),
        )


def make(
    name: str,
    board: str,
    registry: Path,
    *,
    mac: str | None = None,
    flash_mb: int | None = None,
    usb: Usb | None = None,
    seed: int = 1,
    **more: Any,
) -> Settings:
    """A board of that kind from the catalogue; `mac` and the USB identity follow from name and seed when not given."""
    kind = load_board(board)
    address = mac or (b"\x02" + nodes._digest(seed, "mac", name)[:5]).hex()
    return Settings(
        name=name,
        board=board,
        mac=address.replace(":", "").lower(),
        chip=kind.module.chip,
        flash_mb=flash_mb or kind.module.flash_mb,
        usb=usb or _usb(kind, name, address, seed),
        registry=str(registry.absolute()),
        seed=seed,
        **more,
    )


def _usb(kind: Any, name: str, mac: str, seed: int) -> Usb:
    """As the boards of this kind show themselves: those with USB in the chip have its address as number; a cheap bridge
    has the same number on every board, so only the socket tells."""
    ids = list(getattr(kind.usb, "ids", None) or ["10c4:ea60"])
    vid, pid = (int(part, 16) for part in ids[0].split(":"))
    socket = f"1-{1 + int.from_bytes(nodes._digest(seed, 'socket', name)[:2], 'big')}"
    if vid == _ESPRESSIF:
        number = ":".join(mac[at : at + 2] for at in range(0, 12, 2)).upper()
        return Usb(vid, pid, number, "USB JTAG/serial debug unit", socket)
    return Usb(vid, pid, "0001" if vid == 0x10C4 else None, "USB to UART bridge", socket)
