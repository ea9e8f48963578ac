"""Confirmed frames and acknowledgements in both directions (TS001-1.0.4 4.3.1.2; CR1.0 section 2.3)."""

from __future__ import annotations

import pytest
from cert_lab import Lab
from cert_terms import ACK


@pytest.mark.parametrize("window", [1, 2])
def test_confirmed_uplink_is_acknowledged(lab: Lab, window: int) -> None:
    """A confirmed uplink has MType 100, and a downlink with ACK in either window acknowledges it."""
    down = lab.down(fctrl=ACK)
    exchange = lab.uplink(confirmed=True, rx1=down if window == 1 else None, rx2=down if window == 2 else None)
    assert exchange.up.confirmed
    assert exchange.outcome.acked is True
    assert exchange.outcome.ok


def test_confirmed_uplink_without_an_answer(lab: Lab) -> None:
    """Without an acknowledgement the device says so, and goes on with the next FCntUp."""
    outcome = lab.uplink(confirmed=True).outcome
    assert outcome.acked is False
    assert not outcome.ok
    assert lab.uplink().up.fcnt == 1


def test_downlink_without_ack_does_not_acknowledge(lab: Lab) -> None:
    """A downlink without the ACK bit is taken and does not acknowledge."""
    exchange = lab.uplink(confirmed=True, rx1=lab.down(port=1, payload=b"x"))
    assert exchange.downlinks
    assert exchange.outcome.acked is False


def test_ack_with_a_bad_mic_does_not_acknowledge(lab: Lab) -> None:
    """An ACK in a frame that does not pass acknowledges nothing."""
    down = lab.down(fctrl=ACK)
    assert lab.uplink(confirmed=True, rx1=down[:-1] + b"\0").outcome.acked is False


def test_ack_that_nobody_asked_for(lab: Lab) -> None:
    """An ACK after an unconfirmed uplink means nothing, and the frame is taken."""
    outcome = lab.uplink(rx1=lab.down(fctrl=ACK)).outcome
    assert outcome.acked is None
    assert outcome.window == 1


@pytest.mark.parametrize("window", [1, 2])
def test_confirmed_downlink_is_acknowledged_once(lab: Lab, window: int) -> None:
    """A confirmed downlink sets the ACK bit in the next uplink and in no further one."""
    down = lab.down(port=3, payload=b"x", confirmed=True)
    exchange = lab.uplink(rx1=down if window == 1 else None, rx2=down if window == 2 else None)
    assert not exchange.up.ack
    assert exchange.downlinks == [(3, b"x", 0)]
    assert lab.uplink().up.ack
    assert not lab.uplink().up.ack


def test_confirmed_downlink_without_a_payload(lab: Lab) -> None:
    """An empty confirmed downlink is acknowledged, too."""
    lab.uplink(rx1=lab.down(confirmed=True))
    assert lab.uplink().up.ack


def test_unconfirmed_downlink_is_not_acknowledged(lab: Lab) -> None:
    """An unconfirmed downlink sets no ACK bit."""
    lab.uplink(rx1=lab.down(port=1, payload=b"x"))
    assert not lab.uplink().up.ack


def test_confirmed_downlinks_one_after_the_other(lab: Lab) -> None:
    """Each confirmed downlink is acknowledged, also by an uplink that is confirmed itself."""
    for number in range(4):
        down = lab.down(port=1, payload=b"x", confirmed=True, fctrl=ACK)
        exchange = lab.uplink(confirmed=True, rx1=down)
        assert exchange.up.ack == (number > 0)
        assert exchange.outcome.acked is True


def test_ack_bit_stands_in_every_repetition(lab: Lab) -> None:
    """The repetitions of an uplink that acknowledges are the same frame, ACK included."""
    lab.uplink(rx1=lab.down(confirmed=True))
    lab.set(nb_trans=3)
    exchange = lab.uplink()
    assert [up.ack for up in exchange.ups] == [True] * 3


@pytest.mark.parametrize("power_cut", [False, True])
@pytest.mark.parametrize("fields", [{"port": 1, "payload": b"x"}, {}])
def test_ack_survives_a_reset(lab: Lab, fields: dict, power_cut: bool) -> None:
    """An acknowledgement that is owed is given after a reset and a power cut, too."""
    lab.uplink(rx1=lab.down(**fields, confirmed=True))
    lab.restart(power_cut=power_cut)
    assert lab.uplink().up.ack
