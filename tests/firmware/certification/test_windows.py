"""Receive windows of class A (TS001-1.0.4 3.3; RP002-1.0.4 2.4; CR1.0 section 2.4).

What holds of every window – its frequency, its data rate, that it is open when a downlink comes – is looked at in
`cert_lab` after every exchange of every scenario.
"""

from __future__ import annotations

import pytest
from cert_air import Down
from cert_lab import Lab
from cert_terms import ACK, DEV_ADDR


@pytest.mark.parametrize("dr", range(6))
@pytest.mark.parametrize("offset", range(6))
def test_rx1_data_rate(lab: Lab, dr: int, offset: int) -> None:
    """RX1 is opened at the data rate of the uplink less RX1DROffset, not below DR0."""
    lab.set(dr=dr, rx1_dr_offset=offset)
    lab.dr, lab.rx1_dr_offset = dr, offset
    exchange = lab.uplink(rx1=lab.down(port=1, payload=b"x"))
    assert exchange.outcome.window == 1
    assert exchange.downlinks == [(1, b"x", 0)]


@pytest.mark.parametrize("dr", range(6))
def test_rx2_data_rate(lab: Lab, dr: int) -> None:
    """RX2 is opened at its own data rate, whatever the uplink's was."""
    lab.set(dr=dr)
    lab.dr = dr
    assert lab.uplink(rx2=lab.down(port=1, payload=b"x")).outcome.window == 2


def test_rx1_is_on_the_frequency_of_the_uplink(lab: Lab) -> None:
    """RX1 follows the channel of each uplink."""
    heard = set()
    for _ in range(6):
        exchange = lab.uplink(rx1=lab.down(port=1, payload=b"x"))
        assert exchange.windows[0][0].freq_hz == exchange.up.sent.freq_hz
        heard.add(exchange.up.sent.freq_hz)
    assert len(heard) == 3


def test_rx2_stays_shut_after_a_downlink_in_rx1(lab: Lab) -> None:
    """A downlink for this device in RX1 leaves RX2 shut, with or without a payload."""
    data, commands = lab.down(port=1, payload=b"x"), lab.down(port=0, payload=b"\x06")
    for down in (data, commands, lab.down(fctrl=ACK), lab.down(fopts=b"\x06")):
        exchange = lab.uplink(rx1=down)
        assert exchange.outcome.window == 1
        assert len(exchange.windows[0]) == 1


@pytest.mark.parametrize("case", ["another device", "bad MIC", "noise", "uplink", "JoinAccept", "replay"])
def test_rx2_is_opened_after_a_frame_that_does_not_pass(lab: Lab, case: str) -> None:
    """What is heard in RX1 and is not for this device leaves RX2 to be opened."""
    good = lab.down(port=1, payload=b"x")
    before = lab.uplink(rx1=good)
    frame = lab.down(port=1, payload=b"y")
    foreign = {
        "another device": lab.down(fcnt=5, dev_addr=DEV_ADDR ^ 0x100, port=1, payload=b"z"),
        "bad MIC": frame[:-2] + bytes(2),
        "noise": bytes(range(40)),
        "uplink": before.up.sent.frame,
        "JoinAccept": lab.accept(),
        "replay": good,
    }[case]
    exchange = lab.uplink(rx1=foreign, rx2=frame)
    assert exchange.outcome.window == 2
    assert exchange.downlinks == [(1, b"y", 1)]


def test_two_empty_windows(lab: Lab) -> None:
    """Without a downlink both windows are opened once, RX2 one second after RX1."""
    exchange = lab.uplink()
    first, second = exchange.windows[0]
    assert (first.number, second.number) == (1, 2)
    assert second.open_us > first.close_us
    assert exchange.outcome.window == 0
    assert exchange.outcome.rssi is None


@pytest.mark.parametrize("delay", range(1, 16))
def test_receive_delay(lab: Lab, delay: int) -> None:
    """RX1 and RX2 are opened RECEIVE_DELAY1 and one second more after the end of the uplink, for 1 to 15 s."""
    lab.set(rx1_delay_s=delay)
    lab.rx1_delay_s = delay
    assert lab.uplink(rx1=lab.down(port=1, payload=b"x")).outcome.window == 1
    assert lab.uplink(rx2=lab.down(port=1, payload=b"x")).outcome.window == 2
    assert lab.uplink().outcome.window == 0


@pytest.mark.parametrize("late_us", [-2300, -1000, 0, 1000, 2300])
@pytest.mark.parametrize("dr", [0, 3, 5])
def test_downlinks_early_and_late(fresh: Lab, dr: int, late_us: int) -> None:
    """A downlink that is early or late by what the device says of its clock and its jitter is heard."""
    fresh.new(ppm=200, jitter_us=1300)
    fresh.join(dr=dr, rx1=fresh.accept(rx_delay=5))
    assert fresh.uplink(rx1=fresh.down(port=1, payload=b"x"), late_us=late_us).outcome.window == 1
    assert fresh.uplink(rx2=fresh.down(port=1, payload=b"x"), late_us=late_us).outcome.window == 2


def test_a_downlink_that_comes_too_late_is_not_waited_for(lab: Lab) -> None:
    """A window closes when no preamble comes: a downlink 100 ms late at DR5 is lost, and the device goes on."""
    exchange = lab.uplink(rx1=lab.down(port=1, payload=b"x"), late_us=100_000)
    assert exchange.outcome.window == 0
    assert all(window.close_us - window.open_us < 250_000 for window in exchange.windows[0])
    assert lab.uplink(rx1=lab.down(port=1, payload=b"y")).outcome.window == 1


def test_windows_of_an_uplink_are_those_it_was_sent_under(lab: Lab) -> None:
    """RXTimingSetupReq and RXParamSetupReq take effect with the next uplink, answered in its FOpts."""
    lab.uplink(rx1=lab.down(fopts=bytes.fromhex("0803") + bytes.fromhex("0513d2ad84")))
    lab.rx1_delay_s, lab.rx1_dr_offset, lab.rx2_dr, lab.rx2_hz = 3, 1, 3, 869525000
    exchange = lab.uplink(rx2=lab.down(port=1, payload=b"x"))
    assert exchange.up.fopts == bytes.fromhex("080507")
    assert exchange.outcome.window == 2


def test_no_window_without_an_uplink(lab: Lab) -> None:
    """A class A device listens only after its own uplinks."""
    count = len(lab.air.log)
    lab.wait(3600)
    assert len(lab.air.log) == count


def test_what_the_channel_does_to_a_downlink(lab: Lab) -> None:
    """Downlinks that are lost, spoilt or doubled on the way are survived, and the next good one is taken."""

    def lose(down: Down) -> list[Down]:
        return []

    def spoil(down: Down) -> list[Down]:
        down.frame = down.frame[:5] + bytes([down.frame[5] ^ 0xFF]) + down.frame[6:]
        return [down]

    def double(down: Down) -> list[Down]:
        return [down, Down(down.at_us + 300_000, down.freq_hz, down.sf, down.bw_hz, down.frame)]

    for tamper, window in ((lose, 0), (spoil, 0), (double, 1)):
        lab.air.tamper = tamper
        assert lab.uplink(rx1=lab.down(port=1, payload=b"x")).outcome.window == window
    lab.air.tamper = lambda down: [down]
    assert lab.uplink(rx1=lab.down(port=1, payload=b"x")).outcome.window == 1
