"""The node's log: its last readings in flash, so that what the air lost can be asked for.

A ring of 16 files of at most 4096 bytes each; when the newest is full the oldest is overwritten. A file fills one block
of littlefs, which is copy-on-write: adding a record costs one erased block, wherever in a larger file it were.

    file:   "FL" version | sequence number u32 | records written before it u32 | CRC | records
    record: length of the body | body | CRC
    body:   session u8 | FCnt u16 | time u32 | flags u8 | payload        a reading
            session u8 | FCnt u16                                        amends the reading before it: its frame's slot

Numbers are big-endian; a CRC is two bytes of CRC32, begun with sequence number and place, so that what an older file
left behind is no record. A slot that is planned twice was not used the first time: of readings in a row with the same
slot all but the last were never sent. They are the parts 1, 2 ... of that slot, in the order of time, and the one that
its frame carried is part 0. session: JoinNonce & 0xFF; NOWHERE is the slot of a node that has not joined.
"""

import os
import struct
from binascii import crc32

from micropython import const

FILES = const(16)
FILE_SIZE = const(4096)
NOWHERE = (0xFF, 0xFFFF)
_MAGIC = b"FL\x01"
_HEAD = ">3sII"
_HEAD_SIZE = const(13)  # with its CRC
_SLOT = ">BH"
_SLOT_SIZE = const(3)
_READING = ">BHIB"
_READING_SIZE = const(8)
_STATE = "<IIHBHBB"
_PARTS_MAX = const(255)
_LONGEST = const(64)  # bytes of a record at most: every quantity, and room for more
_ENOENT = const(2)


class Log:
    """packed: of `pack` at the last wake, b"" for none; what it says is believed only if the files agree.

    writes: how often a record was written in this log's life: so many blocks were erased, and with littlefs' own
    records of it about one in forty more. unsent: readings just before the last one that were never sent.
    boot: the number of the start (see sync) at the newest record. Every method may raise OSError.
    """

    def __init__(self, packed=b"", folder="log", open_file=open, mkdir=os.mkdir):
        self._folder = folder
        self._open = open_file
        self._mkdir = mkdir
        self._known = len(packed) == struct.calcsize(_STATE)
        self._forget()
        if self._known:
            self._sequence, self.writes, self._end, session, fcnt, self.unsent, self.boot = struct.unpack(
                _STATE, packed
            )
            self.slot = session, fcnt
            # Near the end of a file there may be a newer one, begun before a reset: a shorter record would go here.
            self._known = self._end + _LONGEST <= FILE_SIZE

    def _forget(self):
        self._sequence = self._end = self.writes = self.unsent = self.boot = 0
        self.slot = None  # type: ignore[assignment]  # mypy has seen the pair first

    def pack(self):
        """What the next wake begins with, 15 bytes; b"" for nothing."""
        if not self._known or not self.slot:
            return b""
        slot = self.slot
        return struct.pack(_STATE, self._sequence, self.writes, self._end, slot[0], slot[1], self.unsent, self.boot)

    def load(self):
        """Look at the files, unless it is known what is in them."""
        if self._known:
            return
        self._forget()
        for index in range(FILES):
            head = _head(self._read(index, _HEAD_SIZE))
            if head and head[0] > self._sequence:
                self._sequence, self.writes = head
        writes = self.writes
        if self._sequence > 1:  # what is not sent may have begun there, and the newest may have no reading yet
            for body, _ in _bodies(self._read(self._sequence - 1, FILE_SIZE), self._sequence - 1):
                self._count(body)
        self.writes = writes
        self._end = _HEAD_SIZE
        for body, end in _bodies(self._read(self._sequence, FILE_SIZE), self._sequence):
            self._end = end
            self._count(body)
        self._known = True

    def append(self, session, fcnt, when, flags, payload):
        """Add a reading, whose frame is planned to be that of `fcnt`. when, flags: of sync.Sync.stamp; the lower seven
        bits of flags are the number of the start. payload: bitmap and values."""
        self._write(struct.pack(_READING, session, fcnt & 0xFFFF, when, flags) + payload)

    def amend(self, session, fcnt):
        """The last reading is planned for another frame, or went with another one."""
        self._write(struct.pack(_SLOT, session, fcnt & 0xFFFF))

    def find(self, session, first, count):
        """Give (FCnt, part, when, flags, payload) of all readings in the slots `first` ... `first + count - 1`, in the
        order of time; FCnts are of 16 bits."""
        self.load()
        row: list = []  # readings in a row that were planned for one slot
        at = NOWHERE  # that slot
        for body in self._from(session, first):
            slot = body and struct.unpack_from(_SLOT, body)
            if body and len(body) < _READING_SIZE:
                at = slot
                continue
            if row and slot != at:
                distance = (at[1] - first) & 0xFFFF
                if at[0] == session and distance < 0x8000:
                    if distance >= count:
                        return
                    for part, old in enumerate(row):
                        when, flags = struct.unpack_from(">IB", old, _SLOT_SIZE)
                        yield at[1], (part + 1) % len(row), when, flags, old[_READING_SIZE:]
                row = []
            at = slot
            row.append(body)
            row = row[-_PARTS_MAX - 1 :]

    def _from(self, session, first):
        """The bodies from a file on that begins before slot `first`, or from the oldest; at the end b""."""
        oldest = sequence = max(1, self._sequence - FILES + 1)
        for sequence in range(self._sequence, oldest, -1):
            data = self._read(sequence, _HEAD_SIZE + 1 + _SLOT_SIZE)
            if len(data) > _HEAD_SIZE + _SLOT_SIZE and (_head(data) or (0,))[0] == sequence:
                begins = struct.unpack_from(_SLOT, data, _HEAD_SIZE + 1)
                if begins[0] == session and 0 < (first - begins[1]) & 0xFFFF < 0x8000:
                    break
        else:
            sequence = oldest
        while sequence <= self._sequence:
            data = self._read(sequence, FILE_SIZE)
            if (_head(data) or (0,))[0] == sequence:
                for body, _ in _bodies(data, sequence):
                    yield body
            sequence += 1
        yield b""

    def _name(self, sequence):
        return f"{self._folder}/{sequence % FILES}.bin"

    def _read(self, sequence, size):
        """The beginning of a file, b"" when there is none."""
        try:
            file = self._open(self._name(sequence), "rb")
        except OSError as error:
            if error.args[0] != _ENOENT:
                raise
            return b""
        with file:
            return file.read(size)

    def _count(self, body):
        slot = struct.unpack_from(_SLOT, body)
        self.writes += 1
        if len(body) >= _READING_SIZE:
            self.unsent = min(self.unsent + 1, _PARTS_MAX) if slot == self.slot else 0
            self.boot = body[_READING_SIZE - 1] & 0x7F
        self.slot = slot

    def _write(self, body):
        self.load()
        self._known = False  # until it has gone well
        if not (self._added(body) or (self._look_again() and self._added(body, True))):
            self._begin(body)
        self._known = True
        self._count(body)

    def _look_again(self):
        """More was written than the last wake came to note, or a write was torn, or the file is full."""
        self.load()
        self._known = False
        return True

    def _added(self, body, torn=False):
        """Whether it could be added to the newest file. torn: what stands behind the good records is no record."""
        end = self._end
        if not self._sequence or end + len(body) + 3 > FILE_SIZE:
            return False
        try:
            file = self._open(self._name(self._sequence), "r+b")
        except OSError:
            return False
        with file:
            head = _head(file.read(_HEAD_SIZE))
            file.seek(end)
            if not head or head[0] != self._sequence or (file.read(1) and not torn):
                return False
            file.seek(end)
            data = _sealed(body, self._sequence, end)
            file.write(data)
        self._end += len(data)
        return True

    def _begin(self, body):
        """A new file, in the place of the oldest."""
        sequence = self._sequence + 1
        head = struct.pack(_HEAD, _MAGIC, sequence, self.writes)
        head += _crc(head, 0, 0)
        data = head + _sealed(body, sequence, _HEAD_SIZE)
        try:
            file = self._open(self._name(sequence), "wb")
        except OSError:
            self._mkdir(self._folder)
            file = self._open(self._name(sequence), "wb")
        with file:
            file.write(data)
        self._sequence = sequence
        self._end = len(data)


def _crc(data, sequence, at):
    return struct.pack(">H", crc32(data, sequence << 12 & 0xFFFFF000 | at) & 0xFFFF)


def _sealed(body, sequence, at):
    data = bytes((len(body),)) + body
    return data + _crc(data, sequence, at)


def _head(data):
    """(sequence number, records written before) of a file's head, None when it is not good."""
    data = data[:_HEAD_SIZE]
    if len(data) < _HEAD_SIZE or data[:3] != _MAGIC or _crc(data[:-2], 0, 0) != data[-2:]:
        return None
    return struct.unpack_from(_HEAD, data)[1:]


def _bodies(data, sequence):
    """(body, where the record ends) of every good record. A bad one costs only itself if its length is right."""
    at = _HEAD_SIZE
    while at < len(data):
        end = at + data[at] + 3
        if end > len(data):
            return
        if end >= at + 3 + _SLOT_SIZE and _crc(data[at : end - 2], sequence, at) == data[end - 2 : end]:
            yield data[at + 1 : end - 2], end
        at = end
