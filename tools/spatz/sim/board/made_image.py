"""Made-up MicroPython images: everything that tools and boot loaders check is right, and there is no code in them.

Bootloader and app are ESP images (magic, chip, segments, checksum byte, SHA-256), the partition table has its MD5, the
app its description with a version. [esp-idf 5.5, "App Image Format"; esp_app_format.h; gen_esp32part.py]
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Sequence

CHIP_IDS = {"esp32": 0, "esp32s3": 9}
BOOTLOADER_AT = {"esp32": 0x1000, "esp32s3": 0x0}
TABLE_AT = 0x8000
TABLE_BYTES = 0xC00

_MAGIC = 0xE9
_CHECKSUM_SEED = 0xEF
_APP_DESCRIPTION = 0xABCD5432
_ENTRY = "<2sBBII16sI"
_DATA_ADDRESS = {"esp32": 0x3F400020, "esp32s3": 0x3C000020}
_CODE_ADDRESS = {"esp32": 0x40080000, "esp32s3": 0x40374000}
_SIZE_BITS = {1 << (20 + bits): bits << 4 for bits in range(6)}

# name, type, subtype, offset, size: as MicroPython's ports/esp32 has them (users.md 1.3)
TABLES: dict[str, tuple[tuple[str, int, int, int, int], ...]] = {
    "4MiBplus": (
        ("nvs", 1, 2, 0x9000, 0x6000),
        ("phy_init", 1, 1, 0xF000, 0x1000),
        ("factory", 0, 0, 0x10000, 0x1F0000),
    ),
    "4MiB-romfs": (
        ("nvs", 1, 2, 0x9000, 0x6000),
        ("phy_init", 1, 1, 0xF000, 0x1000),
        ("factory", 0, 0, 0x10000, 0x1D0000),
        ("romfs", 1, 0x8F, 0x1E0000, 0x20000),
    ),
    "4MiB-ota": (
        ("nvs", 1, 2, 0x9000, 0x4000),
        ("otadata", 1, 0, 0xD000, 0x2000),
        ("phy_init", 1, 1, 0xF000, 0x1000),
        ("ota_0", 0, 0x10, 0x10000, 0x180000),
        ("ota_1", 0, 0x11, 0x190000, 0x180000),
    ),
    "4MiB-vfs": (  # before MicroPython 1.26 the filesystem was in the table
        ("nvs", 1, 2, 0x9000, 0x6000),
        ("phy_init", 1, 1, 0xF000, 0x1000),
        ("factory", 0, 0, 0x10000, 0x1F0000),
        ("vfs", 1, 0x81, 0x200000, 0x200000),
    ),
}


def made_image(
    chip: str,
    app_bytes: int = 0x8000,
    seed: int = 1,
    table: str = "4MiBplus",
    *,
    version: str = "v1.29.0",
    flash_bytes: int = 4 << 20,
) -> bytes:
    """A MicroPython image as it is downloaded: it begins where the chip's bootloader does (`BOOTLOADER_AT`).

    app_bytes: about how large the app is; its content follows from the seed and does not compress. flash_bytes: what
    the headers say.
    """
    start = BOOTLOADER_AT[chip]
    entries = TABLES[table]
    chance = random.Random(f"{chip}/{seed}")  # noqa: S311  not a secret, and it must repeat
    bootloader = _esp_image(chip, [(_CODE_ADDRESS[chip], chance.randbytes(0x1000))], flash_bytes)
    app = _esp_image(
        chip,
        [
            (_DATA_ADDRESS[chip], _description(version) + chance.randbytes(max(app_bytes - 0x500, 0x100))),
            (_CODE_ADDRESS[chip], chance.randbytes(0x400)),
        ],
        flash_bytes,
    )
    app_at, app_room = next((offset, size) for _, kind, _, offset, size in entries if kind == 0)
    if len(app) > app_room:
        raise ValueError(f"an app of {len(app)} bytes does not fit into {app_room}")
    image = bytearray(b"\xff" * (app_at - start))
    image[: len(bootloader)] = bootloader
    image[TABLE_AT - start : TABLE_AT - start + TABLE_BYTES] = partition_table(entries)
    return bytes(image) + app


def partition_table(entries: Sequence[tuple[str, int, int, int, int]]) -> bytes:
    """The 0xC00 bytes of a partition table, with its MD5; entries are (name, type, subtype, offset, size)."""
    rows = b"".join(
        struct.pack(_ENTRY, b"\xaa\x50", kind, subkind, offset, size, name.encode(), 0)
        for name, kind, subkind, offset, size in entries
    )
    md5 = hashlib.md5(rows, usedforsecurity=False).digest()
    return (rows + b"\xeb\xeb" + b"\xff" * 14 + md5).ljust(TABLE_BYTES, b"\xff")


def _esp_image(chip: str, segments: Sequence[tuple[int, bytes]], flash_bytes: int) -> bytes:
    header = struct.pack(
        "<BBBBIB3sHBHHIB",
        _MAGIC, len(segments), 0x02, _SIZE_BITS[flash_bytes], segments[-1][0],
        0xEE, bytes(3), CHIP_IDS[chip], 0, 0, 0xFFFF, 0, 1,
    )  # fmt: skip
    image = bytearray(header)
    checksum = _CHECKSUM_SEED
    for address, data in segments:
        padded = data + bytes(-len(data) % 4)
        image += struct.pack("<II", address, len(padded)) + padded
        folded = 0
        for at in range(0, len(padded), 4096):
            folded ^= _xor(padded[at : at + 4096])
        checksum ^= folded
    image += bytes(15 - len(image) % 16) + bytes([checksum])
    return bytes(image + hashlib.sha256(image).digest())


def _xor(data: bytes) -> int:
    """All bytes of `data` XORed: halves upon each other until one is left."""
    value, length = int.from_bytes(data, "big"), len(data)
    while length > 1:
        half = length // 2
        value = (value >> (8 * half)) ^ (value & ((1 << (8 * half)) - 1))
        length -= half
    return value


def _description(version: str) -> bytes:
    """esp_app_desc_t: 256 bytes at the start of the first segment."""
    return struct.pack(
        "<IIII32s32s16s16s32s32s80s",
        _APP_DESCRIPTION, 0, 0, 0, version.encode(), b"micropython", b"12:00:00", b"Jan  1 2026", b"v5.5.1",
        bytes(32), b"",
    )  # fmt: skip
