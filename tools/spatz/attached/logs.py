"""What a node prints, followed through its sleep, and what it has written down."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from nest.errors import UserError
from nest.i18n import tr
from nest.logs import printable

from spatz import usb
from spatz.attached import snippets, stored
from spatz.attached.repl import WAIT_S, Repl, Say, attach, silent
from spatz.attached.select import board_at
from spatz.usb import Port

_LOOK_S = 0.1
_LONGEST = 500  # characters of a line that never ends


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a node printed, with nothing in it that a terminal would obey. at: when it was here, local time."""

    at: datetime
    text: str


def follow(port: Port, for_s: float | None = None) -> Iterator[Line]:
    """Each line as it comes, for so many seconds or for ever. The node is not disturbed; a chip with its own USB is
    gone while it sleeps, and is waited for.

    Raises Trouble: the port cannot be opened.
    """
    end = None if for_s is None else time.monotonic() + for_s
    repl: Repl | None = _opened(port)
    rest = b""
    try:
        while end is None or time.monotonic() < end:
            if repl is None:
                repl = _back(port)
                continue
            try:
                rest += repl.heard(_LOOK_S)
            except Exception:  # pyserial raises several kinds for a port that has gone
                repl.close()
                repl = None
            *whole, rest = rest.split(b"\n")
            if len(rest) > _LONGEST:
                whole, rest = [*whole, rest], b""
            for line in whole:
                yield Line(datetime.now().astimezone(), printable(line.decode("utf-8", "replace").rstrip("\r")))
    finally:
        if repl:
            repl.close()


def _opened(port: Port) -> Repl:
    repl = Repl(port)
    repl.open()
    return repl


def _back(port: Port) -> Repl | None:
    """The port again, once it is there."""
    found = usb.find(port.key, _LOOK_S)
    try:
        return _opened(found) if found else None
    except UserError:  # it is just coming up
        time.sleep(_LOOK_S)
        return None


def read_stored(
    port: Port,
    *,
    say: Say = silent,
    progress: Callable[[int, int], None] = lambda *_: None,
    wait_s: float = WAIT_S,
) -> tuple[str, list[stored.Stored]]:
    """(name of the node, the readings in its log, oldest first). progress: is told files and how many there are; say:
    also of files that cannot be read.

    Raises Trouble: the node does not answer.
    """
    with attach(port, say=say, board=board_at(port), wait_s=wait_s) as repl:
        name = printable(repl.ask(snippets.WHO).get("name") or port.device)
        files: dict[str, bytes] = {}
        paths = repl.ask(snippets.LIST_LOG)
        for done, path in enumerate(paths):
            progress(done, len(paths))
            content = repl.ask(snippets.READ, path=path)
            if content is None:
                say(tr("{file} on the node cannot be read, its readings are missing.", file=printable(path)))
                continue
            files[path] = base64.b64decode(content)
        progress(len(paths), len(paths))
    return name, stored.readings(files)
