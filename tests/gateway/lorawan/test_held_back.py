"""Frames that a gateway held back while its way to the nest was cut: none is lost, none taken twice, none answered."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from nest.model import RadioFrame

from .device import EndDevice
from .radio import FAR, NEAR, Radio


@pytest.fixture
def device() -> EndDevice:
    return EndDevice()


@pytest.fixture
def radio(device: EndDevice) -> Radio:
    return town(device)


def town(device: EndDevice) -> Radio:
    radio = Radio(device)
    radio.joined(device)
    radio.published.clear()
    radio.sent.clear()
    return radio


def archived(radio: Radio) -> list[tuple[int, bytes]]:
    return sorted((key[2], uplink.payload) for key, uplink in radio.frames.items())


def test_a_night_s_frames_are_taken_in_their_order_and_not_answered(radio: Radio, device: EndDevice) -> None:
    night = [device.uplink(bytes([i]), confirmed=True, fopts=b"\x02") for i in range(40)]
    radio.after(40 * 600)
    for i, phy in enumerate(night):
        assert radio.hear(phy, held_s=(40 - i) * 600) == ["accepted"]
    assert radio.after(10) == []
    assert radio.sent == []
    assert [uplink.payload for uplink in radio.published] == [bytes([i]) for i in range(40)]
    times = [uplink.received_at for uplink in radio.published]
    assert [round(b - a) for a, b in pairwise(times)] == [600] * 39
    radio.hear(device.uplink(b"now", confirmed=True))
    radio.after(1)
    assert device.downlink(radio.sent[0].phy).ack


def test_what_was_held_back_while_later_frames_came_is_stored_under_its_own_time(
    radio: Radio, device: EndDevice
) -> None:
    early = [device.uplink(bytes([i])) for i in range(3)]
    radio.after(1800)
    radio.hear(device.uplink(b"live"))
    fcnt_up = radio.sessions[device.dev_eui, 1].fcnt_up
    radio.after(1)
    for i, phy in enumerate(early):
        assert radio.hear(phy, FAR, held_s=1801 - i * 600) == ["late_frame"]
    radio.after(1)
    assert [payload for _, payload in archived(radio)] == [b"first", b"\x00", b"\x01", b"\x02", b"live"]
    assert radio.sessions[device.dev_eui, 1].fcnt_up == fcnt_up
    assert radio.sent == []
    assert [uplink.payload for uplink in radio.published] == [b"live"]  # the archive alone knows which were new
    stored = radio.frames[device.dev_eui, 1, 1]
    assert stored.received_at == pytest.approx(radio.now - 1802 + 1.7e9)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_frame_held_back_by_two_gateways_is_one_frame(radio: Radio, device: EndDevice, restarted: bool) -> None:
    phy = device.uplink(b"early")
    radio.after(600)
    radio.hear(device.uplink(b"live"))
    assert radio.hear(phy, FAR, held_s=600) == ["late_frame"]
    if restarted:
        radio.restart()
        assert radio.hear(phy, NEAR, held_s=600) == []
    else:
        radio.after(30)
        assert radio.hear(phy, NEAR, held_s=630) == ["late_copy"]
        assert {heard.gateway for heard in radio.frames[device.dev_eui, 1, 1].heard} == {NEAR, FAR}
    assert len(radio.frames) == 3


@pytest.mark.parametrize("wait_s", [30, 300])
def test_a_copy_that_another_gateway_held_back_is_merged_and_not_answered(
    radio: Radio, device: EndDevice, wait_s: int
) -> None:
    phy = device.uplink(b"x", confirmed=True)
    radio.hear(phy, NEAR)
    radio.after(wait_s)
    assert radio.hear(phy, FAR, held_s=wait_s) == ["late_copy"]
    radio.after(5)
    assert len(radio.sent) == 1
    assert {heard.gateway for heard in radio.frames[device.dev_eui, 1, 1].heard} == {NEAR, FAR}
    assert len(radio.published) == 1


def test_a_gateway_with_a_wrong_clock_does_not_keep_the_others_from_answering(radio: Radio, device: EndDevice) -> None:
    phy = device.uplink(b"x", confirmed=True)
    radio.hear(phy, FAR, snr=9.0, held_s=3600)
    radio.hear(phy, NEAR, snr=1.0)
    radio.after(1)
    assert [downlink.gateway for downlink in radio.sent] == [NEAR]


def test_a_frame_that_the_next_one_overtook_on_its_way_is_stored_when_the_gateway_s_counter_says_so(
    radio: Radio, device: EndDevice
) -> None:
    first, second = device.uplink(b"1"), device.uplink(b"2", confirmed=True)
    assert radio.hear(second, tmst=5_000_000) == ["accepted"]
    heard_at = radio.now + 1.7e9
    radio.after(2)
    assert radio.hear(first, tmst=1_000_000) == ["late_frame"]
    radio.after(2)
    assert radio.hear(first, tmst=1_000_000) == ["late_copy"]
    stored = radio.frames[device.dev_eui, 1, 1]
    assert (stored.payload, stored.received_at) == (b"1", pytest.approx(heard_at - 4))
    assert len(radio.sent) == 1


@pytest.mark.parametrize(
    ("gateway", "tmst", "wait_s"),
    [
        pytest.param(NEAR, 9_000_000, 2, id="heard later: a replay on the air"),
        pytest.param(FAR, 1_000_000, 2, id="another gateway counts from another start"),
        pytest.param(NEAR, None, 2, id="a gateway without a counter"),
        pytest.param(NEAR, 1_000_000, 3000, id="so late that the counter may have begun anew"),
        pytest.param(NEAR, 5_000_000 - 1800_000_000 & 0xFFFFFFFF, 2, id="half an hour before"),
    ],
)
def test_a_counter_that_cannot_tell_lets_no_replay_pass(
    radio: Radio, device: EndDevice, gateway: str, tmst: int | None, wait_s: float
) -> None:
    first, second = device.uplink(b"1"), device.uplink(b"2")
    radio.hear(second, tmst=5_000_000)
    radio.after(wait_s)
    assert radio.hear(first, gateway, tmst=tmst) == ["replay"]


def test_an_old_counter_heard_after_the_last_frame_is_a_replay(radio: Radio, device: EndDevice) -> None:
    held = device.uplink(b"never heard")
    radio.after(600)
    radio.hear(device.uplink(b"live"))
    radio.after(600)
    assert radio.hear(held, held_s=300) == ["replay"]  # the orders of counters and of times contradict each other
    assert radio.hear(held) == ["replay"]  # nobody claims to have held it back
    assert radio.hear(held, held_s=1200) == ["late_frame"]


def test_a_clock_that_was_set_back_makes_no_replay_good(radio: Radio, device: EndDevice) -> None:
    never_heard = device.uplink(b"x")
    radio.after(600)
    radio.hear(device.uplink(b"live"))
    at = radio.now + 1.7e9 - 300
    frame = RadioFrame(never_heard, NEAR, at, 868_100_000, 7, 125_000, -90.0, 5.0, 2_000_000)  # it goes on
    assert radio.carry_out(radio.server.receive(frame, radio.now)) == ["replay"]


# One step of a town's day: the device sends and is heard at once, or its frame is held back; a frame held back is
# handed in (the gateway names the true time); the nest is started again; an attacker repeats a frame, as heard now or
# as held back.
STEPS = st.lists(
    st.one_of(
        st.just(("live", 0, 0)),
        st.just(("hold", 0, 0)),
        st.tuples(st.just("hand in"), st.integers(0, 20), st.just(0)),
        st.just(("restart", 0, 0)),
        st.tuples(st.just("repeat"), st.integers(0, 20), st.integers(0, 1000)),
    ),
    max_size=25,
)


@hypothesis_settings(max_examples=150, deadline=None)
@given(STEPS)
def test_every_interleaving_archives_each_frame_at_most_once(steps: list[tuple[str, int, int]]) -> None:
    """That the counter never moves back and nothing is stored twice is watched by `Radio`."""
    device = EndDevice()
    radio = town(device)
    sent: list[tuple[float, bytes]] = []
    held: list[int] = []
    heard = {0: b"first"}
    attacked = False
    for step, which, held_s in steps:
        if step in ("live", "hold"):
            number = len(sent) + 1
            sent.append((radio.now, device.uplink(b"%d" % number)))
            if step == "hold":
                held.append(number)
            else:
                radio.hear(sent[-1][1], tmst=round(radio.now * 1e6))
                heard[number] = b"%d" % number
        elif step == "hand in" and held:
            number = held.pop(which % len(held))
            at, phy = sent[number - 1]
            radio.hear(phy, FAR, held_s=radio.now - at, tmst=round(at * 1e6))
            heard[number] = b"%d" % number
        elif step == "restart":
            radio.restart()
        elif step == "repeat" and sent:
            attacked = True
            _, phy = sent[which % len(sent)]
            radio.hear(phy, tmst=round(radio.now * 1e6), held_s=held_s or None)
        radio.after(50)
    stored = dict(archived(radio))
    assert all(payload == (b"%d" % fcnt if fcnt else b"first") for fcnt, payload in stored.items())
    if not attacked:
        assert stored == heard  # and none is lost
