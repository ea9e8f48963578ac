"""ADR and its backoff (TS001-1.0.4 4.3.1.1, Table 9; TR007-1.1 4.10; CR1.0 section 2.7)."""

from __future__ import annotations

import pytest
from cert_devices import DutError
from cert_lab import Lab
from cert_terms import DEFAULT_CHANNELS, link_adr, new_channel

LIMIT, DELAY = 64, 32


def expected(number: int, dr: int, power: int) -> tuple[bool, int, int, bool]:
    """Of the uplink after `number` others without a downlink: ADRACKReq, power, data rate, and whether it is over."""
    steps = max(0, (number - LIMIT) // DELAY)
    left = dr - (steps - 1) if steps > 1 else dr
    return number >= LIMIT, power if steps < 1 else 0, max(left, 0), left < 0


@pytest.mark.parametrize("dr", [0, 1, 3, 5])
def test_backoff(lab: Lab, dr: int) -> None:
    """ADRACKReq from 64 uplinks on, default power at 96, one data rate less at 128 and every 32 after, and at DR0 all
    default channels and NbTrans 1; ADRACKReq stays (Table 9)."""
    lab.channels[3] = 867100000
    lab.uplink(rx1=lab.down(fopts=new_channel(3, 867100000) + link_adr(dr, 3, 0b1001, nb_trans=2)))
    lab.dr, lab.tx_power = dr, 3
    assert lab.uplink(rx1=lab.down()).up.fopts == b"\x07\x03\x03\x07"
    before, after = [], []
    last = LIMIT + DELAY * (dr + 2)
    for number in range(last + 2 * DELAY):
        request, lab.tx_power, lab.dr, over = expected(number, dr, 3)
        assert over == (number >= last)
        exchange = lab.uplink(b"x", gap_s=300)
        assert exchange.up.adr
        assert exchange.up.adr_ack_req == request, number
        assert len(exchange.ups) == (1 if over else 2), number
        (after if over else before).extend(up.sent.freq_hz for up in exchange.ups)
    assert set(before) == {868100000, 867100000}
    assert set(after) == {*DEFAULT_CHANNELS.values(), 867100000}


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("silent", [70, 100, 130])
def test_a_downlink_ends_the_backoff(lab: Lab, window: int, silent: int) -> None:
    """Any class A downlink starts the count anew; what the backoff changed stays until the network changes it."""
    lab.uplink(rx1=lab.down(fopts=link_adr(5, 2, 7)))
    lab.tx_power = 2
    lab.uplink(rx1=lab.down())
    for number in range(silent):
        _, lab.tx_power, lab.dr, _ = expected(number, 5, 2)
        lab.uplink()
    _, lab.tx_power, lab.dr, _ = expected(silent, 5, 2)
    down = lab.down(port=1, payload=b"x")
    assert lab.uplink(rx1=down if window == 1 else None, rx2=down if window == 2 else None).up.adr_ack_req
    for number in range(LIMIT + 2):
        assert lab.uplink().up.adr_ack_req == (number >= LIMIT)


def test_a_frame_that_does_not_pass_does_not_end_the_backoff(lab: Lab) -> None:
    """Only a good downlink for this device resets the count."""
    lab.set(adr_ack_cnt=LIMIT)
    down = lab.down(port=1, payload=b"x")
    for bad in (down[:-1] + bytes([down[-1] ^ 1]), bytes(20)):
        assert lab.uplink(rx1=bad, rx2=bad).up.adr_ack_req
    assert lab.uplink().up.adr_ack_req


def test_repetitions_do_not_count(lab: Lab) -> None:
    """The count goes up with each new FCntUp, not with repetitions."""
    lab.set(nb_trans=5)
    for number in range(LIMIT + 1):
        exchange = lab.uplink(b"x", gap_s=60)
        assert len(exchange.ups) == 5
        assert exchange.up.adr_ack_req == (number >= LIMIT)


def test_no_backoff_without_adr(fresh: Lab) -> None:
    """A device that the network does not steer sets neither ADR nor ADRACKReq, and keeps data rate and power."""
    fresh.new(adr=False)
    fresh.join()
    for _ in range(200):
        up = fresh.uplink(b"x", gap_s=1).up
        assert not up.adr
        assert not up.adr_ack_req


def test_the_count_survives_resets(lab: Lab) -> None:
    """The backoff goes on over resets."""
    for number in range(LIMIT + 4):
        if number % 10 == 9:
            lab.restart()
        assert lab.uplink().up.adr_ack_req == (number >= LIMIT)


def test_payload_that_fits_no_longer_after_a_step(lab: Lab) -> None:
    """A payload that the lower data rate does not take is refused before anything is sent, and a shorter one goes."""
    lab.set(dr=3, adr_ack_cnt=LIMIT + 2 * DELAY)
    lab.dr = 3
    assert lab.order("room") == 51
    count = len(lab.air.log)
    with pytest.raises(DutError, match="PayloadTooLong"):
        lab.uplink(bytes(52))
    assert len(lab.air.log) == count
    lab.dr = 2
    assert lab.uplink(bytes(51)).up.dr == 2


def test_linkadr_after_the_backoff(lab: Lab) -> None:
    """After the backoff the network can set everything again."""
    lab.set(dr=0, adr_ack_cnt=400)
    lab.dr = 0
    lab.uplink(rx1=lab.down(fopts=link_adr(5, 1, 0b010)))
    lab.dr, lab.tx_power = 5, 1
    assert lab.uplink().up.fopts == b"\x03\x07"
    assert {lab.uplink().up.sent.freq_hz for _ in range(3)} == {868300000}
