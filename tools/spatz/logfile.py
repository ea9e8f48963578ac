"""One file of a node's own log: its head, and its records as far as they are whole.

The format is described in firmware/node/log.py. Files come from a chip that may lose its power at any time, so every
record is checked, and a bad one costs only itself.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_MAGIC = b"FL\x01"
_HEAD = struct.Struct(">3sIIH")  # magic, number, records before it, CRC
_SHORTEST = 6  # bytes of a record: length, slot, CRC


@dataclass(frozen=True, slots=True)
class LogFile:
    """number: which file of its log it is, from 1 on; before: the records before it; records: every whole one, (where
    it stands, what is in it)."""

    number: int
    before: int
    records: tuple[tuple[int, bytes], ...]


def read_log_file(data: bytes) -> LogFile | None:
    """None when its head is damaged: then no node and no program reads it."""
    if len(data) < _HEAD.size:
        return None
    magic, number, before, crc = _HEAD.unpack_from(data)
    if magic != _MAGIC or crc != _crc(data[: _HEAD.size - 2], 0, 0):
        return None
    return LogFile(number, before, tuple(_records(data, number)))


def _records(data: bytes, number: int) -> Iterator[tuple[int, bytes]]:
    at = _HEAD.size
    while at < len(data) and (end := at + data[at] + 3) <= len(data):
        good = _crc(data[at : end - 2], number, at) == int.from_bytes(data[end - 2 : end], "big")
        if end - at >= _SHORTEST and good:
            yield at, data[at + 1 : end - 2]
        at = end


def _crc(data: bytes, number: int, at: int) -> int:
    return zlib.crc32(data, number << 12 & 0xFFFFF000 | at) & 0xFFFF
