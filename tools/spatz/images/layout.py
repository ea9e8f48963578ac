"""What lies where in a board's flash, from its partition table.

Sources: ESP-IDF Programming Guide v5.5, "Partition Tables" (32-byte entries, MD5 entry); MicroPython's esp32 port,
main.c (the rest of the flash becomes the partition `vfs` when the table lists none, since 1.26).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

from nest.i18n import tr

from spatz.troubles import Trouble, trouble

SECTOR = 4096
TABLE_AT = 0x8000
TABLE_BYTES = 0xC00
BOOTLOADER_AT = {
    "esp32": 0x1000,
    "esp32s2": 0x1000,
    "esp32s3": 0,
    "esp32c3": 0,
    "esp32c2": 0,
    "esp32c6": 0,
    "esp32h2": 0,
}
LEAST_VFS = 64 * SECTOR
"""Bytes without which a node's files and its log have no room: 256 KiB (each file takes a sector at least)."""

_ENTRY = struct.Struct("<2sBBII16sI")
_MAGIC = b"\xaa\x50"
_MD5_MAGIC = b"\xeb\xeb" + 14 * b"\xff"
_APP, _DATA = 0, 1
_FACTORY, _OTA_0 = 0x00, 0x10
_OTA_DATA, _NVS = 0x00, 0x02


@dataclass(frozen=True, slots=True)
class Region:
    """`size` bytes from `offset` of the flash."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Partition:
    """One line of a partition table."""

    type: int
    subtype: int
    region: Region
    label: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of a node lie; `chip` as esptool spells it in small letters without a hyphen: esp32s3.

    ota_data: where a table with two places for programs keeps which one starts; None for a table with one.
    """

    chip: str
    flash_bytes: int
    bootloader_at: int
    table_at: int
    nvs: Region
    app: Region
    vfs: Region
    ota_data: Region | None = None


def layout_of(table: bytes, chip: str, flash_bytes: int) -> Layout:
    """The layout that MicroPython uses with this table (`TABLE_BYTES` from `TABLE_AT`) on a flash of this size.

    Raises Trouble: `bad_image`, the table is damaged or not one of MicroPython's; `flash_full`, it needs more flash.
    """
    partitions, _ = partitions_of(table)
    nvs = _one(partitions, _DATA, _NVS)
    app = _one(partitions, _APP, _FACTORY) or _one(partitions, _APP, _OTA_0)
    if chip not in BOOTLOADER_AT or nvs is None or app is None:
        raise _bad(tr("it has no place for MicroPython or for the identity"))
    listed = next((one.region for one in partitions if one.type == _DATA and one.label == "vfs"), None)
    end = max(one.region.end for one in partitions)
    rest = _whole(end, max(0, flash_bytes // SECTOR * SECTOR - end))
    vfs = listed or rest
    if max(end, vfs.end) > flash_bytes or vfs.size < LEAST_VFS:
        raise trouble("flash_full")
    return Layout(chip, flash_bytes, BOOTLOADER_AT[chip], TABLE_AT, nvs, app, vfs, _one(partitions, _DATA, _OTA_DATA))


def partitions_of(table: bytes) -> tuple[list[Partition], bool]:
    """The lines of a partition table, and whether their MD5 stands behind them (it is right then).

    Raises Trouble `bad_image`: it is damaged, blank, or its partitions overlap.
    """
    table = bytes(table[:TABLE_BYTES])
    found: list[Partition] = []
    for at in range(0, len(table) - len(table) % 32, 32):
        line = table[at : at + 32]
        if line[:16] == _MD5_MAGIC:
            right = hmac.compare_digest(hashlib.md5(table[:at], usedforsecurity=False).digest(), line[16:])
            if not right or table[at + 32 :].strip(b"\xff"):
                raise _bad(tr("its checksum is wrong"))
            return _sound(found), True
        if not line.strip(b"\xff"):
            if table[at:].strip(b"\xff"):
                break
            return _sound(found), False
        magic, kind, subtype, offset, size, label, _ = _ENTRY.unpack(line)
        if magic != _MAGIC:
            break
        text = label.split(b"\0", 1)[0].decode("ascii", "replace")
        found.append(Partition(kind, subtype, Region(offset, size), text))
    raise _bad(tr("a line of it is damaged"))


def _sound(partitions: list[Partition]) -> list[Partition]:
    """The same, when they can be: one behind the other, behind the table, in whole sectors."""
    end = TABLE_AT + SECTOR
    for one in sorted(partitions, key=lambda one: one.region.offset):
        if (
            one.region.offset < end
            or one.region.size < SECTOR
            or one.region.offset % SECTOR
            or one.region.size % SECTOR
        ):
            raise _bad(tr("its partitions overlap or are cut"))
        end = one.region.end
    if not partitions:
        raise _bad(tr("it is empty"))
    return partitions


def _one(partitions: list[Partition], kind: int, subtype: int) -> Region | None:
    """Where the first partition of this kind lies."""
    return next((one.region for one in partitions if (one.type, one.subtype) == (kind, subtype)), None)


def _whole(offset: int, size: int) -> Region:
    return Region(offset, size // SECTOR * SECTOR)


def _bad(why: str) -> Trouble:
    return trouble("bad_image", file=tr("The partition table"), why=why)
