"""The first sign of life: after it was written and reset, a node says its name."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from spatz.troubles import explain, trouble
from spatz.usb import Port, find

BAUD = 115200
_LOOPS = 3  # starts, after which it does nothing else
_DOWNLOAD = ("waiting for download", "DOWNLOAD(")
_START = "rst:0x"
_NO_PROGRAM = "invalid header"
_PULSE_AFTER = 0.4  # of the time, in silence
_PULSE_S = 0.1
_READ_S = 0.2
_FIND_S = 10.0
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
        self.silent = self.silent and not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-1000:]
        for raw in lines:
            line = raw.decode("utf-8", "replace").strip()
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
) -> None:
    """Until the node at the port calls itself `name`.

    The port is looked for anew each time, for its name changes. waiting: told that somebody has to press a button; then
    the time begins anew.

    Raises Trouble: port_gone, boot_loop, no_restart, no_life.
    """
    import serial

    listener = Listener(name)
    started = now()
    until = started + within_s
    told = pulsed = False
    error: Exception | None = None
    while now() < until:
        there = find(port.key, min(_FIND_S, max(0.0, until - now())))
        if there is None:
            continue
        try:
            with serial.Serial(there.device, BAUD, timeout=_READ_S) as line:
                while now() < until:
                    listener.hear(line.read(max(1, line.in_waiting)))
                    if listener.alive:
                        return
                    if listener.wrong == "boot_loop":
                        raise trouble("boot_loop")
                    if listener.wrong == "no_restart" and not told:
                        told = True
                        waiting("no_restart")
                        until = now() + within_s
                    if listener.silent and not pulsed and now() > started + _PULSE_AFTER * within_s:
                        pulsed = True
                        _press_reset(line)
        except (OSError, ValueError) as what:  # it has restarted, and with it its USB
            error = what
            time.sleep(_AGAIN_S)
    if find(port.key, 0) is None:
        raise trouble("port_gone")
    if error is not None and listener.silent:
        raise explain(error, port)
    raise trouble(listener.wrong or "no_life", reset=reset)


def _press_reset(line: object) -> None:
    """By the wires that most boards have for it: DTR high lets IO0 alone, RTS low holds the chip."""
    with contextlib.suppress(OSError):
        setattr(line, "dtr", False)  # noqa: B010  pyserial's properties do it
        setattr(line, "rts", True)  # noqa: B010
        time.sleep(_PULSE_S)
        setattr(line, "rts", False)  # noqa: B010
