"""The first sign of life: after it was written and reset, a node says its name."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from spatz.troubles import explain, trouble
from spatz.usb import Port, find

BAUD = 115200
_LOOPS = 3  # starts, after which it does nothing else
_DOWNLOAD = ("waiting for download", "DOWNLOAD(")
_START = "rst:0x"
_NO_PROGRAM = "invalid header"
_STUCK = 0.35  # of the time in silence, until somebody is asked to press a button
_PULSE_S = 0.2
_READ_S = 0.2
_WRITE_S = 1.0  # for a byte or two
_FIND_S = 2.0
_AGAIN_S = 0.2


class Listener:
    """What a node prints, line by line, judged: `alive`, or `wrong`, a kind of trouble; pure."""

    def __init__(self, name: str) -> None:
        self._wanted = f"Funkspatz node {name}"
        self._rest = b""
        self._starts = 0
        self.alive = False
        self.wrong = ""
        self.silent = True

    def hear(self, data: bytes) -> None:
        """Bytes as they come."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-1000:]
        for raw in lines:
            line = raw.decode("utf-8", "replace").strip()
            self.silent = self.silent and not (line and line.isascii() and line.isprintable())
            self._starts += _START in line or _NO_PROGRAM in line
            if line == self._wanted:
                self.alive = True
                self.wrong = ""
            elif any(sign in line for sign in _DOWNLOAD):
                self.wrong = "no_restart"
            elif self._starts > _LOOPS:
                self.wrong = "boot_loop"


def wait_for_life(
    port: Port,
    name: str,
    within_s: float,
    *,
    waiting: Callable[[str], None] = lambda kind: None,
    reset: str = "RST",
    now: Callable[[], float] = time.monotonic,
    gone: Callable[[], bool] = lambda: False,
) -> None:
    """Until the node at the port calls itself `name`.

    What it said before somebody listened is lost; so after a while it is started again, by the wire to its reset, then
    by Ctrl-C and Ctrl-D. The port is looked for anew each time, for its name changes. waiting: told that somebody has
    to press a button; then the time begins anew. gone: whether it was pulled out for good.

    Raises Trouble: port_gone, boot_loop, no_restart, no_life.
    """
    import serial

    class Line(serial.Serial):
        """A port whose input is not thrown away when it is opened: it may be what we wait for."""

        def _reset_input_buffer(self) -> None:
            pass

    listener = Listener(name)
    started = now()
    until = started + within_s
    told = False
    nudges = [(started + share * within_s, nudge) for share, nudge in _NUDGES]
    error: Exception | None = None
    while now() < until:
        if gone():
            raise trouble("port_gone")
        there = find(port.key, min(_FIND_S, max(0.0, until - now())))
        if there is None:
            continue
        try:
            with Line(there.device, BAUD, timeout=_READ_S, write_timeout=_WRITE_S) as line:
                while now() < until and not gone():
                    listener.hear(line.read(max(1, line.in_waiting)))
                    if listener.alive:
                        return
                    if listener.wrong == "boot_loop":
                        raise trouble("boot_loop")
                    stuck = listener.wrong == "no_restart" or (listener.silent and now() > started + _STUCK * within_s)
                    if stuck and not told:
                        told = True
                        waiting("no_restart")
                        until = now() + within_s
                    if nudges and now() > nudges[0][0]:
                        nudges.pop(0)[1](line)
        except (OSError, ValueError) as what:  # it has restarted, and with it its USB
            error = what
            time.sleep(_AGAIN_S)
    if find(port.key, 0) is None:
        raise trouble("port_gone")
    if error is not None and listener.silent and not told:
        raise explain(error, port)
    raise trouble(listener.wrong or "no_life", reset=reset)


def _press_reset(line: Any) -> None:
    """By the wires that most boards have for it: DTR off lets IO0 alone, RTS on holds the chip."""
    with contextlib.suppress(OSError):
        line.dtr = False
        line.rts = True
        time.sleep(_PULSE_S)
        line.rts = False


def _start_again(line: Any) -> None:
    """As somebody at MicroPython's prompt does it: Ctrl-C ends main.py, Ctrl-D starts it. A port that takes nothing is
    as silent as one where nobody hears it."""
    from serial import SerialTimeoutException

    try:
        line.write(b"\x03\x03")
        time.sleep(_PULSE_S)
        line.write(b"\x04")
    except SerialTimeoutException:
        with contextlib.suppress(Exception):  # it is gone
            line.reset_output_buffer()  # Linux would wait half a minute for it when the port is closed


# what is done, after which share of the time, as long as the name was not heard
_NUDGES: tuple[tuple[float, Callable[[Any], None]], ...] = (
    (0.15, _press_reset),
    (0.25, _start_again),
    (0.50, _start_again),
    (0.75, _start_again),
)
