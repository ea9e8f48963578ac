"""Boards that answer like no node: one that speaks the raw REPL in its own way, and one that does not even listen."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import pytest
from spatz.usb import Port

_BANNER = b"raw REPL; CTRL-B to exit\r\n>"
_CTRL_A, _CTRL_C, _CTRL_D, _CTRL_E = b"\x01\x03\x04\x05"
_NATIVE, _BRIDGE = (0x303A, 0x4001), (0x10C4, 0xEA60)
_CHATTER_S = 0.01
_FULL_S = 0.2  # in which the system makes no more room

Answer = Callable[[str], str | None]


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """In the main thread: what takes longer is no success, and does not hold up the other tests."""

    def late(*_: object) -> None:
        pytest.fail(f"it still waits after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again: what is done at the end may wait as well
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _plug(registry: Path, socket: str, device: str, usb_id: tuple[int, int]) -> Port:
    vid, pid = usb_id
    said = {"device": device, "vid": vid, "pid": pid, "serial_number": socket, "product": "", "location": socket}
    (registry / f"{socket}.port.json").write_text(json.dumps(said), encoding="utf-8")
    return Port(**said)


@contextlib.contextmanager
def full_port(registry: Path, socket: str, *, native: bool = True) -> Iterator[Port]:
    """A port that takes no more bytes, since nobody fetches them: its chip hangs."""
    end, other_end = pty.openpty()
    tty.setraw(other_end)
    os.set_blocking(other_end, False)
    try:
        while select.select([], [other_end], [], _FULL_S)[1]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(other_end, b"x")
        yield _plug(registry, socket, os.ttyname(other_end), _NATIVE if native else _BRIDGE)
    finally:
        os.close(end)
        os.close(other_end)


class OddBoard:
    """answer: what a script prints; None: it never ends. Without one the board hears nothing, as when it sleeps.
    resets: called when it is told to start again. misses: so many scripts go under at the beginning. paste: its answer
    to the wish for a raw paste. chatters: after two banners it prints on and on, and never a prompt. says: its
    answer to every Ctrl-C, as a chip that is reset again and again."""

    def __init__(
        self,
        registry: Path,
        socket: str,
        answer: Answer | None,
        resets: Callable[[], None] = lambda: None,
        misses: int = 0,
        *,
        paste: bytes = b"R\x00",
        chatters: bool = False,
        says: bytes = b"",
        usb_id: tuple[int, int] = _BRIDGE,
    ) -> None:
        self._answer = answer
        self._resets = resets
        self._misses = misses
        self._paste = paste
        self._chatters = chatters
        self._banners = 0
        self._says = says
        self._end, self._other_end = pty.openpty()
        tty.setraw(self._other_end)
        self.device = os.ttyname(self._other_end)
        self.interrupts = 0
        self.stuck = threading.Event()  # in a script that does not end
        self.let_go = threading.Event()
        self.port = _plug(registry, socket, self.device, usb_id)

    def __enter__(self) -> OddBoard:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._other_end)
        os.close(self._end)

    def _serve(self) -> None:
        typed = bytearray()
        skip = 0
        while True:
            try:
                chatters = self._chatters and self._banners > 1
                if chatters and not select.select([self._end], [], [], _CHATTER_S)[0]:
                    os.write(self._end, b"x")
                    continue
                data = os.read(self._end, 4096)
            except OSError:
                return
            for byte in data:
                self.interrupts += byte == _CTRL_C
                if byte == _CTRL_C and self._says:
                    os.write(self._end, self._says)
                if skip:
                    skip -= 1
                elif self._answer is None:
                    continue
                elif byte == _CTRL_A:
                    self._banners += 1
                    os.write(self._end, _BANNER.removesuffix(b">") if self._chatters else _BANNER)
                elif byte == _CTRL_E:  # raw paste: not here
                    os.write(self._end, self._paste)
                    skip = 2
                elif byte == _CTRL_D:
                    self._run(typed.decode(), self._answer)
                elif byte != _CTRL_C:
                    typed.append(byte)
                    continue
                typed.clear()

    def _run(self, script: str, answer: Answer) -> None:
        if self._misses:
            self._misses -= 1
            return
        if "machine.reset" in script:
            self._resets()
            os.write(self._end, b"OK")
            self.let_go.set()
            return
        os.write(self._end, b"OK")
        said = "5" if "listdir())" in script else answer(script)
        if said is None:
            self.stuck.set()
            return
        os.write(self._end, said.encode() + b"\r\n\x04\x04>")
