"""Virtual boards for tests and for `spatz virtual`: started, told what happens to them, watched, and ended."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from spatz import usb
from spatz.sim.board import settings as board_settings
from spatz.sim.board.settings import Settings

_KEPT = 5000
_END_S = 5.0
_APART = 997
_TOOLS = Path(__file__).resolve().parents[3]


class BoardEnded(RuntimeError):  # noqa: N818
    """The process of the board has ended; its last words are the message."""


class VirtualBoard:
    """A board of that kind at one of this computer's sockets, from `with` to its end.

    folder: flash.bin and all else of it; a board that was there before goes on where it was. registry: the folder that
    SPATZ_VIRTUAL_BOARDS is to name. on_event: is called with each event, in a thread of the board's own. `more`:
    battery, weather_seed, baud_limit_bytes_per_s, usb, as in Settings.
    """

    def __init__(
        self,
        folder: Path,
        *,
        registry: Path,
        board: str = "heltec-v3",
        name: str | None = None,
        mac: str | None = None,
        flash_mb: int | None = None,
        air: tuple[str, int] | None = None,
        seed: int = 1,
        sensors: Sequence[Any] = ("bme280",),
        faults: dict[str, Any] | None = None,
        on_event: Callable[[VirtualBoard, dict[str, Any]], None] = lambda board, event: None,
        **more: Any,
    ) -> None:
        self.folder = folder.absolute()
        self.settings: Settings = board_settings.make(
            name or folder.name, board, registry, mac=mac, flash_mb=flash_mb, air=air, seed=seed,
            sensors=list(sensors), faults=dict(faults or {}), **more,
        )  # fmt: skip
        self._on_event = on_event
        self._process: subprocess.Popen[bytes] | None = None
        self._events: collections.deque[dict[str, Any]] = collections.deque(maxlen=_KEPT)
        self._numbers = 0  # how many events came since the start
        self._seen = 0  # up to which event `wait_for` has looked
        self._changed = threading.Condition()
        self._reader: threading.Thread | None = None
        self._over = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def name(self) -> str:
        """Its name in the registry folder."""
        return self.settings.name

    @property
    def mac(self) -> bytes:
        """Its MAC address."""
        return bytes.fromhex(self.settings.mac)

    @property
    def dev_eui(self) -> bytes:
        """What follows from the MAC address."""
        return self.settings.node().dev_eui

    @property
    def registry_file(self) -> Path:
        """Says at which port it is, while it is at one."""
        return Path(self.settings.registry) / f"{self.name}.port.json"

    @property
    def port(self) -> usb.Port:
        """The port it is at now. LookupError when the computer does not see it."""
        try:
            said = json.loads(self.registry_file.read_text(encoding="utf-8"))
        except OSError as error:
            raise LookupError(f"{self.name} is not plugged in") from error
        return usb.Port(**{name: said[name] for name in usb.Port.__dataclass_fields__})

    def start(self, *, within_s: float = 20.0) -> None:
        """Switch it on; back when the computer sees it, if it does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.settings.write(self.folder)
        self._over = False
        places = [str(_TOOLS), str(_TOOLS.parent / "gateway"), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "spatz.sim.board.process", str(self.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(self.folder / "errors.txt").open("wb"),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        first = "refused" if self.settings.faults.get("charge_only") else "registered"
        self.wait_for(first, within_s=within_s)

    def stop(self) -> None:
        """Pull everything out and end its process."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError, BoardEnded):
            self.do("stop")
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._cleared(process)

    def kill(self) -> None:
        """As if the computer that plays the board had lost its power: SIGKILL, nothing is tidied up by the process."""
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._cleared(self._process)

    def _cleared(self, process: subprocess.Popen[bytes]) -> None:
        self.registry_file.unlink(missing_ok=True)
        if self._reader:
            self._reader.join(_END_S)
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process = None

    def do(self, what: str, **fields: Any) -> None:
        """Do something to it; the orders are in process.py. Raises BoardEnded."""
        process = self._process
        if process is None or process.stdin is None or process.poll() is not None:
            raise BoardEnded(self._last_words())
        try:
            process.stdin.write(json.dumps({"do": what, **fields}).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError as error:
            raise BoardEnded(self._last_words()) from error

    def wait_for(self, event: str, within_s: float = 20.0, **match: Any) -> dict[str, Any]:
        """The next such event (after the one that was waited for last) whose fields are as in `match`; a string matches
        when it is contained. Raises TimeoutError, BoardEnded."""
        until = time.monotonic() + within_s
        with self._changed:
            while True:
                first = self._numbers - len(self._events)
                for number in range(max(self._seen, first), self._numbers):
                    happened = self._events[number - first]
                    if happened["event"] == event and all(
                        _fits(happened.get(key), value) for key, value in match.items()
                    ):
                        self._seen = number + 1
                        return happened
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError(
                        f"{self.name}: no {event} {match or ''} within {within_s} s; {self._last_words()}"
                    )
                if self._over:
                    raise BoardEnded(self._last_words())
                self._changed.wait(left)

    def events(self) -> list[dict[str, Any]]:
        """All that happened, oldest first."""
        with self._changed:
            return list(self._events)

    def lines(self) -> list[str]:
        """What it has printed so far (not in the raw REPL)."""
        return [event["text"] for event in self.events() if event["event"] == "line"]

    def flash(self) -> bytes:
        """All of its flash."""
        return (self.folder / "flash.bin").read_bytes()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout  # noqa: S101  a pipe was asked for
        for line in process.stdout:
            event = json.loads(line)
            self._on_event(self, event)
            with self._changed:
                self._events.append(event)
                self._numbers += 1
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _last_words(self) -> str:
        errors = (self.folder / "errors.txt").read_text(encoding="utf-8", errors="replace")[-2000:]
        return f"last: {[*self._events][-5:]} {errors}"


class Fleet:
    """`n` boards at once, each at a socket of its own. Keyword arguments as for VirtualBoard; `boards` are taken in
    turn; their seeds are far apart, so that each has weather of its own."""

    def __init__(
        self, folder: Path, n: int, *, registry: Path | None = None, boards: Sequence[str] = ("heltec-v3",),
        name: str = "board-{:02d}", seed: int = 1, **more: Any,
    ) -> None:  # fmt: skip
        self.registry = registry or folder / "registry"
        self.boards = []
        for index in range(n):
            board = VirtualBoard(
                folder / name.format(index + 1), registry=self.registry, board=boards[index % len(boards)],
                seed=seed + _APART * index, **more,
            )  # fmt: skip
            board.settings.usb = _at(board.settings.usb, f"1-{index + 1}")
            self.boards.append(board)

    def __enter__(self) -> Self:
        try:
            self._at_once(VirtualBoard.start)
        except BaseException:
            self._at_once(VirtualBoard.stop)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._at_once(VirtualBoard.stop)

    def _at_once(self, what: Callable[[VirtualBoard], None]) -> None:
        with ThreadPoolExecutor(max(len(self.boards), 1)) as pool:
            list(pool.map(what, self.boards))

    def __iter__(self) -> Iterator[VirtualBoard]:
        return iter(self.boards)

    def __len__(self) -> int:
        return len(self.boards)

    def __getitem__(self, index: int) -> VirtualBoard:
        return self.boards[index]


def _at(usb_identity: board_settings.Usb, socket: str) -> board_settings.Usb:
    return board_settings.Usb(
        usb_identity.vid, usb_identity.pid, usb_identity.serial_number, usb_identity.product, socket
    )


def _fits(value: Any, wanted: Any) -> bool:
    return wanted in value if isinstance(wanted, str) and isinstance(value, str) else value == wanted
