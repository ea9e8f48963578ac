"""Partition tables as MicroPython's boards have them."""

from __future__ import annotations

import hashlib
import struct

from spatz.images.layout import Region


def table_of(nvs: Region) -> bytes:
    """The usual table; with the smaller NVS, that with two places for programs."""
    if nvs.size == 0x6000:
        lines = [
            (1, 2, 0x9000, 0x6000, b"nvs"),
            (1, 1, 0xF000, 0x1000, b"phy_init"),
            (0, 0, 0x10000, 0x1F0000, b"factory"),
        ]
    else:
        lines = [
            (1, 2, 0x9000, 0x4000, b"nvs"),
            (1, 0, 0xD000, 0x2000, b"otadata"),
            (1, 1, 0xF000, 0x1000, b"phy_init"),
            (0, 0x10, 0x10000, 0x270000, b"ota_0"),
            (0, 0x11, 0x280000, 0x270000, b"ota_1"),
        ]
    table = b"".join(struct.pack("<2sBBII16sI", b"\xaa\x50", *line, 0) for line in lines)
    table += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(table, usedforsecurity=False).digest()
    return table.ljust(0xC00, b"\xff")
