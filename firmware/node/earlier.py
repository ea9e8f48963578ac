"""Readings of the log on their way to the nest, which asked for them: as many with each frame as it has room for."""

import struct

from micropython import const

from payload import extras

RANGE = ">BHB"  # session, first FCnt, count
RANGE_SIZE = const(4)
_NONE_SIZE = const(5)
_DT_SIZE = const(2)
_RECORDS_MAX = const(255)
_MORE = const(0x80)  # of a byte of a bitmap: another one follows


class Earlier:
    """What of the wanted readings goes with the next frame.

    wanted: b"" for nothing, else a byte that says how many parts of the first slot went out already, and ranges, one
    after the other. size: bytes that the items may have; log: node.log; session, fcnt: the slot of that frame, only
    what is before it can be answered. age(when, flags, now_ms): quarters of a second since a stamp, or None; now_ms():
    node time.
    left: what stays wanted when the frame was sent; used: bytes of the items.
    Raises OSError when the log cannot be read.
    """

    def __init__(self, wanted, size, log, session, fcnt, age, now_ms):
        self._size = size
        self._age = age
        self._now_ms = now_ms
        self._began_ms = now_ms()  # one moment for all: looking takes a while, and no reading is younger for it
        self._items = []  # bytes of NONE, and blocks: [session, FCnt, part, when, flags, records]
        self._last = None  # session, FCnt, part, age of the last reading in the newest block
        self._done = wanted[0] if wanted else 0
        ranges = wanted[1:]
        rest = b""
        while ranges and not rest:
            rest = self._answer(ranges, log, session, fcnt)
            ranges = rest + ranges[RANGE_SIZE:]
        self.left = bytes((self._done,)) + ranges if ranges else b""
        self.used = size - self._size

    def items(self):
        """The items as bytes, with ages as they are now."""
        result = b""
        for item in self._items:
            if isinstance(item, list):
                session, fcnt, part, when, flags, records = item
                age = self._age(when, flags, self._now_ms())
                item = extras.earlier(session, fcnt, part, extras.AGE_UNKNOWN if age is None else age, records)
            result += item
        return result

    def _answer(self, ranges, log, session_now, fcnt_now):
        """Take the first range as far as it fits; what is left of it, or b""."""
        session, first, count = struct.unpack_from(RANGE, ranges)
        at = 0  # slots answered
        if session == session_now:
            before = fcnt_now - first & 0xFFFF
            count = min(count, before) if before < 0x8000 else 0
        for fcnt, part, when, flags, payload in log.find(session, first, count) if count else ():
            distance = fcnt - first & 0xFFFF
            if distance > at:
                if not self._none(session, first + at, distance - at):
                    break
                at = distance
                self._done = 0
            if 0 < part <= self._done:
                continue
            if not self._reading(session, fcnt, part, when, flags, payload):
                break
            self._done = part
            if not part:
                at += 1
        else:
            if at == count or self._none(session, first + at, count - at):
                self._done = 0
                return b""
        return struct.pack(RANGE, session, first + at & 0xFFFF, count - at)

    def _none(self, session, fcnt, count):
        if self._size < _NONE_SIZE:
            return False
        self._size -= _NONE_SIZE
        self._items.append(extras.none(session, fcnt, count))
        return True

    def _reading(self, session, fcnt, part, when, flags, payload):
        """Add one, to the block of the one before it if that may be. False when there is no room."""
        cut = 1
        while payload[cut - 1] & _MORE:
            cut += 1
        bitmap = payload[:cut]
        age = self._age(when, flags, self._began_ms)
        dt = self._follows(session, fcnt, part, age, bitmap)
        size = extras.EARLIER_HEAD + 1 + len(payload) if dt is None else _DT_SIZE + len(payload) - cut
        if size > self._size:
            return False
        self._size -= size
        if dt is None:
            self._block = [session, fcnt, part, when, flags, []]
            self._items.append(self._block)
        self._block[5].append((dt, bitmap, payload[cut:]))
        self._last = session, fcnt, part, age
        return True

    def _follows(self, session, fcnt, part, age, bitmap):
        """How much younger it is than the last one, None when it needs a block of its own."""
        last = self._last
        if not last or last[0] != session or self._block[5][0][1] != bitmap or len(self._block[5]) == _RECORDS_MAX:
            return None
        next_slot = (last[1], last[2] + 1) if self._block[2] else (last[1] + 1 & 0xFFFF, 0)
        if next_slot != (fcnt, part) or (age is None) != (last[3] is None):
            return None
        dt = 0 if age is None else last[3] - age
        return dt if 0 <= dt <= 0xFFFF else None
