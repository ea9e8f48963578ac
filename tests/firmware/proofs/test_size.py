"""How much room the stack takes: bytes of .mpy, and a heap of 96 KB in which it joins and sends, and does not grow."""

from __future__ import annotations

from pathlib import Path

import proof_build
import pytest


@pytest.mark.parametrize("driver", [proof_build.SX126X, proof_build.SX127X], ids=["sx126x", "sx127x"])
def test_mac_crypto_and_one_driver_stay_small(driver: tuple[str, ...], tmp_path: Path) -> None:
    sizes = proof_build.sizes(proof_build.MAC + proof_build.CRYPTO + driver, tmp_path, "-O3")
    assert sum(sizes.values()) <= proof_build.LIMIT, "\n".join(f"{size:6} {name}" for name, size in sizes.items())


def test_joins_and_sends_in_96_kb_and_does_not_grow(tmp_path: Path) -> None:
    """The real driver, runner and Device, loaded from .mpy; the chip agrees to everything."""
    rows = proof_build.heap(tmp_path, 1500, 500, "96K")
    assert rows[-1]["downlinks"] > 100
    assert rows[-1]["most"] <= rows[0]["most"]
