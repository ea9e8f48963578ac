"""MicroPython on the board: one process per boot, with its console on a pseudo-terminal of its own.

The unix port differs from a chip in what it does with its console; here that is made up for:

| a chip | the unix port | so |
| --- | --- | --- |
| what comes while a program runs waits in its UART | is forgotten at the next prompt | it waits here |
| Ctrl-C interrupts | read by the emulator, a signal at the prompt | it is sent on at once |
| in a busy loop too | nobody reads it (device/console_keys.py) | then it becomes a signal |
| prints CR LF | LF | CR is put in |
| soft reset by Ctrl-D | the process ends | it is started again, and put into the raw REPL when it was in it |
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from spatz.sim.ending import die_with_parent

CTRL_A, CTRL_B, CTRL_C, CTRL_D = b"\x01", b"\x02", b"\x03", b"\x04"
RAW_BANNER = b"raw REPL; CTRL-B to exit\r\n"

_HELD_MAX = 65536
_LFLAG, _IFLAG, _OFLAG = 3, 0, 1
_NOTICED_S = 0.4
_SETTLE_S = 0.003
"""So long after the end of a line the port has looked whether it goes on reading."""

_BANNER_BEGUN = re.compile(rb"MicroPython [0-9a-zA-Z.+-]*( (o(n( [0-9-]*(; .{0,200})?)?)?)?)?\Z", re.DOTALL)
_FRIENDLY_BANNER = re.compile(rb"MicroPython [^\r\n]*\r?\n(?:[^\r\n]*\r?\n)?>>> ")


class Chip:
    """A running MicroPython. `raw` says whether its raw REPL is on.

    enter_raw: it is a soft reset in the raw REPL; what the client gets to see then is what a board shows. `banner`
    is what the friendly REPL says of itself.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, *, banner: bytes, enter_raw: bool
    ) -> None:
        self.descriptor, slave = pty.openpty()
        _as_a_board(slave)

        def become() -> None:
            os.login_tty(slave)
            die_with_parent(signal.SIGKILL)

        self._process = subprocess.Popen(  # noqa: S603
            [*command],
            cwd=folder,
            env={**environment},
            preexec_fn=become,
            close_fds=True,
        )
        os.close(slave)
        os.set_blocking(self.descriptor, False)
        self.raw = False
        self._banner = banner
        self._enter_raw = enter_raw
        self._held = bytearray()
        self._seen = b""
        self._last = b""
        self._settled_at = 0.0
        self._pending = b""
        self._interrupt: tuple[float, int] | None = None  # until when it must be noticed, the local modes before

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def read(self) -> bytes | None:
        """What it printed, as a board prints it; None when it has ended."""
        try:
            data = os.read(self.descriptor, 65536)
        except BlockingIOError:
            return b""
        except OSError:  # EIO: nobody has the other end
            return None
        if not data:
            return None
        self._settled_at = min(self._settled_at, time.monotonic() + _SETTLE_S)
        return self._as_printed(data)

    def _as_printed(self, data: bytes) -> bytes:
        data = self._pending + data
        self._pending = b""
        data = (
            re.sub(rb"(?<!\r)\n", b"\r\n", data) if self._last != b"\r" else re.sub(rb"(?<!\r)(?<!^)\n", b"\r\n", data)
        )
        data = self._without_banner(data)
        self._last = data[-1:] or self._last
        self._notice(data)
        return data

    def _without_banner(self, data: bytes) -> bytes:
        """The unix port's own words at its prompt, replaced by the board's; held back until they are whole."""
        found = _FRIENDLY_BANNER.search(data)
        if found:
            if self._enter_raw:
                self._enter_raw = False
                os.write(self.descriptor, CTRL_A)
                return data[: found.start()] + data[found.end() :]
            return data[: found.start()] + self._banner + data[found.end() :]
        begun = _BANNER_BEGUN.search(data)
        if begun:
            self._pending = begun[0]
            return data[: begun.start()]
        return data

    def _notice(self, data: bytes) -> None:
        seen = self._seen + data
        raw_at, friendly_at = seen.rfind(RAW_BANNER), seen.rfind(b"\r\n>>> ")
        if raw_at != friendly_at:
            self.raw = raw_at > friendly_at
            self._seen = b""
        else:
            self._seen = seen[-len(RAW_BANNER) + 1 :]

    def write(self, data: bytes) -> None:
        """Type on its console."""
        self._held += data
        del self._held[:-_HELD_MAX]
        self.feed()

    def feed(self) -> bool:
        """Pass on what may be passed on; whether something still waits."""
        waits = self._see_it_noticed()
        return self._feed() or waits

    def _see_it_noticed(self) -> bool:
        """Whether a Ctrl-C may still be noticed: ECHOK changes then. A while after the start (ECHOE) it is a signal."""
        if self._interrupt is None:
            return False
        until, modes = self._interrupt
        now = self._modes()
        if (modes ^ now) & (termios.ISIG | termios.ECHOK) or not now or self._process.poll() is not None:
            self._interrupt = None
        elif not modes & termios.ECHOE:
            self._interrupt = (time.monotonic() + _NOTICED_S, now)
        elif time.monotonic() > until:
            self._interrupt = None
            self._process.send_signal(signal.SIGINT)
        return self._interrupt is not None

    def _interrupts(self) -> None:
        modes = self._modes()
        if modes and not modes & termios.ISIG and self._interrupt is None:
            self._interrupt = (time.monotonic() + _NOTICED_S, modes)

    def _modes(self) -> int:
        try:
            return termios.tcgetattr(self.descriptor)[_LFLAG]
        except termios.error:
            return 0

    def _feed(self) -> bool:
        while self._held:
            if self._enter_raw:
                return True
            if self._held[:1] == CTRL_C:
                self._interrupts()
                self._send(1)
                continue
            if time.monotonic() < self._settled_at or not self._at_prompt():
                interrupt = self._held.find(CTRL_C)
                if interrupt >= 0:
                    # before what was typed earlier and is not wanted yet: a UART interrupts in its receive handler
                    del self._held[interrupt]
                    self._interrupts()
                    os.write(self.descriptor, CTRL_C)
                    self._settled_at = time.monotonic() + _SETTLE_S
                    continue
                return True
            ends = [self._held.find(mark) for mark in ((CTRL_D, CTRL_C) if self.raw else (b"\r", CTRL_D, CTRL_C))]
            ends = [end for end in ends if end >= 0]
            count = min(ends) + 1 if ends else len(self._held)
            if self._held[count - 1 : count] == CTRL_C and count > 1:
                count -= 1
            if not self._send(min(count, 1024)):
                return True
        return False

    def _send(self, count: int) -> bool:
        try:
            sent = os.write(self.descriptor, self._held[:count])
        except BlockingIOError:
            return False
        except OSError:
            self._held.clear()
            return False
        last = self._held[sent - 1 : sent]
        del self._held[:sent]
        if last in (b"\r", CTRL_D, CTRL_C):
            self._settled_at = time.monotonic() + _SETTLE_S
        return True

    def _at_prompt(self) -> bool:
        """The port has its terminal raw while it waits for input; NOFLSH of `_as_a_board` is there while it starts, and
        while a program runs."""
        try:
            return not termios.tcgetattr(self.descriptor)[_LFLAG]
        except termios.error:
            return False

    def ended(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """No power, or a reset: gone at once."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self.descriptor)


def _as_a_board(slave: int) -> None:
    """No echo, no lines, no CR LF; only Ctrl-C is special, and it forgets nothing."""
    attributes = termios.tcgetattr(slave)
    attributes[_IFLAG] &= ~(termios.ICRNL | termios.IXON | termios.BRKINT | termios.ISTRIP)
    attributes[_OFLAG] &= ~termios.OPOST
    attributes[_LFLAG] = termios.NOFLSH  # MicroPython itself says when Ctrl-C is a signal
    control = attributes[6]
    control[termios.VINTR] = CTRL_C
    control[termios.VQUIT] = control[termios.VSUSP] = b"\0"
    control[termios.VMIN], control[termios.VTIME] = 1, 0
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
