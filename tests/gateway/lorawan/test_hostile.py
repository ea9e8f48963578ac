"""Whatever arrives by radio, the server only counts it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from nest.lorawan import frames
from nest.lorawan.effects import KINDS

from .device import EndDevice
from .radio import Radio

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
