"""Readings of frames that were never heard, solved for from the parity symbols of those that were (boards/payload.md,
"Parity"). Pure: one `Healer` per session is told of frames and tells what it has recovered.

- A slot is an FCnt. Its vector is what its frame would have contributed: step flag, presence bits, residues.
- Each symbol of a frame is the XOR of the vectors of slots that the frame's FCnt names. Known ones are taken out; what
  is left is one equation over GF(2), kept in reduced form. A slot that stands alone in an equation is solved.
- A solved residue becomes a value only next to a neighbour whose value is known, and only over a step that the node
  marked as small. Then it is exact. Else it stays unknown: no value is ever guessed.

Memory does not grow: what lies `KEEP` slots behind the newest is forgotten.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import struct
from collections.abc import Mapping

from nest import payload
from nest.extras import EXTRAS, RESERVED, STEP, VARIED, WINDOW_CODE, WINDOWS, read_rest
from nest.payload import PayloadError
from nest.quantities import by_name

KEEP = 256  # slots: a window, and as much again for what an equation binds to it
_SHIFT = 32  # how often slots are renumbered
_MOST_SYMBOLS = 32  # of a frame: what an encoder sends at most
_DEGREE = 15  # slots that a symbol names
_SEED = struct.Struct("<IB")


@dataclasses.dataclass(frozen=True, slots=True)
class Recovered:
    """The exact reading of a frame that was not heard; `codes` is empty where that frame carried none."""

    fcnt: int
    codes: dict[str, int]  # as in nest.payload.Decoded


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """How a slot's vector is made of a reading."""

    varied: bool
    bits: int
    step: int  # its mask
    # name, width of the code's residue, where it stands, mask of the presence bit (0: always there), width of the code
    places: tuple[tuple[str, int, int, int, int], ...]


@functools.lru_cache(maxsize=256)
def layout_of(bitmap: bytes, varied: bool) -> Layout:
    """The layout of slots with these quantities. Raises PayloadError: the bitmap is none."""
    present = payload.presence(bitmap)
    residues = sum(quantity.residue for quantity in present)
    bits = 1 + residues + (len(present) if varied else 0)
    places = []
    left = residues
    for index, quantity in enumerate(present):
        left -= quantity.residue
        there = 1 << residues + len(present) - 1 - index if varied else 0
        places.append((quantity.name, quantity.residue, left, there, quantity.bits))
    return Layout(varied, bits, 1 << bits - 1, tuple(places))


def subset(fcnt: int, index: int, n: int) -> set[int]:
    """The distances of the slots in symbol `index` of the frame `fcnt` with a window of `n` slots."""
    distances: set[int] = set()
    for byte in hashlib.sha256(_SEED.pack(fcnt, index)).digest()[:_DEGREE]:
        distance = byte % n + 1
        if distance in distances:  # named twice it falls out
            distances.remove(distance)
        else:
            distances.add(distance)
    return distances


class Healer:
    """The slots of one session. About 30 kB when all of them are in use."""

    def __init__(self) -> None:
        self._newest = -1
        self._origin = 0  # the slot of the first place of each list, and of bit 0 of every mask
        self._vectors: list[int | None] = []  # of slots heard or solved
        self._layouts: list[Layout | None] = []  # of the same
        self._codes: list[bytes | None] = []  # complete readings, heard or recovered: four bytes for each place
        self._partial: dict[int, dict[int, int]] = {}  # slots solved and not complete: place -> code
        self._rows: dict[int, tuple[int, int, Layout]] = {}  # pivot bit -> mask, value, layout
        self._pivots = 0
        self.conflicts = 0  # equations that contradict what is known: there must be none

    def heard(self, fcnt: int, codes: Mapping[str, int], rest: bytes) -> list[Recovered]:
        """Take a frame: its reading and what stands behind it, both of `payload.decode`. Returns what it brought."""
        if fcnt > self._newest:
            self._advance(fcnt)
        if fcnt < self._origin or self._codes[fcnt - self._origin] is not None:
            return []
        solved: list[int] = []
        if rest and not rest[0] & RESERVED:
            with contextlib.suppress(PayloadError):  # the set of its symbols is none
                self._parity(fcnt, codes, rest, solved)
        return self._resolve([*solved, fcnt - 1, fcnt + 1])

    def known(self, fcnt: int, codes: Mapping[str, int]) -> list[Recovered]:
        """Take a reading that came another way (from the node's log): its neighbours may be found from it, if it is
        the one that the slot's residues tell of; a log that flash refused to write may have another in its place."""
        at = fcnt - self._origin
        if not 0 <= at < len(self._codes) or self._codes[at] is not None:
            return []
        layout, vector = self._layouts[at], self._vectors[at]
        if layout is None or vector is None or not _may_be(layout, vector, codes):
            return []
        self._codes[at] = _packed(layout, codes)
        self._partial.pop(fcnt, None)
        return self._resolve([*self._partial])

    def silent(self, fcnt: int) -> None:
        """Take note of a frame that carried no reading."""
        if fcnt > self._newest:
            self._advance(fcnt)

    # -- equations

    def _parity(self, fcnt: int, codes: Mapping[str, int], rest: bytes, solved: list[int]) -> None:
        header = rest[0]
        if header & (EXTRAS | VARIED):
            found = read_rest(rest)
            bitmap, n, symbols = found.parity_set, found.window, found.symbols
        else:
            bitmap, n, symbols = None, WINDOWS[header & WINDOW_CODE], rest[1:]
        varied = bool(header & VARIED)
        if varied != (bitmap is not None):
            return
        layout = layout_of(payload.bitmap_of(codes) if bitmap is None else bitmap, varied)
        vector = layout.step if header & STEP else 0
        for name, width, shift, there, bits in layout.places:
            code = codes.get(name)
            if code is not None:
                vector |= ((code if code >= 0 else (1 << bits) + code) & (1 << width) - 1) << shift | there
        self._settle(fcnt, vector, layout, solved)
        self._codes[fcnt - self._origin] = _packed(layout, codes)
        self._partial.pop(fcnt, None)
        count = len(symbols) * 8 // layout.bits
        if not n or not count or count > _MOST_SYMBOLS:
            return
        number = int.from_bytes(symbols, "big") >> len(symbols) * 8 - count * layout.bits
        vectors, layouts = self._vectors, self._layouts
        ones = (1 << layout.bits) - 1
        place = fcnt - self._origin
        for index in range(count):
            value = number >> (count - 1 - index) * layout.bits & ones
            mask = 0
            for distance in subset(fcnt, index, n):
                at = place - distance
                if at < 0:
                    break  # before the session, or forgotten
                known = vectors[at]
                if known is None:
                    mask |= 1 << at
                elif layouts[at] is layout:
                    value ^= known
                else:
                    self.conflicts += 1
                    break
            else:
                self._add(mask, value, layout, solved)

    def _settle(self, slot: int, vector: int, layout: Layout, solved: list[int]) -> None:
        """A slot's vector is known: take it out of the equations."""
        at = slot - self._origin
        known = self._vectors[at]
        if known is not None:
            if known != vector or self._layouts[at] is not layout:
                self.conflicts += 1
            return
        self._vectors[at] = vector
        self._layouts[at] = layout
        bit = 1 << at
        hit = [(pivot, row) for pivot, row in self._rows.items() if row[0] & bit]
        for pivot, _ in hit:
            del self._rows[pivot]
            self._pivots &= ~pivot
        for _, (mask, value, of) in hit:
            if of is layout:
                self._add(mask & ~bit, value ^ vector, layout, solved)
            else:
                self.conflicts += 1

    def _add(self, mask: int, value: int, layout: Layout, solved: list[int]) -> None:
        """One more equation."""
        rows = self._rows
        left = mask & self._pivots
        while left:
            pivot = left & -left
            left ^= pivot
            other = rows[pivot]
            if other[2] is not layout:
                self.conflicts += 1
                return
            mask ^= other[0]
            value ^= other[1]
        if not mask:
            if value:
                self.conflicts += 1
            return
        pivot = mask & -mask
        alone: list[tuple[int, int]] = []
        for at, (other_mask, other_value, of) in [*rows.items()]:
            if other_mask & pivot and of is layout:
                other_mask ^= mask
                other_value ^= value
                if other_mask & (other_mask - 1):
                    rows[at] = (other_mask, other_value, layout)
                else:
                    del rows[at]
                    self._pivots &= ~at
                    alone.append((at, other_value))
        if mask & (mask - 1):
            rows[pivot] = (mask, value, layout)
            self._pivots |= pivot
        else:
            alone.append((pivot, value))
        for bit, vector in alone:
            at = bit.bit_length() - 1
            self._vectors[at] = vector
            self._layouts[at] = layout
            slot = self._origin + at
            self._partial[slot] = {}
            solved.append(slot)

    # -- values

    def _resolve(self, first: list[int]) -> list[Recovered]:
        """Find values for solved slots, beginning at `first`; what is complete now."""
        waiting = self._partial
        if not waiting:
            return []
        done: list[Recovered] = []
        varied = any(layout is not None and layout.varied for layout in map(self._layout, first))
        again = [*waiting] if varied else [slot for slot in first if slot in waiting]
        while again:
            slot = again.pop()
            if slot not in waiting or not self._try(slot):
                continue
            at = slot - self._origin
            layout, vector, found = self._layouts[at], self._vectors[at], waiting[slot]
            if layout is None or vector is None:
                continue  # never: what waits is solved
            wanted = [
                place for place, (_, _, _, there, _) in enumerate(layout.places) if not layout.varied or vector & there
            ]
            if len(found) == len(wanted):
                del waiting[slot]
                names = [place[0] for place in layout.places]
                codes = {names[at]: payload.from_raw(by_name()[names[at]], found[at]) for at in wanted}
                self._codes[at] = _packed(layout, codes)
                done.append(Recovered(slot, codes))
            again += [*waiting] if layout.varied else [slot - 1, slot + 1]
        return done

    def _layout(self, slot: int) -> Layout | None:
        at = slot - self._origin
        return self._layouts[at] if 0 <= at < len(self._layouts) else None

    def _try(self, slot: int) -> bool:
        """Find values of the solved slot beside known ones; whether anything new was found, or nothing is missing."""
        at = slot - self._origin
        layout, vector, found = self._layouts[at], self._vectors[at], self._partial[slot]
        if layout is None or vector is None:
            return False
        new = False
        for place, (_, width, shift, there, bits) in enumerate(layout.places):
            if place in found or (there and not vector & there):
                continue
            residue = vector >> shift & (1 << width) - 1
            half = 1 << width - 1
            if not vector & layout.step:
                before = self._neighbour(slot, -1, place, there, layout)
                if before is not None:
                    # the one number with that residue in before - half .. before + half - 1
                    code = before[1] - half + (residue - before[1] + half & (1 << width) - 1)
                    new |= self._found(found, place, code, bits)
                    continue
            after = self._neighbour(slot, 1, place, there, layout)
            if after is not None and not after[0] & layout.step:
                # after - code is in -half .. half - 1
                code = after[1] - half + 1 + (residue - after[1] + half - 1 & (1 << width) - 1)
                new |= self._found(found, place, code, bits)
        return new or (layout.varied and not any(vector & place[3] for place in layout.places))

    def _found(self, found: dict[int, int], place: int, code: int, bits: int) -> bool:
        if not 0 <= code < 1 << bits:
            self.conflicts += 1
            return False
        found[place] = code
        return True

    def _neighbour(self, slot: int, way: int, place: int, there: int, layout: Layout) -> tuple[int, int] | None:
        """The next slot that way with that quantity: its vector and its code; None where it is not known."""
        while True:
            slot += way
            at = slot - self._origin
            vector = self._vectors[at] if 0 <= at < len(self._vectors) else None
            if vector is None or self._layouts[at] is not layout:
                return None
            if not there or vector & there:
                codes = self._codes[at]
                if codes is not None:
                    return vector, int.from_bytes(codes[4 * place : 4 * place + 4], "big")
                partial = self._partial.get(slot, {})
                return (vector, partial[place]) if place in partial else None

    # -- forgetting

    def _advance(self, fcnt: int) -> None:
        if self._newest < 0 or fcnt - self._newest > KEEP:
            self._forget_before(max(0, fcnt - KEEP), everything=True)
        elif fcnt - KEEP - self._origin >= _SHIFT:
            self._forget_before(fcnt - KEEP)
        more = fcnt + 1 - self._origin - len(self._vectors)
        self._vectors += [None] * more
        self._layouts += [None] * more
        self._codes += [None] * more
        self._newest = fcnt

    def _forget_before(self, oldest: int, *, everything: bool = False) -> None:
        by = oldest - self._origin
        self._origin = oldest
        gone = (1 << by) - 1
        if everything:
            by, self._rows, self._partial = len(self._vectors), {}, {}
        del self._vectors[:by], self._layouts[:by], self._codes[:by]
        self._rows = {
            pivot >> by: (mask >> by, value, layout)
            for pivot, (mask, value, layout) in self._rows.items()
            if not mask & gone
        }
        self._pivots = 0
        for pivot in self._rows:
            self._pivots |= pivot
        self._partial = {slot: found for slot, found in self._partial.items() if slot >= oldest}


def _packed(layout: Layout, codes: Mapping[str, int]) -> bytes:
    """A reading in little room: for each place its code as it stands in a frame, four bytes; 0 where there is none."""
    return b"".join(
        [((codes.get(name, 0)) & (1 << bits) - 1).to_bytes(4, "big") for name, _, _, _, bits in layout.places]
    )


def _may_be(layout: Layout, vector: int, codes: Mapping[str, int]) -> bool:
    """Whether a slot's vector can be that of a reading, which may have more than went into the frame."""
    for name, width, shift, there, _ in layout.places:
        if not there or vector & there:
            code = codes.get(name)
            if code is None or (vector >> shift ^ code) & (1 << width) - 1:
                return False
    return True
