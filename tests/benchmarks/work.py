"""Instructions per uplink, counted by callgrind: two runs of n and n + 100 uplinks, subtracted.

`mac` collects no garbage: on a node the runner does that once per uplink, while the radio sends. `device` does it once
per uplink, and `collect` is one collection alone. Heap and interpreter: HEAP, unix port, 64 bits.

The count hardly depends on the machine, so it is a gate: 3 % more than the baseline in work.json is too much. After a
deliberate change, `python -m tests.benchmarks.work --accept` writes a new baseline.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from spatz.sim.micropython import command

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "firmware" / "common"))

import proof_build as build
import proof_drive

BASELINE = Path(__file__).with_suffix(".json")
LIMIT = 250_000
FEW = 64
MORE = 100
ALLOWED = 1.03
MISSED = "too much"
"""What the row of a gate that is not kept ends with: `make bench` fails then, when all figures are printed."""
HEAP = {"mac": "16M", "device": "256K", "collect": "256K"}  # for the first large enough for all its garbage


def rows() -> Iterator[tuple[str, str, str]]:
    if not shutil.which("valgrind"):
        yield "instructions per uplink", f"<= {LIMIT}", "not measured: valgrind is not installed"
        return
    baseline = json.loads(BASELINE.read_text())
    for kind, measured in measure().items():
        asked = f"<= {LIMIT}" if kind == "mac" else ""
        yield f"instructions per uplink, {_NAMES[kind]}", asked, str(measured)
        if kind == "collect":  # grows with the code that is loaded, not with the work
            continue
        before = baseline[kind]
        missed = f": {MISSED}" if measured > before * ALLOWED else ""
        yield "  against the baseline", f"<= +{ALLOWED - 1:.0%}", f"{measured / before - 1:+.1%} of {before}{missed}"


_NAMES = {
    "mac": "Mac.uplink with two empty windows",
    "device": "Device.uplink, records and a collection included",
    "collect": "one collection of garbage in 256 KB",
}


def measure() -> dict[str, int]:
    """Instructions per uplink, by kind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build.sizes(build.MAC + build.CRYPTO + build.MEMORY, folder)
        build.compiled(proof_drive.HERE / "proof_work.py", folder / "proof_work.mpy")
        return {kind: (_count(folder, kind, FEW + MORE) - _count(folder, kind, FEW)) // MORE for kind in _NAMES}


def _count(folder: Path, kind: str, uplinks: int) -> int:
    return instructions(f"{folder}:.frozen", HEAP[kind], "proof_work", kind, str(uplinks))


def instructions(path: str, heap: str, module: str, *arguments: str) -> int:
    """Of one run of a module under MicroPython, its start included. `path`: MICROPYPATH."""
    done = subprocess.run(
        [
            *("valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}"),
            *(*command(), "-X", f"heapsize={heap}", "-m", module, *arguments),
        ],
        env={"MICROPYPATH": path, "PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
    if not found:
        raise RuntimeError(done.stderr)
    return int(found[1])


if __name__ == "__main__":
    counted = measure()
    print(counted)
    if "--accept" in sys.argv:
        kept = {kind: count for kind, count in counted.items() if kind != "collect"}
        BASELINE.write_text(json.dumps(kept, indent=2) + "\n")
