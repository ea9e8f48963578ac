"""What the sensors leave for the next wake, in RTC memory: a part of node.memory's record, which checks it.

When each sensor with a rhythm of its own was asked last, which sensors were found on the bus, how often the rain gauge
has tipped. Notes of another configuration are no notes.
"""

import struct
from binascii import crc32

from micropython import const

_FIXED = "<IIIqIHBBB"  # mark, tips, tips_read, until_ms, length_ms, wakes, flags, number found, number in `asked`
_HEAD = const(29)
_KNOWN = const(1)  # tips are counted, not merely 0
_OPENING = const(2)
_CHATTERED = const(4)
_NEVER = const(255)  # "number found" of a node that has not looked yet


def mark(sensors, find):
    """A number for a configuration: config.json's "sensors" and "find"."""
    return crc32(repr((sensors, find)).encode())


class Notes:
    """packed: of an earlier `pack`, b"" for none; mark: see there.

    asked: {place in "sensors" + "find": node time in s when it was asked last}. found: places in "find", or None.
    tips: of the rain gauge, None when unknown; tips_read: those at the last reading. Of a deep sleep that the gauge may
    end: until_ms, length_ms (when it shall be over, in ms of the chip's calendar, and how long it was to be), wakes (by
    the gauge, so far), opening (it waits for the contact to open), chattered (it was woken too often).
    """

    def __init__(self, packed, mark):
        self._mark = mark
        self.asked = {}
        self.found = None
        self.tips = None
        self.tips_read = 0
        self.until_ms = 0
        self.length_ms = 0
        self.wakes = 0
        self.opening = False
        self.chattered = False
        if len(packed) >= _HEAD and struct.unpack_from("<I", packed)[0] == mark:
            self._load(packed)

    def _load(self, packed):
        fixed = struct.unpack_from(_FIXED, packed)
        _, tips, self.tips_read, self.until_ms, self.length_ms, self.wakes, flags, found, asked = fixed
        self.tips = tips if flags & _KNOWN else None
        self.opening = bool(flags & _OPENING)
        self.chattered = bool(flags & _CHATTERED)
        at = _HEAD
        if found != _NEVER:
            self.found = list(packed[at : at + found])
            at += found
        for _ in range(asked):
            place, asked_s = struct.unpack_from("<BI", packed, at)
            self.asked[place] = asked_s
            at += 5

    def pack(self):
        """bytes for `memory.sensors`: 29, one for each sensor that was found, 5 for each with a rhythm."""
        flags = (
            (_KNOWN if self.tips is not None else 0)
            | (_OPENING if self.opening else 0)
            | (_CHATTERED if self.chattered else 0)
        )
        found = _NEVER if self.found is None else len(self.found)
        numbers = self._mark, self.tips or 0, self.tips_read, self.until_ms, self.length_ms, self.wakes
        result = struct.pack(_FIXED, *numbers, flags, found, len(self.asked)) + bytes(self.found or ())
        for place in self.asked:
            result += struct.pack("<BI", place, self.asked[place])
        return result

    def due(self, place, every_s, now_s):
        """Whether the sensor at this place is asked at node time `now_s`: when nearly all of its `every_s` is over,
        because wakes come a little early or late; and when the node's time began anew."""
        asked_s = self.asked.get(place)
        return not every_s or asked_s is None or not 0 <= now_s - asked_s < every_s - every_s // 20
