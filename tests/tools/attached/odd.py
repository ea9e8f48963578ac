"""A board at a port that speaks the raw REPL and answers like no node, or not at all."""

from __future__ import annotations

import json
import os
import pty
import threading
import tty
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

_BANNER = b"raw REPL; CTRL-B to exit\r\n>"
_CTRL_A, _CTRL_C, _CTRL_D, _CTRL_E = b"\x01\x03\x04\x05"

Answer = Callable[[str], str | None]


class OddBoard:
    """answer: what a script prints; None: it never ends. Without one the board hears nothing, as when it sleeps.
    resets: called when it is told to start again. misses: so many scripts go under at the beginning."""

    def __init__(
        self,
        registry: Path,
        socket: str,
        answer: Answer | None,
        resets: Callable[[], None] = lambda: None,
        misses: int = 0,
    ) -> None:
        self._answer = answer
        self._resets = resets
        self._misses = misses
        self._end, self._other_end = pty.openpty()
        tty.setraw(self._other_end)
        self.device = os.ttyname(self._other_end)
        self.interrupts = 0
        self.stuck = threading.Event()  # in a script that does not end
        self.let_go = threading.Event()
        port = {"vid": 0x10C4, "pid": 0xEA60, "serial_number": socket, "product": "", "location": socket}
        (registry / f"{socket}.port.json").write_text(json.dumps({"device": self.device, **port}), encoding="utf-8")

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
                data = os.read(self._end, 4096)
            except OSError:
                return
            for byte in data:
                self.interrupts += byte == _CTRL_C
                if skip:
                    skip -= 1
                elif self._answer is None:
                    continue
                elif byte == _CTRL_A:
                    os.write(self._end, _BANNER)
                elif byte == _CTRL_E:  # raw paste: not here
                    os.write(self._end, b"R\x00")
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
