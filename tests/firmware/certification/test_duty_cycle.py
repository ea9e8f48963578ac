"""Airtime: sub-bands of EU868 and DutyCycleReq (RP002-1.0.4 2.4; ERC 70-03; TS001-1.0.4 5.3; CR1.0 2.5)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from cert_air import Sent, airtime_us
from cert_devices import DutError
from cert_lab import Lab
from cert_terms import EXTRA_HZ, link_adr, new_channel

HOUR_US = 3_600_000_000


@pytest.mark.parametrize("dr", [0, 2, 5])
def test_no_sliding_hour_above_a_sub_band_limit(fresh: Lab, dr: int) -> None:
    """A device that sends as fast as it may uses no more than its share of any sliding hour, and most of it."""
    lab = fresh.new(adr=False)
    lab.join(dr=dr)
    began = lab.air.now_us
    while lab.air.now_us - began < 3 * HOUR_US:
        lab.uplink(bytes(51 if dr < 3 else 200), gap_s=0)
    shares = lab.busiest_hour()
    assert max(shares.values()) <= 1, shares
    assert min(shares.values()) > 0.8, shares


def test_every_sub_band_has_its_own_ledger(lab: Lab) -> None:
    """Channels in several sub-bands give their airtime together, and none is overdrawn."""
    freqs = {3: 867100000, 4: 869525000, 5: 868900000, 6: 864500000, 7: 869850000}
    lab.channels.update(freqs)
    lab.uplink(rx1=lab.down(port=0, payload=b"".join(new_channel(i, f, 5) for i, f in freqs.items())))
    lab.set(dr=0)
    lab.dr = 0
    began = lab.air.now_us
    while lab.air.now_us - began < 2 * HOUR_US:
        lab.uplink(bytes(40), gap_s=0)
    shares = lab.busiest_hour()
    assert len(shares) == 6
    assert max(shares.values()) <= 1, shares


def test_refused_for_lack_of_airtime(lab: Lab) -> None:
    """Where no sub-band has room the uplink is refused with the time to wait; nothing is sent and no FCntUp is lost."""
    lab.set(dr=0)
    lab.dr = 0
    for _ in range(100):
        try:
            lab.uplink(bytes(51), patient=False, gap_s=0)
        except DutError as error:
            refused = error
            break
    else:
        pytest.fail("there was airtime for 100 frames of 2.5 s")
    assert refused.kind == "NoAirtime"
    assert refused.wait_ms
    assert 0 < refused.wait_ms < 1.15 * 3_600_000
    count, fcnt = len(lab.air.log), lab.session().fcnt_up
    with pytest.raises(DutError, match="NoAirtime"):
        lab.uplink(bytes(51), patient=False)
    assert (len(lab.air.log), lab.session().fcnt_up) == (count, fcnt)
    lab.wait(refused.wait_ms / 1000)
    assert lab.uplink(bytes(51), patient=False).up.fcnt == fcnt


def test_repetitions_keep_the_law(lab: Lab) -> None:
    """NbTrans 15 at DR0 ends where the airtime ends."""
    lab.uplink(rx1=lab.down(fopts=link_adr(0, 0, 7, 15)))
    lab.dr = 0
    for _ in range(4):
        exchange = lab.uplink(bytes(30), gap_s=0)
        assert 1 <= len(exchange.ups) <= 15
    assert max(lab.busiest_hour().values()) <= 1


def test_resets_and_power_cuts_give_no_airtime(lab: Lab) -> None:
    """Airtime that was used stays used over resets and power cuts."""
    lab.set(dr=0)
    lab.dr = 0
    for number in range(60):
        lab.uplink(bytes(51), gap_s=0)
        lab.restart(power_cut=number % 5 == 4)
    assert max(lab.busiest_hour().values()) <= 1


@pytest.mark.parametrize("exponent", [1, 4, 7, 10])
def test_duty_cycle_req(lab: Lab, exponent: int) -> None:
    """After DutyCycleReq the device is silent for airtime · (2^n − 1) after each frame, over all sub-bands together."""
    lab.channels.update(enumerate(EXTRA_HZ, 3))
    block = b"".join(new_channel(i, f) for i, f in enumerate(EXTRA_HZ, 3)) + bytes([4, exponent])
    lab.uplink(rx1=lab.down(port=0, payload=block))
    lab.answer()
    lab.wait(3600)
    began = len(lab.air.log)
    for _ in range(5):
        lab.uplink(bytes(100), gap_s=0)
    sent = [entry for entry in lab.air.log[began:] if isinstance(entry, Sent)]
    airtime = airtime_us(7, 125000, 113)
    silence = [second.start_us - first.end_us for first, second in pairwise(sent)]
    assert min(silence) >= airtime * (2**exponent - 1) - 1000
    assert max(silence) <= airtime * (2**exponent - 1) * 1.1 + 5_000_000


def test_duty_cycle_req_0_lifts_the_limit(lab: Lab) -> None:
    """MaxDutyCycle 0 leaves only the law."""
    lab.command(b"\x04\x0a")
    lab.wait(3600)
    assert lab.command(b"\x04\x00") == b"\x04"
    lab.wait(3600)
    for _ in range(3):
        lab.uplink(patient=False, gap_s=0)
