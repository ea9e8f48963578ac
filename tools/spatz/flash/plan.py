"""What is to be done with one board: whose it is, whether its keys stay, what is written where. No I/O.

A board's identity and its counters lie in NVS. A DevNonce is never used twice (TS001-1.0.4 section 6.2.2), so:

    kept        the identity is whole, is this chip's, and is the one the town knows: no byte of NVS is touched
    again       the town knows the chip, but its NVS is empty, damaged, without its counters, or holds another key:
                the town's key is written again, and DevNonces begin above all that can have been used
    new         nobody knows it: a new key, in the registry first and on the board then
    taken over  the identity is whole, but another town's, and the user said so: as new
    erased      the user said so: everything is erased, a new key

Whatever is cut off in between, the town's registry knows the board's name, wishes and key, and what lies in NVS is
either whole or not; the next time it is `kept` or `again`, without a question.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from spatz.troubles import trouble

if TYPE_CHECKING:
    from nest.registry import Former, Provisioned

    from spatz.images.layout import Layout, Region
    from spatz.images.nvs_image import Identity

TABLE_AT = 0x8000
TABLE_SIZE = 0xC00
SECTOR = 0x1000
_NEAR = (-2, -1, 0, 1, 2)
_COUNTERS = ("state0", "state1")  # firmware/node/identity.py


class Keys(StrEnum):
    """What becomes of the keys on the board, see above."""

    KEPT = "kept"
    AGAIN = "again"
    NEW = "new"
    TAKEN_OVER = "taken over"
    ERASED = "erased"

    @property
    def written(self) -> bool:
        """Whether NVS is written."""
        return self is not Keys.KEPT


@dataclass(frozen=True, slots=True)
class Probe:
    """What a board says of itself: `mac` 6 bytes; `head` the flash from 0x8000 on, with the partition table and NVS."""

    chip: str
    mac: bytes
    flash_bytes: int
    revision: int = 0
    head: bytes = field(default=b"", repr=False)

    @property
    def dev_eui(self) -> bytes:
        """The chip's MAC address as EUI-64 (IEEE, Guidelines for Use of EUI, 2017: FF FE in the middle)."""
        return self.mac[:3] + b"\xff\xfe" + self.mac[3:]

    @property
    def table(self) -> bytes:
        """Its partition table, or whatever lies there."""
        return self.head[:TABLE_SIZE]

    def region(self, region: Region) -> bytes:
        """What was read of a region of the flash; b"" when it was not read."""
        at = region.offset - TABLE_AT
        return self.head[at : at + region.size] if at >= 0 else b""


def layout_on(probe: Probe) -> Layout | None:
    """How the board's own table divides its flash; None when there is none, or it is broken."""
    from nest.errors import UserError

    from spatz.images.layout import layout_of

    try:
        return layout_of(probe.table, probe.chip, probe.flash_bytes)
    except UserError:
        return None


def judge(
    probe: Probe,
    new: Layout,
    known: Provisioned | None,
    *,
    former: Former | None = None,
    take_over: bool = False,
    erase: bool = False,
) -> Keys:
    """What becomes of the keys.

    new: how the flash will be divided; known: what the town knows of this chip; former: what it knew once. One that
    was removed, or whose retirement was undone, is as new, though its old key is on it still; that one that is retired
    may not come back, the registry says.

    Raises:
        Trouble: other_town; wrong_layout: the keys would lie elsewhere than they do.
    """
    from spatz.images.nvs_image import identity_of

    if erase:
        return Keys.ERASED
    where, values = _nvs_of(probe, new)
    identity = identity_of(values)
    if identity is not None and identity.dev_eui != probe.dev_eui:
        identity = None  # the copy of another board's flash
    if known is None:
        if identity is None or _was_ours(identity, former):
            return Keys.NEW
        if not take_over:
            raise trouble("other_town")
        return Keys.TAKEN_OVER
    if identity is None or not _is_known(identity, known):
        return Keys.AGAIN
    if identity.dev_nonce < known.dev_nonce and not any(("spatz", name) in values for name in _COUNTERS):
        return Keys.AGAIN  # it has joined, but does not know any more
    if (where.offset, where.size) != (new.nvs.offset, new.nvs.size):
        raise trouble("wrong_layout")
    return Keys.KEPT


def is_our_log(probe: Probe, new: Layout, known: Provisioned | None, former: Former | None = None) -> bool:
    """Whether what the board has written down belongs to the node that it is in this town. Another town's sessions and
    frame counts are the same few numbers: asked for a frame that was lost, the node would answer with its readings.

    As `judge`; without an identity, what is on a board that the town knows is its own: somebody erased its keys.
    """
    from spatz.images.nvs_image import identity_of

    identity = identity_of(_nvs_of(probe, new)[1])
    if identity is None:
        return known is not None
    if identity.dev_eui != probe.dev_eui:
        return False
    return identity.join_eui == known.join_eui if known else _was_ours(identity, former)  # its key may be another now


def _nvs_of(probe: Probe, new: Layout) -> tuple[Region, dict[tuple[str, str], int | bytes]]:
    """Where its keys lie, and what is there."""
    from spatz.images.nvs_image import read_nvs

    on_it = layout_on(probe)
    where = on_it.nvs if on_it else new.nvs  # a table that was being written: the town's boards are divided as `new`
    return where, read_nvs(probe.region(where))


def _is_known(identity: Identity, known: Provisioned) -> bool:
    return identity.join_eui == known.join_eui and hmac.compare_digest(identity.app_key, known.app_key)


def _was_ours(identity: Identity, former: Former | None) -> bool:
    from nest.keys import is_same_key

    return bool(former and former.key_mark and is_same_key(identity.dev_eui, identity.app_key, former.key_mark))


@dataclass(frozen=True, slots=True)
class Plan:
    """What the worker is told to write. first_of_files: the number of the first part of the filesystem."""

    parts: list[tuple[int, bytes]] = field(repr=False)
    nvs: tuple[int, int]
    keys: Keys
    first_of_files: int

    def divides_anew(self, probe: Probe) -> bool:
        """Whether the partition table is written: when it is torn, the filesystem is not found any more."""
        at = [data for offset, data in self.parts if offset == TABLE_AT]
        return any(probe.head[: len(data)] != data for data in at) or self.erase_all

    @property
    def erase_all(self) -> bool:
        """Whether the whole flash is erased before."""
        return self.keys is Keys.ERASED


def make_plan(
    keys: Keys, layout: Layout, program: Sequence[tuple[int, bytes]], nvs: bytes | None, files: bytes
) -> Plan:
    """program: bootloader, table and app (`MicroPythonImage.parts`); nvs: the key image, None when the keys stay;
    files: the image of the filesystem.

    The table first, so that keys never lie under another program's division of the flash; then the keys, so that they
    are there as early as can be; the filesystem last, for the node's own log is in it.
    With new keys, all between the table and the app is written: what another program had there means nothing any more.
    """
    if (nvs is not None) != keys.written:
        raise ValueError(keys)
    between = range(layout.table_at + SECTOR, layout.app.offset)
    parts = sorted((part for part in program if nvs is None or part[0] not in between), key=lambda part: part[0])
    parts.sort(key=lambda part: part[0] != layout.table_at)
    if nvs is not None:
        lead = layout.nvs.offset - between.start
        parts.insert(1, (between.start, (b"\xff" * lead + nvs).ljust(len(between), b"\xff")))
    first_of_files = len(parts)
    parts.extend(used_parts(files, layout.vfs.offset))
    return Plan(parts, (layout.nvs.offset, layout.nvs.size), keys, first_of_files)


def used_parts(files: bytes, offset: int) -> list[tuple[int, bytes]]:
    """The blocks of a fresh littlefs image that count, in pieces: (offset in the flash, bytes).

    littlefs erases a block before it writes it, so what lies in free blocks does not matter, and 6 or 14 MiB of them
    need not be written. What does matter is the other half of each metadata pair, though it is empty: an old one there
    might be taken for a newer one. In a fresh image it is a neighbour, so the neighbours of used blocks count too.
    """
    blocks = len(files) // SECTOR
    blank = b"\xff" * SECTOR
    used = {0, 1}
    for number in range(blocks):
        if files[number * SECTOR : (number + 1) * SECTOR] != blank:
            used.update((number + near) % blocks for near in _NEAR)
    parts: list[tuple[int, bytes]] = []
    for number in sorted(used):
        block = files[number * SECTOR : (number + 1) * SECTOR]
        if parts and parts[-1][0] + len(parts[-1][1]) == offset + number * SECTOR:
            parts[-1] = (parts[-1][0], parts[-1][1] + block)
        else:
            parts.append((offset + number * SECTOR, block))
    return parts
