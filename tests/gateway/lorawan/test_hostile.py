"""Whatever arrives by radio, the server only counts it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nest.lorawan import Settings, UnknownDeviceError, frames
from nest.lorawan.effects import KINDS
from nest.model import RadioFrame

from .device import EndDevice
from .radio import FAR, NEAR, Radio

anything = st.binary(max_size=300)
frame_like = st.builds(lambda mtype, rest: bytes([mtype << 5]) + rest, st.integers(0, 7), anything)


@given(anything | frame_like)
def test_parsers_raise_only_frame_error(phy: bytes) -> None:
    for parse in (frames.message_type, frames.parse_data, frames.parse_join_request):
        try:
            parse(phy)
        except frames.FrameError:
            continue


@given(frame_like)
def test_a_parsed_frame_is_the_frame(phy: bytes) -> None:
    try:
        frame = frames.parse_data(phy)
    except frames.FrameError:
        return
    port = b"" if frame.fport is None else bytes([frame.fport])
    head = phy[:1] + frame.dev_addr.to_bytes(4, "little") + bytes([frame.fctrl]) + frame.fcnt16.to_bytes(2, "little")
    assert head + frame.fopts + port + frame.frm_payload + frame.mic == phy


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255), st.booleans()), min_size=1, max_size=8))
def test_changed_frames_of_a_known_device_are_refused(changes: list[tuple[int, int, bool]]) -> None:
    device = EndDevice()
    radio = Radio(device)
    radio.joined(device)
    good = device.uplink(b"21.4", confirmed=True)
    bad = bytearray(good)
    for at, value, cut in changes:
        if cut:
            del bad[at % (len(bad) + 1) :]
        elif bad:
            bad[at % len(bad)] = value
    if bytes(bad) == good or bad[1:] == good[1:]:
        return
    kinds = radio.hear(bytes(bad))
    assert set(kinds) <= KINDS.keys() - {"accepted", "join_accepted", "retransmission", "late_frame"}
    assert radio.after(1) == []
    assert radio.hear(good) == ["accepted"]


ERRORS = (None, None, "TX_FREQ", "TX_POWER", "TOO_LATE", "NO_DOWNLINK_PATH", "unheard of")
MAC_COMMANDS = (
    b"",
    b"",
    b"\x02",
    b"\x0d",
    b"\x03\x07",
    b"\x03\x00",
    b"\x05\x07",
    b"\x08",
    b"\x06\x00\x00",
    b"\x02\xff",
)


def any_phy(rng: random.Random, device: EndDevice, past: list[bytes]) -> bytes:
    """What a device sends, the same once more, something bent, or noise."""
    kind = rng.random()
    if kind < 0.1:
        return device.join_request(rng.choice((None, rng.randrange(9))))
    if kind < 0.6:
        fport = rng.choice((None, 0, 1, 223))
        return device.uplink(
            b"" if fport is None else rng.randbytes(rng.randrange(30)),
            fport,
            fcnt=rng.choice((None, None, None, max(0, device.fcnt_up + rng.randrange(-3, 70_000)))),
            confirmed=rng.random() < 0.4,
            fctrl=rng.choice((0, 0x80, 0x40, 0x20, 0xF0)),
            fopts=rng.choice(MAC_COMMANDS) if fport else b"",
        )
    if kind < 0.85 and past:
        return rng.choice(past)
    phy = bytearray(rng.choice(past) if past and rng.random() < 0.7 else rng.randbytes(rng.randrange(1, 260)))
    phy[rng.randrange(len(phy))] ^= 1 << rng.randrange(8)
    return bytes(phy)


def any_reception(rng: random.Random, radio: Radio, phy: bytes) -> RadioFrame:
    held = rng.random() < 0.15
    return RadioFrame(
        phy,
        rng.choice((NEAR, FAR, "cc" * 8)),
        radio.now + 1.7e9 - (rng.randrange(5000) if held else 0),
        rng.choice((868_100_000, 868_500_000, 868_550_000, 868_650_000, 869_525_000, 433_000_000)),
        rng.choice((5, 6, 7, 7, 9, 12)),
        rng.choice((125_000, 125_000, 250_000, 500_000)),
        rng.choice((-90.0, -120.0)),
        rng.choice((None, 5.0, -20.0)),
        rng.choice((None, rng.getrandbits(32), round(radio.now * 1e6) & 0xFFFFFFFF)),
        rng.choice((True, True, None, False)),
        held,
        rng.choice((None, object())),
    )


@pytest.mark.parametrize("seed", range(12))
def test_a_town_in_which_everything_happens(seed: int) -> None:
    """No exception, and what `Radio` watches: nothing stored twice, no counter back, no FCntDown twice or unstored."""
    rng = random.Random(seed)  # noqa: S311
    devices = [EndDevice(number) for number in range(1, 4)]
    settings_ = Settings(
        rx1_delay_s=rng.choice((1, 5)),
        rx1_dr_offset=rng.randrange(6),
        rx2_dr=rng.choice((0, 3, 5)),
        dedup_window_s=rng.choice((0.0, 0.2, 0.5)),
    )
    radio = Radio(*devices, settings=settings_, rising=rng.random() < 0.5)
    for device in devices:
        radio.joined(device)
    past: list[bytes] = []
    for _ in range(200):
        device = rng.choice(devices)
        past = [*past[-40:], any_phy(rng, device, past)]
        radio.carry_out(radio.server.receive(any_reception(rng, radio, past[-1]), radio.now))
        chance = rng.random()
        if chance < 0.1:
            try:
                payload = rng.randbytes(rng.randrange(243))
                radio.server.enqueue(device.dev_eui, 10, payload, chance < 0.05, window=rng.choice((None, 1, 2)))
            except UnknownDeviceError:
                continue
        elif chance < 0.12:
            radio.restart()
        elif chance < 0.13:
            radio.server.remove_device(device.dev_eui)
            radio.sessions = {key: value for key, value in radio.sessions.items() if key[0] != device.dev_eui}
        elif chance < 0.15:
            known = next(known for known in radio.devices if known.dev_eui == device.dev_eui)
            radio.server.add_device(known, [record for record in radio.joins if record.dev_eui == known.dev_eui])
        elif chance < 0.4:
            downlink, window = rng.choice(radio.sent), rng.choice((None, 1, 2))
            radio.carry_out(radio.server.transmit_result(downlink, rng.choice(ERRORS), radio.now, window))
        if rng.random() < 0.7:
            radio.after(rng.choice((0.01, 0.3, 1.0, 3.0, 20.0, 200.0, 4000.0)))
    radio.after(10_000)
    assert radio.server.next_deadline() is None
