"""A thousand interruptions: power cut at any byte, worker killed, cable pulled, while boards are flashed and updated.

FLASH_CUTS and FLASH_SEED set how many and which.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.tools.flash.cutting import cut_boards

SEED = int(os.environ.get("FLASH_SEED", "2026"))
CUTS = int(os.environ.get("FLASH_CUTS", "1000"))
THREADS = 5


def rows() -> Iterator[tuple[str, str, str]]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = cut_boards(Path(folder), CUTS, SEED, threads=THREADS)
    for finding in tally.findings[:20]:
        print(f"    {finding}", flush=True)
    took = f"in {time.monotonic() - began:.0f} s, seed {SEED}"
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(tally.cuts.items()))
    yield "interruptions while flashing", f"{CUTS}", f"{sum(tally.cuts.values())} {took}"
    yield "  by kind; not reached before the board was ready", "", f"{kinds}; {tally.missed}"
    yield "  where, in tenths of what is written", "", ", ".join(f"{k} {v}" for k, v in sorted(tally.stages.items()))
    mended = ", ".join(f"{keys} {count}" for keys, count in sorted(tally.done.items()))
    yield "  mended by the next run, without a question", f"{CUTS}", f"{sum(tally.done.values())} ({mended})"
    yield "identity, key, name or DevNonce lost; anything else wrong", "0", str(len(tally.findings))
