"""A million fuzzed downlinks into a whole Mac, two processes at a time. FUZZ_SEED sets the seed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from spatz.sim.micropython import command

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "firmware" / "common"))

import proof_drive

SEED = int(os.environ.get("FUZZ_SEED", "2026"))
COUNT = 1_000_000
SHARES = 20


def rows() -> Iterator[tuple[str, str, str]]:
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        shares = list(pool.map(_share, range(SHARES)))
    seconds = time.monotonic() - began
    failures = [said for said in shares if not said.startswith("fed ")]
    for said in failures:
        print(said, flush=True)
    fed = [list(map(int, [word for word in said.split() if word.isdigit()])) for said in shares if said not in failures]
    count = sum(row[0] for row in fed)
    rate = f"{count} in {seconds:.0f} s ({count / seconds:.0f}/s), seed {SEED}"
    yield "fuzzed downlinks, MicroPython", f">= {COUNT}", rate
    yield "  of them good and taken", "", str(sum(row[1] for row in fed))
    kinds = " / ".join(str(sum(row[2 + kind] for row in fed)) for kind in range(4))
    yield "  noise / spoilt / well signed / JoinAccepts", "", kinds
    yield "exceptions, or changes without a valid MIC", "0", str(len(failures))


def _share(number: int) -> str:
    program = [*command(), "-X", "heapsize=8M", str(proof_drive.HERE / "proof_fuzz.py")]
    done = subprocess.run(
        [*program, str(COUNT // SHARES), str(SEED + number)],
        env=proof_drive.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else f"seed {SEED + number}: {done.stdout}{done.stderr}"
