"""Runs the real firmware on the virtual board for tests (CPython): boots.py in a MicroPython process."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from spatz.config import compile_config
from spatz.sim.micropython import command

ROOT = Path(__file__).resolve().parents[3]
BOOTS = ROOT / "tests/firmware/node/boots.py"
FIRMWARE = ROOT / "firmware"
DEVICE = ROOT / "tools/spatz/sim/device"
HERE = ROOT / "tests/firmware/common"

BATTERY = {"adc": 1, "ratio": 4.9, "trim": 1.045, "enable_pin": 37, "enable_level": 0}
CHIPS: dict[str, Any] = {
    "radio": {
        "chip": "sx1262",
        "spi": 1,
        "cs": 8,
        "reset": 12,
        "busy": 13,
        "dio1": 14,
        "tcxo_mv": 1800,
        "antenna_gain_dbi": 2,
    },
    "sensors": [{"chip": "bme280", "i2c": 0, "address": 118, "sda": 41, "scl": 42}],
    "battery": BATTERY,
    "vext": {"pin": 36, "on": 0},
}


class Run:
    """What a node did."""

    def __init__(self, text: str) -> None:
        self.text, _, result = text.rpartition("RESULT ")
        seen = json.loads(result)
        self.ends: list[dict[str, Any]] = seen["ends"]
        self.sent: list[dict[str, Any]] = seen["sent"]
        self.nonces: list[int] = seen["nonces"]
        self.measured: list[tuple[float, dict[str, Any]]] = seen["measured"]  # (Unix time, reading)
        self.rtc = bytes.fromhex(seen["rtc"])

    @property
    def readings(self) -> list[dict[str, Any]]:
        return [frame for frame in self.sent if not frame["join"]]

    @property
    def events(self) -> list[str]:
        return [end["event"] for end in self.ends]


def run_node(
    folder: Path,
    boots: int = 1,
    *,
    interval_s: int = 600,
    safe_window_s: int = 0,
    config: str | None = None,
    chips: dict[str, Any] | None = None,
    world: dict[str, Any] | None = None,
    timeout_s: float = 60,
    firmware: Path = FIRMWARE,
    **plan: Any,
) -> Run:
    """A node whose files are in `folder`. config: the text of config.json, "" for none, None for a good one. plan: see
    boots.py."""
    if config is None:
        good = compile_config("heltec-v3", ["bme280"], "amsel", interval_s=interval_s, safe_window_s=safe_window_s)
        config = json.dumps(good)
    if config:
        (folder / "config.json").write_text(config)
    plan["boots"] = boots
    plan["world"] = {"clock": "virtual", "chips": {**CHIPS, **(chips or {})}, **(world or {})}
    (folder / "plan.json").write_text(json.dumps(plan))
    done = subprocess.run(
        [*command(), str(BOOTS), str(firmware)],
        cwd=folder,
        env={**os.environ, "MICROPYPATH": ":".join([*map(str, (DEVICE, firmware, HERE)), ".frozen"])},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert firmware != FIRMWARE or "Traceback" not in done.stdout, done.stdout
    return Run(done.stdout)
