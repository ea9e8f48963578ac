"""What ROM, bootloader and ESP-IDF look at before MicroPython runs: whether what is in the flash can be started.

The checks are the emulator's own, made from the documents and not from the tools that it tests. Each refusal has the
words that the chip prints. [esp-idf 5.5: components/bootloader_support, esp_image_format.c, flash_partitions.c]
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass

from spatz.sim.board.made_image import BOOTLOADER_AT, CHIP_IDS, TABLE_AT, TABLE_BYTES

_SECTOR = 4096
_APP_PARTITION, _DATA_PARTITION = 0, 1
_NVS, _FAT = 2, 0x81
_MAX_SEGMENTS = 16
_MAX_IMAGE = 16 << 20

Read = Callable[[int, int], bytes]


class BootError(Exception):
    """The chip does not start; the text is what it prints."""


@dataclass(frozen=True, slots=True)
class Started:
    """Where MicroPython finds its key-value store and its filesystem: (offset, size)."""

    nvs: tuple[int, int]
    vfs: tuple[int, int]


def check(read: Read, chip: str, flash_bytes: int) -> Started:
    """Go through what lies in the flash as the chip does. Raises BootError; `read` raises ValueError beyond the end."""
    start = BOOTLOADER_AT[chip]
    header = read(start, 24)
    if header[0] != 0xE9:
        raise BootError(f"invalid header: 0x{int.from_bytes(header[:4], 'little'):08x}")
    _image(read, start, chip, TABLE_AT - start)
    if (1 << 20) << (header[3] >> 4) > flash_bytes:
        raise BootError(
            f"E (37) spi_flash: Detected size({flash_bytes >> 10}k) smaller than the size in the binary image "
            f"header({1024 << (header[3] >> 4)}k). Probe failed."
        )
    partitions = _partitions(read(TABLE_AT, TABLE_BYTES))
    for _, _, offset, size, _ in partitions:
        if offset + size > flash_bytes:
            raise BootError(
                f"E (44) flash_parts: partition invalid - offset 0x{offset:x} size 0x{size:x} exceeds flash"
            )
    apps = [(offset, size) for kind, _, offset, size, _ in partitions if kind == _APP_PARTITION]
    if not apps:
        raise BootError("E (46) boot: No bootable app partitions in the partition table")
    _image(read, apps[0][0], chip, apps[0][1])
    return _regions(partitions, flash_bytes)


def _image(read: Read, at: int, chip: str, room: int) -> None:
    try:
        _image_inside(read, at, chip, room)
    except (ValueError, struct.error) as error:
        raise BootError(f"E (60) esp_image: image at 0x{at:x} has invalid length") from error


def _image_inside(read: Read, at: int, chip: str, room: int) -> None:
    header = read(at, 24)
    magic, segments = header[0], header[1]
    chip_id, hashed = struct.unpack_from("<H", header, 12)[0], header[23]
    if magic != 0xE9:
        raise BootError(f"E (58) esp_image: image at 0x{at:x} has invalid magic byte (nothing flashed here?)")
    if chip_id != CHIP_IDS[chip]:
        raise BootError(f"E (58) boot_comm: mismatch chip ID, expected {CHIP_IDS[chip]}, found {chip_id}")
    if not 0 < segments <= _MAX_SEGMENTS:
        raise BootError(f"E (58) esp_image: image at 0x{at:x} segment count {segments} exceeds max {_MAX_SEGMENTS}")
    position, checksum = 24, 0xEF
    for _ in range(segments):
        (length,) = struct.unpack("<4xI", read(at + position, 8))
        if position + 8 + length > min(room, _MAX_IMAGE):
            raise BootError(f"E (60) esp_image: Segment length 0x{length:x} invalid")
        checksum ^= _xor(read(at + position + 8, length))
        position += 8 + length
    position += 15 - position % 16
    if read(at + position, 1)[0] != checksum:
        raise BootError(
            f"E (66) esp_image: Checksum failed. Calculated 0x{checksum:x} read 0x{read(at + position, 1)[0]:x}"
        )
    position += 1
    if hashed and hashlib.sha256(read(at, position)).digest() != read(at + position, 32):
        raise BootError("E (66) esp_image: Image hash failed - image is corrupt")


def _xor(data: bytes) -> int:
    words = len(data) // 8 * 8
    value = 0
    for (word,) in struct.iter_unpack("<Q", data[:words]):
        value ^= word
    result = 0
    for byte in value.to_bytes(8, "little") + data[words:]:
        result ^= byte
    return result


def _partitions(table: bytes) -> list[tuple[int, int, int, int, str]]:
    """(type, subtype, offset, size, name) of each partition."""
    result = []
    for at in range(0, len(table), 32):
        entry = table[at : at + 32]
        if entry[:2] == b"\xaa\x50":
            kind, subkind, offset, size, name = struct.unpack("<2xBBII16s4x", entry)
            result.append((kind, subkind, offset, size, name.rstrip(b"\0").decode("ascii", "replace")))
        elif entry[:2] == b"\xeb\xeb":
            if hashlib.md5(table[:at], usedforsecurity=False).digest() != entry[16:]:
                raise BootError("E (44) flash_parts: partition table checksum invalid")
            return result
        elif entry == b"\xff" * 32 and result:
            return result
        else:
            magic = int.from_bytes(entry[:2], "little")
            raise BootError(f"E (44) flash_parts: partition {at // 32} invalid magic number 0x{magic:x}")
    raise BootError("E (44) flash_parts: partition table has no terminating entry, not valid")


def _regions(partitions: list[tuple[int, int, int, int, str]], flash_bytes: int) -> Started:
    """As MicroPython's esp32 port finds them: a listed "vfs", else what is behind the last partition."""
    nvs = next(
        ((offset, size) for kind, sub, offset, size, _ in partitions if (kind, sub) == (_DATA_PARTITION, _NVS)), None
    )
    if nvs is None:
        raise BootError("E (300) nvs: no nvs partition: ESP_ERR_NOT_FOUND")
    listed = next(
        ((offset, size) for kind, _, offset, size, name in partitions if (kind, name) == (_DATA_PARTITION, "vfs")), None
    )
    end = -(-max(offset + size for _, _, offset, size, _ in partitions) // _SECTOR) * _SECTOR
    vfs = listed or (end, flash_bytes - end)
    if vfs[1] < 2 * _SECTOR:
        raise BootError("no room for a filesystem behind the last partition")
    return Started(nvs, vfs)
