"""`spatz energy`: what an uplink costs and how long the cells last, from the real firmware on one virtual board.

The board lives in virtual time, so a day takes seconds, and needs no server: it answers itself. Each spreading factor
is a process of its own.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nest.errors import UserError
from nest.i18n import tr
from rich.console import Console
from rich.table import Table

from spatz.boards import load_board
from spatz.catalogue import Board
from spatz.resources import firmware_dir
from spatz.sim import energy, micropython, nodes
from spatz.sim.progress import number
from spatz.sim.simulation import Plan

ROUNDS = Path(__file__).parent / "device" / "rounds.py"
SPREADING_FACTORS = (7, 8, 9, 10, 11, 12)
DAY_S = 86_400
MOST_ROUNDS = 12
"""Of a day: one round is like the next, so a few are enough."""

_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for."""

    board: str = nodes.BOARD
    spreading_factors: Sequence[int] = SPREADING_FACTORS
    interval_s: int = 900
    boot: str = "files"
    confirmed: bool = False
    as_json: bool = False


def run(request: Request) -> int:
    """Print the table, or JSON; the exit status.

    Raises UserError: MicroPython missing, unknown board, a node that does not send.
    """
    micropython.command()  # before anything is done
    board = load_board(request.board)
    wanted = request.spreading_factors
    with (
        Console(stderr=True, quiet=request.as_json).status(tr("The virtual node lives through its day …")),
        concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool,
    ):
        found = dict(zip(wanted, pool.map(lambda sf: uplink(request, board, sf), wanted), strict=True))
    if request.as_json:
        content = {"modelled": True, "board": board.name, "boot": request.boot}
        json.dump({**content, "uplinks": [one.as_json() for one in found.values()]}, sys.stdout, indent=2)
        print()
        return 0
    console = Console()
    show(console, {str(sf): one for sf, one in found.items()}, "SF", board.title, request.boot)
    if board.radio.amplifier:
        console.print(
            tr("What this board's amplifier between radio and antenna takes is not counted: sending costs more."),
            soft_wrap=True,
        )
    return 0


def uplink(request: Request, board: Board, sf: int) -> energy.Uplink:
    """One uplink at one spreading factor: the mean of a day, after the join. Raises UserError."""
    rounds = max(1, min(MOST_ROUNDS, DAY_S // request.interval_s))
    with tempfile.TemporaryDirectory(prefix="funkspatz-") as place:
        said = _simulate(request, Path(place), sf, rounds)
    model = energy.Model.of(board, said["radio"], request.boot)
    found = energy.per_uplink((energy.States.of(states) for states in said["rounds"]), model)
    if found is None or said["end"].get("event") != "deepsleep":
        end = said["end"]
        raise UserError(
            tr(
                "The virtual node did not come to send at SF{sf}: {reason}.",
                sf=sf,
                reason=end.get("rule") or end.get("error") or end.get("event"),
            ),
            tr("Correct the firmware or the file of this board, or try another board."),
        )
    return found


def _simulate(request: Request, place: Path, sf: int, rounds: int) -> dict[str, Any]:
    """What rounds.py says, and "radio": the chip that the virtual board has."""
    node = Plan(nodes=1).flock()[0]
    folder = nodes.make(
        node,
        place,
        interval_s=request.interval_s,
        safe_window_s=0,
        board_name=request.board,
        confirmed=request.confirmed,
    )
    world = nodes.world(node, folder, None, cause="power_on", clock="virtual", board_name=request.board)
    plan = {"firmware": str(firmware_dir()), "app_key": node.app_key.hex(), "sf": sf, "rounds": rounds}
    nodes.write(folder.world, json.dumps({**world, **plan}))
    result = {"radio": world["chips"]["radio"]["chip"], "rounds": []}
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [*micropython.command(), "-X", "heapsize=4M", str(ROUNDS)],
            cwd=folder.fs,
            env={
                "PATH": os.environ.get("PATH", ""),
                "MICROPYPATH": f"{ROUNDS.parent}:{firmware_dir()}:.frozen",
                "SPATZ_WORLD": str(folder.world),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return result | {"end": {"event": tr("it took longer than {seconds} s", seconds=int(_LIMIT_S))}}
    _, found, said = done.stdout.rpartition("ROUNDS ")
    if not found:
        return result | {"end": {"error": (done.stdout + done.stderr).strip().rpartition("\n")[2]}}
    return result | json.loads(said)


# --- for people -------------------------------------------------------------------------------------------------------

_COLUMNS = (("transmit",), ("receive", "radio"), ("awake", "wait", "sensors"), ("light_sleep", "deep_sleep"), ("boot",))
"""Parts of the cost that share a column of the table."""


def show(
    console: Console, rows: Mapping[str, energy.Uplink | None], heading: str, title: str = "", boot: str = "files"
) -> None:
    """The table with what has to stand above and below it; `heading` is its first column's."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    say(tr("What one uplink costs, in mJ: modelled, not measured.") + (f" {title}" if title else ""))
    console.print(table(rows, heading))
    for note in notes(boot):
        say(note)
    if any(one and not keeps for one in rows.values() for keeps in _kept(one)):
        say(tr("> {years}: longer than the cells keep.", years=number(energy.cells()["aa"].shelf_years)))


def table(rows: Mapping[str, energy.Uplink | None], heading: str) -> Table:
    """mJ per uplink, split by what they went into, and years; a row each. None: nothing is known of it."""
    result = Table(box=None, pad_edge=False)
    result.add_column(heading, no_wrap=True)
    titles = (tr("every"), tr("send"), tr("listen"), tr("awake"), tr("asleep"), tr("start"), tr("all"))
    for title in (*titles, *(cell.title for cell in energy.cells().values())):
        result.add_column(title, justify="right", no_wrap=True)
    for name, one in rows.items():
        if one is None:
            result.add_row(name, "–")
            continue
        parts = [number(sum(one.mj[part] for part in merged), ".1f") for merged in _COLUMNS]
        every = f"{round(one.interval_s)} s"
        result.add_row(name, every, *parts, number(one.total_mj, ".1f"), *_lasting(one))
    return result


def notes(boot: str) -> list[str]:
    """What has to stand below such a table."""
    aa = energy.cells()["aa"]
    return [
        tr("Times are the firmware's own, currents come from data sheets and measurements of others (energy.toml)."),
        tr("start: MicroPython loads the firmware from its files; frozen into the image it would cost far less.")
        if boot == "files"
        else tr("start: the firmware is frozen into the image of MicroPython."),
        tr(
            "{cells}: how many years they last; {percent} % of their capacity, with self-discharge.",
            cells=", ".join(cell.title for cell in energy.cells().values()),
            percent=number(aa.usable_percent),
        ),
    ]


def _kept(one: energy.Uplink | None) -> Iterable[bool]:
    """For each kind of cells, whether it keeps as long as it lasts."""
    return [energy.cells()[name].keeps(years) for name, years in one.years().items()] if one else []


def _lasting(one: energy.Uplink) -> Iterable[str]:
    """How many years each kind of cells lasts."""
    for name, years in one.years().items():
        cell = energy.cells()[name]
        if cell.keeps(years):
            yield number(years, ".1f")
        else:
            yield f"> {number(cell.shelf_years)}"
