"""The region's tables."""

from expect import equal
from lorawan import eu868


def check_rx1_table(vectors):
    """As published, for the data rates there are: DR8 and above (LR-FHSS) are nothing for these radios."""
    equal([list(row) for row in eu868.RX1_DR], vectors["eu868_rx1_dr"]["table"][: len(eu868.DATA_RATES)])


def check_every_dl_settings():
    """All 256 values of DLSettings give a session with windows that can be opened."""
    from lorawan.mac import new_session

    for dl_settings in range(256):
        accept = {
            "join_nonce": 1,
            "net_id": 2,
            "dev_addr": 3,
            "rx1_dr_offset": dl_settings >> 4 & 7,
            "rx2_dr": dl_settings & 15,
            "rx_delay_s": 1,
            "cflist": None,
        }
        session = new_session(eu868, accept, bytes(16), 0, 5)
        assert eu868.DATA_RATES[session.rx2_dr]
        for dr in range(7):
            assert eu868.DATA_RATES[eu868.RX1_DR[dr][session.rx1_dr_offset]]
        if dl_settings >> 4 & 7 <= 5:
            equal(session.rx1_dr_offset, dl_settings >> 4 & 7)
        if dl_settings & 15 <= 6:
            equal(session.rx2_dr, dl_settings & 15)


def check_sub_bands():
    """Every default channel may be used; the alarm bands between the sub-bands may not."""
    for freq_hz in eu868.DEFAULT_CHANNELS_HZ:
        assert eu868.sub_band(freq_hz) >= 0, freq_hz
    for freq_hz in (867100000, 867900000, 868800000, 869525000):
        assert eu868.sub_band(freq_hz) >= 0, freq_hz
    for freq_hz in (0, 862999900, 868650000, 869300000, 869680000, 870000100, 1677721500):
        equal(eu868.sub_band(freq_hz), -1, freq_hz)
    assert eu868.can_listen(869525000)
    assert not eu868.can_listen(0)
    assert not eu868.can_listen(26265700)
    equal([dr for dr in range(16) if eu868.can_receive(dr)], [0, 1, 2, 3, 4, 5, 6])


def check_duty_cycles():
    for freq_hz, permille in ((868100000, 10), (867100000, 10), (864000000, 1), (869525000, 100), (868900000, 1)):
        equal(eu868.SUB_BANDS[eu868.sub_band(freq_hz)][2], permille)


def check_channels_of_the_rare_bands_are_not_taken():
    """863 to 865 and 868.7 to 869.2 MHz allow 0.1 %: a node that keeps to 1 % in all would break the law there."""
    for freq_hz in (867100000, 868100000, 869500000, 869800000):
        assert eu868.can_transmit(freq_hz), freq_hz
    for freq_hz in (0, 863500000, 864900000, 868650000, 868800000, 869100000, 870000100):
        assert not eu868.can_transmit(freq_hz), freq_hz
    from lorawan.mac import new_session

    cflist = b"".join((hz // 100).to_bytes(3, "little") for hz in (864100000, 867300000, 868800000, 0, 0)) + b"\0"
    accept = {
        "join_nonce": 1, "net_id": 2, "dev_addr": 3, "rx1_dr_offset": 0, "rx2_dr": 0, "rx_delay_s": 1, "cflist": cflist,
    }  # fmt: skip
    session = new_session(eu868, accept, bytes(16), 0, 5)
    equal([hz for hz in session.channels if hz], [868100000, 868300000, 868500000, 867300000])
