"""A littlefs whose entries have names that littlefs itself would never write."""

from __future__ import annotations

import struct
import zlib

from spatz.images.filesystem import filesystem_image
from spatz.images.layout import SECTOR

_CHECKSUM, _KIND = 0x500, 0x780  # LFS_TYPE_CCRC, of littlefs SPEC.md


def planted(files: dict[str, bytes], size: int, renamed: dict[bytes, bytes]) -> bytes:
    """An image with these files, whose names are changed afterwards: old -> new, of the same length."""
    image = bytearray(filesystem_image(files, size))
    for at in range(0, size, SECTOR):
        block = bytes(image[at : at + SECTOR])
        changed = block
        for old, new in renamed.items():
            assert len(old) == len(new)
            changed = changed.replace(old, new)
        if changed != block:
            image[at : at + SECTOR] = _sealed(bytearray(changed))
    return bytes(image)


def _sealed(block: bytearray) -> bytearray:
    """A metadata block with the checksums of its commits set right."""
    before, check, at = 0xFFFFFFFF, zlib.crc32(block[:4]), 4
    while at + 4 <= len(block):
        tag = struct.unpack_from(">I", block, at)[0] ^ before
        if tag >> 31:
            break
        kind, size = tag >> 20 & 0x7FF, tag & 0x3FF
        end = at + 4 + (0 if size == 0x3FF else size)
        before = tag
        if kind & _KIND == _CHECKSUM:
            check = zlib.crc32(block[at : at + 4], check)
            struct.pack_into("<I", block, at + 4, check ^ 0xFFFFFFFF)
            before, check = tag ^ (kind & 1) << 31, 0
        else:
            check = zlib.crc32(block[at:end], check)
        at = end
    return block
