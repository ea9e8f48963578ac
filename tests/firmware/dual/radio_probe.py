"""Which radio is there: on a wire that answers as either chip does. ("DS": SX1261/2 data sheet 2.1, SX1276 7.)"""

from expect import equal, raises
from radio import RadioError
from radio.probe import probe
from radio_wire import Wire
from registers_wire import Registers


def check_sx1276():
    wire = Registers()
    equal(probe(wire, wire.cs, wire.reset, wire.time), "sx1276")
    equal(wire.bank[0x40], 0x00, "DIO mapping as after reset")
    assert wire.reset.pulses[0] >= 100


def check_sx1262():
    for status in (b"\x22", b"\x2a", b"\xa2", b"\xac"):  # STDBY_RC, whatever the last command came to (DS 13.5.1)
        wire = Wire()
        wire.answers[b"\xc0"] = status
        equal(probe(wire, wire.cs, wire.reset, wire.time), "sx1262")
        equal(wire.take(), ["c0"], "it is never sent what it does not know")
        equal((wire.cs.level, wire.reset.level), (1, 1))


def check_nobody():
    for level in (b"\x00", b"\xff"):
        wire = Wire()
        wire.answers = {b"\xc0": level, b"\x42": level}
        raises(RadioError, probe, wire, wire.cs, wire.reset, wire.time)


def check_what_is_found_can_be_started():
    wire = Registers()
    equal(probe(wire, wire.cs, wire.reset, wire.time), "sx1276")
    wire.driver().start()
