"""Fifty thousand fuzzed downlinks, half of them on each interpreter; a million are in `make bench` (parser).

FUZZ_SEED sets the seed, FUZZ_COUNT how many on each.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import proof_drive
import pytest
from spatz.sim.micropython import command

HERE = Path(__file__).resolve().parent
COMMON = HERE.parent / "common"
SEED = os.environ.get("FUZZ_SEED", "1")
COUNT = os.environ.get("FUZZ_COUNT", "25000")


@pytest.mark.parametrize("interpreter", ["cpython", "micropython"])
def test_no_downlink_raises_and_none_without_a_mic_changes_anything(interpreter: str) -> None:
    environment = proof_drive.environment()
    program = [*command(), "-X", "heapsize=8M"]
    if interpreter == "cpython":
        search = [proof_drive.FIRMWARE, COMMON, HERE.parent / "cpython"]
        environment["PYTHONPATH"] = os.pathsep.join(map(str, search))
        program = [sys.executable]
    done = subprocess.run(
        [*program, str(COMMON / "proof_fuzz.py"), COUNT, SEED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"FUZZ_SEED={SEED}\n{done.stdout}{done.stderr}"
    words = done.stdout.split()
    assert int(words[1]) >= int(COUNT)
    assert int(words[3]) > int(COUNT) // 10  # the good ones came in
    assert min(map(int, words[5:])) > int(COUNT) // 50  # of every kind
