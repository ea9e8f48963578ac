"""Joining over the air, as a device and an attacker see it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from nest.lorawan import Settings
from nest.lorawan.dev_addr import LAYOUT, compose
from nest.model import Device

from .device import EndDevice
from .radio import FAR, NEAR, Radio


@pytest.fixture
def device() -> EndDevice:
    return EndDevice()


def test_a_node_joins_and_its_first_reading_arrives(device: EndDevice) -> None:
    radio = Radio(device, settings=Settings(net_id=0x000013, rx1_delay_s=2, rx1_dr_offset=1, rx2_dr=3))
    assert radio.hear(device.join_request(), tmst=5_000, freq_hz=868_300_000, sf=9) == []
    assert radio.joins == []  # other gateways may have heard it better
    assert radio.after(0.25) == ["join_accepted", "downlink_sent"]
    (downlink,) = radio.sent
    assert (downlink.gateway, downlink.window, downlink.tmst) == (NEAR, 1, 5_005_000)
    assert (downlink.freq_hz, downlink.sf, downlink.bw_hz) == (868_300_000, 9, 125_000)  # join: RX1DROffset 0
    assert downlink.power_dbm == 16

    accepted = device.join_accept(downlink.phy)
    assert (accepted.net_id, accepted.rx_delay_s, accepted.rx1_dr_offset, accepted.rx2_dr) == (0x13, 2, 1, 3)
    assert accepted.dev_addr >> 25 == 0x13
    assert accepted.cf_list_hz == [867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000]

    radio.after(10)
    assert radio.hear(device.uplink(b"21.4")) == ["accepted"]
    radio.after(1)
    assert [(uplink.node, uplink.payload, uplink.fcnt) for uplink in radio.published] == [("spatz-1", b"21.4", 0)]


def test_a_replayed_join_request_changes_nothing(device: EndDevice) -> None:
    radio = Radio(device)
    request = device.join_request()
    radio.hear(request)
    radio.after(5)
    device.join_accept(radio.sent[0].phy)
    radio.hear(device.uplink(b"a"))
    radio.after(300)
    assert radio.hear(request, tmst=300_000_000) == ["dev_nonce_used"]
    radio.after(10)
    assert len(radio.sent) == 1
    assert radio.hear(device.uplink(b"b")) == ["accepted"]


def test_a_join_request_replayed_at_once_is_no_late_copy(device: EndDevice) -> None:
    radio = Radio(device)
    request = device.join_request()
    radio.hear(request, tmst=1_000_000)
    radio.after(20)
    assert radio.hear(request, tmst=21_000_000) == ["dev_nonce_used"]
    assert len(radio.sent) == 1


def test_nonces_are_remembered_over_a_restart(device: EndDevice) -> None:
    radio = Radio(device)
    request = device.join_request()
    radio.hear(request)
    radio.after(1)
    radio.restart()
    assert radio.hear(request) == ["dev_nonce_used"]
    radio.join(device)  # and the JoinNonce rises: the device checks it
    assert [record.join_nonce for record in radio.joins] == [1, 2]


def test_a_lower_dev_nonce_is_refused(device: EndDevice) -> None:
    radio = Radio(device)
    radio.hear(device.join_request(7))
    radio.after(10)
    assert radio.hear(device.join_request(6)) == ["dev_nonce_low"]
    assert radio.hear(device.join_request(8)) == []
    assert radio.after(5) == ["join_accepted", "downlink_sent"]


def test_a_device_of_1_0_3_may_draw_its_dev_nonce_but_not_twice(device: EndDevice) -> None:
    radio = Radio(device, rising=False)
    radio.hear(device.join_request(700))
    radio.after(100)
    assert radio.hear(device.join_request(6)) == []
    assert radio.after(5) == ["join_accepted", "downlink_sent"]
    radio.after(200)
    assert radio.hear(device.join_request(700)) == ["dev_nonce_used"]


def test_the_old_session_lives_until_the_first_uplink_under_the_new_keys(device: EndDevice) -> None:
    radio = Radio(device)
    radio.joined(device)
    old = EndDevice()
    old.__dict__.update(device.__dict__)

    radio.join(device)
    assert radio.hear(old.uplink(b"old")) == ["accepted"]  # it never heard the JoinAccept
    radio.restart()
    assert radio.hear(old.uplink(b"old")) == ["accepted"]
    assert radio.hear(device.uplink(b"new")) == ["accepted"]
    assert radio.hear(old.uplink(b"old")) == ["unknown_session"]
    assert [session.active for session in radio.sessions.values()] == [True]
    radio.restart()
    assert radio.hear(device.uplink(b"new")) == ["accepted"]


@pytest.mark.parametrize("apart_s", [0.1, 1.0])
def test_a_second_join_replaces_a_pending_one(device: EndDevice, apart_s: float) -> None:
    radio = Radio(device)
    radio.hear(device.join_request(), tmst=1_000_000)
    radio.after(apart_s)
    radio.hear(device.join_request(), tmst=1_000_000 + round(apart_s * 1e6))
    radio.after(7)
    assert len(radio.sent) == (1 if apart_s < radio.settings.dedup_window_s else 2)
    assert device.join_accept(radio.sent[-1].phy).dev_addr == next(iter(radio.sessions.values())).dev_addr
    assert len(radio.sessions) == 1


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda device: setattr(device, "app_key", bytes(16)), "mic_bad"),
        (lambda device: setattr(device, "dev_eui", bytes(8)), "unknown_device"),
        (lambda device: setattr(device, "join_eui", bytes(8)), "unknown_device"),
    ],
)
def test_strangers_are_counted_and_not_answered(device: EndDevice, change, kind: str) -> None:
    radio = Radio(device)
    change(device)
    assert radio.hear(device.join_request()) == [kind]
    radio.after(1)
    assert radio.sent == []
    assert radio.joins == []


def test_the_join_accept_goes_through_the_gateway_that_heard_best_on_the_channel_it_heard(device: EndDevice) -> None:
    radio = Radio(device)
    request = device.join_request()
    radio.hear(request, FAR, snr=-8.0, tmst=9, freq_hz=868_100_000)
    radio.after(0.05)
    assert radio.hear(request, NEAR, snr=7.0, tmst=70, freq_hz=868_300_000) == ["duplicate"]
    assert radio.hear(request, NEAR, snr=-3.0, tmst=70, freq_hz=868_500_000) == ["duplicate"]  # a ghost
    radio.after(5)
    assert [(d.gateway, d.tmst, d.freq_hz) for d in radio.sent] == [(NEAR, 5_000_070, 868_300_000)]
    assert len(radio.joins) == 1


def test_rx2_follows_when_the_gateway_refuses_rx1(device: EndDevice) -> None:
    radio = Radio(device)
    radio.hear(device.join_request(), tmst=0xFFFFFFFF)
    radio.after(4.3)
    assert radio.refuse(radio.sent[0]) == ["downlink_retried", "downlink_sent"]
    first, second = radio.sent
    assert first.tmst == 4_999_999  # the gateway's counter wraps
    assert (second.window, second.tmst, second.freq_hz, second.sf) == (2, 5_999_999, 869_525_000, 12)
    assert second.phy == first.phy
    assert radio.refuse(second) == ["downlink_failed"]
    assert radio.refuse(second) == []  # said twice


def test_a_refusal_that_comes_too_late_is_not_tried_again(device: EndDevice) -> None:
    radio = Radio(device)
    radio.hear(device.join_request())
    radio.after(6)
    assert radio.refuse(radio.sent[0], "TOO_LATE") == ["downlink_failed"]


def test_a_device_registered_while_running_may_join_and_a_removed_one_is_unknown(device: EndDevice) -> None:
    radio = Radio()
    assert radio.hear(device.join_request()) == ["unknown_device"]
    radio.server.add_device(Device(device.dev_eui, device.join_eui, device.app_key, "amsel"))
    radio.joined(device)
    radio.server.add_device(Device(device.dev_eui, device.join_eui, device.app_key, "meise"))
    radio.hear(device.uplink(b"x"))
    radio.after(1)
    assert [uplink.node for uplink in radio.published] == ["amsel", "meise"]  # a new name keeps the session
    radio.server.enqueue(device.dev_eui, 10, b"for the old owner")
    radio.server.remove_device(device.dev_eui)
    assert radio.hear(device.uplink(b"x")) == ["unknown_session"]
    assert radio.hear(device.join_request()) == ["unknown_device"]
    radio.server.add_device(Device(device.dev_eui, device.join_eui, device.app_key, "amsel"))
    assert radio.server.queued(device.dev_eui) == 0


@pytest.mark.parametrize("removed", [False, True])
def test_a_new_key_ends_the_session_and_starts_the_dev_nonces_anew(device: EndDevice, removed: bool) -> None:
    radio = Radio(device)
    radio.joined(device)
    old_request = device.join_request(5)
    if removed:
        radio.server.remove_device(device.dev_eui)
    radio.server.add_device(Device(device.dev_eui, device.join_eui, bytes(16), "spatz-1"))
    assert radio.hear(device.uplink(b"x")) == ["unknown_session"]
    assert radio.hear(old_request) == ["mic_bad"]
    device.app_key, device.dev_nonce = bytes(16), -1
    radio.join(device)  # its memory of the last JoinNonce may have stayed: the device checks that it rises


def test_a_device_that_returns_with_its_old_key_may_not_use_its_nonces_again(device: EndDevice) -> None:
    radio = Radio(device)
    request = device.join_request()
    radio.hear(request)
    radio.after(200)
    assert len(radio.joins) == 1
    radio.server.remove_device(device.dev_eui)
    radio.server.add_device(radio.devices[0], radio.joins)
    assert radio.hear(request) == ["dev_nonce_used"]


def test_a_join_that_no_gateway_can_answer_has_not_happened(device: EndDevice) -> None:
    radio = Radio(device)
    request = device.join_request()
    assert radio.hear(request, tmst=None) == []  # a gateway without a counter cannot send
    assert radio.after(10) == ["join_deferred"]
    assert (radio.joins, radio.sessions, radio.sent) == ([], {}, [])
    assert radio.hear(request, tmst=10_000_000) == []  # nothing was used up
    assert radio.after(10) == ["join_accepted", "downlink_sent"]
    assert device.join_accept(radio.sent[0].phy).join_nonce == 1
    assert radio.hear(request, tmst=30_000_000) == ["dev_nonce_used"]


def test_a_deferred_join_costs_a_joined_device_nothing(device: EndDevice) -> None:
    radio = Radio(device)
    radio.joined(device)
    lost = EndDevice()
    lost.__dict__.update(device.__dict__)
    radio.hear(lost.join_request(), tmst=None)
    assert radio.after(10) == ["join_deferred"]
    radio.restart()
    assert radio.hear(device.uplink(b"x")) == ["accepted"]


def test_a_join_that_a_gateway_held_back_is_not_answered(device: EndDevice) -> None:
    radio = Radio(device)
    assert radio.hear(device.join_request(), held_s=3600) == []
    assert radio.after(10) == ["join_deferred"]
    assert radio.joins == []


def test_when_no_gateway_has_time_the_others_are_deferred() -> None:
    devices = [EndDevice(number) for number in range(1, 9)]
    radio = Radio(*devices)
    for number, device in enumerate(devices):  # all at once: one gateway can send one JoinAccept at a time
        radio.hear(device.join_request(), freq_hz=868_100_000, sf=9, tmst=number)
    kinds = radio.after(10)
    assert kinds.count("join_accepted") + kinds.count("join_deferred") == 8
    assert 1 <= kinds.count("join_accepted") < 8
    assert kinds.count("downlink_sent") == kinds.count("join_accepted") == len(radio.joins) == len(radio.sessions)


def test_a_lower_dev_nonce_does_not_push_aside_the_request_that_is_being_decided(device: EndDevice) -> None:
    radio = Radio(device)
    early = device.join_request(3)
    assert radio.hear(early, tmst=None) == []
    assert radio.after(100) == ["join_deferred"]
    assert radio.hear(device.join_request(4)) == []
    assert radio.hear(early, tmst=5) == ["dev_nonce_low"]
    radio.after(10)
    device.join_accept(radio.sent[0].phy)
    assert radio.hear(device.uplink(b"x")) == ["accepted"]


@pytest.mark.parametrize("rising", [True, False])
def test_replayed_joins_take_no_session_over(device: EndDevice, rising: bool) -> None:
    """An attacker repeats all that the device ever sent, at every step of its join."""
    radio = Radio(device, rising=rising)
    requests = [device.join_request()]
    radio.hear(requests[0], tmst=None)  # never answered
    radio.after(100)

    def attack() -> None:
        for number, request in enumerate(requests):
            radio.hear(request, FAR, tmst=round(radio.now * 1e6) + number)
        radio.after(20)

    for _ in range(2):
        requests.append(device.join_request())
        radio.hear(requests[-1], tmst=round(radio.now * 1e6))
        radio.after(5)
        device.join_accept(radio.sent[-1].phy)
        assert radio.hear(device.uplink(b"mine")) == ["accepted"]
        attack()
        assert radio.hear(device.uplink(b"mine")) == ["accepted"]
        radio.restart()
        attack()
        assert radio.hear(device.uplink(b"mine")) == ["accepted"]
        radio.after(10)
    assert len({record.dev_nonce for record in radio.joins}) == len(radio.joins)
    assert [record.join_nonce for record in radio.joins] == list(range(1, len(radio.joins) + 1))


def test_join_nonces_go_on_above_what_a_lost_database_may_have_given(device: EndDevice) -> None:
    radio = Radio(device)
    radio.devices = [replace(radio.devices[0], join_nonce_floor=41)]
    radio.restart()
    radio.join(device)
    assert [record.join_nonce for record in radio.joins] == [42]
    radio.join(device)
    assert [record.join_nonce for record in radio.joins] == [42, 43]
    radio.devices = [replace(radio.devices[0], join_nonce_floor=0xFFFFFF)]
    radio.restart()
    assert radio.hear(device.join_request()) == ["join_nonce_exhausted"]


def test_a_device_renamed_while_its_join_is_decided(device: EndDevice) -> None:
    radio = Radio(device)
    radio.hear(device.join_request())
    radio.server.add_device(replace(radio.devices[0], slug="amsel"))
    radio.after(5)
    device.join_accept(radio.sent[0].phy)
    radio.hear(device.uplink(b"x"))
    assert [uplink.node for uplink in radio.frames.values()] == ["amsel"]


def test_a_device_removed_while_its_join_is_decided_is_not_answered(device: EndDevice) -> None:
    radio = Radio(device)
    radio.hear(device.join_request())
    radio.server.remove_device(device.dev_eui)
    assert radio.after(10) == []
    assert (radio.joins, radio.sent) == ([], [])


def test_every_device_gets_its_own_address_while_there_are_any() -> None:
    devices = [EndDevice(number) for number in range(130)]
    radio = Radio(*devices, settings=Settings(net_id=0xE00001))  # type 7: 7 bits of address
    for device in devices:
        radio.join(device)
    addresses = [device.dev_addr for device in devices]
    assert len(set(addresses)) == 128
    assert {address >> 7 for address in addresses} == {0b11111110_0_00000000_00000001}
    for device in devices:  # two pairs share an address; the MIC tells them apart
        assert radio.hear(device.uplink(b"x")) == ["accepted"]


@pytest.mark.parametrize("kind", LAYOUT)
def test_dev_addr_layout(kind: int) -> None:
    prefix, nwk_id, addr = LAYOUT[kind]
    assert prefix + nwk_id + addr == 32
    bits = f"{compose(kind << 21 | 1, (1 << addr) - 1):032b}"
    assert bits == "1" * kind + "0" + "1".zfill(nwk_id) + "1" * addr


def test_keys_do_not_show_in_what_is_printed(device: EndDevice) -> None:
    radio = Radio(device)
    radio.joined(device)
    session = radio.server.session(device.dev_eui)
    shown = repr(radio.devices) + repr(session)
    for key in (device.app_key, device.nwk_skey, device.app_skey):
        assert key.hex() not in shown
        assert repr(key) not in shown
