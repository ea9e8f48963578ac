"""The node's log on a real littlefs: room, wear, and power cuts in the middle of what flash does."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from spatz.sim.micropython import command

PROGRAM = Path(__file__).with_name("log_on_littlefs.py")
FIRMWARE = Path(__file__).resolve().parents[3] / "firmware"


def run(*arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [*command(), "-X", "heapsize=32m", str(PROGRAM), *map(str, arguments)],
        env={**os.environ, "MICROPYPATH": f"{FIRMWARE}:.frozen"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_thirty_days_fit_and_flash_lasts() -> None:
    """96 readings a day of four quantities, one in a hundred amended: after 40 days the newest 30 are there."""
    seen = run("month", 40 * 96, 10)
    assert seen["complete"]
    assert 0 < seen["oldest"] <= 10 * 96
    assert seen["bytes"] <= 65536
    assert seen["files"] == 16
    assert seen["largest"] <= 4096
    assert seen["erases"] <= seen["writes"] * 1.05, "what the log says of its own wear"


def test_power_cut_at_every_operation_of_flash() -> None:
    """Each erase and each programming in turn, half done: at most the reading that was being written is lost."""
    assert run("cuts", 225)["cuts"] > 60
