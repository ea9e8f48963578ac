"""Bytes of .mpy, the smallest heap in which a node joins and sends 1 000 uplinks, and its growth over 10 000."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "firmware" / "common"))

import proof_build as build


def rows() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for driver, files in (("sx126x", build.SX126X), ("sx127x", build.SX127X)):
            plain = build.sizes(build.MAC + build.CRYPTO + files, folder)
            small = build.sizes(build.MAC + build.CRYPTO + files, folder, "-O3")
            total = f"{sum(small.values())} (-O3), {sum(plain.values())} (with line numbers)"
            yield f"bytes of .mpy: MAC, crypto, {driver}", f"<= {build.LIMIT}", total
            if driver == "sx126x":
                print("    " + ", ".join(f"{part} {size}" for part, size in small.items()), flush=True)
        for what, files in (("device (memory over power cuts)", build.MEMORY), ("runner", build.RUNNER)):
            yield f"  beside them: {what}", "", f"{sum(build.sizes(files, folder, '-O3').values())} (-O3)"
        for size in range(80, 129, 4):
            try:
                build.heap(folder, 1000, 500, f"{size}K")
                break
            except RuntimeError:
                continue
        else:
            size = 0
        yield "KB of heap for a join and 1 000 uplinks, driver and Device on", "<= 96", str(size or "more than 128")
        used = build.heap(folder, 10000, 1000, "1M")
        growth = used[-1]["most"] - used[0]["most"]
        figures = f"{used[0]['most']} / {used[-1]['most']} ({growth:+})"
        yield "bytes in use after 1 000 / 10 000 uplinks", "no growth", figures
