"""Many boards at once: a worker process and a thread each. One that fails does not delay the others."""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nest.errors import UserError
from nest.logs import printable

from spatz.flash.one import AlreadyDone, Done, Event, OneBoard, Request
from spatz.flash.town import FlashTown
from spatz.troubles import Trouble, explain
from spatz.usb import Port, boards_at_usb

if TYPE_CHECKING:
    from spatz.catalogue import Board
    from spatz.images.micropython_image import MicroPythonImage

_LOOK_EVERY_S = 0.3
_GONE_LOOKS = 3  # so often not there: pulled out, not restarted


class Fleet:
    """The boards that are being flashed. `events` is for the thread that made it; leaving `with` ends everything."""

    def __init__(self, town: FlashTown, request: Request) -> None:
        self._town = town
        self._request = request
        self._events: queue.Queue[Event] = queue.Queue()
        self._running: dict[Port, OneBoard] = {}
        self._macs: set[bytes] = set()
        self._images = _Images()
        self.done: list[Done] = []
        self._ends = threading.Lock()  # several boards may end at once
        self._failed: list[tuple[OneBoard, UserError]] = []

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for board in list(self._running.values()):
            if board.link:
                board.link.close()

    def kill_workers(self) -> None:
        """End every worker process at once, whatever it does; their boards fail."""
        for board in list(self._running.values()):
            if board.link:
                board.link.kill()

    @property
    def failed(self) -> list[tuple[Port, UserError]]:
        """The boards that did not work, and have not since."""
        return [(board.port, error) for board, error in self._failed]

    @property
    def half_keyed(self) -> bool:
        """Whether a board that is not finished may have half a key."""
        return any(board.half_keyed for board in self._running.values())

    @property
    def busy(self) -> int:
        """How many boards are not finished."""
        return len(self._running)

    def start(self, port: Port) -> None:
        """Begin with the board at that port."""
        tell = functools.partial(self._tell, port)
        ask = functools.partial(self._ask, port)
        board = OneBoard(port, self._request, self._town, tell, ask, self._images, self._not_seen)
        self._running[port] = board
        tell("found")
        threading.Thread(target=self._flash, args=(board,), daemon=True).start()

    def events(self) -> Iterator[Event]:
        """What happens, until every board is finished."""
        while self.busy or not self._events.empty():
            yield from self._waiting()

    def watch(self, look: Callable[[], list[Port]] = boards_at_usb) -> Iterator[Event]:
        """What happens, for ever: each board that is plugged in is flashed.

        One that is done is not flashed again when it comes back, by itself or by hand; one that failed is.
        """
        there: set[str] = set()  # keys of which nothing new is to be begun until they have gone
        missing: Counter[Port] = Counter()
        finished: set[str] = set()
        looked = 0.0
        while True:
            if time.monotonic() >= looked + _LOOK_EVERY_S:
                looked = time.monotonic()
                ports = {port.key: port for port in look() if port.device}
                running = {port.key for port in self._running}
                missing = Counter({port: missing[port] + 1 for port in self._running if _pulled_out(port, ports)})
                for port in [port for port in missing if missing[port] == _GONE_LOOKS]:
                    self._running[port].end()
                gone = {port.key for port in missing}
                known = (there & running) - gone
                for key, port in ports.items():
                    if key in there | finished or self._care_for(port, missing):
                        known.add(key)
                there = known
            for event in self._waiting():
                if event.what == "done" and _says_who_it_is(event.port):
                    finished.add(event.port.key)  # it comes and goes as it sleeps
                yield event

    def _care_for(self, port: Port, missing: Counter[Port]) -> bool:
        """Begin with what shows itself there, if it is not at work already, perhaps under another key (see
        `usb.at_key`). False: one that is being ended had its place, so nobody knows yet; look again."""
        at_work = [board for board in self._running.values() if _is_its_place(board.port, port)]
        if not at_work:
            self.start(port)
        return not any(board.gone or board.port in missing for board in at_work)

    def _waiting(self) -> Iterator[Event]:
        try:
            event = self._events.get(timeout=0.1)
        except queue.Empty:
            return
        if event.what in ("done", "trouble", "again"):
            self._running.pop(event.port, None)
        yield event

    def _flash(self, board: OneBoard) -> None:
        tell = board.tell
        try:
            done = board.run()
        except AlreadyDone:
            tell("again")
            return
        except UserError as error:
            self._fail(board, error)
            return
        except Exception as error:
            self._fail(board, explain(error, board.port))
            return
        self._macs.add(done.dev_eui)
        self.done.append(done)
        with self._ends:
            self._failed = [one for one in self._failed if not _is_the_same(one[0], board)]
        tell(
            "done", node=done.name, code=done.code, dev_eui=done.dev_eui.hex(), board=done.board, keys=done.keys.value,
            seconds=done.seconds, wiring=[*done.wiring], **({"was_board": done.was_board} if done.was_board else {}),
        )  # fmt: skip

    def _fail(self, board: OneBoard, error: UserError) -> None:
        with self._ends:
            self._failed = [*(one for one in self._failed if not _is_the_same(one[0], board)), (board, error)]
        kind = error.kind if isinstance(error, Trouble) else "unknown"
        self._tell(board.port, "trouble", kind=kind, message=error.message, next_step=error.next_step)

    def _not_seen(self, dev_eui: bytes) -> bool:
        return dev_eui not in self._macs

    def _tell(self, port: Port, what: str, **fields: Any) -> None:
        # what a board says of itself may be in any of them
        plain = {name: printable(value) if isinstance(value, str) else value for name, value in fields.items()}
        self._events.put(Event(port, what, plain))

    def _ask(self, port: Port, boards: list[Board]) -> str:
        """In the thread of a board: the thread of `events` is asked."""
        answers: queue.Queue[str | UserError] = queue.Queue()
        fields = {"boards": [{"name": board.name, "title": board.title} for board in boards]}
        self._events.put(Event(port, "question", fields, answers.put))
        answer = answers.get()
        if isinstance(answer, UserError):
            raise answer
        return answer


def _says_who_it_is(port: Port) -> bool:
    """Whether its serial number is the chip's own. Bridges that follow each other may all have the same one."""
    return bool(port.bridge and port.bridge.native) and port.key.startswith("serial ")


def _is_another(one: Port, other: Port) -> bool:
    """Whether these are two boards, wherever they are: by their bridges, or by two serial numbers."""
    numbered = one.key.startswith("serial ") and other.key.startswith("serial ")
    return one.bridge != other.bridge or (numbered and one.key != other.key)


def _is_its_place(one: Port, port: Port) -> bool:
    """Whether what shows itself at `port` may be the board that was begun at `one`."""
    if one.key == port.key:
        return True
    same = one.location == port.location if one.location and port.location else one.device == port.device
    return same and not _is_another(one, port)


def _pulled_out(port: Port, there: dict[str, Port]) -> bool:
    """A chip whose USB is its own goes and comes as it restarts, and is known again: it was pulled out when another is
    in its socket. A bridge stays as long as it is plugged in."""
    here = [one for one in there.values() if port.location and one.location == port.location]
    if any(_is_another(port, one) for one in here):
        return True
    return bool(port.location) and not here and not _says_who_it_is(port)


def _is_the_same(failed: OneBoard, board: OneBoard) -> bool:
    """Whether that was this board: by its chip, or where it never said which, by its port."""
    return failed.dev_eui == board.dev_eui if failed.dev_eui else failed.port.key == board.port.key


class _Images:
    """MicroPython for a board, each file read and checked once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: dict[tuple[str, Path | None], MicroPythonImage] = {}

    def __call__(self, board: Board, file: Path | None) -> MicroPythonImage:
        from spatz.images.cache import image_for

        key = (board.micropython.build, file)
        with self._lock:
            if key not in self._read:
                self._read[key] = image_for(board, file)
            return self._read[key]
