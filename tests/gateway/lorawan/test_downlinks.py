"""Downlinks: acknowledgements, queued data, both receive windows, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from nest.lorawan import Settings, UnknownDeviceError

from .device import EndDevice
from .radio import FAR, NEAR, Radio


@pytest.fixture
def device() -> EndDevice:
    return EndDevice()


@pytest.fixture
def radio(device: EndDevice) -> Radio:
    return begin(device, Settings())


def begin(device: EndDevice, settings: Settings) -> Radio:
    radio = Radio(device, settings=settings)
    radio.joined(device)
    radio.sent.clear()
    return radio


def test_a_confirmed_uplink_is_acknowledged_in_rx1(radio: Radio, device: EndDevice) -> None:
    radio.hear(device.uplink(b"x", confirmed=True), tmst=3_000_000, freq_hz=867_900_000, sf=8)
    radio.after(1)
    (downlink,) = radio.sent
    assert (downlink.window, downlink.tmst) == (1, 4_000_000)
    assert (downlink.freq_hz, downlink.sf, downlink.bw_hz) == (867_900_000, 8, 125_000)
    got = device.downlink(downlink.phy)
    assert (got.fcnt, got.ack, got.confirmed, got.f_pending, got.fport) == (0, True, False, False, None)


def test_an_answer_goes_where_it_is_quicker(radio: Radio, device: EndDevice) -> None:
    radio.hear(device.uplink(b"x", confirmed=True), tmst=3_000_000, sf=10)
    radio.after(2)
    (downlink,) = radio.sent
    assert (downlink.window, downlink.tmst, downlink.freq_hz, downlink.sf) == (2, 5_000_000, 869_525_000, 9)
    assert downlink.power_dbm > 16  # which the law allows there
    assert device.downlink(downlink.phy).ack


@pytest.mark.parametrize("restarted", [False, True])
def test_a_retransmission_is_answered_again_but_not_stored_again(
    radio: Radio, device: EndDevice, restarted: bool
) -> None:
    phy = device.uplink(b"x", confirmed=True)
    radio.hear(phy, tmst=1_000_000)
    radio.after(5)
    if restarted:
        radio.restart()
    assert radio.hear(phy, tmst=6_000_000, freq_hz=868_500_000) == ["retransmission"]
    assert radio.hear(phy, FAR, tmst=8, snr=-2.0) == ["duplicate"]
    radio.after(1)
    first, again = (device.downlink(downlink.phy) for downlink in radio.sent)
    assert (first.ack, again.ack) == (True, True)
    assert (first.fcnt, again.fcnt) == (0, 1)
    assert (radio.sent[1].tmst, radio.sent[1].freq_hz) == (7_000_000, 868_500_000)
    assert len(radio.frames) == 2
    assert len(radio.published) == 2  # one of them from joining


def test_replaying_the_last_confirmed_frame_does_not_drain_the_counter(radio: Radio, device: EndDevice) -> None:
    phy = device.uplink(b"x", confirmed=True)
    radio.hear(phy, tmst=1)
    for i in range(1, 100):
        radio.after(100)
        radio.hear(phy, tmst=i * 100_000_000)
    radio.after(1)
    assert len(radio.sent) == 16
    radio.hear(device.uplink(b"x", confirmed=True))
    radio.after(1)
    assert len(radio.sent) == 17
    phy = device.uplink(b"x", confirmed=True)
    for i in range(3):  # the next frame may be repeated again
        radio.after(100)
        radio.hear(phy, tmst=i * 100_000_000)
    radio.after(1)
    assert len(radio.sent) == 20


def test_repeats_of_an_unconfirmed_frame_need_no_answer(radio: Radio, device: EndDevice) -> None:
    phy = device.uplink(b"x")
    radio.hear(phy, tmst=1)
    radio.after(3)
    assert radio.hear(phy, tmst=3_000_000) == ["retransmission"]
    radio.after(1)
    assert radio.sent == []
    assert len(radio.published) == 2


def test_queued_data_comes_with_the_next_uplinks_in_order(radio: Radio, device: EndDevice) -> None:
    radio.server.enqueue(device.dev_eui, 10, b"one", reference=1)
    radio.server.enqueue(device.dev_eui, 11, b"two" * 10, confirmed=True, reference=2)
    assert radio.server.queued(device.dev_eui) == 2
    radio.after(10)
    assert radio.sent == []  # class A: only after an uplink

    radio.hear(device.uplink(b"x", confirmed=True))
    radio.after(1)
    got = device.downlink(radio.sent[0].phy)
    assert (got.fport, got.payload, got.confirmed, got.ack, got.f_pending) == (10, b"one", False, True, True)

    radio.hear(device.uplink(b"x"))
    radio.after(1)
    got = device.downlink(radio.sent[1].phy)
    assert (got.fport, got.payload, got.confirmed, got.ack, got.f_pending) == (11, b"two" * 10, True, False, False)
    assert got.fcnt == 1

    radio.hear(device.uplink(b"x", fctrl=0x20))
    radio.after(1)
    assert len(radio.sent) == 2
    assert radio.outcomes == [(1, "sent"), (2, "sent"), (2, "acknowledged")]


def test_a_confirmed_downlink_without_acknowledgement_is_reported(radio: Radio, device: EndDevice) -> None:
    radio.server.enqueue(device.dev_eui, 10, b"one", confirmed=True, reference=5)
    radio.hear(device.uplink(b"x"))
    radio.after(1)
    radio.hear(device.uplink(b"x"))
    radio.hear(device.uplink(b"x", fctrl=0x20))
    assert radio.outcomes == [(5, "sent"), (5, "unacknowledged")]


@pytest.mark.parametrize("confirmed", [True, False])
def test_who_repeats_itself_has_not_heard_its_downlink_and_gets_it_again(
    radio: Radio, device: EndDevice, confirmed: bool
) -> None:
    for reference, payload in ((5, b"one"), (6, b"two")):
        radio.server.enqueue(device.dev_eui, 10, payload, confirmed=confirmed, reference=reference)
    phy = device.uplink(b"x", confirmed=True)
    for number in range(3):
        radio.hear(phy, tmst=1_000_000 + 5_000_000 * number)
        radio.after(5)
        got = device.downlink(radio.sent[-1].phy)
        assert (got.payload, got.fcnt, got.ack, got.f_pending) == (b"one", number, True, True)
    radio.hear(device.uplink(b"x", fctrl=0x20), tmst=20_000_000)
    radio.after(1)
    assert device.downlink(radio.sent[-1].phy).payload == b"two"
    expect = [(5, "sent"), (5, "acknowledged"), (6, "sent")] if confirmed else [(5, "sent"), (6, "sent")]
    assert radio.outcomes == expect


@pytest.mark.parametrize("earlier", [0, 1])
def test_a_replayed_uplink_lures_no_downlink_out_of_the_queue(radio: Radio, device: EndDevice, earlier: int) -> None:
    """The node is not listening then."""
    for reference in range(earlier):
        radio.server.enqueue(device.dev_eui, 10, b"earlier", reference=reference)
    phy = device.uplink(b"x")
    radio.hear(phy, tmst=1_000_000)
    radio.after(1)
    for reference in (10, 11):
        radio.server.enqueue(device.dev_eui, 10, b"later", reference=reference)
    for number in range(1, 6):
        radio.after(4)
        radio.hear(phy, tmst=1_000_000 + 5_000_000 * number)
    radio.after(10)
    assert radio.server.queued(device.dev_eui) == 2
    assert [reference for reference, _ in radio.outcomes] == list(range(earlier))


def test_a_downlink_that_could_not_be_sent_waits_for_the_next_uplink_not_for_a_repetition(
    radio: Radio, device: EndDevice
) -> None:
    radio.server.enqueue(device.dev_eui, 10, b"one", reference=5)
    phy = device.uplink(b"x", confirmed=True)
    radio.hear(phy, tmst=1_000_000)
    radio.after(0.3)
    while radio.refuse(radio.sent[-1]) != ["downlink_failed"]:
        radio.after(0.1)
    radio.after(5)
    radio.hear(phy, tmst=6_500_000)
    radio.after(2)
    assert device.downlink(radio.sent[-1].phy).fport is None
    radio.hear(device.uplink(b"x"), tmst=9_000_000)
    radio.after(2)
    assert device.downlink(radio.sent[-1].phy).payload == b"one"
    assert radio.outcomes == [(5, "sent"), (5, "queued"), (5, "sent")]


def test_a_downlink_that_could_not_be_sent_twice_waits_once(radio: Radio, device: EndDevice) -> None:
    radio.server.enqueue(device.dev_eui, 10, b"one", reference=5)
    phy = device.uplink(b"x", confirmed=True)
    radio.hear(phy, tmst=1_000_000)
    radio.after(2.5)
    radio.hear(phy, tmst=3_500_000)
    radio.after(2.5)
    first, again = radio.sent
    assert device.downlink(first.phy).payload == device.downlink(again.phy).payload == b"one"
    assert radio.refuse(again) == ["downlink_failed"]
    assert radio.refuse(first) == ["downlink_failed"]
    assert radio.server.queued(device.dev_eui) == 1


def test_a_confirmed_downlink_of_a_session_that_has_ended_is_reported(radio: Radio, device: EndDevice) -> None:
    radio.server.enqueue(device.dev_eui, 10, b"one", confirmed=True, reference=5)
    radio.hear(device.uplink(b"x"))
    radio.after(10)
    radio.joined(device)
    assert radio.outcomes == [(5, "sent"), (5, "unacknowledged")]


@pytest.mark.parametrize("adr", [True, False])
def test_the_adr_bit_says_whether_the_network_sets_data_rates(device: EndDevice, adr: bool) -> None:
    radio = begin(device, Settings(adr=adr))
    radio.hear(device.uplink(b"x", confirmed=True))
    radio.after(1)
    assert bool(radio.sent[-1].phy[5] & 0x80) == adr


def test_rx2_when_it_is_asked_for(device: EndDevice) -> None:
    radio = begin(device, Settings(rx2_dr=3, rx1_delay_s=5))
    radio.server.enqueue(device.dev_eui, 10, b"one", window=2)
    radio.hear(device.uplink(b"x"), tmst=1_000_000)
    assert radio.after(5) == []
    radio.after(1)
    (downlink,) = radio.sent
    assert (downlink.window, downlink.tmst, downlink.freq_hz, downlink.sf) == (2, 7_000_000, 869_525_000, 9)
    assert device.downlink(downlink.phy).payload == b"one"


def test_rx2_as_the_town_s_setting(device: EndDevice) -> None:
    radio = begin(device, Settings(downlink_window=2))
    radio.hear(device.uplink(b"x", confirmed=True))
    radio.server.enqueue(device.dev_eui, 10, b"one", window=1)
    radio.after(3)
    radio.hear(device.uplink(b"x", confirmed=True), tmst=5_000_000)
    radio.after(3)
    assert [downlink.window for downlink in radio.sent] == [1, 2]


@pytest.mark.parametrize(
    ("sf", "bw_hz", "offset", "expect"),
    [(7, 125_000, 0, 7), (7, 125_000, 2, 9), (8, 125_000, 2, 10), (10, 125_000, 1, 11), (7, 250_000, 1, 7)],
)
def test_rx1_data_rate_by_offset(device: EndDevice, sf: int, bw_hz: int, offset: int, expect: int) -> None:
    radio = begin(device, Settings(rx1_dr_offset=offset, rx2_dr=0))
    radio.hear(device.uplink(b"x", confirmed=True), sf=sf, bw_hz=bw_hz)
    radio.after(1)
    assert (radio.sent[0].window, radio.sent[0].sf, radio.sent[0].bw_hz) == (1, expect, 125_000)


def test_an_uplink_off_the_plan_is_answered_in_rx2(radio: Radio, device: EndDevice) -> None:
    radio.hear(device.uplink(b"x", confirmed=True), sf=6, bw_hz=125_000)
    radio.after(10)
    radio.hear(device.uplink(b"x", confirmed=True), freq_hz=869_300_000, tmst=11_000_000)
    radio.after(10)
    assert [(downlink.window, downlink.sf) for downlink in radio.sent] == [(2, 9), (2, 9)]


def test_the_gateway_s_counter_wraps(radio: Radio, device: EndDevice) -> None:
    radio.hear(device.uplink(b"x", confirmed=True), tmst=0xFFFFFFF0)
    radio.after(1)
    assert radio.sent[0].tmst == 1_000_000 - 16


def test_a_refused_downlink_is_tried_in_rx2_then_elsewhere_then_waits(radio: Radio, device: EndDevice) -> None:
    radio.server.enqueue(device.dev_eui, 10, b"one", confirmed=True, reference=1)
    phy = device.uplink(b"x")
    radio.hear(phy, NEAR, snr=9.0, tmst=1_000_000)
    radio.hear(phy, FAR, snr=-9.0, tmst=50_000_000)
    radio.after(0.3)
    assert radio.refuse(radio.sent[-1], "TX_FREQ") == ["downlink_retried", "downlink_sent"]
    assert radio.refuse(radio.sent[-1], "TOO_LATE") == ["downlink_retried", "downlink_sent"]
    assert [(d.gateway, d.window, d.tmst) for d in radio.sent] == [
        (NEAR, 1, 2_000_000),
        (NEAR, 2, 3_000_000),
        (FAR, 2, 52_000_000),
    ]
    assert radio.refuse(radio.sent[-1]) == ["downlink_retried", "downlink_sent"]  # RX1 of FAR, hopeless as it is
    assert len({downlink.phy for downlink in radio.sent}) == 1
    assert radio.refuse(radio.sent[-1]) == ["downlink_failed"]
    assert radio.outcomes[-1] == (1, "queued")

    radio.after(5)
    radio.hear(device.uplink(b"x"))
    radio.after(1)
    got = device.downlink(radio.sent[-1].phy)
    assert (got.payload, got.fcnt) == (b"one", 1)  # never the same counter for a new frame
    assert radio.refuse(radio.sent[-1], None) == []
    assert radio.outcomes == [(1, "sent"), (1, "queued"), (1, "sent")]


def test_a_gateway_without_a_counter_cannot_answer(radio: Radio, device: EndDevice) -> None:
    phy = device.uplink(b"x", confirmed=True)
    radio.hear(phy, NEAR, tmst=None, snr=9.0)
    radio.hear(phy, FAR, tmst=7, snr=-2.0)
    radio.after(1)
    assert [(d.gateway, d.window) for d in radio.sent] == [(FAR, 1)]
    radio.hear(device.uplink(b"x", confirmed=True), NEAR, tmst=None)
    assert radio.after(1) == ["downlink_failed"]
    fcnt_down = radio.sessions[device.dev_eui, 1].fcnt_down
    assert fcnt_down == 1


def test_a_server_that_comes_late_uses_the_second_window_or_none(radio: Radio, device: EndDevice) -> None:
    radio.hear(device.uplink(b"x", confirmed=True))
    radio.now += 1.2
    radio.carry_out(radio.server.poll(radio.now))
    assert [downlink.window for downlink in radio.sent] == [2]
    radio.hear(device.uplink(b"x", confirmed=True))
    radio.now += 3
    assert radio.carry_out(radio.server.poll(radio.now)) == ["downlink_failed"]


def test_what_does_not_fit_the_data_rate_goes_where_it_fits_or_is_dropped(device: EndDevice) -> None:
    radio = begin(device, Settings(rx2_dr=5))
    radio.server.enqueue(device.dev_eui, 10, bytes(242), reference=1)
    radio.hear(device.uplink(b"x"), sf=12)
    radio.after(2)
    assert [(downlink.window, downlink.sf) for downlink in radio.sent] == [(2, 7)]

    radio = begin(device := EndDevice(2), Settings(rx2_dr=0))
    radio.server.enqueue(device.dev_eui, 10, bytes(52), reference=1)
    radio.server.enqueue(device.dev_eui, 10, bytes(51), reference=2)
    radio.hear(device.uplink(b"x"), sf=12)
    assert radio.after(2) == ["downlink_too_long", "downlink_sent"]
    assert radio.outcomes == [(1, "too_long"), (2, "sent")]
    got = device.downlink(radio.sent[-1].phy)
    assert (len(got.payload), got.fopts) == (51, b"")  # a request that would only have gone along waits


def test_an_adr_ack_request_is_answered(radio: Radio, device: EndDevice) -> None:
    radio.hear(device.uplink(b"x", fctrl=0xC0))
    radio.after(1)
    got = device.downlink(radio.sent[0].phy)
    assert (got.ack, got.fport) == (False, None)


def test_mac_commands_are_answered_with_what_the_best_gateway_heard(radio: Radio, device: EndDevice) -> None:
    phy = device.uplink(b"21.4", fopts=b"\x02\x0d")  # LinkCheckReq, DeviceTimeReq
    radio.hear(phy, FAR, snr=-6.0)
    radio.after(0.1)
    radio.hear(phy, NEAR, snr=5.5)
    heard_at = radio.now - 0.1 + 1.7e9
    radio.after(1)
    (downlink,) = radio.sent
    assert downlink.gateway == NEAR
    got = device.downlink(downlink.phy)
    assert (got.fport, got.ack, got.fcnt) == (None, False, 0)
    check = bytes([2, 13, 2])  # 5.5 dB is 13 dB above what SF7 needs; two gateways
    assert check in (got.fopts[:3], got.fopts[6:9])
    time = got.fopts.replace(check, b"")
    assert time[0] == 0x0D
    gps_s = int.from_bytes(time[1:5], "little") + time[5] / 256
    assert gps_s == pytest.approx(heard_at - 315_964_800 + 18, abs=0.01)  # GPS epoch, 18 leap seconds


def test_mac_commands_in_a_payload_of_their_own_are_answered(radio: Radio, device: EndDevice) -> None:
    radio.hear(device.uplink(b"\x02", fport=0))
    radio.after(1)
    assert device.downlink(radio.sent[0].phy).fopts[:1] == b"\x02"
    assert radio.published == radio.published[:1]  # the one from joining


def test_an_answer_that_was_missed_carries_its_mac_commands_again(radio: Radio, device: EndDevice) -> None:
    phy = device.uplink(b"x", fopts=b"\x02")
    for number in range(3):
        radio.hear(phy, tmst=1_000_000 + number * 5_000_000)
        radio.after(5)
    got = [device.downlink(downlink.phy) for downlink in radio.sent]
    assert [downlink.fcnt for downlink in got] == [0, 1, 2]
    assert len({downlink.fopts for downlink in got}) == 1
    radio.hear(device.uplink(b"x"))
    radio.after(5)
    assert len(radio.sent) == 3


def test_queued_data_and_mac_commands_share_a_frame(radio: Radio, device: EndDevice) -> None:
    radio.server.enqueue(device.dev_eui, 10, b"one")
    radio.hear(device.uplink(b"x", fopts=b"\x02", confirmed=True))
    radio.after(1)
    got = device.downlink(radio.sent[0].phy)
    assert (got.fport, got.payload, got.ack, got.fopts[:3]) == (10, b"one", True, bytes([2, 12, 1]))


def test_the_battery_is_asked_for_and_told(radio: Radio, device: EndDevice) -> None:
    radio.hear(device.uplink(b"x", confirmed=True))
    radio.after(10)
    assert device.downlink(radio.sent[0].phy).fopts == b"\x06"  # DevStatusReq rides along
    radio.hear(device.uplink(b"x", fopts=b"\x06\xfe\x3f", confirmed=True))  # DevStatusAns: full, -1 dB
    radio.after(10)
    assert radio.statuses == [(device.dev_eui, 254, -1)]
    assert device.downlink(radio.sent[1].phy).fopts == b""
    radio.restart()
    radio.hear(device.uplink(b"x", confirmed=True))
    radio.after(10)
    assert device.downlink(radio.sent[2].phy).fopts == b""  # it has told today


def test_a_near_node_is_made_quieter_and_the_network_remembers_what_it_took(device: EndDevice) -> None:
    radio = begin(device, Settings(status_interval_s=0))
    for number in range(30):
        radio.hear(device.uplink(b"x", fctrl=0x80), sf=7, snr=14.0, tmst=number * 60_000_000)
        radio.after(60)
        if radio.sent:
            break
    (downlink,) = radio.sent
    request = device.downlink(downlink.phy).fopts
    assert (request[0], request[1] >> 4) == (0x03, 5)  # LinkADRReq, DR5
    tx_power = request[1] & 0x0F
    assert tx_power > 0
    assert radio.sessions[device.dev_eui, 1].tx_power == 0  # it has not answered yet
    assert radio.hear(device.uplink(b"x", fctrl=0x80, fopts=b"\x03\x07"), snr=9.0) == ["accepted"]
    assert radio.after(60) == ["adr_request"]
    assert radio.sessions[device.dev_eui, 1].tx_power == tx_power
    assert len(radio.sent) == 1


def test_counters_go_on_after_a_restart(radio: Radio, device: EndDevice) -> None:
    for _ in range(3):
        radio.hear(device.uplink(b"x", confirmed=True))
        radio.after(1)
        radio.restart()
    assert [device.downlink(downlink.phy).fcnt for downlink in radio.sent] == [0, 1, 2]


def test_downlink_counters_beyond_16_bits(radio: Radio, device: EndDevice) -> None:
    key = (device.dev_eui, 1)
    radio.sessions[key] = replace(radio.sessions[key], fcnt_down=0x1FFFF)
    radio.restart()
    radio.hear(device.uplink(b"x", confirmed=True))
    radio.after(1)
    assert device.downlink(radio.sent[0].phy, fcnt_upper=1).ack


@pytest.mark.parametrize(
    ("port", "payload", "window"), [(0, b"x", None), (224, b"x", None), (1, bytes(243), None), (1, b"x", 3)]
)
def test_what_cannot_be_queued(radio: Radio, device: EndDevice, port: int, payload: bytes, window: int | None) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        radio.server.enqueue(device.dev_eui, port, payload, window=window)


def test_nothing_is_queued_for_strangers(radio: Radio) -> None:
    with pytest.raises(UnknownDeviceError):
        radio.server.enqueue(bytes(8), 1, b"x")
    assert radio.server.queued(bytes(8)) == 0


@pytest.mark.parametrize("wrong", [{"rx1_delay_s": 0}, {"rx2_dr": 8}, {"net_id": 1 << 24}, {"downlink_window": 3}])
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)
