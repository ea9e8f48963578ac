"""`spatz update`: one node from its prompt to running again, with what is wished of it."""

from __future__ import annotations

import dataclasses
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nest.errors import UserError
from nest.i18n import tr
from nest.logs import printable

from spatz.attached import town, update
from spatz.attached.repl import ALIVE, Repl, Say, attach, silent
from spatz.attached.select import board_at
from spatz.attached.update import Plan, Progress, There
from spatz.usb import Port
from spatz.wishes import Wishes

_LIFE_S = 15.0  # from the reset to the first line, on an ESP32 with a large program


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be done. changes: fields of `Wishes`; town: its folder, None without one; dry_run: only look."""

    changes: dict[str, Any]
    town: Path | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What was done with one node. running: whether it said its name afterwards, None when nothing was changed;
    last_words: what it said instead; in_town: whether the town knows it, None without a town; wiring: in words, where
    the sensors go that the request names."""

    port: str
    wishes: Wishes
    plan: Plan
    seconds: float
    dry_run: bool
    running: bool | None = None
    last_words: str = ""
    in_town: bool | None = None
    wiring: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "port": self.port,
            "name": self.wishes.name,
            "board": self.wishes.board,
            "changed": bool(self.plan) and not self.dry_run,
            "dry_run": self.dry_run,
            "sent": [dataclasses.asdict(change) for change in self.plan.send],
            "removed": list(self.plan.remove),
            "running": self.running,
            "in_town": self.in_town,
            "wiring": list(self.wiring),
            "seconds": round(self.seconds, 2),
        }


def update_board(
    port: Port,
    request: Request,
    *,
    say: Say = silent,
    progress: Progress = lambda *_: None,
    wait_s: float = 60.0,
    ending: threading.Event | None = None,
) -> Result:
    """Make one node what is wished of it. ending: see `attach`.

    Raises:
        Trouble: no answer, no room, a bad cable, a node that was pulled out.
        UserError: nobody knows what the node is made of, or a wish cannot be.
    """
    from spatz.boards import load_board
    from spatz.images.filesystem import node_files
    from spatz.wires import wiring

    began = time.monotonic()
    with attach(port, say=say, board=board_at(port), wait_s=wait_s, ending=ending) as repl:
        there = update.look(repl)
        wishes, slug = _wishes(there, request)
        wanted = node_files(wishes)
        update.check(wanted, there)
        plan = update.plan(wanted, there)
        if not request.dry_run:
            if request.town and slug:
                town.keep(request.town, slug, wishes)
            if plan:
                update.carry_out(repl, wanted, plan, progress)
        running, last_words = _restarted(repl) if plan and not request.dry_run else (None, "")
    return Result(
        port=port.device,
        wishes=wishes,
        plan=plan,
        seconds=time.monotonic() - began,
        dry_run=request.dry_run,
        running=running,
        last_words=last_words,
        in_town=None if request.town is None else slug is not None,
        wiring=tuple(wiring(load_board(wishes.board), wishes.sensors)) if "sensors" in request.changes else (),
    )


def _wishes(there: There, request: Request) -> tuple[Wishes, str | None]:
    """What is wished: as the town has it, else as the node itself; and its name in the town."""
    known = town.find(request.town, there.dev_eui) if request.town else None
    wishes = (known.wishes if known else None) or there.wishes
    if wishes is None:
        raise UserError(
            tr("This node does not say what it is made of."), tr("Set it up again: spatz flash. It keeps its key.")
        )
    return dataclasses.replace(wishes, **request.changes), known.slug if known else None


def _restarted(repl: Repl) -> tuple[bool, str]:
    """Let the node run; whether it does, and its last line if not."""
    repl.restart()
    lines = [line for line in repl.first_lines(_LIFE_S) if line.strip()]
    running = any(line.startswith(ALIVE) for line in lines)
    return running, "" if running or not lines else printable(lines[-1].strip())
