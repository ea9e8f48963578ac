"""The node's log on a real littlefs in RAM that counts: 30 days of 96 readings of four quantities."""

from __future__ import annotations

from collections.abc import Iterator

from tests.firmware.node.test_log_on_littlefs import run

DAYS = 30
READINGS = 96
ENDURANCE = 100_000  # erases of a block (W25Q64JV data sheet, 9.1)
BLOCKS = 512  # of the smallest file system of a board of ours: 2 MB


def rows() -> Iterator[tuple[str, str, str]]:
    seen = run("month", DAYS * READINGS, 10)
    whole = "all there" if seen["complete"] and seen["oldest"] == 0 else "readings are missing"
    yield "bytes of the log's files after 30 days at 15 min", "<= 65536", f"{seen['bytes']}, {whole}"
    erases = seen["erases"] / DAYS
    yield "blocks erased per day", "", f"{erases:.0f}; the log's own count says {seen['writes'] / DAYS:.0f}"
    yield "bytes programmed per day", "", f"{seen['programmed'] // DAYS}"
    # littlefs spreads by taking the next free block; half of them may hold files that never move
    years = ENDURANCE * BLOCKS / 2 / erases / 365
    yield "years until half the blocks of 2 MB are worn, at 100 000 erases", "", f"{years:.0f}"
