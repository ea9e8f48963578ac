"""One page of NVS in ESP-IDF's format, and its entries (see nvs_pages.py)."""

import struct
from binascii import crc32, hexlify

from micropython import const

SIZE = const(4096)
ENTRIES = const(126)
ENTRY = const(32)
ACTIVE, FULL, FREEING = 0xFFFFFFFE, 0xFFFFFFFC, 0xFFFFFFF8
U8, I32, SZ, BLOB, DATA, INDEX = 0x01, 0x14, 0x21, 0x41, 0x42, 0x48
SEED = 0xFFFFFFFF
_FIRST = const(64)
_BITMAP = const(32)
_EMPTY, _WRITTEN, _ERASED = const(3), const(2), const(0)
# of the four states in a byte, how many are "written"
_WRITTEN_IN = bytes(sum((states >> shift & 3) == _WRITTEN for shift in (0, 2, 4, 6)) for states in range(256))


def text(key):
    """The name in an entry; what is no UTF-8 is a name that nobody asks for."""
    raw = bytes(key).split(b"\0")[0]
    try:
        return raw.decode()
    except (UnicodeError, ValueError):
        return "\ufffd" + hexlify(raw).decode()


def head_of(number, kind, span, chunk, key, data):
    name = key.encode()
    head = struct.pack("<BBBB", number, kind, span, chunk)
    rest = name + bytes(16 - len(name)) + data
    return head + struct.pack("<I", crc32(rest, crc32(head, SEED))) + rest


def _entry_crc(entry):
    return crc32(entry[8:32], crc32(entry[:4], SEED))


class Page:
    """One page: `at` its address, `data` its bytes as the flash has them."""

    def __init__(self, chip, at):
        self._chip = chip
        self.at = at
        self.load()

    def load(self):
        self.data = bytearray(self._chip.read(self.at, SIZE))
        state, self.seq = struct.unpack_from("<II", self.data)
        whole = crc32(self.data[4:28], SEED) == struct.unpack_from("<I", self.data, 28)[0]
        if state == 0xFFFFFFFF and self.data == b"\xff" * SIZE:
            self.state = None  # empty
        elif whole and self.data[8] in (0xFE, 0xFF) and state in (ACTIVE, FULL, FREEING):
            self.state = state
        else:
            self.state = 0  # what a cut left of a header or of an erased page, or something else
        self.next = 0
        if self.state:
            self.next = max((i + 1 for i in range(ENTRIES) if self.entry_state(i) != _EMPTY), default=0)

    def _program(self, offset, data):
        self._chip.program(self.at + offset, data)
        self.data[offset : offset + len(data)] = data

    def erase(self):
        self._chip.erase(self.at)
        self.data = bytearray(b"\xff" * SIZE)
        self.state = None
        self.next = 0

    def activate(self, seq):
        if self.state is not None:
            self.erase()
        head = struct.pack("<IIB", ACTIVE, seq, 0xFE) + b"\xff" * 19
        self._program(0, head + struct.pack("<I", crc32(head[4:], SEED)))
        self.state, self.seq = ACTIVE, seq

    def become(self, state):
        self._program(0, struct.pack("<I", state))
        self.state = state

    def entry_state(self, index):
        return self.data[_BITMAP + (index >> 2)] >> (index & 3) * 2 & 3

    def set_states(self, first, end, state):
        """From the end on, so that the head of a value is the last to go."""
        while end > first:
            word = max(first, (end - 1) & ~15)
            offset = _BITMAP + (word >> 4) * 4
            bits = int.from_bytes(self.data[offset : offset + 4], "little")
            for index in range(word, end):
                bits &= ~((3 ^ state) << (index & 15) * 2)
            self._program(offset, (bits & 0xFFFFFFFF).to_bytes(4, "little"))
            end = word

    def entry(self, index):
        start = _FIRST + index * ENTRY
        return bytes(self.data[start : start + ENTRY])

    def payload(self, index):
        """What follows a head of variable length; b"" and False when it is damaged."""
        size, _, wanted = struct.unpack_from("<HHI", self.entry(index), 24)
        start = _FIRST + (index + 1) * ENTRY
        data = bytes(self.data[start : start + size])
        return data, len(data) == size and crc32(data, SEED) == wanted

    def body(self, index, head):
        """The entries behind a head, as they are."""
        start = _FIRST + (index + 1) * ENTRY
        return bytes(self.data[start : start + (head[2] - 1) * ENTRY])

    def used(self):
        return sum(_WRITTEN_IN[states] for states in self.data[_BITMAP:_FIRST])

    def room(self):
        return ENTRIES - self.next

    def write(self, head, data=b""):
        """Add an item; its index. head: 32 bytes with their CRC."""
        index = self.next
        self._program(_FIRST + index * ENTRY, head)
        self.next += 1
        self.set_states(index, self.next, _WRITTEN)
        if data:
            end = self.next + (len(data) + 31) // 32
            self._program(_FIRST + self.next * ENTRY, data + b"\xff" * (-len(data) % ENTRY))
            self.set_states(self.next, end, _WRITTEN)
            self.next = end
        return index

    def erase_item(self, index):
        span = self.entry(index)[2]
        if not 1 <= span <= ENTRIES - index:
            span = 1
        self.set_states(index, index + span, _ERASED)
        self.next = max(self.next, index + span)

    def items(self):
        """(index, head) of every whole item; what is not whole is erased on the way."""
        if self.state == ACTIVE:
            self._tidy_end()
        index = 0
        while index < self.next:
            if self.entry_state(index) != _WRITTEN:
                if self.entry_state(index) != _ERASED:
                    self.set_states(index, index + 1, _ERASED)
                index += 1
                continue
            head = self.entry(index)
            if not self._is_whole(index, head):
                whole_head = _entry_crc(head) == struct.unpack_from("<I", head, 4)[0]
                self.erase_item(index) if whole_head else self.set_states(index, index + 1, _ERASED)
                index += 1
                continue
            yield index, head
            index += head[2]

    def _is_whole(self, index, head):
        span = head[2]
        if _entry_crc(head) != struct.unpack_from("<I", head, 4)[0] or not 1 <= span <= ENTRIES - index:
            return False
        if head[1] in (SZ, BLOB, DATA):
            size = struct.unpack_from("<H", head, 24)[0]
            if span != 1 + (size + 31) // 32 or not self.payload(index)[1]:
                return False
        return all(self.entry_state(i) == _WRITTEN for i in range(index, index + span))

    def _tidy_end(self):
        """What was written into entries that are still said to be empty."""
        for index in range(ENTRIES - 1, self.next - 1, -1):
            if self.entry(index) != b"\xff" * ENTRY:
                first, self.next = self.next, index + 1
                self.set_states(first, self.next, _ERASED)
                return
