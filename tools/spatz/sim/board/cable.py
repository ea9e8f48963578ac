"""What lies between the chip and the program at the other end: USB cable, bridge and driver, with all that is wrong
with them.

A pty has neither DTR nor RTS, by which esptool resets a board. Its first packet stands for them: a SYNC.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spatz.sim.board.rom import SYNC_HEAD
from spatz.sim.board.settings import Settings
from spatz.sim.board.usbport import UsbPort

CTRL_C = b"\x03"
AT_THE_CABLE = {"no_permission", "no_driver", "charge_only"}
"""Faults that are seen as soon as the cable is in."""

_QUIET_S = 1.0
_REAPPEARS_S = 0.2
_NONSENSE = b"\xc0OHAI\xc0\xdb\x55\x7e"


class Cable:
    """The board's cable. `baud` is what the chip's UART runs at; `faults` are looked at anew each time.

    registered: is told the device each time the computer sees it.
    """

    def __init__(self, settings: Settings, faults: dict[str, Any], registered: Callable[[str], None]) -> None:
        self._settings = settings
        self.port = UsbPort(
            Path(settings.registry) / f"{settings.name}.port.json",
            asdict(settings.usb),
            settings.baud_limit_bytes_per_s,
        )
        self.native = settings.native_usb
        self.baud = 0
        self._faults = faults
        self._registered = registered
        self._chance = random.Random(settings.seed)  # noqa: S311  noise on a line
        self._tail = b""
        self._nonsense_at: float | None = None

    # in and out

    def as_device(self, *, running: bool) -> None:
        """What the computer takes it for from now on; USB in the chip is gone for a moment when it becomes something
        else, but for a boot loader that somebody talks to already."""
        said = asdict(self._settings.usb_now(running=running))
        if said == self.port.said:
            return
        self.port.said = said
        if not self.port.is_open:
            return
        if running:
            self.vanish()
        elif not self._faults.get("no_permission"):
            self.port.say(self.port.device)

    def vanish(self) -> None:
        """USB in the chip is gone while the chip starts anew."""
        if self.native and self.port.is_open:
            self.unplug()
            time.sleep(_REAPPEARS_S)

    def plug(self) -> None:
        """The computer sees it, as far as the faults allow."""
        if self.port.is_open or self._faults.get("charge_only"):
            return
        if self._faults.get("no_driver"):
            self.port.say("")
        else:
            self.port.open()
            if self._faults.get("no_permission"):
                self.port.say(self.port.forbid())
        self._registered(self.port.device)

    def unplug(self) -> None:
        """The computer sees it no more."""
        self.port.close()
        self._tail = b""

    def after_reset(self) -> None:
        """A port may come back under another name."""
        self.port.watch_close(on=False)
        if self.port.is_open and self._faults.get("renames_port"):
            self.port.rename()
            self._registered(self.port.device)

    # the line

    @property
    def speed(self) -> int | None:
        """Bits per second of the other end, if they can be known."""
        return self.port.speed if self.port.is_open else None

    def send(self, data: bytes) -> None:
        """To the program that listens, if there is one."""
        if self.port.is_open and data:
            self.port.write(self._on_the_line(data))

    def receive(self) -> tuple[bytes, bool]:
        """What came, and whether a SYNC begins in it (then it begins with it). Raises HungUp."""
        data = self.port.read()
        seen = self._tail + data
        self._tail = seen[-len(SYNC_HEAD) + 1 :]
        if SYNC_HEAD not in seen:
            return self._on_the_line(data), False
        if self._is_stale():
            self.port.watch_close(on=True)
            self.send(_NONSENSE)
            return b"", False
        return seen[seen.index(SYNC_HEAD) :], True

    def heard(self, data: bytes) -> bytes:
        """Without the Ctrl-C that a busy program does not notice."""
        ignored = min(self._faults.get("busy_repl", 0), data.count(CTRL_C))
        if ignored:
            self._faults["busy_repl"] -= ignored
            data = data.replace(CTRL_C, b"", ignored)
        return data

    def hung_up(self) -> None:
        """The last program has closed the port."""
        self._tail = b""
        self._nonsense_at = None
        self._faults.pop("stale_stub", None)

    def _on_the_line(self, data: bytes) -> bytes:
        """Damaged when both ends run at different speeds (USB in the chip has none), or too fast for this cable."""
        speed = self.port.speed
        if speed is None:
            return data
        too_fast = speed > self._faults.get("max_baud", speed)
        if too_fast or (not self.native and speed != self.baud):
            return bytes(byte ^ self._chance.randrange(1, 256) | 0x80 for byte in data)
        return data

    def _is_stale(self) -> bool:
        if not self._faults.get("stale_stub"):
            return False
        now = time.monotonic()
        if self._nonsense_at is not None and now - self._nonsense_at > _QUIET_S:
            self._faults.pop("stale_stub")
            return False
        self._nonsense_at = now
        return True
