"""The session record: everything comes back, nothing foreign does."""

from expect import equal, some
from lorawan import eu868
from lorawan.session import Session

NWK = bytes(range(16))
APP = bytes(range(16, 32))
ATTRIBUTES = (
    "ack_owed", "adr_ack_cnt", "answers", "app_skey", "channel_drs", "channel_mask", "channels", "channels_used",
    "dev_addr", "dl_channels", "dr", "dwell", "fcnt_down", "fcnt_up", "max_duty", "max_eirp_dbm", "nb_trans", "net_id",
    "nwk_skey", "rx1_delay_s", "rx1_dr_offset", "rx2_dr", "rx2_freq_hz", "sticky", "tx_power", "waited",
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
    session.answers = bytes(range(120))
    session.sticky = bytes(range(60))
    session.dl_channels[15] = 869525000
    session.max_duty = 15
    session.dwell = 3
    session.max_eirp_dbm = 36
    session.adr_ack_cnt = 0xFFFF
    session.waited = True
    return session


def check_round_trip():
    for session in (full(), Session(1, 0, NWK, APP, eu868), Session(1, 0, NWK, APP)):
        record = session.pack()
        assert len(record) <= 380, len(record)
        for stored in (record, bytearray(record)):
            again = some(Session.unpack(stored))
            for name in ATTRIBUTES:
                equal(getattr(again, name), getattr(session, name), name)
            equal(again.pack(), record)
    assert len(Session(1, 0, NWK, APP, eu868).pack()) < 110, "a usual session is small"


def check_every_attribute_is_kept():
    """But `changed`, which is about the moment."""
    equal(sorted(list(ATTRIBUTES) + ["changed"]), sorted(name for name in dir(full()) if name in full().__dict__))


def check_reserved_counter_takes_the_place():
    record = full().pack(77)
    equal(some(Session.unpack(record)).fcnt_up, 77)


def check_silence_without_end_does_not_overflow():
    session = full()
    session.adr_ack_cnt = 70000
    equal(some(Session.unpack(session.pack())).adr_ack_cnt, 0xFFFF)


def check_fresh_session():
    session = Session(1, 0, NWK, APP, eu868)
    equal((session.fcnt_up, session.fcnt_down), (0, -1))
    equal(session.channels, [868100000, 868300000, 868500000] + [0] * 13)
    equal(session.channel_mask, 7)
    equal((session.rx1_delay_s, session.rx1_dr_offset, session.rx2_dr, session.rx2_freq_hz), (1, 0, 0, 869525000))
    equal((session.dr, session.tx_power, session.nb_trans, session.ack_owed), (5, 0, 1, False))
    equal((session.max_duty, session.dwell, session.max_eirp_dbm, session.adr_ack_cnt), (0, 0, 16, 0))


def check_channel_comes_and_goes():
    session = Session(1, 0, NWK, APP, eu868)
    session.set_channel(7, 867100000, 0x50)
    session.dl_channels[7] = 869525000
    equal(session.channel_mask, 0b10000111)
    session.set_channel(7, 867300000, 0x53)
    equal((session.channels[7], session.channel_drs[7], session.dl_channels[7]), (867300000, 0x53, 0))
    session.set_channel(7, 0, 0)
    equal((session.channels[7], session.channel_mask), (0, 7))


def check_other_lengths_and_versions_are_no_session():
    record = full().pack()
    for size in range(len(record)):
        equal(Session.unpack(record[:size]), None, size)
    for rubbish in (b"", bytes(500), b"\xff" * 500, record + b"x"):
        equal(Session.unpack(rubbish), None)
    version_at = len(Session(1, 0, NWK, APP).pack()) - 33  # the byte before the keys, when nothing follows them
    for version in (0, 1, 3, 255):
        other = record[:version_at] + bytes((version,)) + record[version_at + 1 :]
        equal(Session.unpack(other), None, version)
