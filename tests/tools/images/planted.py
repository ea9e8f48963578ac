"""A littlefs as it would never write it itself: names that are none, a folder without an end."""

from __future__ import annotations

import struct
import zlib

from spatz.images.filesystem import filesystem_image
from spatz.images.layout import SECTOR

# Kinds of tags, of littlefs SPEC.md: LFS_TYPE_CCRC, DIRSTRUCT, and TAIL (its lowest bit: hard)
_CHECKSUM, _KIND, _FOLDER, _TAIL = 0x500, 0x780, 0x200, 0x600


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


def endless(files: dict[str, bytes], size: int, *, empty: bool) -> bytes:
    """An image with these files in two folders, of which one goes on with itself. empty: there is nothing in it.

    littlefs looks for such circles when it mounts, but only in what the root's tail leads to: that is cut.
    """
    image = bytearray(filesystem_image(files, size))
    for at in (0, SECTOR):
        tags = _tags(image[at : at + SECTOR])
        pairs = [data for tag, data in tags if tag >> 20 & 0x7FF == _FOLDER]
        tails = [(tag, b"\xff" * 8 if tag >> 20 & 0x7FE == _TAIL else data) for tag, data in tags]
        image[at : at + SECTOR] = _written(image[at : at + 4], tails)
        for pair in pairs:
            for block in struct.unpack("<II", pair):
                old = image[block * SECTOR : (block + 1) * SECTOR]
                own = [(tag | 1 << 20, pair) if tag >> 20 & 0x7FE == _TAIL else (tag, data) for tag, data in _tags(old)]
                if empty:
                    own = [
                        (tag, data) for tag, data in own if tag >> 20 & 0x7FE == _TAIL or tag >> 20 & _KIND == _CHECKSUM
                    ]
                image[block * SECTOR : (block + 1) * SECTOR] = _written(old[:4], own)
    return bytes(image)


def _sealed(block: bytearray) -> bytes:
    """A metadata block with the checksums of its commits set right."""
    return _written(block[:4], _tags(block))


def _tags(block: bytearray) -> list[tuple[int, bytes]]:
    """The tags of a metadata block, with what belongs to each."""
    before, at, found = 0xFFFFFFFF, 4, []
    while at + 4 <= len(block):
        tag = struct.unpack_from(">I", block, at)[0] ^ before
        if tag >> 31:
            break
        end = at + 4 + (0 if tag & 0x3FF == 0x3FF else tag & 0x3FF)
        found.append((tag, bytes(block[at + 4 : end])))
        before, at = _next(tag), end
    return found


def _written(revision: bytearray, tags: list[tuple[int, bytes]]) -> bytes:
    """A metadata block with these tags, its checksums set right."""
    block, before, check = bytearray(revision), 0xFFFFFFFF, zlib.crc32(revision)
    for tag, data in tags:
        raw = struct.pack(">I", tag ^ before)
        if tag >> 20 & _KIND == _CHECKSUM:
            block += raw + struct.pack("<I", zlib.crc32(raw, check) ^ 0xFFFFFFFF) + data[4:]
            check = 0
        else:
            block += raw + data
            check = zlib.crc32(raw + data, check)
        before = _next(tag)
    return bytes(block).ljust(SECTOR, b"\xff")


def _next(tag: int) -> int:
    """What the tag behind this one is mixed with: a checksum's lowest bit says whether the next one is valid."""
    return tag ^ (tag >> 20 & 1) << 31 if tag >> 20 & _KIND == _CHECKSUM else tag
