"""The items behind a reading (boards/payload.md, Extras), read for checks on both interpreters. It stands apart from
payload.extras, which writes them."""

import struct

MORE = 0x80
READING = {0x0F: 5, 0x03: 3, 0x00: 0}  # bytes of values by bitmap: the sets that the checks use


def items_of(payload):
    """The items of a whole payload, b"" for none."""
    at = 1 + READING[payload[0]]
    if at >= len(payload) or not payload[at] & 0x40:
        return b""
    return payload[at + 2 : at + 2 + payload[at + 1]]


def read(items):
    """[("reading", session, FCnt, part, age, values)], ("none", session, FCnt), ("age", n), ("answer", ticket, result),
    ("unsent", n). Ages are in quarters of a second, None when unknown."""
    result = []
    at = 0
    while at < len(items):
        kind = items[at]
        if kind == 1:
            result.append(("age", items[at + 1] << 8 | items[at + 2]))
            at += 3
        elif kind == 2:
            result.append(("answer", items[at + 1], items[at + 2]))
            at += 3
        elif kind == 3:
            result.append(("unsent", items[at + 1]))
            at += 2
        elif kind == 5:
            session, fcnt, count = struct.unpack(">BHB", items[at + 1 : at + 5])
            result += [("none", session, fcnt + index & 0xFFFF) for index in range(count)]
            at += 5
        else:
            assert kind == 4, kind
            session, fcnt, part, high, low = struct.unpack(">BHBBH", items[at + 1 : at + 8])
            age = high << 16 | low
            age = None if age == 0xFFFFFF else age
            size = READING[items[at + 8]]
            count = items[at + 9]
            at += 10
            for index in range(count):
                if index:
                    age = age and age - (items[at] << 8 | items[at + 1])
                    at += 2
                result.append(("reading", session, fcnt, part, age, items[at : at + size]))
                at += size
                fcnt, part = (fcnt, part + 1) if part else (fcnt + 1 & 0xFFFF, 0)
    return result
