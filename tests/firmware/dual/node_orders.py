"""What the nest orders, and the readings that it gets again."""

# pyright: reportArgumentType=false

import struct

import items as written
from expect import equal
from node.earlier import RANGE, Earlier
from node.identity import Identity
from node.log import Log
from node.memory import Memory
from node.orders import carry_out
from node_fakes import Files, Nvs, Rtc

PAYLOAD = bytes.fromhex("0f65ce39a776")
OTHER = bytes.fromhex("0365ce20")


class Ordered:
    def __init__(self, data):
        self.nvs = Nvs()
        self.memory = Memory(Rtc())
        self.ticket = carry_out(bytes.fromhex(data), self.memory, Identity(self.nvs))
        self.result = self.memory.result
        stored = self.nvs.after_reset().stored
        self.settings = [stored.get("set_" + name) for name in ("interval", "parity", "confirmed")]


def check_settings_are_carried_out():
    for data, settings in (
        ("07 01 0384", [900, None, None]),
        ("07 02 02 03 01", [None, 2, 1]),
        ("07 01 0005 02 00 03 00", [5, 0, 0]),
        ("07", [None, None, None]),
    ):
        ordered = Ordered(plain(data))
        equal((ordered.ticket, ordered.memory.ticket, ordered.result, ordered.settings), (True, 7, 0, settings), data)


def check_what_is_impossible_is_refused_with_all_behind_it():
    for data, result, settings in (
        ("07 01 0004", 1, [None, None, None]),
        ("07 02 05 01 0384", 1, [None, None, None]),
        ("07 01 0384 03 02 02 01", 2, [900, None, None]),
        ("07 01 0384 02 01 09 03 01", 3, [900, 1, None]),
        ("07 00", 1, [None, None, None]),
        ("07 02", 1, [None, None, None]),
        ("07 01 03", 1, [None, None, None]),
        ("07 04 02 01 0000 01", 1, [None, None, None]),
        ("07 04 01 01 0000 00", 1, [None, None, None]),
        ("07 04 ff", 1, [None, None, None]),
        ("07 04", 1, [None, None, None]),
    ):
        ordered = Ordered(plain(data))
        equal((ordered.memory.ticket, ordered.result, ordered.settings), (7, result, settings), data)
        equal(ordered.memory.wanted, b"", data)


def check_without_a_ticket_nothing_is_done():
    for data in ("", "00", "00010384", "0005"):
        ordered = Ordered(data)
        equal((ordered.ticket, ordered.memory.ticket, ordered.settings[0]), (False, 0, None), data)
        equal(ordered.memory.restart, False)


def check_flash_that_refuses_is_a_refusal():
    nvs = Nvs()
    identity = Identity(nvs)
    nvs.trouble = OSError(-0x1105)
    memory = Memory(Rtc())
    assert carry_out(b"\x07\x02\x01", memory, identity)
    equal(memory.result, 1)


def check_log_requests_replace_one_another_and_restarts_are_noted():
    memory = Memory(Rtc())
    identity = Identity(Nvs())
    carry_out(bytes.fromhex("070402" + "01fffe05" + "0200100a"), memory, identity)
    equal(memory.wanted, wanted((1, 0xFFFE, 5), (2, 16, 10)))
    carry_out(bytes.fromhex("080401" + "01000001" + "05"), memory, identity)
    equal((memory.wanted, memory.restart, memory.ticket), (wanted((1, 0, 1)), True, 8))
    carry_out(bytes.fromhex("090400"), memory, identity)
    equal(memory.wanted, b"")
    carry_out(b"\x0a\x04\x0b" + b"\x01\x00\x00\x01" * 11, memory, identity)
    equal((memory.result, memory.wanted), (1, b""), "more ranges than it keeps")


def check_any_bytes_are_survived():
    memory = Memory(Rtc())
    identity = Identity(Nvs())
    x = 1
    for _ in range(3000):
        data = bytearray()
        for _ in range(x % 12):
            x = x * 1103515245 + 12345 & 0x7FFFFFFF
            data.append(x >> 16 & (7 if x & 1 else 255))
        x = x * 1103515245 + 12345 & 0x7FFFFFFF
        carry_out(bytes(data), memory, identity)
        assert len(memory.wanted) <= 41
        memory.save()


def a_log(*rows):
    """rows: (session, FCnt, moment in quarters, payload)."""
    files = Files()
    log = Log(b"", "log", files.open, files.mkdir)
    for session, fcnt, when, payload in rows:
        log.append(session, fcnt, when, 1, payload)
    return log


def wanted(*ranges):
    return b"\0" + b"".join([struct.pack(RANGE, session, first, count) for session, first, count in ranges])


def items(log, ranges, size=255, now=10000, session=7, fcnt=1000):
    """(hex of the items, what is left)."""
    age = lambda when, flags, now_ms: now_ms // 250 - when if flags == 1 else None  # noqa: E731
    found = Earlier(ranges, size, log, session, fcnt, age, lambda: 250 * now)
    data = found.items()
    equal(found.used, len(data))
    assert len(data) <= size
    return data.hex(), found.left


def check_readings_in_a_row_are_one_item():
    log = a_log(*[(7, fcnt, 3600 * fcnt, PAYLOAD) for fcnt in range(10)])
    values = PAYLOAD[1:].hex()
    text, left = items(log, wanted((7, 2, 3)), now=20000)
    # age of the first: 20000 - 7200 = 12800 = 0x3200; the others are 3600 = 0x0e10 younger each
    equal(text, plain("04 07 0002 00 003200 0f 03") + values + "0e10" + values + "0e10" + values)
    equal(left, b"")


def check_gaps_in_the_log_are_said():
    log = a_log((7, 1, 100, PAYLOAD), (7, 3, 300, PAYLOAD), (7, 9, 900, PAYLOAD))
    text, left = items(log, wanted((7, 0, 6)), now=1000)
    values = PAYLOAD[1:].hex()
    none = "0507{:04x}{:02x}"
    first = plain("04 07 0001 00 000384 0f 01") + values
    second = plain("04 07 0003 00 0002bc 0f 01") + values
    equal(text, none.format(0, 1) + first + none.format(2, 1) + second + none.format(4, 2))
    equal(left, b"")
    equal(items(log, wanted((9, 5, 200)))[0], plain("05 09 0005 c8"), "a session that it knows nothing of")


def check_what_is_not_sent_yet_is_not_answered():
    log = a_log((7, 998, 1, PAYLOAD), (7, 999, 2, PAYLOAD), (7, 1000, 3, PAYLOAD))
    for first, count in ((1000, 5), (1200, 255), (1000, 1)):
        equal(items(log, wanted((7, first, count))), ("", b""), first)
    text, left = items(log, wanted((7, 999, 10)))
    assert text.startswith("040703e7"), text
    equal((len(text) // 2, left), (15, b""))


def check_parts_that_were_never_sent_are_told_with_their_frame():
    log = a_log(*[(7, fcnt, when, PAYLOAD) for when, fcnt in ((10, 4), (20, 5), (30, 5), (40, 5), (50, 6))])
    values = PAYLOAD[1:].hex()
    parts = plain("04 07 0005 01 00004e 0f 02") + values + "000a" + values
    rest = plain("04 07 0005 00 00003a 0f 02") + values + "000a" + values
    equal(items(log, wanted((7, 5, 2)), now=98)[0], parts + rest)


def check_what_does_not_fit_goes_with_later_frames():
    """However small the frames are: every reading comes once, none is left out."""
    rows = []
    for fcnt in range(60):
        if fcnt % 7 != 3:
            payload = OTHER if fcnt % 10 == 5 else PAYLOAD
            rows += [(7, fcnt, 100 * fcnt + part, payload) for part in range(4 if fcnt % 11 == 2 else 1)]
    log = a_log(*rows)
    whole, _ = items(log, wanted((7, 0, 59)), size=100000)
    for size in (16, 21, 40, 77, 255):
        left = wanted((7, 0, 30), (7, 30, 29))
        seen = []
        frames = 0
        while left:
            text, left = items(log, left, size)
            seen += written.read(bytes.fromhex(text))
            frames += 1
            assert frames < 200
        expected = written.read(bytes.fromhex(whole))
        equal(sorted(seen), sorted(expected), size)
        equal(len([row for row in seen if row[0] == "reading"]), len([row for row in rows if row[1] < 59]))
    equal(items(log, wanted((7, 0, 30)), 14), ("", wanted((7, 0, 30))), "nothing fits")


def plain(text):
    return text.replace(" ", "")


def check_unknown_ages_are_said_to_be_so():
    log = a_log((7, 1, 100, PAYLOAD))
    log.append(7, 2, 200, 2, PAYLOAD)
    log.append(7, 3, 300, 2, PAYLOAD)
    values = PAYLOAD[1:].hex()
    known = plain("04 07 0001 00 0026ac 0f 01") + values
    unknown = plain("04 07 0002 00 ffffff 0f 02") + values + "0000" + values
    equal(items(log, wanted((7, 1, 3)))[0], known + unknown)


def check_looking_for_them_makes_none_older():
    """However long the log takes to be read: the ages are those at the frame, and the distances stay."""
    log = a_log(*[(7, fcnt, 3600 * fcnt, PAYLOAD) for fcnt in range(4)])
    now_ms = [0]
    real = log.find

    def find(session, first, count):
        for row in real(session, first, count):
            now_ms[0] += 10000
            yield row

    log.find = find
    found = Earlier(
        wanted((7, 0, 4)), 255, log, 7, 1000, lambda when, flags, now: 20000 + now // 250 - when, lambda: now_ms[0]
    )
    ages = [row[4] for row in written.read(found.items())]
    equal(ages, [20160, 16560, 12960, 9360])
