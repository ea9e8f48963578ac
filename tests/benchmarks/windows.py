"""Downlinks caught at 1 % clock error and 20 ms jitter: the real MAC, runner and driver on the emulated SX1262, in
virtual time. What is simulated, and what the least window is: tests/firmware/common/window_trial.py."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from spatz.sim.micropython import command

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("tools/spatz/sim/device", "firmware", "tests/firmware/common")
CLOCKS_PPM = (-10000, -7000, -3000, 0, 3000, 7000, 10000)
DELAYS_S = (1, 5)
UPLINKS = 400  # of each node; there are len(CLOCKS_PPM) * len(DELAYS_S) * 2 nodes
SCRIPT = """
import json, sys
from window_trial import Trial
ppm, delay_s, late, uplinks = [int(word) for word in sys.argv[1:]]
trial = Trial(ppm, delay_s, ppm * 2 + delay_s + late, bool(late)).life(uplinks)
print(json.dumps([trial.sent, trial.caught, trial.opened_us, trial.least_us, len(trial.ratios), sum(trial.ratios),
                  [str(one) for one in trial.missed]]))
"""


def _trial(case: tuple[int, int, int]) -> list[Any]:
    done = subprocess.run(
        [*command(), "-c", SCRIPT, *[str(number) for number in (*case, UPLINKS)]],
        env={**os.environ, "MICROPYPATH": ":".join([*(str(ROOT / folder) for folder in FOLDERS), ".frozen"])},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def rows() -> Iterator[tuple[str, str, str]]:
    cases = [(ppm, delay_s, late) for ppm in CLOCKS_PPM for delay_s in DELAYS_S for late in (0, 1)]
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        results = list(pool.map(_trial, cases))
    for late, whose in ((0, "network"), (1, "node")):
        of_kind = [result for case, result in zip(cases, results, strict=True) if case[2] == late]
        sent, caught, opened, least, windows, ratios = (sum(result[i] for result in of_kind) for i in range(6))
        worst = max(result[2] / result[3] for result in of_kind)
        yield (
            f"downlinks caught, jitter of the {whose}",
            ">= 99.9 %",
            f"{100 * caught / sent:.3f} % of {sent}",
        )
        yield (
            f"length of {windows} windows / the least, jitter of the {whose}",
            "<= 1.3",
            f"{opened / least:.3f} of all time; {ratios / windows:.3f} mean of windows; {worst:.3f} worst node",
        )
