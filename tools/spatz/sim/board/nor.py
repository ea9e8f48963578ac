"""Flash memory as the chip has it, over a plain file that holds all of it.

| a real one | here |
| --- | --- |
| programming turns ones into zeros, never back | `program` ANDs |
| ones come back by erasing, a sector of 4 096 bytes at a time | `erase` fills whole sectors with 0xFF |
| when the power goes, what was done is done, the rest is not | `budget`: so many bytes, then `PowerGone` |

The file is mapped, so another process that has it open (MicroPython) and this one see the same bytes at once.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable
from pathlib import Path

SECTOR = 4096


class PowerGone(Exception):  # noqa: N818  not an error: the power was meant to go here
    """The power went in the middle of a write."""


class NorFlash:
    """The flash in the file `path`, `size` bytes. A file that is not there yet is a chip from the factory: all 0xFF.

    budget: how many bytes may still be programmed or erased until the power goes; None: it stays. `on_spent` is told
    what is left of it. Addresses outside raise ValueError.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self.budget: int | None = None
        self.on_spent: Callable[[int], None] = lambda left: None
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            there = os.fstat(descriptor).st_size
            if there < size:
                with os.fdopen(os.dup(descriptor), "r+b") as file:
                    file.seek(there)
                    file.write(b"\xff" * (size - there))
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    def read(self, at: int, count: int) -> bytes:
        """`count` bytes from `at` on."""
        self._check(at, count)
        return self._map[at : at + count]

    def program(self, at: int, data: bytes) -> None:
        """Clear the bits that are 0 in `data`. Raises PowerGone, with a part of it written."""
        self._check(at, len(data))
        wanted = data[: self._allowed(len(data))]
        before = self._map[at : at + len(wanted)]
        self._map[at : at + len(wanted)] = wanted if before.count(0xFF) == len(before) else _and(before, wanted)
        self._spend(len(wanted))

    def erase(self, at: int, count: int) -> None:
        """Erase every sector that `count` bytes from `at` on touch. Raises PowerGone, with a part of it erased."""
        self._check(at, count)
        start = at // SECTOR * SECTOR
        end = -(-(at + count) // SECTOR) * SECTOR if count else start
        done = self._allowed(end - start)
        self._map[start : start + done] = b"\xff" * done
        self._spend(done)

    def md5(self, at: int, count: int) -> bytes:
        """The MD5 of a part, as the boot ROM computes it."""
        return hashlib.md5(self.read(at, count), usedforsecurity=False).digest()

    def _allowed(self, count: int) -> int:
        return count if self.budget is None else min(count, self.budget)

    def _spend(self, count: int) -> None:
        if self.budget is not None:
            self.budget -= count
            self.on_spent(self.budget)
            if not self.budget:
                raise PowerGone

    def _check(self, at: int, count: int) -> None:
        if at < 0 or count < 0 or at + count > self.size:
            raise ValueError(f"{count} bytes at {at:#x}: the flash has {self.size:#x}")


def _and(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") & int.from_bytes(other, "big")).to_bytes(len(one), "big")
