"""Over-the-air activation (TS001-1.0.4 6.2; CR1.0 section 2.2)."""

from __future__ import annotations

from itertools import pairwise

import lorawan_network as network
import pytest
from cert_air import Sent, Window, symbol_us
from cert_devices import DutError
from cert_lab import Lab
from cert_terms import APP_KEY, DATA_RATES, DEFAULT_CHANNELS, DEV_EUI, EXTRA_HZ, JOIN_EUI, MAX_EIRP_DBM, RX2_HZ


def test_join_request_format(fresh: Lab) -> None:
    """The JoinRequest is 23 bytes: MHDR 0, JoinEUI, DevEUI and DevNonce with the lowest byte first, and a good MIC."""
    fresh.join(rx1=None)
    frame = fresh.joins[0].frame
    assert len(frame) == 23
    assert frame == network.join_request(APP_KEY, JOIN_EUI, DEV_EUI, 0)


def test_no_uplink_before_the_join(fresh: Lab) -> None:
    """A device that is not activated sends no data frame."""
    with pytest.raises(DutError, match="NotJoined"):
        fresh.uplink()
    assert not fresh.air.log


def test_join_channels_hop(fresh: Lab) -> None:
    """JoinRequests go over all three default channels, none used twice before each had its turn."""
    for _ in range(12):
        fresh.join(rx1=None)
    used = [sent.freq_hz for sent in fresh.joins]
    for turn in range(0, 12, 3):
        assert sorted(used[turn : turn + 3]) == sorted(DEFAULT_CHANNELS.values())


def test_join_order_differs_from_device_to_device(fresh: Lab) -> None:
    """The order of channels is random: devices with other seeds take other orders."""
    orders = set()
    for seed in range(1, 12):
        fresh.new(seed=seed * 7919)
        fresh.joins.clear()
        for _ in range(6):
            fresh.join(rx1=None)
        orders.add(tuple(sent.freq_hz for sent in fresh.joins))
    assert len(orders) > 3


@pytest.mark.parametrize("dr", range(6))
def test_join_at_each_data_rate(fresh: Lab, dr: int) -> None:
    """A JoinRequest may use DR0 to DR5, and is answered in RX1 at the same data rate."""
    assert fresh.join(dr=dr).window == 1
    assert (fresh.joins[0].sf, fresh.joins[0].bw_hz) == DATA_RATES[dr]
    fresh.uplink()


def test_join_accept_in_rx2(fresh: Lab) -> None:
    """A JoinAccept is taken in RX2, 6 s after the request on 869.525 MHz at DR0."""
    assert fresh.join(rx2=fresh.accept()).window == 2
    fresh.uplink()


def test_join_windows_without_an_answer(fresh: Lab) -> None:
    """Without an answer both windows are opened, 5 s and 6 s after the end of the request, and nothing is joined."""
    assert fresh.join(rx1=None) is None
    sent = fresh.joins[0]
    windows = [entry for entry in fresh.air.log if isinstance(entry, Window)]
    for delay_s, window in zip((5, 6), windows, strict=True):
        symbol = symbol_us(window.sf, window.bw_hz)
        assert sent.end_us + delay_s * 1_000_000 - window.open_us < 8 * symbol
    assert fresh.session() is None


def test_rx2_stays_shut_after_a_join_accept_in_rx1(fresh: Lab) -> None:
    """A good JoinAccept in RX1 leaves RX2 shut."""
    assert fresh.join().window == 1
    assert len(fresh.air.log) == 2


def test_dev_nonce_stands_in_the_request(fresh: Lab) -> None:
    """The DevNonce goes up by one from request to request and is part of the MIC."""
    for _ in range(5):
        fresh.join(rx1=None)
    fresh.join()
    fresh.join()
    assert [nonce_of(sent) for sent in fresh.joins] == list(range(7))


def test_dev_nonce_after_resets_and_power_cuts(fresh: Lab) -> None:
    """The DevNonce goes on after a reset and is never used again after a power cut."""
    for power_cut in (False, True, False, True, True):
        for _ in range(3):
            fresh.join(rx1=None)
        fresh.restart(power_cut=power_cut)
    fresh.join()
    nonces = [nonce_of(sent) for sent in fresh.joins]
    assert all(first < second for first, second in pairwise(nonces))
    assert nonces[:6] == list(range(6))


def nonce_of(sent: Sent) -> int:
    return int.from_bytes(sent.frame[17:19], "little")


def spoilt(frame: bytes, at: int = -1) -> bytes:
    at %= len(frame)
    return frame[:at] + bytes([frame[at] ^ 0x01]) + frame[at + 1 :]


@pytest.mark.parametrize(
    "case", ["wrong MIC", "wrong key", "spoilt MHDR", "too short", "too long", "RFU major", "data frame", "empty"]
)
def test_bad_join_accept_is_refused(fresh: Lab, case: str) -> None:
    """What is no JoinAccept with a good MIC changes nothing, and RX2 is still opened for one that is."""
    good = fresh.accept()
    bad = {
        "wrong MIC": spoilt(good),
        "wrong key": fresh.accept(key=bytes(16)),
        "spoilt MHDR": b"\x21" + good[1:],
        "too short": good[:16],
        "too long": good + b"\0",
        "RFU major": b"\x23" + good[1:],
        "data frame": network.data_frame(APP_KEY, APP_KEY, 0, 0, direction=1, port=1),
        "empty": b"",
    }[case]
    assert fresh.join(rx1=bad) is None
    assert fresh.session() is None
    assert fresh.join(rx1=bad, rx2=good).window == 2
    fresh.uplink()


def test_join_accept_of_an_earlier_request_is_refused(fresh: Lab) -> None:
    """A JoinNonce that was used before is refused, in either window, and a fresh one is taken."""
    first = fresh.accept()
    assert fresh.join(rx1=first)
    assert fresh.join(rx1=first, rx2=first) is None
    assert fresh.join(rx1=fresh.accept(join_nonce=0)) is None
    fresh.uplink()
    assert fresh.join(rx1=first, rx2=fresh.accept()).window == 2
    fresh.uplink()


def test_refused_join_leaves_the_session(lab: Lab) -> None:
    """A join that fails leaves the session that is there as it is."""
    lab.uplink(rx1=lab.down(port=1, payload=b"x"))
    before = lab.session()
    keys = lab.nwk_skey
    assert lab.join(rx1=spoilt(lab.accept())) is None
    assert lab.session() == before
    assert lab.nwk_skey == keys
    lab.uplink(rx1=lab.down(port=1, payload=b"x"))


def test_counters_begin_at_zero_after_each_join(lab: Lab) -> None:
    """After a JoinAccept FCntUp and FCntDown begin at 0 again, and the keys are others."""
    for _ in range(3):
        lab.uplink(rx1=lab.down(port=1, payload=b"x"))
    old = lab.nwk_skey, lab.app_skey
    assert lab.join()
    assert (lab.nwk_skey, lab.app_skey) != old
    exchange = lab.uplink(rx1=lab.down(fcnt=0, port=1, payload=b"first"))
    assert exchange.up.fcnt == 0
    assert exchange.downlinks == [(1, b"first", 0)]


def test_session_defaults_after_a_join(fresh: Lab) -> None:
    """A join puts channels, windows, power and NbTrans back to the defaults and what the JoinAccept says."""
    fresh.join(rx1=fresh.accept(dl_settings=0x13, rx_delay=5, cflist=network.cflist(*EXTRA_HZ)))
    fresh.channels.update(enumerate(EXTRA_HZ, 3))
    fresh.set(nb_trans=3, tx_power=4, adr_ack_cnt=70, channel_mask=1)
    fresh.tx_power = 4
    assert fresh.join()
    session = fresh.session()
    assert (session.nb_trans, session.tx_power, session.adr_ack_cnt, session.channel_mask) == (1, 0, 0, 7)
    assert len(fresh.uplink().ups) == 1


@pytest.mark.parametrize("delay", [0, 1, 2, 5, 15])
def test_rx_delay_of_the_join_accept(fresh: Lab, delay: int) -> None:
    """RXDelay sets RX1, 0 meaning 1 s, and RX2 one second later."""
    fresh.join(rx1=fresh.accept(rx_delay=delay))
    assert fresh.rx1_delay_s == (delay or 1)
    assert fresh.uplink(rx1=fresh.down(port=1, payload=b"x")).outcome.window == 1
    assert fresh.uplink(rx2=fresh.down(port=1, payload=b"x")).outcome.window == 2


@pytest.mark.parametrize("offset", range(6))
def test_rx1_dr_offset_of_the_join_accept(fresh: Lab, offset: int) -> None:
    """RX1DROffset lowers the data rate of RX1, not below DR0."""
    fresh.join(rx1=fresh.accept(dl_settings=offset << 4))
    assert fresh.uplink(rx1=fresh.down(port=1, payload=b"x")).outcome.window == 1


@pytest.mark.parametrize("dr", range(6))
def test_rx2_data_rate_of_the_join_accept(fresh: Lab, dr: int) -> None:
    """RX2DataRate sets the data rate of RX2 from the first uplink on."""
    fresh.join(rx1=fresh.accept(dl_settings=dr))
    assert fresh.uplink(rx2=fresh.down(port=1, payload=b"x")).outcome.window == 2


@pytest.mark.parametrize("settings", [0x60, 0x70, 0x07, 0x0F, 0x7F])
def test_reserved_window_parameters_of_the_join_accept(fresh: Lab, settings: int) -> None:
    """A RX1DROffset or RX2DataRate that EU868 has not leaves the default, and the device stays reachable."""
    assert fresh.join(rx1=fresh.accept(dl_settings=settings))
    if settings >> 4 > 5:
        fresh.rx1_dr_offset = 0
    if settings & 0x0F > 6:
        fresh.rx2_dr = 0
    assert fresh.uplink(rx1=fresh.down(port=1, payload=b"x")).outcome.window == 1
    assert fresh.uplink(rx2=fresh.down(port=1, payload=b"x")).outcome.window == 2


def test_cflist_adds_channels(fresh: Lab) -> None:
    """A CFList of type 0 defines channels 3 to 7, which carry DR0 to DR5 and are used at once."""
    fresh.join(rx1=fresh.accept(cflist=network.cflist(*EXTRA_HZ)))
    fresh.channels.update(enumerate(EXTRA_HZ, 3))
    used = [fresh.uplink().up.sent.freq_hz for _ in range(8)]
    assert sorted(used) == sorted(fresh.channels.values())


def test_cflist_with_holes(fresh: Lab) -> None:
    """A frequency 0 in the CFList leaves that channel out."""
    fresh.join(rx1=fresh.accept(cflist=network.cflist(867100000, 0, 867500000, 0, 0)))
    fresh.channels.update({3: 867100000, 5: 867500000})
    used = {fresh.uplink().up.sent.freq_hz for _ in range(5)}
    assert used == set(fresh.channels.values())


@pytest.mark.parametrize("kind", [1, 2, 255])
def test_cflist_of_another_type_is_ignored(fresh: Lab, kind: int) -> None:
    """A CFList of a type that EU868 has not leaves the default channels, and the join stands."""
    assert fresh.join(rx1=fresh.accept(cflist=network.cflist(*EXTRA_HZ, kind=kind)))
    used = {fresh.uplink().up.sent.freq_hz for _ in range(6)}
    assert used == set(DEFAULT_CHANNELS.values())


def test_join_uses_default_channels_only(fresh: Lab) -> None:
    """A device that was given channels joins on the default channels again, even when they were masked off."""
    fresh.join(rx1=fresh.accept(cflist=network.cflist(*EXTRA_HZ)))
    fresh.set(channel_mask=0xF8)
    fresh.joins.clear()
    for _ in range(6):
        fresh.join(rx1=None)
    assert {sent.freq_hz for sent in fresh.joins} == set(DEFAULT_CHANNELS.values())


def test_join_at_full_power_and_rx2_defaults(fresh: Lab) -> None:
    """A join after power and RX2 were changed uses the region's power and RX2 again."""
    fresh.join(rx1=fresh.accept(dl_settings=0x03))
    fresh.set(tx_power=5, rx2_freq_hz=868100000, rx1_delay_s=3)
    assert fresh.join(rx2=fresh.accept()).window == 2
    assert fresh.joins[-1].eirp_dbm == MAX_EIRP_DBM
    fresh.uplink(rx2=fresh.down(port=1, payload=b"x"))
    assert fresh.rx2_hz == RX2_HZ


def test_join_backoff(fresh: Lab) -> None:
    """Unanswered JoinRequests stay below 36 s of airtime in hour 1, 36 s in the next 10 h, 8.7 s in each 24 h after."""
    began = fresh.air.now_us
    while fresh.air.now_us - began < 83 * 3_600_000_000:
        fresh.join(dr=0, rx1=None)
    begins = [began, *(began + hours * 3_600_000_000 for hours in (1, 11, 35, 59, 83))]
    spent = [
        sum(sent.end_us - sent.start_us for sent in fresh.joins if begin <= sent.start_us < end) / 1e6
        for begin, end in pairwise(begins)
    ]
    limits = [36, 36, 8.7, 8.7, 8.7]
    assert all(used <= limit for used, limit in zip(spent, limits, strict=True)), spent
    assert all(used > limit / 2 for used, limit in zip(spent, limits, strict=True)), spent


def test_joins_keep_the_duty_cycle(fresh: Lab) -> None:
    """The law of the join channels is kept: no hour holds more than 36 s of JoinRequests."""
    for _ in range(60):
        fresh.join(dr=0, rx1=None)
    assert max(fresh.busiest_hour().values()) <= 1
