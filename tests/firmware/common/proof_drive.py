"""Starts the proofs' programs on MicroPython and gives every node's records to its judge. CPython only."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from proof_judge import Counters, Law, records

HERE = Path(__file__).resolve().parent
FIRMWARE = HERE.parents[2] / "firmware"
HEAP = "16M"


def environment(*folders: Path | str) -> dict[str, str]:
    """For a MicroPython that finds the firmware and this folder; `folders` come first."""
    search = [*map(str, folders), str(FIRMWARE), str(HERE), ".frozen"]
    return {**os.environ, "MICROPYPATH": ":".join(search), "PYTHONHASHSEED": "0"}


def app_key(number: int) -> bytes:
    """As proof_node gives it to its nodes."""
    return bytes([number & 0xFF, number >> 8 & 0xFF, *range(14)])


def run(make: Callable[[int], Law | Counters], *arguments: object) -> dict[int, Law | Counters]:
    """Run `proof_runs.py arguments…`; its judges by node. Raises RuntimeError with what it printed when it failed."""
    from spatz.sim.micropython import command

    program = [*command(), "-X", f"heapsize={HEAP}", str(HERE / "proof_runs.py"), *map(str, arguments)]
    process = subprocess.Popen(program, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    said: list[bytes] = []
    listener = threading.Thread(target=lambda: said.append(process.stderr.read()) if process.stderr else None)
    listener.start()
    judges: dict[int, Law | Counters] = {}
    trouble = ""
    try:
        for record in records(process.stdout):
            judge = judges.get(record.node)
            if judge is None:
                judge = judges[record.node] = make(record.node)
            judge.take(record)
    except ValueError as error:
        trouble = str(error)
    finally:
        process.stdout.close()
        process.wait()
        listener.join()
        process.stderr.close()
    if process.returncode or trouble:
        raise RuntimeError(f"proof_runs {arguments}: {trouble}\n{b''.join(said).decode()}")
    return judges


def law(first: int, nodes: int, days: int, seed: int, program: str = "law") -> list[Law]:
    """Nodes first, first + 1, … for so many days, in one process. program: "law" or "adrift", see proof_runs."""
    judges = run(Law, program, first, nodes, days, seed)
    return [judge for judge in judges.values() if isinstance(judge, Law)]


def cuts(count: int, seed: int, rots: int, harsh: bool = False, bound_us: int = 0) -> Counters:
    """One node, cut off `count` times."""
    judges = run(lambda number: Counters(number, app_key(number), bound_us), "cuts", count, seed, rots, int(harsh))
    (judge,) = judges.values()
    assert isinstance(judge, Counters)
    return judge


def joins(first: int, nodes: int, count: int, seed: int) -> list[Counters]:
    """Nodes first, first + 1, …, each cut off `count` times while it tries to join."""
    judges = run(lambda number: Counters(number, app_key(number)), "joins", first, nodes, count, seed)
    return [judge for judge in judges.values() if isinstance(judge, Counters)]


def quiet(days: int, seed: int, mood: str) -> Counters:
    """One node that sends 96 times a day without any accident."""
    judges = run(lambda number: Counters(number, app_key(number)), "quiet", days, seed, mood)
    (judge,) = judges.values()
    assert isinstance(judge, Counters)
    return judge
