"""The certification protocol: each command as TS009-1.0.0 writes it, byte by byte."""

from expect import equal
from lorawan.certification import DISABLE, JOIN, PORT, RESET, Certification


class Outcome:
    """As `mac.Outcome`, as far as the protocol looks at it."""

    def __init__(self, *downlinks, acked=None):
        self.downlinks = list(downlinks)
        self.acked = acked


def tool(lab=False):
    return Certification(b"\x01\x02\x03\x04", lab)


def wishes(one):
    return one.wish, one.ask, one.adr, one.confirmed, one.period_s, one.duty_cycle


NONE = wishes(tool())


def check_nothing_at_first():
    equal(NONE, (0, b"", None, False, 0, True))
    equal(tool().uplink(7, b"reading", 51), (7, b"reading"))
    equal(PORT, 224)


def check_answers():
    one = tool()
    for command, answer in (
        (b"\x00", b"\x00\x06\x01"),
        (b"\x7f", b"\x7f\x01\x02\x03\x04\x01\x00\x04\x00\x01\x00\x04\x00"),
        (b"\x08\x01\x02\xff\x00", b"\x08\x02\x03\x00\x01"),
        (b"\x08", b"\x08"),
        (b"\x09", b"\x09\x00\x00"),
    ):
        equal(one.handle(command), answer, command)
        equal(one.uplink(7, b"reading", 51), (224, answer), command)
        equal(one.uplink(7, b"reading", 51), (7, b"reading"), command)  # once
        equal(wishes(one), NONE, command)


def check_the_echo_is_cut_to_what_fits():
    one = tool()
    one.handle(b"\x08" + bytes(range(241)))
    equal(one.answer, b"\x08" + bytes(range(1, 242)))
    equal(one.uplink(7, b"", 51), (224, b"\x08" + bytes(range(1, 51))))


def check_commands_that_only_wish():
    for command, name, want in (
        (b"\x01", "wish", RESET),
        (b"\x02", "wish", JOIN),
        (b"\x7e", "wish", DISABLE),
        (b"\x20", "ask", b"\x02"),
        (b"\x21", "ask", b"\x0d"),
        (b"\x04\x01", "adr", True),
        (b"\x04\x00", "adr", False),
        (b"\x07\x02", "confirmed", True),
        (b"\x06\x03", "period_s", 20),
        (b"\x05\x00", "duty_cycle", False),
    ):
        one = tool(lab=True)
        equal(one.handle(command), b"", command)
        equal(getattr(one, name), want, command)
        setattr(one, name, getattr(tool(), name))
        equal(wishes(one), NONE, command)  # nothing else


def check_periods():
    one = tool()
    for index, seconds in enumerate((0, 5, 10, 20, 30, 40, 50, 60, 120, 240, 480)):
        one.handle(bytes((6, index)))
        equal(one.period_s, seconds, index)
    for index in (11, 255):
        one.handle(bytes((6, index)))
        equal(one.period_s, 480, index)


def check_frame_types():
    one = tool()
    for value, confirmed in ((0, False), (2, True), (0, True), (3, True), (255, True), (1, False)):
        one.handle(bytes((7, value)))
        equal(one.confirmed, confirmed, value)


def check_the_law_stays_on_outside_a_laboratory():
    one = tool(lab=False)
    for value in (0, 1, 2, 255):
        one.handle(bytes((5, value)))
        equal(one.duty_cycle, True, value)
    one = tool(lab=True)
    for value, on in ((2, True), (255, True), (0, False), (2, False), (1, True)):
        one.handle(bytes((5, value)))
        equal(one.duty_cycle, on, value)


def check_what_is_passed_over():
    one = tool(lab=True)
    one.handle(b"")
    for cid in range(256):  # every command one byte too long, and each that has a value without it
        if cid != 8:
            for size in (1, 2, 3, 7):
                if size != (2 if 3 <= cid <= 7 else 1):
                    one.handle(bytes((cid,)) + b"\x01" * (size - 1))
                    equal((wishes(one), one.answer, one.count), (NONE, b"", 0), (cid, size))
    known = (0, 1, 2, 8, 9, 10, 0x20, 0x21, 0x7E, 0x7F)
    for cid in range(256):
        if cid not in known:
            one.handle(bytes((cid,)))
            equal((wishes(one), one.answer), (NONE, b""), cid)
    for payload in (b"\x03\x00", b"\x03\x01", b"\x03\x02", b"\x04\x02", b"\x7d\x08\x00\xd8\xb2\x83\x0e", b"\x22\x00"):
        one.handle(payload)
        equal((wishes(one), one.answer), (NONE, b""), payload)


def check_a_later_command_takes_the_place_of_an_answer():
    one = tool()
    one.handle(b"\x08\x01")
    one.handle(b"\x00")
    equal(one.uplink(7, b"", 51), (224, b"\x00\x06\x01"))
    one.handle(b"\x08\x01")
    one.handle(b"\x06\x01")
    equal(one.uplink(7, b"reading", 51), (7, b"reading"))


def check_counting():
    """Every downlink with FPort 1 and above, or with an ACK, once; none that held MAC commands alone."""
    one = tool()
    one.heard(Outcome())
    one.heard(Outcome(acked=False))
    equal(one.count, 0)
    one.heard(Outcome((1, b"x", 0)))
    one.heard(Outcome(acked=True))
    one.heard(Outcome((1, b"x", 1), acked=True))
    equal(one.count, 3)
    one.heard(Outcome((224, b"\x09", 2)))  # the question counts
    equal(one.uplink(7, b"", 51), (224, b"\x09\x04\x00"))
    one.heard(Outcome((224, b"\x0a", 3)))
    equal(one.count, 0)
    one.count = 0x1234
    one.heard(Outcome((224, b"\x09", 4)))
    equal(one.answer, b"\x09\x35\x12")
    one.count = 0xFFFF
    one.heard(Outcome((1, b"", 5)))
    equal(one.count, 0)


def check_only_port_224_commands():
    one = tool(lab=True)
    one.heard(Outcome((1, b"\x01", 0), (223, b"\x02", 1)))
    equal((wishes(one), one.answer), (NONE, b""))
