"""The board's end of its serial port: a pseudo-terminal, and the file that says which one it is.

| a real port | here |
| --- | --- |
| has a speed, set by whoever opens it | `speed`: as the terminal has it |
| more than `limit` bytes a second do not pass | reading and writing are spaced out |
| nobody listens: what is sent is lost | what has not gone for `_UNREAD_S` is dropped |
| the board goes: an error at the other end | the pseudo-terminal is closed |

Whether somebody has the port open is seen only while this end does not hold it open itself (`watch_close`).
"""

from __future__ import annotations

import errno
import json
import os
import pty
import termios
import time
import tty
from pathlib import Path
from typing import Any

_CHUNK = 4096
_UNREAD_S = 1.0
_SLICE_S = 0.01
"""A throttled line moves what fits into this time, then pauses."""

_SPEEDS = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdigit()}


class HungUp(Exception):  # noqa: N818  an event
    """The last program that had the port open has closed it (only while `watch_close` is on)."""


class UsbPort:
    """A port that is there from `open` to `close`; `device` is its name, "" while there is none.

    said: the rest of what the registry file says from now on (vid, pid, serial_number, product, location).
    """

    def __init__(self, registry_file: Path, said: dict[str, Any], limit: int | None = None) -> None:
        self.device = ""
        self._file = registry_file
        self.said = said
        self._limit = limit
        self._master = -1
        self._slave = -1
        self._left: list[int] = []
        self._waiting = bytearray()
        self._stuck_since: float | None = None
        self._read_due = self._write_due = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the computer sees the board."""
        return self._master >= 0

    def open(self) -> None:
        """Come up under a name of the system's choice, and say so."""
        self._come_up()
        self.say(self.device)

    def _come_up(self) -> None:
        self._master, self._slave = pty.openpty()
        self.device = os.ttyname(self._slave)
        self._prepare()
        os.set_blocking(self._master, False)

    def close(self) -> None:
        """Go: programs that have the port open get an error."""
        self._file.unlink(missing_ok=True)
        if self.is_open:
            self._leave(self.device, self._master, self._slave)
        self._master = self._slave = -1
        self._waiting.clear()
        self._stuck_since = None
        self.device = ""

    def _leave(self, device: str, master: int, slave: int) -> None:
        """Close the master: the device is gone for everybody. The other end stays ours for good, or the system would
        give the number to the next terminal, and a program that waits for this board would find that in its place."""
        self._left.append(slave if slave >= 0 else os.open(device, os.O_RDWR | os.O_NOCTTY))
        os.close(master)

    def rename(self) -> None:
        """Come up under another name, as some do after each reset."""
        old = (self.device, self._master, self._slave)
        self._master = self._slave = -1
        self._waiting.clear()
        self._come_up()
        self._leave(*old)
        self.say(self.device)

    def say(self, device: str) -> None:
        """Write the registry file: the board is at `device`."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_name(self._file.name + ".new")
        temporary.write_text(json.dumps({**self.said, "device": device}), encoding="utf-8")
        temporary.replace(self._file)

    def forbid(self) -> str:
        """Take everybody's permission away; the device that is then to be told.

        The administrator may open everything that has a mode: for him it is a file of the system that nobody may write.
        """
        if os.geteuid():
            os.chmod(self.device, 0)
            return self.device
        for path in ("/sys/kernel/uevent_seqnum", "/sys/kernel/notes"):
            try:
                os.close(os.open(path, os.O_RDWR))
            except PermissionError:
                return path
            except OSError:
                continue
        raise RuntimeError("the fault no_permission cannot be made here: the administrator may open everything")

    # the line

    @property
    def speed(self) -> int | None:
        """Bits per second as the other end has set them; None for one of its own making."""
        return _SPEEDS.get(termios.tcgetattr(self._master)[5])

    def watch_close(self, on: bool) -> None:
        """Whether `read` is to tell of the last close. Only when somebody has the port open."""
        if on and self._slave >= 0:
            os.close(self._slave)
            self._slave = -1
        elif not on and self._slave < 0 and self.is_open:
            self._hold()

    def read(self) -> bytes:
        """What came; b"" when nothing did. Raises HungUp."""
        size = max(int(self._limit * _SLICE_S), 64) if self._limit else _CHUNK
        try:
            data = os.read(self._master, size)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._hold()
            raise HungUp from None
        if self._limit:
            self._read_due = max(self._read_due, time.monotonic()) + len(data) / self._limit
        return data

    def write(self, data: bytes) -> None:
        """Send, now or as soon as it can be."""
        self._waiting += data
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as it goes."""
        now = time.monotonic()
        if not self._waiting or now < self._write_due:
            return
        size = max(int(self._limit * _SLICE_S), 64) if self._limit else len(self._waiting)
        try:
            count = os.write(self._master, self._waiting[:size])
        except BlockingIOError:
            count = 0
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._waiting.clear()
            return
        if count:
            del self._waiting[:count]
            self._stuck_since = None
            if self._limit:
                self._write_due = max(self._write_due, now) + count / self._limit
        elif self._stuck_since is None:
            self._stuck_since = now
        elif now - self._stuck_since > _UNREAD_S:
            self._waiting.clear()

    def forget(self) -> None:
        """Drop what was not sent yet."""
        self._waiting.clear()

    def waits(self) -> tuple[int, bool, bool, float | None]:
        """For the event loop: descriptor, whether to wait for reading, for writing, and the time (monotonic) at which
        to ask again."""
        now = time.monotonic()
        reading = now >= self._read_due
        stuck = self._stuck_since is not None
        writing = bool(self._waiting) and now >= self._write_due
        due = [
            when
            for when, wanted in ((self._read_due, not reading), (self._write_due, bool(self._waiting) and not writing))
            if wanted
        ]
        if stuck and self._waiting:
            due.append(now + 0.2)
        return self._master, reading, writing, min(due, default=None)

    def _hold(self) -> None:
        self._slave = os.open(self.device, os.O_RDWR | os.O_NOCTTY)
        self._prepare()

    def _prepare(self) -> None:
        """Raw, at the speed of a MicroPython board, until whoever opens it says otherwise."""
        tty.setraw(self._slave, termios.TCSANOW)  # not TCSAFLUSH: what is on its way to the other end stays
        attributes = termios.tcgetattr(self._slave)
        attributes[4] = attributes[5] = termios.B115200
        termios.tcsetattr(self._slave, termios.TCSANOW, attributes)
