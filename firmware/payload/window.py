"""Residue parity: what a node remembers of its last readings, and how a frame carries it (boards/payload.md, Parity).

A slot is an FCnt. Of the reading that its frame carried a few bits per quantity are kept, the residue; every frame
carries XORs of the residues of pseudo-random slots before it. Whoever heard enough frames solves for the lost ones, and
finds the values by starting from a neighbour that he knows. That is exact, because each slot says by one bit, `step`,
when a value moved farther than its residue tells (or when there is no value before it).

Written for few instructions, because it runs at every wake: a slot's vector stands in words of 30 bits, which are
small numbers on a node, and what follows from the set of quantities is worked out once and kept.
"""

import struct
from array import array
from hashlib import sha256

from micropython import const

from payload.encode import bitmap, pack
from payload.table import QUANTITIES

WINDOWS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 80, 96, 128)  # slots, by window code
_WORDS = const(128)  # for slots: 128 of the climate set, 32 of everything
_WORD = const(30)  # bits
# of this layout, and of the table's residues: what another firmware has left is not understood
_VERSION = 0x51 ^ sum([(row[0] + 3) * row[5] for row in QUANTITIES]) & 0xFF
# what the words of the state are
_KIND = const(0)  # version << 24 | varied << 16 | number of rows << 8 | bits of a vector
_USED = const(1)  # code of the window << 8 | slots in use
_TAG = const(2)
_FCNT = const(3)  # of the newest slot
_ROWS = const(4)  # the quantities of which slots have residues: row << 24 | the latest code
_NONE = const(0xFFFFFF)  # in the place of a code that was never seen
_MOST = const(32)  # symbols in a frame
_DEGREE = const(15)  # slots in a symbol; odd, so that a window of one slot is not lost
_VARIED = const(0x10)
_STEP = const(0x20)
_EXTRAS = const(0x40)


class Window:
    """The slots of one session.

    packed: of `pack`, b"" for none: what is damaged or of another version is as if it were not there.
    """

    def __init__(self, packed=b""):
        state = array("I", packed) if len(packed) > 16 and not len(packed) & 3 else _EMPTY
        kind = state[_KIND]
        self._bits = kind & 0xFF  # of a vector
        self._rows = kind >> 8 & 0xFF
        self._varied = kind >> 16 & 0xFF  # whether a reading may have fewer quantities than the set
        # Words: those above, then slots to the end, the oldest first; of each slot its low words first.
        self._words = (self._bits + _WORD - 1) // _WORD
        first = _ROWS + self._rows
        used = state[_USED] & 0xFF
        if kind >> 24 != _VERSION or len(state) != first + self._words * used:
            state = _EMPTY
            self._bits = 0
        self._state = state

    def pack(self):
        """What must be kept from one wake to the next: an array of words, to be kept as bytes."""
        return self._state

    def frame(self, tag, codes, symbols=1, extras=b"", fill=0):
        """The payload of the next uplink, to be handed to the MAC: its bytes are made when its FCnt is known.

        tag: of the session, DevAddr for instance: slots of another one are forgotten. codes: of encode.codes.
        symbols: how many parity symbols at least; extras: items of payload.extras, at most 255 bytes.
        fill: so many bytes may the payload have without more airtime: they are filled with further symbols.
        """
        if tag != self._state[_TAG] or not self._bits:
            self._begin(tag, [code[0] for code in codes], 0)
        elif self._varied or len(codes) != self._rows or not self._known(codes):
            rows = {word >> 24 for word in self._state[_ROWS : _ROWS + self._rows]}
            now = {code[0] for code in codes}
            if not (self._varied and now <= rows):
                self._begin(tag, sorted(rows | now), 1)
        return Frame(self, codes, symbols, extras, fill)

    def _known(self, codes):
        """Whether the codes are of the set's quantities; there are as many."""
        at = _ROWS
        for row, _ in codes:
            if self._state[at] >> 24 != row:
                return False
            at += 1
        return True

    def _begin(self, tag, rows, varied):
        """No slots, and a layout for these quantities."""
        bits = 1
        for row in rows:
            bits += QUANTITIES[row][5] + varied
        self._rows = len(rows)
        self._varied = varied
        self._bits = bits
        self._words = (bits + _WORD - 1) // _WORD
        kind = _VERSION << 24 | varied << 16 | len(rows) << 8 | bits
        self._state = array("I", [kind, 0, tag, 0] + [row << 24 | _NONE for row in rows])

    def _clear(self):
        self._begin(self._state[_TAG], [word >> 24 for word in self._state[_ROWS : _ROWS + self._rows]], self._varied)

    def take(self, fcnt, codes):
        """Make the slot of `fcnt`, and empty ones for FCnts since the last that carried no reading.

        Returns (window code, step, vector): what the frame's header says, and what `enter` wants.
        """
        step = 0
        empty = fcnt - self._state[_FCNT] - 1
        if empty and self._state[_USED]:
            if 0 < empty < 128:
                for _ in range(empty):
                    self._push(0 if self._varied else 1 << self._bits - 1)
                step = not self._varied
            else:
                self._clear()
        state = self._state
        code = state[_USED] >> 8
        if not code:
            step = 1
        if self._varied:
            return self._take_varied(code, codes, step)
        vector = 0
        at = _ROWS
        for row, now in codes:
            bits = QUANTITIES[row][5]
            word = row << 24 | now
            # codes have at most 17 bits: the row, the same in both, falls out
            half = 1 << bits - 1
            if not -half <= word - state[at] < half:
                step = 1
            state[at] = word
            at += 1
            vector = vector << bits | now & half + half - 1
        if step:
            vector |= 1 << self._bits - 1
        return code, step, vector

    def _take_varied(self, code, codes, step):
        state = self._state
        codes = dict(codes)
        there = residues = 0
        for at in range(_ROWS, _ROWS + self._rows):
            row = state[at] >> 24
            bits = QUANTITIES[row][5]
            residues <<= bits
            there <<= 1
            if row in codes:
                now = codes[row]
                was = state[at] & _NONE
                half = 1 << bits - 1
                if was == _NONE or not -half <= now - was < half:
                    step = 1
                state[at] = row << 24 | now
                residues |= now & half + half - 1
                there |= 1
        return code, step, (step << self._rows | there) << self._bits - 1 - self._rows | residues

    def enter(self, fcnt, vector):
        """Put a vector of `take` into its slot."""
        self._push(vector)
        self._state[_FCNT] = fcnt

    def symbols(self, fcnt, count):
        """So many symbols, one behind the other: each the XOR of pseudo-random slots (one named twice falls out)."""
        state = self._state
        n = WINDOWS[state[_USED] >> 8]
        bits = self._bits
        words = self._words
        result = 0
        for index in range(count):
            chosen = sha256(struct.pack("<IB", fcnt, index)).digest()[:_DEGREE]
            symbol = 0
            if words == 1:
                for byte in chosen:
                    symbol ^= state[~(byte % n)]
            else:
                for word in range(words - 1, -1, -1):
                    part = 0
                    for byte in chosen:
                        part ^= state[word - words * (byte % n + 1)]
                    symbol = symbol << _WORD | part
            result = result << bits | symbol
        return result

    def _push(self, vector):
        words = self._words
        state = self._state
        used = state[_USED]
        count = used & 0xFF
        if count < _WORDS // words:
            code = used >> 8
            if code < 15 and WINDOWS[code + 1] <= count + 1:
                code += 1
            state[_USED] = code << 8 | count + 1
            for _ in range(words):
                state.append(vector & (1 << _WORD) - 1)
                vector >>= _WORD
        else:
            first = _ROWS + self._rows
            view = memoryview(state)
            view[first:-words] = view[first + words :]
            for at in range(-words, 0):
                state[at] = vector & (1 << _WORD) - 1
                vector >>= _WORD


_EMPTY = array("I", [0] * _ROWS)


class Frame:
    """One payload on its way: `len` says how long it will be at most, calling it with its FCnt gives its bytes and
    enters it into the window. Called again with the same FCnt it gives the same bytes."""

    def __init__(self, window, codes, symbols, extras, fill):
        reading = pack(codes)
        header = 0
        between = b""  # what stands between the header and the symbols
        if extras:
            header = _EXTRAS
            between = bytes((len(extras),)) + extras
        if window._varied:
            header |= _VARIED
            present = 0
            for word in window._state[_ROWS : _ROWS + window._rows]:
                present |= 1 << QUANTITIES[word >> 24][0]
            between += bitmap(present)
        bits = window._bits
        head = len(reading) + 1 + len(between)
        room = symbols * bits + 7 >> 3
        if fill - head > room:
            room = fill - head
        count = (room << 3) // bits
        if count > _MOST:
            count = _MOST
        self._parts = window, codes, header, reading, between, count
        self._len = head + (count * bits + 7 >> 3)
        self._made = None

    def __len__(self):
        return self._len

    def __call__(self, fcnt):
        made = self._made
        if made is None or made[0] != fcnt:
            made = self._made = fcnt, self._make(fcnt)
        return made[1]

    def _make(self, fcnt):
        window, codes, header, reading, between, count = self._parts
        code, step, vector = window.take(fcnt, codes)
        header |= code
        if step:
            header |= _STEP
        bits = window._bits
        n = WINDOWS[code]
        if count > n:  # more symbols than slots say nothing new; as many as fit into the bytes of so many
            count = min(((n * bits + 7 >> 3) << 3) // bits, _MOST)
        size = count * bits + 7 >> 3
        packed = window.symbols(fcnt, count) << (size << 3) - count * bits
        window.enter(fcnt, vector)
        if between:
            return b"".join((reading, bytes((header,)), between, packed.to_bytes(size, "big")))
        return reading + (header << (size << 3) | packed).to_bytes(size + 1, "big")
