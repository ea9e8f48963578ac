"""What a frame says beside its reading and parity: items, to be joined in any order (boards/payload.md, Extras).

Ages and time differences are in quarters of a second. session: JoinNonce & 0xFF; fcnt: any, its low 16 bits are sent.
"""

import struct

from micropython import const

AGE_UNKNOWN = const(0xFFFFFF)
MOST = const(255)  # bytes of all items of a frame
EARLIER_HEAD = const(8)  # bytes of an EARLIER item before its bitmap, which is followed by one byte for the count
_AGE_MAX = const(0xFFFF)


def age(quarters):
    """How old the reading is when the transmission begins; what is older than 4.5 hours is said to be that old."""
    return struct.pack(">BH", 1, min(quarters, _AGE_MAX))


def answer(ticket, result):
    """What came of the commands with that ticket: 0 all done, n: the n-th was refused, and those behind it."""
    return struct.pack(">BBB", 2, ticket, result)


def unsent(count):
    """So many readings before this one were made but never sent."""
    return struct.pack(">BB", 3, min(count, 255))


def earlier(session, fcnt, part, age, records):
    """Readings of the log. records: [(dt, bitmap, values)], all with the same bitmap: dt, how much younger than the one
    before (of the first: any); values: bytes as payload.encode packs them behind the bitmap. age: of the first, or
    AGE_UNKNOWN. With part 0 their FCnts rise by one, else their parts."""
    if age > AGE_UNKNOWN:
        age = AGE_UNKNOWN
    head = struct.pack(">BBHBBH", 4, session, fcnt & 0xFFFF, part, age >> 16, age & 0xFFFF)
    parts = [head, records[0][1], bytes((len(records),)), records[0][2]]
    for dt, _, values in records[1:]:
        parts.append(struct.pack(">H", min(max(0, dt), 0xFFFF)))
        parts.append(values)
    return b"".join(parts)


def none(session, fcnt, count):
    """The log has no reading for `count` FCnts from `fcnt` on."""
    return struct.pack(">BBHB", 5, session, fcnt & 0xFFFF, count)
