"""EU868's table, and what `region` reads from it."""

from commanded import fresh, told
from expect import equal
from lorawan import eu868, region
from lorawan.mac import new_session


def accepted(dl_settings=0, freqs=(), kind=0):
    """The session that a JoinAccept with these DLSettings and this CFList begins."""
    cflist = None
    if freqs:
        cflist = b"".join([(hz // 100).to_bytes(3, "little") for hz in freqs]) + bytes((kind,))
    accept = {
        "join_nonce": 1,
        "net_id": 2,
        "dev_addr": 3,
        "rx1_dr_offset": dl_settings >> 4 & 7,
        "rx2_dr": dl_settings & 15,
        "rx_delay_s": 1,
        "cflist": cflist,
    }
    return new_session(eu868, accept, bytes(16), 0, 5)


def check_rx1_table(vectors):
    """As published, for the data rates there are: DR8 and above (LR-FHSS) are nothing for these radios."""
    want = vectors["eu868_rx1_dr"]["table"]
    equal([list(row) for row in eu868.RX1_DR], want[: len(eu868.DATA_RATES)])
    for dr in range(7):
        for offset in range(6):
            equal(region.rx1_dr(eu868, dr, offset, 0), want[dr][offset])


def check_every_dl_settings():
    """All 256 values of DLSettings give a session with windows that can be opened."""
    for dl_settings in range(256):
        session = accepted(dl_settings)
        assert region.can_receive(eu868, session.rx2_dr)
        for dr in range(7):
            assert region.can_receive(eu868, region.rx1_dr(eu868, dr, session.rx1_dr_offset, 0))
        if dl_settings >> 4 & 7 <= 5:
            equal(session.rx1_dr_offset, dl_settings >> 4 & 7)
        if dl_settings & 15 <= 6:
            equal(session.rx2_dr, dl_settings & 15)


def check_default_channels():
    equal(eu868.DEFAULT_CHANNELS_HZ, (868100000, 868300000, 868500000))
    session = fresh()
    equal(session.channels, [868100000, 868300000, 868500000] + [0] * 13)
    equal(bytes(session.channel_drs[:3]), b"\x50" * 3)
    equal(session.channel_mask, 7)


def check_default_windows():
    equal((eu868.RX2_FREQ_HZ, eu868.RX2_DR, eu868.RX1_DELAY_S, eu868.JOIN_RX1_DELAY_S), (869525000, 0, 1, 5))


def check_payload_sizes():
    """M; N, the application's share, is 8 less: 51, 115 and 242 bytes."""
    equal([region.max_payload(eu868, dr, 0) for dr in range(7)], [59, 59, 59, 123, 250, 250, 250])
    equal(region.max_payload(eu868, 0, 3), 59, "there is no dwell time in Europe")


def check_data_rates():
    equal(eu868.DATA_RATES[:7], tuple((12 - dr, 125000) for dr in range(6)) + ((7, 250000),))
    equal([dr for dr in range(16) if region.can_send(eu868, dr)], [0, 1, 2, 3, 4, 5, 6])
    equal([dr for dr in range(16) if region.can_receive(eu868, dr)], [0, 1, 2, 3, 4, 5, 6])


def check_eirp():
    """16 dBm and seven steps of 2 dB below."""
    equal((eu868.MAX_EIRP_DBM, eu868.TX_POWER_STEP_DB, eu868.MAX_TX_POWER), (16, 2, 7))


def check_sub_bands():
    """Every default channel may be used; the alarm bands between the sub-bands may not."""
    for freq_hz in eu868.DEFAULT_CHANNELS_HZ:
        assert region.sub_band(eu868, freq_hz) >= 0, freq_hz
    for freq_hz in (863500000, 867100000, 867900000, 868800000, 869525000, 869850000):
        assert region.can_transmit(eu868, freq_hz), freq_hz
    for freq_hz in (0, 862999900, 868650000, 869300000, 869680000, 870000100, 1677721500):
        equal(region.sub_band(eu868, freq_hz), -1, freq_hz)
        assert not region.can_transmit(eu868, freq_hz), freq_hz


def check_a_channel_lies_in_its_band_as_a_whole():
    """125 kHz: half of it on either side of the middle."""
    for low, high, _ in eu868.SUB_BANDS:
        for freq_hz in (low + 62500, high - 62500):
            assert region.can_transmit(eu868, freq_hz), freq_hz
        for freq_hz in (low, low + 62400, high - 62400, high):
            assert not region.can_transmit(eu868, freq_hz), freq_hz
    equal(region.sub_band(eu868, 868475000, 250000), 2)
    equal(region.sub_band(eu868, 868475100, 250000), -1)


def check_duty_cycles():
    for freq_hz, permille in (
        (864000000, 1),
        (867100000, 10),
        (868100000, 10),
        (868900000, 1),
        (869525000, 100),
        (869850000, 10),
    ):
        equal(eu868.SUB_BANDS[region.sub_band(eu868, freq_hz)][2], permille)


def check_where_downlinks_come():
    for freq_hz in (863000000, 868650000, 869525000, 870000000):
        assert region.can_listen(eu868, freq_hz)
    for freq_hz in (0, 26265700, 862999900, 870000100):
        assert not region.can_listen(eu868, freq_hz)


def check_a_cflist_defines_channels_3_to_7():
    session = accepted(freqs=(867100000, 0, 867500000, 868800000, 867900000))
    equal(session.channels[3:8], [867100000, 0, 867500000, 868800000, 867900000])
    equal(session.channel_mask, 0xEF)
    equal(bytes(session.channel_drs[:8]), b"\x50\x50\x50\x50\x00\x50\x50\x50")


def check_frequencies_of_a_cflist_outside_the_sub_bands_are_left_out():
    session = accepted(freqs=(868650000, 867300000, 433175000, 869300000, 863000000))
    equal([hz for hz in session.channels if hz], [868100000, 868300000, 868500000, 867300000])
    equal(session.channel_mask, 0x17)


def check_a_cflist_of_masks_is_ignored():
    equal(accepted(freqs=(867100000,) * 5, kind=1).channels, fresh().channels)


def check_joins_use_every_data_rate_and_begin_fast():
    equal(eu868.JOIN_DRS[0], eu868.JOIN_DR)
    equal(sorted(set(eu868.JOIN_DRS)), [0, 1, 2, 3, 4, 5])


def check_no_dwell_time_and_no_tx_param_setup():
    equal((eu868.TX_PARAM_SETUP, eu868.DWELL, fresh().dwell), (False, 0, 0))
    equal(told(fresh(), b"\x09\x35"), b"")
