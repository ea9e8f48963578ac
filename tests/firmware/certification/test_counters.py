"""Frame counters (TS001-1.0.4 4.3.1.5; CR1.0 section 2.3)."""

from __future__ import annotations

import pytest
from cert_lab import Lab


def test_fcnt_up_goes_up_by_one(lab: Lab) -> None:
    """FCntUp begins at 0 and goes up by one with each new frame, confirmed or not, answered or not."""
    for number in range(12):
        exchange = lab.uplink(
            confirmed=number % 3 == 1, rx2=lab.down(port=1, payload=b"x") if number % 4 == 3 else None
        )
        assert exchange.up.fcnt == number


def test_fcnt_up_is_the_same_in_repetitions(lab: Lab) -> None:
    """A repetition is the same frame with the same FCntUp; the next new frame has the next."""
    lab.set(nb_trans=4)
    for number in range(3):
        exchange = lab.uplink()
        assert [up.fcnt for up in exchange.ups] == [number] * 4
        assert len({up.sent.frame for up in exchange.ups}) == 1


def test_fcnt_up_rolls_over_at_16_bits(lab: Lab) -> None:
    """On air FCntUp goes from 65535 to 0, while MIC and encryption go on with 32 bits."""
    lab.set(fcnt_up=65534)
    lab.fcnt_up = 65534
    on_air = [int.from_bytes(lab.uplink().up.sent.frame[6:8], "little") for _ in range(4)]
    assert on_air == [65534, 65535, 0, 1]
    assert lab.session().fcnt_up == 65538


def test_fcnt_down_rolls_over_at_16_bits(lab: Lab) -> None:
    """FCntDown goes on from 65535 to 65536 when the air shows 0."""
    for fcnt in (65534, 65535, 65536, 65537, 131072):
        assert lab.uplink(rx1=lab.down(fcnt=fcnt, port=1, payload=b"x")).downlinks == [(1, b"x", fcnt)]


@pytest.mark.parametrize("first", [0, 1, 1000, 65535])
def test_first_fcnt_down(lab: Lab, first: int) -> None:
    """The first downlink of a session may have any FCntDown."""
    assert lab.uplink(rx1=lab.down(fcnt=first, port=1, payload=b"x")).downlinks == [(1, b"x", first)]


@pytest.mark.parametrize("gap", [2, 1000, 16384, 40000, 65535])
def test_gap_in_fcnt_down(lab: Lab, gap: int) -> None:
    """Downlinks that were lost leave a gap that is taken, however wide: 1.0.4 has no MAX_FCNT_GAP."""
    lab.uplink(rx1=lab.down(fcnt=7, port=1, payload=b"x"))
    assert lab.uplink(rx1=lab.down(fcnt=7 + gap, port=1, payload=b"y")).downlinks == [(1, b"y", 7 + gap)]


@pytest.mark.parametrize("old", [0, 4, 5])
def test_replayed_downlink_is_refused(lab: Lab, old: int) -> None:
    """A FCntDown that is not higher than the last good one is refused without a trace, and RX2 is opened."""
    frames = {fcnt: lab.down(fcnt=fcnt, port=1, payload=b"old") for fcnt in (0, 4, 5)}
    lab.uplink(rx1=frames[5])
    exchange = lab.uplink(rx1=frames[old])
    assert exchange.outcome.window == 0
    assert exchange.downlinks == []
    assert lab.session().fcnt_down == 5
    exchange = lab.uplink(rx1=frames[old], rx2=lab.down(fcnt=6, port=1, payload=b"fresh"))
    assert exchange.downlinks == [(1, b"fresh", 6)]


def test_replayed_confirmed_downlink_is_not_acknowledged(lab: Lab) -> None:
    """A replayed confirmed downlink is neither acknowledged nor handed to the application."""
    down = lab.down(port=1, payload=b"x", confirmed=True)
    lab.uplink(rx1=down)
    assert lab.uplink(rx1=down).up.ack
    assert not lab.uplink().up.ack


def test_the_same_downlink_in_both_windows_counts_once(lab: Lab) -> None:
    """A downlink that the channel delivers twice is taken once."""
    down = lab.down(port=1, payload=b"x")
    assert lab.uplink(rx1=down, rx2=down).downlinks == [(1, b"x", 0)]
    assert lab.uplink(rx1=down, rx2=down).downlinks == []


def test_fcnt_down_of_a_bad_mic_changes_nothing(lab: Lab) -> None:
    """A frame with a high FCntDown and a wrong MIC does not move the counter."""
    high = lab.down(fcnt=9999, port=1, payload=b"x")
    lab.uplink(rx1=high[:-1] + bytes([high[-1] ^ 0x80]))
    assert lab.session().fcnt_down == -1
    assert lab.uplink(rx1=lab.down(fcnt=0, port=1, payload=b"y")).downlinks == [(1, b"y", 0)]


def test_counters_after_a_reset(lab: Lab) -> None:
    """After a reset FCntUp goes on where it was, and an old downlink is refused as before."""
    down = lab.down(port=1, payload=b"x")
    lab.uplink(rx1=down)
    lab.uplink()
    lab.restart()
    assert lab.uplink(rx1=down).outcome.window == 0
    assert lab.session().fcnt_up == 3


def test_counters_after_a_power_cut(lab: Lab) -> None:
    """After a power cut no FCntUp is used again, and a downlink that the application has seen is refused."""
    down = lab.down(port=1, payload=b"x")
    lab.uplink(rx1=down)
    lab.uplink()
    lab.restart(power_cut=True)
    assert lab.fcnt_up >= 2
    assert lab.uplink(rx1=down).outcome.window == 0
