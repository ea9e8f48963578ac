"""The end of a program while it holds a node: a closed window, a shutdown or a kill ends it as Ctrl-C does.

Without this the node would be left at its prompt, where it neither measures nor starts again by itself.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_ENDINGS = ("SIGHUP", "SIGTERM", "SIGBREAK")  # not every system has all of them


@contextlib.contextmanager
def as_interrupt() -> Iterator[None]:
    """The first of those signals raises KeyboardInterrupt, later ones do nothing more: a terminal that closes sends
    several. What is ignored (nohup) stays so. Nothing in other threads than the main one, which gets the signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        if not came:
            came = True
            raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in _numbers(_ENDINGS)}
    mine = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    try:
        for number in mine:
            signal.signal(number, end)
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])


@contextlib.contextmanager
def put_off() -> Iterator[None]:
    """Neither those signals nor a second Ctrl-C interrupt what is done to let a node run again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _numbers((*_ENDINGS, "SIGINT"))}
    mine = [number for number, handler in before.items() if handler is not None]
    try:
        for number in mine:
            signal.signal(number, signal.SIG_IGN)
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])


def _numbers(names: tuple[str, ...]) -> list[signal.Signals]:
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
