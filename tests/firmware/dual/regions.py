"""Regions are data: AS923 and IN865 as shipped, and EU433 as a table made here, all through the same code.

Figures: The Things Stack's band files for RP002-1.0.4 and RadioLib's band table; the rules for RX1 are computed here.
"""

from commanded import Asked, dl_channel, fresh, link_adr, new_channel, rx_param, state, told
from expect import equal
from lorawan import as923, commands, eu868, in865, region
from lorawan.actions import Listen, Transmit
from lorawan.mac import Mac

EIRPS = (8, 10, 12, 13, 14, 16, 18, 20, 21, 24, 26, 27, 29, 30, 33, 36)  # TS001-1.0.4 table 48


class EU433:
    """EU433 (RP002-1.0.4 2.7): the table and nothing else."""

    NAME = "EU433"
    DATA_RATES = eu868.DATA_RATES
    MAX_MAC_PAYLOAD = eu868.MAX_MAC_PAYLOAD
    MAX_MAC_PAYLOAD_DWELL = None
    DEFAULT_CHANNELS_HZ = (433175000, 433375000, 433575000)
    DR_RANGE = 0x50
    JOIN_DR = 5
    JOIN_DRS = eu868.JOIN_DRS
    RX1_DR = eu868.RX1_DR
    RX1_DR_DWELL = None
    RX2_FREQ_HZ = 434665000
    RX2_DR = 0
    RX1_DELAY_S = 1
    JOIN_RX1_DELAY_S = 5
    MAX_EIRP_DBM = 12  # 12.15
    TX_POWER_STEP_DB = 2
    MAX_TX_POWER = 5
    CFLIST_TYPE = 0
    CFLIST_FIRST = 3
    SUB_BANDS = ((433050000, 434790000, 100),)
    LISTEN_HZ = (433050000, 434790000)
    TX_PARAM_SETUP = False
    DWELL = 0
    ADR_ACK_LIMIT = 64
    ADR_ACK_DELAY = 32


REGIONS = (eu868, as923, in865, EU433)


def names(table):
    return sorted([name for name in dir(table) if name[0] != "_"])


def lowest(n):
    return 0


def check_every_region_has_the_same_names():
    for table in REGIONS:
        equal(names(table), names(eu868), table.NAME)


def check_every_table_is_whole():
    """Rows and columns fit together, and everything it begins with is possible in it."""
    for table in REGIONS:
        count = len(table.DATA_RATES)
        equal((len(table.MAX_MAC_PAYLOAD), len(table.RX1_DR)), (count, count), table.NAME)
        for rows in (table.RX1_DR, table.RX1_DR_DWELL or table.RX1_DR):
            equal({len(row) for row in rows}, {len(table.RX1_DR[0])})
            assert all(dr < count for row in rows for dr in row)
        assert region.dr_range_ok(table, table.DR_RANGE)
        for freq_hz in table.DEFAULT_CHANNELS_HZ:
            assert region.can_transmit(table, freq_hz), freq_hz
            assert region.can_listen(table, freq_hz), freq_hz
        assert region.can_listen(table, table.RX2_FREQ_HZ)
        assert region.can_receive(table, table.RX2_DR)
        equal(table.JOIN_DRS[0], table.JOIN_DR)
        for dr in table.JOIN_DRS:
            assert region.can_send(table, dr)
            assert region.can_receive(table, region.rx1_dr(table, dr, 0, table.DWELL))
            assert region.max_payload(table, dr, table.DWELL) >= 18, "a JoinRequest is 23 bytes, 5 more than M counts"
        equal(table.CFLIST_FIRST, len(table.DEFAULT_CHANNELS_HZ))
        assert commands.usable(fresh(table), table, table.JOIN_DR, 1)


def check_every_region_goes_through_the_mac():
    """A join in vain and an uplink, on the region's own frequencies, data rates, powers and delays."""
    for table in REGIONS:
        mac = Mac(table, None, lowest)
        exchange = mac.join(bytes(8), bytes(8), bytes(16), 0)
        sent = next(exchange)
        assert isinstance(sent, Transmit)
        equal((sent.freq_hz, sent.sf, sent.bw_hz), (table.DEFAULT_CHANNELS_HZ[0], 7, 125000), table.NAME)
        equal(sent.eirp_dbm, table.MAX_EIRP_DBM)
        first = exchange.send(0)
        assert isinstance(first, Listen)
        equal((first.freq_hz, first.sf), (sent.freq_hz, 7))
        second = exchange.send(None)
        assert isinstance(second, Listen)
        equal((second.freq_hz, second.sf), (table.RX2_FREQ_HZ, 12 - table.RX2_DR))
        session = fresh(table)
        session.tx_power = table.MAX_TX_POWER
        sent = next(Mac(table, session, lowest).uplink(1, b"x"))
        assert isinstance(sent, Transmit)
        equal(sent.eirp_dbm, table.MAX_EIRP_DBM - 2 * table.MAX_TX_POWER)


def check_every_region_takes_its_own_commands():
    for table in REGIONS:
        first = len(table.DEFAULT_CHANNELS_HZ)
        freq_hz = table.DEFAULT_CHANNELS_HZ[1] + 100000
        session = fresh(table)
        block = new_channel(first, freq_hz, 5, 0) + dl_channel(first, freq_hz) + rx_param(1, 3, table.RX2_FREQ_HZ)
        block += link_adr(4, table.MAX_TX_POWER, mask=1 << first)
        equal(told(session, block, table), b"\x07\x03\x0a\x03\x05\x07\x03\x07", table.NAME)
        equal((session.channels[first], session.dl_channels[first]), (freq_hz, freq_hz))
        equal((session.dr, session.tx_power, session.channel_mask), (4, table.MAX_TX_POWER, 1 << first))
        before = state(session)
        equal(told(session, link_adr(3, table.MAX_TX_POWER + 1, control=6), table), b"\x03\x03")
        equal(told(session, new_channel(first - 1, freq_hz), table), b"\x07\x00")
        other = eu868 if table is not eu868 else as923
        equal(told(session, new_channel(15, other.DEFAULT_CHANNELS_HZ[0] + 100000), table), b"\x07\x02")
        equal(state(session), before)


# AS923


def check_as923_defaults():
    equal(as923.DEFAULT_CHANNELS_HZ, (923200000, 923400000))
    equal((as923.RX2_FREQ_HZ, as923.RX2_DR, as923.MAX_EIRP_DBM, as923.MAX_TX_POWER), (923200000, 2, 16, 7))


def check_as923_payload_sizes():
    """Above DR4 a full frame is shorter than 400 ms; at DR0 and DR1 not even an empty one is."""
    equal([region.max_payload(as923, dr, 0) for dr in range(7)], [59, 59, 123, 123, 250, 250, 250])
    equal([region.max_payload(as923, dr, 2) for dr in range(7)], [59, 59, 123, 123, 250, 250, 250])
    for dwell in (1, 3):
        equal([region.max_payload(as923, dr, dwell) for dr in range(7)], [0, 0, 19, 61, 133, 250, 250])


def check_as923_rx1():
    """Offsets 6 and 7 make RX1 one and two steps faster; under a downlink dwell time nothing is below DR2."""
    for dwell, slowest in ((0, 0), (1, 0), (2, 2), (3, 2)):
        for dr in range(8):
            for offset in range(8):
                step = offset if offset < 6 else 5 - offset
                want = min(7, max(slowest, dr - step))
                equal(region.rx1_dr(as923, dr, offset, dwell), want, (dwell, dr, offset))


def check_as923_takes_rx1_offsets_up_to_7():
    session = fresh(as923, dr=3)
    for offset in range(8):
        equal(told(session, rx_param(offset, 2, 923200000), as923), b"\x05\x07")
        equal(session.rx1_dr_offset, offset)


def check_no_rx1_that_the_radio_has_not():
    """RX1 two steps above DR5 would be FSK: neither command makes that of the other's setting (RP002-1.0.5 3.10.7)."""
    session = fresh(as923, dr=5)
    equal(told(session, rx_param(7, 2, 923200000), as923), b"\x05\x03")
    equal(told(session, rx_param(6, 2, 923200000), as923), b"\x05\x07")
    equal(told(session, link_adr(4, mask=3), as923), b"\x03\x07")
    equal(told(session, rx_param(7, 2, 923200000), as923), b"\x05\x07")
    equal(told(session, link_adr(5, mask=3), as923), b"\x03\x05")
    equal((session.dr, session.rx1_dr_offset), (4, 7))


def check_as923_begins_with_an_uplink_dwell_time():
    session = fresh(as923)
    equal(session.dwell, 1)
    for dr in (0, 1):
        equal(told(session, link_adr(dr, mask=3), as923), b"\x03\x05")
    equal(told(session, link_adr(2, mask=3), as923), b"\x03\x07")


def check_tx_param_setup_is_carried_out_in_as923():
    for value in range(256):
        session = fresh(as923)
        equal(told(session, bytes((9, value)), as923), b"\x09")
        equal(session.dwell, (value >> 4 & 1) | (value >> 5 & 1) << 1, "bit 5 is the downlink's, bit 4 the uplink's")
        equal(session.max_eirp_dbm, min(EIRPS[value & 15], 16), "the lower of what is asked for and the region's")
        equal(session.changed, (session.dwell, session.max_eirp_dbm) != (1, 16))


def check_a_new_dwell_time_raises_a_data_rate_that_it_forbids():
    session = fresh(as923)
    equal(told(session, b"\x09\x05" + link_adr(0, mask=3), as923), b"\x09\x03\x07")
    equal(session.dr, 0)
    equal(told(session, b"\x09\x15", as923), b"\x09")
    equal((session.dr, session.channel_mask), (2, 3))


def check_a_dwell_time_that_leaves_no_data_rate_brings_the_default_channels_back():
    session = fresh(as923, channels=((3, 922000000, 0x10),))
    told(session, b"\x09\x05" + link_adr(1, mask=8), as923)
    equal((session.dr, session.channel_mask), (1, 8))
    equal(told(session, b"\x09\x15", as923), b"\x09")
    equal((session.dr, session.channel_mask), (2, 0x0B))


def check_only_two_channels_are_default_in_as923():
    equal(told(fresh(as923), new_channel(1, 922000000), as923), b"\x07\x00")
    equal(told(fresh(as923), new_channel(2, 922000000), as923), b"\x07\x03")


# IN865


def check_in865_defaults():
    equal(in865.DEFAULT_CHANNELS_HZ, (865062500, 865402500, 865985000))
    equal((in865.RX2_FREQ_HZ, in865.RX2_DR, in865.MAX_EIRP_DBM, in865.MAX_TX_POWER), (866550000, 2, 30, 10))
    equal([region.max_payload(in865, dr, 0) for dr in range(6)], [59, 59, 59, 123, 250, 250])
    equal(told(fresh(in865), b"\x09\x15", in865), b"")


def check_in865_has_no_dr6():
    equal([dr for dr in range(16) if region.can_send(in865, dr)], [0, 1, 2, 3, 4, 5])
    equal(told(fresh(in865), link_adr(6), in865), b"\x03\x05")
    equal(told(fresh(in865), new_channel(3, 866000000, 6, 0), in865), b"\x07\x01")


def check_in865_rx1():
    """As in AS923, but that DR6 does not exist: DR5 stands in its place."""
    for dr in range(6):
        for offset in range(8):
            step = offset if offset < 6 else 5 - offset
            want = min(7, max(0, dr - step))
            equal(region.rx1_dr(in865, dr, offset, 0), 5 if want == 6 else want, (dr, offset))


def check_in865_takes_eleven_powers():
    for power in range(11):
        session = fresh(in865)
        equal(told(session, link_adr(5, power), in865), b"\x03\x07")
        equal(session.tx_power, power)


def check_requests_work_in_every_region():
    for table in REGIONS:
        outcome = Asked(commands.LINK_CHECK, commands.DEVICE_TIME)
        equal(told(fresh(table), b"\x02\x05\x01\x0d\x01\x00\x00\x00\x02", table, outcome=outcome), b"")
        equal((outcome.link_check, outcome.device_time), ((5, 1), (1, 2)))
