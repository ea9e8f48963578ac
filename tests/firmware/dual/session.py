"""The session record: everything comes back, nothing foreign does."""

from expect import equal, some
from lorawan import eu868
from lorawan.session import Session

NWK = bytes(range(16))
APP = bytes(range(16, 32))
ATTRIBUTES = (
    "ack_owed", "answers", "app_skey", "channel_drs", "channel_mask", "channels", "channels_used", "dev_addr", "dr",
    "fcnt_down", "fcnt_up", "nb_trans", "net_id", "nwk_skey", "rx1_delay_s", "rx1_dr_offset", "rx2_dr", "rx2_freq_hz",
    "tx_power",
)  # fmt: skip


def full():
    """A session with every attribute far from its default."""
    session = Session(0xFEDCBA98, 0xABCDEF, NWK, APP, eu868)
    session.fcnt_up = 0xFFFFFFFF
    session.fcnt_down = 0xFFFFFFFE
    session.rx1_delay_s = 15
    session.rx1_dr_offset = 5
    session.rx2_dr = 3
    session.rx2_freq_hz = 869500000
    for index in range(16):
        session.set_channel(index, 867000000 + 100 * index, 0x50 + index % 6)
    session.set_channel(9, 0, 0)
    session.channels_used = 0x1234
    session.dr = 2
    session.tx_power = 7
    session.nb_trans = 15
    session.ack_owed = True
    session.answers = bytes(range(15))
    return session


def check_round_trip():
    for session in (full(), Session(1, 0, NWK, APP, eu868)):
        record = session.pack(b"bind")
        assert len(record) <= 200, len(record)
        again = some(Session.unpack(record, b"bind"))
        for name in ATTRIBUTES:
            equal(getattr(again, name), getattr(session, name), name)
        equal(again.pack(b"bind"), record)
        equal(some(Session.unpack(record + bytes(30), b"bind")).pack(b"bind"), record, "in a larger store")
        equal(some(Session.unpack(bytearray(record), b"bind")).pack(b"bind"), record)


def check_every_attribute_is_kept():
    slots = getattr(Session, "__slots__", None)  # MicroPython drops them
    if slots:
        equal(sorted(slots), sorted(ATTRIBUTES))


def check_fresh_session():
    session = Session(1, 0, NWK, APP, eu868)
    equal((session.fcnt_up, session.fcnt_down), (0, -1))
    equal(session.channels, [868100000, 868300000, 868500000] + [0] * 13)
    equal(session.channel_mask, 7)
    equal((session.rx1_delay_s, session.rx1_dr_offset, session.rx2_dr, session.rx2_freq_hz), (1, 0, 0, 869525000))
    equal((session.dr, session.tx_power, session.nb_trans, session.ack_owed), (5, 0, 1, False))


def check_nothing_is_not_a_session():
    for data in (None, b"", b"FS", bytes(500), b"\xff" * 500):
        equal(Session.unpack(data, b"bind"), None)


def check_another_key():
    record = full().pack(b"bind")
    for binding in (b"bine", bytes(4), b"", b"bindx"):
        equal(Session.unpack(record, binding), None, binding)


def check_every_damage_is_seen():
    """Every byte changed, every length cut."""
    record = full().pack(b"bind")
    for at in range(len(record)):
        for change in (0x01, 0x80, 0xFF):
            damaged = record[:at] + bytes((record[at] ^ change,)) + record[at + 1 :]
            equal(Session.unpack(damaged, b"bind"), None, (at, change))
        equal(Session.unpack(record[:at], b"bind"), None, at)


def check_another_version():
    """A record with a good CRC of a version we do not know is left alone."""
    import struct
    from binascii import crc32

    record = full().pack(b"bind")[:-4]
    record = record[:2] + b"\x02" + record[3:]
    equal(Session.unpack(record + struct.pack("<I", crc32(record)), b"bind"), None)
