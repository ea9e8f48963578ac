"""The parent's end of a worker: starts the process, speaks JSON lines with it, ends it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nest.i18n import tr

from spatz.flash.plan import Plan, Probe
from spatz.troubles import Trouble, explain, trouble
from spatz.usb import Port

if TYPE_CHECKING:
    from spatz.catalogue import Board

BAUDS = (921600, 460800, 115200)
"""Speeds, from the one that is tried first; the slower ones for thin cables."""


class WorkerSaid(Exception):  # noqa: N818  not an error of this process
    """What went wrong in the worker, in the words of esptool, pyserial or the system."""


class Link:
    """One worker at one port. `tell` is called with what it says in between: waiting, slower, progress. `board`: one
    with the same buttons, for what is said of them."""

    def __init__(
        self,
        port: Port,
        tell: Callable[[dict[str, Any]], None],
        board: Board | None = None,
        *,
        bauds: Sequence[int] = BAUDS,
        wait_s: float = 60,
    ) -> None:
        self._port = port
        self._tell = tell
        self._board = board
        self._worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "spatz.flash.worker"],  # -P: nothing is imported from the current folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("SPATZ_TRACEBACK") == "1" else subprocess.DEVNULL,
            encoding="utf-8",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0) if sys.platform == "win32" else 0,
        )
        followed = port.key if not port.key.startswith("port ") else None
        self._say(device=port.device, key=followed, location=port.location, baud=list(bauds), wait_s=wait_s)

    def probe(self) -> Probe:
        """Who is there. Raises Trouble."""
        chip = self._hear("chip")
        head = self._hear("read")
        return Probe(
            chip["chip"],
            bytes.fromhex(chip["mac"]),
            chip["flash_bytes"],
            chip["revision"],
            base64.b64decode(head["data"]),
        )

    def read(self, at: int, size: int) -> bytes:
        """What lies in the flash. Raises Trouble."""
        self._say(do="read", at=at, size=size)
        return base64.b64decode(self._hear("read")["data"])

    def write(self, plan: Plan, before_files: Callable[[], None] = lambda: None) -> None:
        """Write it and compare it; before_files: called before the first byte of the filesystem. Raises Trouble."""
        sizes = [len(data) for _, data in plan.parts]
        at = plan.first_of_files
        for first, last in ((0, at), (at, len(sizes))):
            if first == at:
                before_files()
            parts = [[offset, base64.b64encode(data).decode()] for offset, data in plan.parts[first:last]]
            new = first < at  # what concerns keys
            self._say(
                do="write", parts=parts, nvs=plan.nvs, keys=plan.keys.written and new,
                erase_all=plan.erase_all and new, before=sum(sizes[:first]), total=sum(sizes),
            )  # fmt: skip
            self._hear("written")

    def end(self) -> None:
        """Reset the board and let go of the port; the process ends by and by."""
        self._say(do="end")
        self._hear("ended")

    def close(self) -> None:
        """End the process, whatever it does. The board can be flashed again."""
        with contextlib.suppress(OSError):
            if self._worker.stdin:
                self._worker.stdin.close()  # it ends by itself then
        try:
            self._worker.wait(2)
        except subprocess.TimeoutExpired:
            self._worker.kill()
            self._worker.wait()
        if self._worker.stdout:
            self._worker.stdout.close()

    def kill(self) -> None:
        """End the process now."""
        self._worker.kill()

    def _say(self, **message: object) -> None:
        assert self._worker.stdin  # noqa: S101
        try:
            self._worker.stdin.write(json.dumps(message) + "\n")
            self._worker.stdin.flush()
        except OSError:  # it has ended; what it said before tells why
            return

    def _hear(self, wanted: str) -> dict[str, Any]:
        assert self._worker.stdout  # noqa: S101
        while line := self._worker.stdout.readline():
            try:
                message = json.loads(line)
            except ValueError:  # killed in the middle of a line
                break
            if message["t"] == wanted:
                return message
            if message["t"] == "trouble":
                raise self._trouble(message)
            self._tell(message)
        raise trouble("unknown", why=tr("its worker has ended"))

    def _trouble(self, message: dict[str, Any]) -> Trouble:
        if message["kind"] == "port_gone":
            return trouble("port_gone")
        return explain(WorkerSaid(message["said"]), self._port, self._board)
