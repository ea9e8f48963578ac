"""Which of the boards on the table is it: its light flickers until somebody has seen it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nest.logs import printable

from spatz.attached import snippets
from spatz.attached.repl import WAIT_S, Say, attach, silent
from spatz.attached.select import board_at
from spatz.labels.shortcode import short_code
from spatz.usb import Port

SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Who:
    """A node as people know it. name, code: "" where it does not know them; light: whether it has one."""

    port: str
    name: str
    board: str
    code: str
    light: bool

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"port": self.port, "name": self.name, "board": self.board, "code": self.code, "light": self.light}


def identify(
    port: Port,
    met: Callable[[Who], None],
    seen: Callable[[], bool],
    *,
    for_s: float = SECONDS,
    say: Say = silent,
    wait_s: float = WAIT_S,
) -> Who:
    """Flicker and pause, flicker and pause, until `seen()` or for so many seconds. met: is told who it is, first.

    Raises Trouble: the node does not answer.
    """
    with attach(port, say=say, board=board_at(port), wait_s=wait_s) as repl:
        said = repl.ask(snippets.WHO)
        dev_eui, led = said.get("dev_eui"), said.get("led")
        who = Who(
            port=port.device,
            name=printable(said.get("name") or ""),
            board=printable(said.get("board") or ""),
            code=short_code(bytes.fromhex(dev_eui)) if dev_eui else "",
            light=bool(led),
        )
        met(who)
        end = time.monotonic() + for_s
        while led and not seen() and time.monotonic() < end:
            repl.run(snippets.FLICKER.format(pin=int(led["pin"]), on=int(led["on"])))
    return who
