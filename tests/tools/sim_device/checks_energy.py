# pyright: reportMissingImports=false, reportMissingModuleSource=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""The board's energy ledger: µs by state, exact in virtual time, and kept over deep sleep."""

import time

import machine
from bench import Bench, ends
from board import Board
from machine import Pin


def _total(us, part):
    return sum(value for key, value in us.items() if key.startswith(part + " "))


def _asleep(b):
    """Into deep sleep for a minute, as the rules of the board ask for."""
    b.cmd(0x84, 0)
    b.cs.init(Pin.OUT, value=1, hold=True)
    return ends(lambda: machine.deepsleep(60000))


def check_the_processor_is_always_in_one_state():
    b = Board({})
    time.sleep_ms(300)
    time.sleep_us(700)
    machine.freq(80000000)
    time.sleep_ms(100)
    time.sleep_ms(5)
    machine.lightsleep(1000)
    us = b.energy.us
    assert _total(us, "cpu") == b.clock.now - 10000000, us
    assert us["cpu light"] == 1000000, us
    assert 290000 <= us["cpu idle/240"] < 290100, us  # all but the last tick of the operating system
    assert 90000 <= us["cpu idle/80"] < 90100, us
    assert 10700 <= us["cpu busy/240"] < 10800, us
    assert 15700 <= us["cpu busy/80"] < 15800, us  # two last ticks, and the way out of light sleep


def check_a_transmission_has_its_airtime_and_power():
    b = Bench().start()
    mark = b.board.energy.mark()
    frame = b.send(b"\x40" + bytes(19))
    time.sleep_ms(200)
    spent = b.board.energy.since(mark)
    sending = [key for key in spent["us"] if key.startswith("radio tx/")]
    assert len(sending) == 1, spent
    assert frame["airtime"] <= spent["us"][sending[0]] <= frame["airtime"] + 100, (frame["airtime"], spent)
    assert sending[0] == "radio tx/{}/{}".format(*_power(b)), sending
    assert spent["counts"] == {"tx {}".format(frame["sf"]): 1}, spent


def check_calibration_runs_the_oscillator():
    """Its TCXO is fed then, from standby too."""
    b = Bench()
    before = dict(b.board.energy.us)
    b.start()
    us = b.board.energy.us
    spent = us["radio stdby_xosc"] - before.get("radio stdby_xosc", 0)
    assert 2 * 5000 + 3500 + 3300 <= spent < 17000, spent
    assert us["radio stdby_rc"] >= 0, us


def _power(b):
    import sx1262_tables as t

    return t.PA_SETTINGS[b.chip.pa], b.chip.tx_power


def check_deep_sleep_belongs_to_the_boot_after_it():
    b = Bench().start()
    event = _asleep(b)
    assert event["energy"]["counts"] == {"boot power_on": 1}, event
    assert "cpu deep" not in event["energy"]["us"], event
    again = b.board.reboot(boot_us=250000)
    us = again.energy.us
    assert us["cpu deep"] == 60000000, us
    assert us["cpu boot"] == 250000, us
    assert us["radio sleep_cold"] == 60250000, us
    assert again.energy.counts == {"boot deepsleep": 1}


def check_a_power_cut_forgets():
    b = Bench().start()
    _asleep(b)
    again = b.board.reboot("power_on")
    assert again.energy.counts == {"boot power_on": 1}
    assert "cpu deep" not in again.energy.us


def check_sensor_and_rails():
    b = Board({})
    vext = Pin(36, Pin.OUT, value=1)
    i2c = machine.I2C(0, scl=Pin(42), sda=Pin(41))
    assert "vext on" not in b.energy.us
    vext.value(0)
    time.sleep_ms(20)
    i2c.writeto_mem(118, 0xF2, b"\x01")
    i2c.writeto_mem(118, 0xF4, b"\x25")
    time.sleep_ms(10)
    vext.value(1)
    divider = Pin(37, Pin.OUT, value=0)
    time.sleep_ms(7)
    divider.init(Pin.IN)
    time.sleep_ms(100)
    us = b.energy.us
    assert us["sensor measuring"] == 1250 + 2300 + 2 * 2875, us  # data sheet 9.1, each value once
    assert 30000 <= us["vext on"] < 33000, us
    assert 7000 <= us["divider on"] < 7100, us
