"""Interruptions while boards are flashed and nodes updated: power cut at any byte, worker killed, cable pulled.

FLASH_CUTS and UPDATE_CUTS set how many, CUTS_SEED which.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # as for the tests

SEED = int(os.environ.get("CUTS_SEED", "2026"))
FLASHED = int(os.environ.get("FLASH_CUTS", "600"))
UPDATED = int(os.environ.get("UPDATE_CUTS", "400"))


def flashing_rows() -> Iterator[tuple[str, str, str]]:
    from tools.flash.cutting import cut_boards

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = cut_boards(Path(folder), FLASHED, SEED, threads=5)
    yield from _how_many("flashing", FLASHED, tally.cuts, began, tally.findings)
    yield "  not reached before the board was ready", "", f"{tally.missed}"
    yield "  where, in tenths of what is written", "", _counts(tally.stages)
    yield "  mended by the next run, without a question", f"{FLASHED}", f"{tally.done.total()} ({_counts(tally.done)})"
    yield "  identity, key, name or DevNonce lost; anything else wrong", "0", str(len(tally.findings))


def updating_rows() -> Iterator[tuple[str, str, str]]:
    from tools.attached.cutting import cut_boards

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = cut_boards(Path(folder), UPDATED, SEED, threads=4)
    yield from _how_many("updating", UPDATED, tally.cuts, began, tally.findings)
    yield "  not reached before the end; files of both editions", "", f"{tally.missed}; {tally.mixed}"
    yield "  mended by the next update, without a question", f"{UPDATED}", f"{tally.mended}"
    yield "  half a file, identity, DevNonce or wish lost; anything else wrong", "0", str(len(tally.findings))


def _how_many(
    what: str, asked: int, cuts: Counter[str], began: float, findings: list[str]
) -> Iterator[tuple[str, str, str]]:
    for finding in findings[:20]:
        print(f"    {finding}", flush=True)
    took = f"in {time.monotonic() - began:.0f} s, seed {SEED}: {_counts(cuts)}"
    yield f"interruptions while {what}", f"{asked}", f"{cuts.total()} {took}"


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))
