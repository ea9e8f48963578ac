"""Interruptions while nodes are updated: power cut at any byte, cable pulled.

UPDATE_CUTS and UPDATE_SEED set how many and which.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.tools.attached.cutting import cut_boards

SEED = int(os.environ.get("UPDATE_SEED", "2026"))
CUTS = int(os.environ.get("UPDATE_CUTS", "300"))
THREADS = 4


def rows() -> Iterator[tuple[str, str, str]]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = cut_boards(Path(folder), CUTS, SEED, threads=THREADS)
    for finding in tally.findings[:20]:
        print(f"    {finding}", flush=True)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(tally.cuts.items()))
    took = f"in {time.monotonic() - began:.0f} s, seed {SEED}"
    yield "interruptions while updating", f"{CUTS}", f"{sum(tally.cuts.values())} {took}"
    yield "  by kind; not reached before the end; files of both editions", "", f"{kinds}; {tally.missed}; {tally.mixed}"
    yield "  mended by the next update, without a question", f"{CUTS}", f"{tally.mended}"
    yield "half a file, identity, DevNonce or wish lost; anything else wrong", "0", str(len(tally.findings))
