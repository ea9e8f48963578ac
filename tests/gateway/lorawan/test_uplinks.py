"""Data uplinks: one reading however often it is heard, and none from an attacker."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nest.lorawan.frames import rebuild_fcnt
from nest.model import MOST_HEARD

from .device import EndDevice
from .radio import FAR, NEAR, Radio


@pytest.fixture
def device() -> EndDevice:
    return EndDevice()


@pytest.fixture
def radio(device: EndDevice) -> Radio:
    radio = Radio(device)
    radio.joined(device)
    radio.published.clear()
    return radio


def test_two_gateways_give_one_reading_and_two_receptions(radio: Radio, device: EndDevice) -> None:
    phy = device.uplink(b"21.4")
    assert radio.hear(phy, FAR, snr=-9.0) == ["accepted"]
    radio.after(0.1)
    assert radio.hear(phy, NEAR, snr=8.0, freq_hz=868_500_000) == ["duplicate"]
    assert radio.published == []  # not before the window has closed
    radio.after(0.2)
    (uplink,) = radio.published
    assert [(heard.gateway, heard.snr) for heard in uplink.heard] == [(NEAR, 8.0), (FAR, -9.0)]
    assert uplink.freq_hz == 868_500_000
    assert {heard.gateway for heard in radio.frames[device.dev_eui, 1, 1].heard} == {NEAR, FAR}
    assert radio.sent[1:] == []  # nothing asked for an answer


def test_ghosts_on_other_channels_are_the_same_frame(radio: Radio, device: EndDevice) -> None:
    phy = device.uplink(b"x")
    radio.hear(phy, NEAR, snr=-5.0, freq_hz=868_300_000)
    radio.hear(phy, NEAR, snr=9.0, freq_hz=868_100_000)
    radio.hear(phy, NEAR, snr=-6.0, freq_hz=868_500_000)
    radio.after(1)
    (uplink,) = radio.published
    assert [(heard.gateway, heard.freq_hz) for heard in uplink.heard] == [(NEAR, 868_100_000)]
    assert [heard.snr for heard in radio.frames[device.dev_eui, 1, 1].heard] == [9.0]


@pytest.mark.parametrize("ghost_first", [True, False])
def test_a_ghost_that_sounds_as_clear_is_known_by_its_weakness(
    radio: Radio, device: EndDevice, ghost_first: bool
) -> None:
    """The SNR says nothing of a node beside the gateway: no receiver measures more than some 10 dB."""
    phy = device.uplink(b"x", confirmed=True)
    receptions = [(868_300_000, 9.5, -87.0), (868_100_000, 9.2, -31.0)]
    for freq_hz, snr, rssi in receptions if ghost_first else receptions[::-1]:
        radio.hear(phy, NEAR, snr=snr, rssi=rssi, freq_hz=freq_hz)
    radio.after(1)
    assert radio.published[-1].freq_hz == radio.sent[-1].freq_hz == 868_100_000


@pytest.mark.parametrize("late_s", [0.5, 1.9, 30.0])
def test_a_late_copy_is_merged_and_not_published_again(radio: Radio, device: EndDevice, late_s: float) -> None:
    phy = device.uplink(b"x")
    radio.hear(phy, NEAR, tmst=1_000_000)
    radio.after(late_s)
    if late_s < 2:
        assert radio.hear(phy, FAR) == ["late_copy"]
    assert radio.hear(phy, NEAR, tmst=1_000_004, snr=6.0) == ["late_copy"]  # the gateway's counter says: once on air
    radio.after(1)
    assert len(radio.published) == 1
    assert {heard.gateway for heard in radio.frames[device.dev_eui, 1, 1].heard} == (
        {NEAR, FAR} if late_s < 2 else {NEAR}
    )


def test_a_wrong_mic_is_counted(radio: Radio, device: EndDevice) -> None:
    phy = device.uplink(b"x")
    assert radio.hear(phy[:-1] + bytes([phy[-1] ^ 1])) == ["mic_bad"]
    assert radio.hear(phy[:9] + bytes([phy[9] ^ 1]) + phy[10:]) == ["mic_bad"]
    assert radio.hear(phy) == ["accepted"]


def test_a_replay_is_refused_and_counted(radio: Radio, device: EndDevice) -> None:
    phys = [device.uplink(bytes([i])) for i in range(3)]
    for phy in phys:
        assert radio.hear(phy) == ["accepted"]
        radio.after(20)
    assert radio.hear(phys[0], tmst=60_000_000) == ["replay"]
    radio.after(300)
    assert radio.hear(phys[1], tmst=400_000_000) == ["replay"]
    radio.restart()
    assert radio.hear(phys[0]) == ["replay"]
    assert len(radio.frames) == 4


def test_unknown_addresses_and_broken_frames_are_counted(radio: Radio, device: EndDevice) -> None:
    stranger = EndDevice(9)
    stranger.dev_addr = 0x01020304
    assert radio.hear(stranger.uplink(b"x")) == ["unknown_session"]
    assert radio.hear(b"") == ["malformed"]
    assert radio.hear(device.uplink(b"x")[:11]) == ["malformed"]
    assert radio.hear(b"\x01" + device.uplink(b"x")[1:]) == ["malformed"]  # not LoRaWAN R1
    assert radio.hear(b"\x00" * 22) == ["malformed"]
    assert radio.hear(b"\x60" + bytes(12)) == ["unexpected_type"]
    assert radio.hear(b"\xe0whatever") == ["unexpected_type"]
    assert radio.hear(device.uplink(b"x"), crc_ok=False) == ["crc_bad"]


def test_two_devices_with_one_address_are_told_apart_by_the_mic() -> None:
    first, second = EndDevice(1), EndDevice(2)
    radio = Radio(first, second)
    radio.joined(first)
    radio.joined(second)
    key = (second.dev_eui, 1)
    radio.sessions[key] = replace(radio.sessions[key], dev_addr=first.dev_addr)
    second.dev_addr = first.dev_addr
    radio.restart()
    radio.published.clear()
    for device in (first, second, second, first):
        assert radio.hear(device.uplink(b"x", confirmed=True)) == ["accepted"]
        radio.after(1)
        assert device.downlink(radio.sent[-1].phy).ack
    assert [uplink.node for uplink in radio.published] == ["spatz-1", "spatz-2", "spatz-2", "spatz-1"]


@pytest.mark.parametrize("gap", [1, 2, 16_384, 40_000, 65_536])
def test_any_gap_is_taken_under_a_valid_mic(radio: Radio, device: EndDevice, gap: int) -> None:
    fcnt = device.fcnt_up + gap
    assert radio.hear(device.uplink(b"x", fcnt=fcnt)) == ["accepted"]
    radio.after(1)
    assert radio.published[-1].fcnt == fcnt


def test_the_counter_goes_on_beyond_16_bits(radio: Radio, device: EndDevice) -> None:
    for fcnt in (0xFFFE, 0xFFFF, 0x10000, 0x1FFFF, 0x20003):
        assert radio.hear(device.uplink(b"x", fcnt=fcnt)) == ["accepted"]
    radio.restart()
    assert radio.hear(device.uplink(b"x", fcnt=0x20004)) == ["accepted"]
    assert radio.hear(device.uplink(b"x", fcnt=0x1FFFE)) == ["replay"]
    assert radio.hear(device.uplink(b"x", fcnt=0x4)) == ["mic_bad"]  # two turns back is beyond recognition


def test_the_counter_ends_at_32_bits(radio: Radio, device: EndDevice) -> None:
    key = (device.dev_eui, 1)
    radio.sessions[key] = replace(radio.sessions[key], fcnt_up=0xFFFFFFFE)
    radio.restart()
    last = device.uplink(b"x", fcnt=0xFFFFFFFF)
    assert radio.hear(last) == ["accepted"]
    radio.after(200)
    assert radio.hear(device.uplink(b"x", fcnt=0)) == ["mic_bad"]
    assert radio.hear(device.uplink(b"x", fcnt=1)) == ["mic_bad"]
    assert radio.hear(last, tmst=200_000_000) == ["retransmission"]
    assert radio.sessions[key].fcnt_up == 0xFFFFFFFF


@given(st.integers(0, 0xFFFF_FFFF), st.integers(1, 0x10000))
def test_counter_rebuilt_from_16_bits(last: int, gap: int) -> None:
    above, at_most = rebuild_fcnt(last, (last + gap) & 0xFFFF)
    assert above == last + gap
    assert at_most == last + gap - 0x10000 <= last


@given(st.integers(0, 0xFFFF))
def test_counter_of_the_first_frame(fcnt16: int) -> None:
    above, at_most = rebuild_fcnt(-1, fcnt16)
    assert above == fcnt16
    assert at_most < 0


@pytest.mark.parametrize(
    ("fport", "payload", "fopts", "commands"),
    [(0, b"\x02", b"", b"\x02"), (None, b"", b"", b""), (None, b"", b"\x02", b"\x02")],
)
def test_a_frame_without_application_data_is_stored_but_no_reading(
    radio: Radio, device: EndDevice, fport: int | None, payload: bytes, fopts: bytes, commands: bytes
) -> None:
    assert radio.hear(device.uplink(payload, fport, fopts=fopts)) == ["accepted"]
    radio.after(1)
    assert radio.published == []
    stored = radio.frames[device.dev_eui, 1, 1]
    assert (stored.fport, stored.payload, stored.mac_commands) == (fport, b"", commands)


def test_mac_commands_beside_a_reading_are_recorded(radio: Radio, device: EndDevice) -> None:
    radio.hear(device.uplink(b"21.4", fopts=b"\x03\x07"))
    radio.after(1)
    assert (radio.published[0].payload, radio.published[0].mac_commands) == (b"21.4", b"\x03\x07")


def test_a_backlog_gives_every_reading_and_answers_only_the_newest(radio: Radio, device: EndDevice) -> None:
    for i in range(20):
        radio.hear(device.uplink(bytes([i]), confirmed=True), tmst=i * 10_000_000)
    radio.after(1)
    assert [uplink.payload[0] for uplink in radio.published] == list(range(20))
    assert [downlink.tmst for downlink in radio.sent[1:]] == [191_000_000]  # one acknowledgement, for the last


def test_forged_frames_leave_nothing_in_memory(radio: Radio, device: EndDevice) -> None:
    radio.after(200)
    radio.hear(device.uplink(b"x"))
    before = len(radio.server._dedup)
    good = device.uplink(b"x")
    for i in range(1000):
        assert radio.hear(good[:-4] + i.to_bytes(4, "big")) == ["mic_bad"]
    assert len(radio.server._dedup) == before


def test_made_up_gateways_are_not_noted_without_end(radio: Radio, device: EndDevice) -> None:
    phy = device.uplink(b"x")
    radio.hear(phy, NEAR)
    for number in range(300):
        radio.hear(phy, f"{number:016x}", snr=20.0)
    assert len(radio.frames[device.dev_eui, 1, 1].heard) == MOST_HEARD
    radio.after(1)
    assert len(radio.published[0].heard) == MOST_HEARD


def test_remembered_frames_are_forgotten_in_time(radio: Radio, device: EndDevice) -> None:
    for _ in range(100):
        radio.hear(device.uplink(b"x"))
        radio.after(10)
    assert len(radio.server._dedup) <= 13  # at most 120 s worth
    assert radio.server.next_deadline() is None


def test_repetitions_are_further_receptions_and_no_mistake(radio: Radio, device: EndDevice) -> None:
    phy = device.uplink(b"x")
    radio.hear(phy, NEAR, tmst=1_000_000, snr=-7.0)
    for number in range(1, 4):  # NbTrans
        radio.after(3)
        assert radio.hear(phy, FAR, tmst=1_000_000 + number * 3_000_000, freq_hz=868_500_000) == ["retransmission"]
    radio.after(3)
    assert len(radio.published) == 1
    assert {heard.gateway for heard in radio.frames[device.dev_eui, 1, 1].heard} == {NEAR, FAR}
    assert radio.sent[1:] == []


def test_ciphers_are_kept_for_those_heard_last_and_made_again() -> None:
    devices = [EndDevice(number) for number in range(1, 13)]
    radio = Radio(*devices)
    ciphers = radio.server._sessions.ciphers
    ciphers._half = 2
    for device in devices:
        radio.joined(device)
    for _ in range(3):
        for device in devices:
            assert radio.hear(device.uplink(b"x", confirmed=True)) == ["accepted"]
            radio.after(10)
            assert device.downlink(radio.sent[-1].phy).ack
        assert len(ciphers) <= 4


def test_remembered_frames_are_bounded_whatever_comes(radio: Radio, device: EndDevice) -> None:
    radio.server._dedup._memory_frames = 50
    phys = [device.uplink(b"x") for _ in range(400)]
    for phy in phys:
        radio.now += 0.001
        assert radio.hear(phy) == ["accepted"]
        assert len(radio.server._dedup) <= 101
    assert radio.hear(phys[-20], FAR) == ["duplicate"]  # those whose windows are open are among them
    radio.after(1)
    assert len(radio.published) == 400
