"""MAC commands: cut into commands, carried out, answered."""

from binascii import unhexlify as b

from expect import equal
from lorawan import commands, eu868
from lorawan.session import Session
from lorawan_rows import rows

KEY = bytes(16)


def sizes(row):
    return commands.DOWN_SIZES if row["dir"] else commands.UP_SIZES


def check_streams_are_cut(vectors):
    """Every published command is one command of the table and nothing is left over."""
    for row in rows(vectors, "mac_commands"):
        wire = b(row["wire"])
        got = commands.parse(wire, sizes(row))
        equal(b"".join([bytes((cid,)) + data for cid, data in got]), wire, row["name"])
        fields = row["fields"]
        equal(len(got), fields.get("count", len(fields.get("cids", "x"))), row["name"])
        if "cids" in fields:
            equal([cid for cid, _ in got], fields["cids"])


def check_streams_cut_short(vectors):
    for row in rows(vectors, "mac_commands"):
        wire = b(row["wire"])
        whole = commands.parse(wire, sizes(row))
        for size in range(len(wire)):
            got = commands.parse(wire[:size], sizes(row))
            equal(got, whole[: len(got)], row["name"])
            assert len(got) < len(whole), row["name"]


def check_published_requests(vectors):
    """What this device does with each published downlink command."""
    for row in rows(vectors, "mac_commands"):
        if not row["dir"]:
            continue
        session = Session(1, 0, KEY, KEY, eu868)
        before = session.pack(KEY[:4])
        answers = commands.apply(session, eu868, b(row["wire"]), 5.0, 200)
        cid = b(row["wire"])[0]
        fields = row["fields"]
        if cid == commands.RX_TIMING_SETUP:
            equal(session.rx1_delay_s, fields["delay"])
            equal(answers, b"\x08")
        elif cid == commands.DEV_STATUS:
            equal(answers, b"\x06\xc8\x05")
        elif cid == commands.RX_PARAM_SETUP:
            # 26 MHz and DR11 are nothing for this radio; the offset alone would do: nothing is taken
            equal(answers, b"\x05\x04")
            equal(session.pack(KEY[:4]), before)
        else:
            equal(answers, b"", row["name"])
            equal(session.pack(KEY[:4]), before, row["name"])


def check_dev_status_answers(vectors):
    """Published DevStatusAns values come out of the battery and SNR they state."""
    seen = 0
    for row in rows(vectors, "mac_commands"):
        if not row["dir"] and "margin" in row["fields"]:
            session = Session(1, 0, KEY, KEY, eu868)
            fields = row["fields"]
            got = commands.apply(session, eu868, b"\x06", float(fields["margin"]), fields["battery"])
            equal(got, b(row["wire"]), row["name"])
            seen += 1
    equal(seen, 3)


def check_margin_is_rounded_and_limited():
    session = Session(1, 0, KEY, KEY, eu868)
    for snr, want in ((-40.0, 0x20), (-32.4, 0x20), (-0.6, 0x3F), (-0.4, 0), (0.4, 0), (9.75, 10), (50.0, 31)):
        equal(commands.apply(session, eu868, b"\x06", snr, 255), bytes((6, 255, want)), snr)


def check_rx_param_setup_is_all_or_nothing():
    good = b"\x05\x23\xd2\xad\x84"  # RX1DROffset 2, RX2 DR3, 869.525 MHz
    session = Session(1, 0, KEY, KEY, eu868)
    session.rx2_freq_hz = 0
    equal(commands.apply(session, eu868, good, 0.0, 255), b"\x05\x07")
    equal((session.rx1_dr_offset, session.rx2_dr, session.rx2_freq_hz), (2, 3, 869525000))
    for bad, status in ((b"\x05\x63\xd2\xad\x84", 3), (b"\x05\x27\xd2\xad\x84", 5), (b"\x05\x23\x00\x00\x00", 6)):
        session = Session(1, 0, KEY, KEY, eu868)
        before = session.pack(KEY[:4])
        equal(commands.apply(session, eu868, bad, 0.0, 255), bytes((5, status)))
        equal(session.pack(KEY[:4]), before)


def check_rx_timing_setup():
    session = Session(1, 0, KEY, KEY, eu868)
    for on_air, want in ((5, 5), (0, 1), (1, 1), (15, 15), (0xF3, 3)):
        equal(commands.apply(session, eu868, bytes((8, on_air)), 0.0, 255), b"\x08")
        equal(session.rx1_delay_s, want)


def check_unknown_command_ends_the_block():
    """What stands before an unknown command is carried out, what stands after it is not."""
    session = Session(1, 0, KEY, KEY, eu868)
    equal(commands.apply(session, eu868, b"\x08\x05\x80\x06", 0.0, 255), b"\x08")
    equal(session.rx1_delay_s, 5)


def check_answers_that_fit():
    answers = b"\x05\x07\x06\xff\x00\x08"
    for room, want in ((0, b""), (1, b""), (2, b"\x05\x07"), (4, b"\x05\x07"), (5, answers[:5]), (6, answers)):
        equal(commands.fitting(answers, room), want, room)
    equal(commands.fitting(b"\x06\xff\x00" * 6, 200), b"\x06\xff\x00" * 5)
    equal(commands.sticky(answers), b"\x05\x07\x08")


def check_endless_requests_do_not_make_the_record_unreadable():
    """242 bytes of DevStatusReq fit into a downlink; 726 bytes of answers fit into nothing."""
    session = Session(1, 0, KEY, KEY, eu868)
    session.answers = commands.apply(session, eu868, b"\x06" * 242 + b"\x08\x05", 5.0, 255)
    equal(session.answers, b"\x06\xff\x05" * 20)
    equal(session.rx1_delay_s, 1, "what is not answered is not carried out")
    again = Session.unpack(session.pack(KEY[:4]), KEY[:4])
    equal(again and again.answers, session.answers)
