"""A file with MicroPython in it, as micropython.org offers it for download: checked to the last byte, cut into parts.

The file is one piece: boot loader, partition table, program, with gaps of 0xFF between, to be written from `start`
on. Written in one piece it would erase NVS, which lies in a gap, and with it the node's identity; so it is written in
parts.

Sources: ESP-IDF Programming Guide v5.5, "Firmware Image Format" (header, segments, checksum, SHA-256), "Partition
Tables"; chip ids from ESP-IDF's esp_app_format.h.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

from nest.i18n import tr

from spatz.images.layout import BOOTLOADER_AT, SECTOR, TABLE_AT, TABLE_BYTES, Layout, layout_of, partitions_of
from spatz.troubles import Trouble, trouble

_CHIPS = {0: "esp32", 2: "esp32s2", 5: "esp32c3", 9: "esp32s3", 12: "esp32c2", 13: "esp32c6", 16: "esp32h2"}
_MOST_BYTES = 64 << 20
_MAGIC = 0xE9
_HEADER = 24
_MOST_SEGMENTS = 16
_CHECKSUM_SEED = 0xEF
_BANNER = re.compile(rb"v(\d+\.\d+(?:\.\d+)?)[^\0\n ]{0,40} on \d{4}-\d\d-\d\d")
_NUMBERS = re.compile(rb"v(\d+\.\d+(?:\.\d+)?)")
_DESCRIBED_AT = _HEADER + 8  # first in the first segment
_DESCRIPTION = struct.Struct("<I12x32s32s")
_DESCRIPTION_MAGIC = 0xABCD5432
_MIB = 1 << 20
_WIDEST = 1 << 31


@dataclass(frozen=True, slots=True)
class MicroPythonImage:
    """What `read_image` found to be whole. chip: "esp32", "esp32s3" …; start: where the file begins in the flash."""

    chip: str
    start: int
    version: str  # "1.29.0"; "" when the file does not say
    data: bytes = field(repr=False)
    sha256: str  # of the file
    table: bytes = field(repr=False)  # TABLE_BYTES of it
    least_flash: int  # bytes; on a smaller flash its start fails, again and again
    bootloader_bytes: int
    app_bytes: int

    def layout(self, flash_bytes: int) -> Layout:
        """Where its parts and the node's lie on a flash of this size. Raises Trouble `flash_full`."""
        if self.least_flash > flash_bytes:
            raise trouble("flash_full")
        return layout_of(self.table, self.chip, flash_bytes)

    def parts(self, layout: Layout) -> list[tuple[int, bytes]]:
        """(offset in the flash, bytes) of boot loader, partition table and program: whole sectors, ascending.

        Nothing lies over NVS or the calibration of the radio. Where the table has two places for programs, what says
        which one starts is written blank: then it is the first.
        """
        app_at = layout.app.offset - self.start
        parts = [
            (self.start, _sectors(self.data[: self.bootloader_bytes])),
            (TABLE_AT, _sectors(self.table)),
            (layout.app.offset, _sectors(self.data[app_at : app_at + self.app_bytes])),
        ]
        if layout.ota_data:
            parts.append((layout.ota_data.offset, layout.ota_data.size * b"\xff"))
        return sorted(parts)


def read_image(path: Path | str) -> MicroPythonImage:
    """Read and check a file.

    Raises Trouble `bad_image`: it cannot be read, is no such file, is cut short, or a byte of it is wrong.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _bad(path.name, tr("it is too large"))
        data = path.read_bytes()
    except OSError as error:
        raise _bad(path.name, error.strerror or str(error)) from None
    return image_of(data, path.name)


def image_of(data: bytes, name: str) -> MicroPythonImage:
    """The same of bytes; `name` is for the message. Raises Trouble `bad_image`."""
    try:
        chip_id, bootloader_bytes = _program(data, 0, len(data))
        chip = _CHIPS.get(chip_id)
        if chip is None:
            raise _Damaged(tr("it is for another kind of chip"))
        start = BOOTLOADER_AT[chip]
        if start + bootloader_bytes > TABLE_AT:
            raise _Damaged(tr("its boot loader is too large"))
        table = data[TABLE_AT - start : TABLE_AT - start + TABLE_BYTES]
        if len(table) < TABLE_BYTES or not partitions_of(table)[1]:
            raise _Damaged(tr("its partition table is missing or damaged"))
        app = layout_of(table, chip, _WIDEST).app
        app_chip, app_bytes = _program(data, app.offset - start, len(data))
        if app_chip != chip_id:
            raise _Damaged(tr("its parts are for different chips"))
        if app_bytes > app.size:
            raise _Damaged(tr("its program is larger than its place"))
        version = _version(data[app.offset - start : app.offset - start + app_bytes])
    except _Damaged as damaged:
        raise _bad(name, str(damaged)) from None
    except Trouble:  # of the table, which has another name there
        raise _bad(name, tr("its partition table is missing or damaged")) from None
    return MicroPythonImage(
        chip=chip,
        start=start,
        version=version,
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        table=table,
        least_flash=_MIB << (data[3] >> 4),  # ESP-IDF's start refuses a flash that is smaller than its header says
        bootloader_bytes=bootloader_bytes,
        app_bytes=app_bytes,
    )


def check_chip(image: MicroPythonImage, chip: str, build: str) -> None:
    """Raises Trouble `wrong_chip`: the file is for another chip than the board's, which wants MicroPython's `build`."""
    if image.chip != chip:
        raise trouble("wrong_chip", file_chip=title(image.chip), chip=title(chip), build=build)


def title(chip: str) -> str:
    """A chip's name as people write it: ESP32-S3."""
    return "ESP32" if chip == "esp32" else chip.upper().replace("ESP32", "ESP32-", 1)


class _Damaged(Exception):  # noqa: N818
    """What is wrong with the file, in the user's language."""


def _program(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Check the program that begins at `at` (a boot loader is one, too): (chip id, its length in bytes)."""
    if at < 0 or at + _HEADER > end:
        raise _Damaged(tr("it is cut short"))
    magic, segments = data[at], data[at + 1]
    if magic != _MAGIC or not 0 < segments <= _MOST_SEGMENTS:
        raise _Damaged(tr("it is no program for these chips"))
    if data[at + 23] != 1:
        raise _Damaged(tr("its own checksum is missing"))
    (chip_id,) = struct.unpack_from("<H", data, at + 12)
    position = at + _HEADER
    checksum = _CHECKSUM_SEED
    for _ in range(segments):
        if position + 8 > end:
            raise _Damaged(tr("it is cut short"))
        (size,) = struct.unpack_from("<I", data, position + 4)
        position += 8
        if size > end - position:
            raise _Damaged(tr("it is cut short"))
        checksum ^= _xor(data[position : position + size])
        position += size
    position = at + ((position - at) // 16 + 1) * 16  # the checksum is the last byte of a row of 16
    if position + 32 > end:
        raise _Damaged(tr("it is cut short"))
    digest = hashlib.sha256(memoryview(data)[at:position]).digest()
    if data[position - 1] != checksum or not hmac.compare_digest(digest, data[position : position + 32]):
        raise _Damaged(tr("a byte of it is wrong"))
    return chip_id, position + 32 - at


def _version(program: bytes) -> str:
    """What MicroPython greets with, else what ESP-IDF's description of a program says (esp_app_desc_t); "" for neither.

    Raises _Damaged: it is something else than MicroPython.
    """
    magic, version, project = _DESCRIPTION.unpack(program[_DESCRIBED_AT:][: _DESCRIPTION.size].ljust(_DESCRIPTION.size))
    described = magic == _DESCRIPTION_MAGIC and project.rstrip(b"\0") == b"micropython"
    if not described and b"MicroPython" not in program:
        raise _Damaged(tr("it is another program"))
    said = _BANNER.search(program) or (described and _NUMBERS.match(version))
    return said[1].decode() if said else ""


def _xor(data: bytes) -> int:
    """All bytes by exclusive or: halved again and again as one large number."""
    value, size = int.from_bytes(data, "little"), len(data)
    while size > 1:
        size = (size + 1) // 2
        value = (value >> (8 * size)) ^ (value & ((1 << (8 * size)) - 1))
    return value


def _sectors(data: bytes) -> bytes:
    """Filled up with 0xFF to whole sectors, without sectors at the end that hold nothing else."""
    data = data.rstrip(b"\xff")
    return data + (-len(data) % SECTOR) * b"\xff"


def _bad(name: str, why: str) -> Trouble:
    return trouble("bad_image", file=name, why=why)
