"""Frames out of a serial line that may begin in the middle of one, stop at any byte, or carry noise.

A driver says with a function what a frame is: check(data, at) -> the size of the whole, valid frame that stands at
data[at]; 0 when none begins there; below 0 when that cannot be said before more bytes have come. Time is counted by
the waits alone, so nothing that comes over the line can make a call last longer than its time.
"""

from micropython import const

_STEP_MS = const(20)
_CHUNK = const(256)  # bytes, taken at once
_CLEAR = const(16)


def find(data, check):
    """(the first frame in data or None, how many bytes of data are done with)."""
    for at in range(len(data)):
        size = check(data, at)
        if size > 0:
            return data[at : at + size], at + size
        if size < 0:
            return None, at
    return None, len(data)


def clear(uart):
    """Throw away what was received before now: it may be old, and torn where the buffer ran over."""
    for _ in range(_CLEAR):
        if not _received(uart):
            return


def _received(uart):
    count = min(uart.any(), _CHUNK)
    return uart.read(count) or b"" if count > 0 else b""


class Line:
    """The frames that arrive within timeout_ms, one with each call of next(); then None for ever.

    uart: with any() and read(n) of `machine.UART`; sleep_ms: a function during which the UART goes on receiving.
    """

    def __init__(self, uart, check, sleep_ms, timeout_ms):
        self._uart = uart
        self._check = check
        self._sleep_ms = sleep_ms
        self._left_ms = timeout_ms
        self._held = b""

    def next(self):
        """The next frame, or None when the time is over."""
        while True:
            frame, used = find(self._held, self._check)
            self._held = self._held[used:]
            if frame:
                return frame
            if self._left_ms <= 0:
                return None
            self._left_ms -= _STEP_MS
            self._sleep_ms(_STEP_MS)
            self._held += _received(self._uart)
