"""Images that the tests need: a real one for the ESP32, and made-up ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from spatz.sim.board.made_image import made_image

TABLES = ("4MiBplus", "4MiB-romfs", "4MiB-ota", "4MiB-vfs")
SMALL = 0x900


def real_image() -> Path:
    """MicroPython v1.16-237 of 2021-08-30 for the ESP32, as an editor brings it (`make setup`)."""
    package = importlib.util.find_spec("thonnycontrib.thonny_etboard_firmware")
    assert package
    assert package.origin
    return Path(package.origin).parent / "etboard" / "firmware" / "etboard_firmware_micropython_custom_0831_last.bin"


def small(chip: str = "esp32s3", table: str = "4MiBplus") -> bytes:
    """A made-up image, as small as can be."""
    return made_image(chip, SMALL, 1, table)
