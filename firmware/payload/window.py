"""Residue parity: what a node remembers of its last readings, and how a frame carries it (boards/payload.md, Parity).

A slot is an FCnt. Of the reading that its frame carried a few bits per quantity are kept, the residue; every frame
carries XORs of the residues of pseudo-random slots before it. Whoever heard enough frames solves for the lost ones, and
finds the values by starting from a neighbour that he knows. That is exact, because each slot says by one bit, `step`,
when a value moved farther than its residue tells (or when there is no value before it).
"""

import struct

from micropython import const

from payload.encode import bitmap, pack, present
from payload.table import QUANTITIES

WINDOWS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 80, 96, 128)  # slots, by window code
_BYTES = const(384)  # for slots: 128 of the climate set
_VERSION = const(1)
_HEAD = "<BBBBQIIH"  # version, varied, count, place of the next slot, set, tag, FCnt of the newest slot, bytes of slots
_NONE = const(0xFFFFFF)  # in the place of a code that was never seen
_VARIED = const(0x10)
_STEP = const(0x20)
_EXTRAS = const(0x40)
_MOST = const(32)  # symbols in a frame


def subset(fcnt, index, n):
    """Which of the `n` slots before `fcnt` symbol `index` is the XOR of: their distances, rising."""
    x = ((fcnt & 0xFFFF) * 40503 + (fcnt >> 16) * 30011 + index * 27449 + 12345) & 0xFFFF or 1
    most = 9 if n > 32 else n // 4 + 1
    result = []
    at = 0
    while True:
        x ^= x << 7 & 0xFFFF
        x ^= x >> 9
        x ^= x << 8 & 0xFFFF
        at += 1 + x % most
        if at > n:
            return result
        result.append(at)


class Window:
    """The slots of one session.

    packed: of `pack`, b"" for none: what is damaged or of another version is as if it were not there.
    """

    def __init__(self, packed=b""):
        self._set = 0  # the quantities that slots have residues of, as presence bits
        self._varied = False  # whether a reading may have fewer than those
        self._tag = self._fcnt = self._count = self._newest = 0
        self._codes = []  # the latest code of each quantity of the set
        self._slots = b""
        self._load(packed)

    def pack(self):
        """What must be kept from one wake to the next."""
        codes = b"".join([code.to_bytes(3, "little") for code in self._codes])
        head = _VERSION, self._varied, self._count, self._newest, self._set, self._tag, self._fcnt, len(self._slots)
        return struct.pack(_HEAD, *head) + codes + self._slots

    def frame(self, tag, codes, symbols=1, extras=b"", fill=0):
        """The payload of the next uplink, to be handed to the MAC: its bytes are made when its FCnt is known.

        tag: of the session, DevAddr for instance: slots of another one are forgotten. codes: of encode.codes.
        symbols: how many parity symbols at least; extras: items of payload.extras, at most 255 bytes.
        fill: so many bytes may the payload have without more airtime: they are filled with further symbols.
        """
        self._fit(tag, present(codes))
        return Frame(self, codes, symbols, extras, fill)

    def _fit(self, tag, now):
        """Make the layout of the slots one that takes a reading of the quantities `now`."""
        if tag == self._tag and self._set and (now == self._set or self._varied and now | self._set == self._set):
            return
        varied = tag == self._tag and self._set != 0
        if varied:
            now |= self._set
        self._tag = tag
        self._set = now
        self._varied = varied
        self._clear()

    def _clear(self):
        self._count = self._newest = 0
        self._codes = [_NONE for row in QUANTITIES if self._set >> row[0] & 1]
        self._slots = bytearray(self._capacity() * self._size())

    def bits(self):
        """The width of a symbol."""
        bits = 1
        for row in QUANTITIES:
            if self._set >> row[0] & 1:
                bits += row[5] + self._varied
        return bits

    def _size(self):
        return (self.bits() + 7) // 8

    def _capacity(self):
        return window_below(_BYTES // self._size())[1]

    def take(self, fcnt, codes):
        """Enter the slot of `fcnt`, and empty ones for FCnts since the last that carried no reading.

        Returns (window code, N, step): what the frame's header says.
        """
        empty = fcnt - self._fcnt - 1
        if self._count and not 0 <= empty < self._capacity():
            self._clear()
        elif self._count:
            for _ in range(empty):
                self._push(0 if self._varied else 1 << (self.bits() - 1))
        window = window_below(self._count)
        step = window[1] == 0 or (empty > 0 and not self._varied)
        at = 0
        there = residues = 0
        for index, row in enumerate(QUANTITIES):
            if not self._set >> row[0] & 1:
                continue
            code = codes[index]
            bits = row[5]
            there <<= 1
            residues <<= bits
            if code >= 0:
                before = self._codes[at]
                half = 1 << bits - 1
                step = step or before == _NONE or not -half <= code - before < half
                self._codes[at] = code
                there |= 1
                residues |= code & (half * 2 - 1)
            at += 1
        self._own = step, there, residues
        return window[0], window[1], step

    def enter(self, fcnt):
        """Put what was taken into its slot."""
        step, there, residues = self._own
        width = self.bits() - 1
        if self._varied:
            residues |= there << width - len(self._codes)
        self._push(step << width | residues)
        self._fcnt = fcnt

    def symbol(self, fcnt, index, n):
        """The XOR of a subset of the slots before `fcnt`."""
        size = self._size()
        capacity = self._capacity()
        slots = self._slots
        newest = self._newest
        result = 0
        for distance in subset(fcnt, index, n):
            at = (newest - distance) % capacity * size
            result ^= int.from_bytes(slots[at : at + size], "big")
        return result

    def _push(self, vector):
        size = self._size()
        at = self._newest * size
        self._slots[at : at + size] = vector.to_bytes(size, "big")
        capacity = self._capacity()
        self._newest = (self._newest + 1) % capacity
        self._count = min(self._count + 1, capacity)

    def _load(self, packed):
        head = struct.calcsize(_HEAD)
        if len(packed) < head or packed[0] != _VERSION:
            return
        _, varied, count, newest, known, tag, fcnt, length = struct.unpack_from(_HEAD, packed)
        codes = len([row for row in QUANTITIES if known >> row[0] & 1])
        start = head + 3 * codes
        if not codes or len(packed) != start + length:
            return
        self._set = known
        self._varied = bool(varied)
        if length != self._capacity() * self._size() or newest >= self._capacity() or count > self._capacity():
            self._set = 0
            return
        self._tag = tag
        self._fcnt = fcnt
        self._count = count
        self._newest = newest
        self._codes = [int.from_bytes(packed[at : at + 3], "little") for at in range(head, start, 3)]
        self._slots = bytearray(packed[start:])


class Frame:
    """One payload on its way: `len` says how long it will be at most, calling it with its FCnt gives its bytes and
    enters it into the window. Called again with the same FCnt it gives the same bytes."""

    def __init__(self, window, codes, symbols, extras, fill):
        self._window = window
        self._codes = codes
        self._made = None
        reading = pack(codes)
        # what stands before the symbols, but for the header
        self._reading = reading
        self._between = (bytes((len(extras),)) + extras if extras else b"") + (
            bitmap(window._set) if window._varied else b""
        )
        self._extras = bool(extras)
        bits = window.bits()
        head = len(reading) + 1 + len(self._between)
        self._room = max((symbols * bits + 7) // 8, fill - head)
        count = min(self._room * 8 // bits, _MOST)
        self._room = (count * bits + 7) // 8
        self._len = head + self._room

    def __len__(self):
        return self._len

    def __call__(self, fcnt):
        if self._made is None or self._made[0] != fcnt:
            self._made = fcnt, self._make(fcnt)
        return self._made[1]

    def _make(self, fcnt):
        window = self._window
        code, n, step = window.take(fcnt, self._codes)
        header = code | (_VARIED if window._varied else 0) | (_STEP if step else 0) | (_EXTRAS if self._extras else 0)
        bits = window.bits()
        size = min(self._room, (n * bits + 7) // 8)  # more symbols than slots say nothing new
        count = size * 8 // bits
        packed = 0
        for index in range(count):
            packed = packed << bits | window.symbol(fcnt, index, n)
        window.enter(fcnt)
        size = (count * bits + 7) // 8
        packed <<= size * 8 - count * bits
        return self._reading + bytes((header,)) + self._between + packed.to_bytes(size, "big")



def window_below(count):
    """(code, slots) of the largest window that is at most `count` slots."""
    code = len(WINDOWS) - 1
    while WINDOWS[code] > count:
        code -= 1
    return code, WINDOWS[code]
