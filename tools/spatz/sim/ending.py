"""How a simulation ends when somebody ends it: every process gone, every temporary folder away."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from types import FrameType

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, `kill`, and a terminal window that was closed."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _heeded() -> list[signal.Signals]:
    """Those that are not ignored: under `nohup` a closed terminal ends nothing."""
    return [number for number in _ASKING if signal.getsignal(number) is not signal.SIG_IGN]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """While no event loop runs yet, every one of the signals is a KeyboardInterrupt, so that `with` blocks end."""
    before = {number: signal.signal(number, _interrupt) for number in _heeded() if number is not signal.SIGINT}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.asynccontextmanager
async def stopped_by_signals() -> AsyncIterator[asyncio.Event]:
    """An event that the signals set, so that everything is put away in order."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = _heeded()
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def die_with_parent(number: int) -> None:
    """In a child before it becomes its program: the signal it gets when its parent dies [prctl(2)]; Linux only."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)
