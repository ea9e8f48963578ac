# ruff: noqa: PT018 - a check is no pytest function
"""The SX1276's amplifiers: their powers, their current limit, and what is around the chip."""

from bench import rejects
from bench76 import Bench76
from machine import Pin

TIMEOUT = 0x80


def _power(pa_config, dac=0x84, ocp=0x2B, radio=None):
    b = Bench76(radio=radio).start()
    b.write(0x09, pa_config)
    b.write(0x4D, dac)
    b.write(0x0B, ocp)
    frame = b.send()
    return round(frame["eirp"] - 2, 1), frame["flaws"]


def check_power_of_each_amplifier():
    for output in range(16):
        assert _power(0x80 | output) == (2 + output, [])
        assert _power(0x80 | output, dac=0x87, ocp=0x31) == (5 + output, [])
    rfo = {"pa_boost": False}
    assert _power(0x70 | 15, radio=rfo) == (15.0, [])
    assert _power(0x70 | 0, radio=rfo) == (0.0, [])
    assert _power(0x40 | 15, radio=rfo) == (13.2, [])
    assert _power(0x00 | 0, radio=rfo) == (-4.2, [])


def check_amplifier_that_leads_nowhere():
    for pa_config, radio in ((0x7F, None), (0x8F, {"pa_boost": False})):
        dbm, flaws = _power(pa_config, radio=radio)
        assert dbm < -20 and "antenna" in flaws[0]


def check_what_is_around_the_chip():
    """An amplifier adds to the power, has its limit, and does nothing without its supply."""
    radio = {"enable": [[13, 1], [4, 0]], "amplifier": [[5, 13], [8, 11.5]]}
    for value, eirp in ((0x80, 2 + 13 + 2), (0x83, 5 + 13 + 2), (0x84, 6 + 11.5 + 2)):
        b = Bench76(radio=radio).start()
        Pin(13, Pin.OUT, value=1)
        Pin(4, Pin.OUT, value=0)
        b.write(0x09, value)
        frame = b.send()
        assert frame["eirp"] == eirp and frame["flaws"] == [], frame
    assert b.receive() & 0x40
    b.write(0x09, 0x87)
    rejects(lambda: b.send(), "9 dBm into an amplifier that takes 8 dBm")
    b = Bench76(radio=radio).start()
    b.write(0x09, 0x80)
    assert "no supply" in b.send()["flaws"][0]
    assert b.receive() == TIMEOUT and "no supply" in b.chip.rx_log[0][1]


def check_current_limit():
    """Reset value 100 mA: enough for 17 dBm, not for 20 dBm. Trim: 45 + 5 n, from 16 on 10 n - 30 mA."""
    for ocp, pa_config, dac, fine in (
        (0x2B, 0x8F, 0x84, True),  # 100 mA, 17 dBm
        (0x2B, 0x8F, 0x87, False),  # 100 mA, 20 dBm
        (0x2F, 0x8F, 0x87, True),  # 120 mA
        (0x31, 0x8F, 0x87, True),  # 140 mA
        (0x27, 0x8F, 0x84, False),  # 80 mA, 17 dBm
        (0x29, 0x8F, 0x84, True),  # 90 mA, 17 dBm
        (0x20, 0x8D, 0x84, False),  # 45 mA, 15 dBm
        (0x00, 0x8F, 0x87, True),  # off
        (0x20, 0x85, 0x84, True),  # 45 mA, 7 dBm
    ):
        flaws = _power(pa_config, dac, ocp)[1]
        assert bool(flaws) != fine, (ocp, pa_config, dac)
        assert fine or "over-current" in flaws[0]
