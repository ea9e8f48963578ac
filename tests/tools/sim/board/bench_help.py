"""Boards that are flashed already, and the tools that talk to them."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from littlefs import LittleFS
from spatz.boards import load_board
from spatz.sim.board.bench import VirtualBoard
from spatz.sim.board.made_image import BOOTLOADER_AT, made_image

VFS_AT = 0x200000
BLOCK = 4096


def asleep_for(milliseconds: int, board: str = "heltec-v3") -> str:
    """The lines of a program that put an SX1262 to sleep, as the emulated chip demands it, and then the ESP32."""
    radio, bus = load_board(board).radio, load_board(board).radio.spi
    return f"""
import time
from machine import SPI, Pin, deepsleep
select = Pin({radio.cs}, Pin.OUT, value=1, hold=False)
reset = Pin({radio.reset}, Pin.OUT, value=1)
busy = Pin({radio.busy}, Pin.IN)
spi = SPI({bus.id}, baudrate=1000000, sck=Pin({bus.sck}), mosi=Pin({bus.mosi}), miso=Pin({bus.miso}))
time.sleep_ms(10)
while busy(): pass
select(0)
spi.write(bytes([0x84, 0]))
select(1)
time.sleep_ms(2)
Pin({radio.cs}, Pin.OUT, value=1, hold=True)
deepsleep({milliseconds})
"""


def flashed(folder: Path, files: dict[str, str], *, chip: str = "esp32s3", flash_mb: int = 8) -> None:
    """Put MicroPython and a filesystem with `files` into the flash file of the board in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    image = made_image(chip, 0x1000)
    flash = bytearray(b"\xff" * (flash_mb << 20))
    start = BOOTLOADER_AT[chip]
    flash[start : start + len(image)] = image
    room = len(flash) - VFS_AT
    system = LittleFS(block_size=BLOCK, block_count=room // BLOCK, disk_version=0x00020000)
    for name, text in files.items():
        with system.open(name, "w") as file:
            file.write(text)
    flash[VFS_AT:] = system.context.buffer
    (folder / "flash.bin").write_bytes(flash)


def on_flash(board: VirtualBoard) -> LittleFS:
    """The filesystem as it is in the flash file, read by another library."""
    content = board.flash()[VFS_AT:]
    system = LittleFS(block_size=BLOCK, block_count=len(content) // BLOCK, mount=False)
    system.context.buffer = bytearray(content)
    system.mount()
    return system


def esptool(
    board: VirtualBoard, *arguments: str, baud: int = 460800, attempts: int = 7
) -> subprocess.CompletedProcess[str]:
    """The real one, as people start it."""
    command = [sys.executable, "-m", "esptool", "--port", board.port.device, "--baud", str(baud)]
    command += ["--connect-attempts", str(attempts), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def mpremote(board: VirtualBoard, *arguments: str) -> str:
    """What the real one says; it must succeed."""
    command = [sys.executable, "-m", "mpremote", "connect", board.port.device, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def in_boot_loader(board: VirtualBoard, *, mode: str = "default-reset", baud: int = 115200) -> Iterator[Any]:
    """esptool's own connection, with one attempt only."""
    from esptool.cmds import detect_chip

    with detect_chip(board.port.device, baud, mode, connect_attempts=1) as esp:
        yield esp


def reads(device: str, wanted: bytes, within_s: float = 5.0) -> bytes:
    """What a program that opens the port reads, until `wanted` is in it."""
    descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY)
    try:
        seen, until = b"", time.monotonic() + within_s
        while wanted not in seen and time.monotonic() < until:
            if select.select([descriptor], [], [], 0.1)[0]:
                seen += os.read(descriptor, 4096)
        return seen
    finally:
        os.close(descriptor)
