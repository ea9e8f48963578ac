"""node.hardware.radio(): which driver, on which pins, with which supplies; and what is held while the node sleeps."""

from expect import equal, raises
from node.hardware import Hardware
from radio import RadioError
from radio.sx126x import SX126x
from radio.sx127x import SX127x
from radio_wire import Wire
from registers_wire import Registers

SPI = {"id": 1, "sck": 5, "mosi": 6, "miso": 3, "baudrate": 8000000}
EITHER = {
    "radio": {
        "chip": "probe",
        "spi": SPI,
        "cs": 7,
        "reset": 8,
        "busy": 34,
        "dio1": 33,
        "dio0": 9,
        "tcxo_mv": 1800,
        "antenna_gain_dbi": 2,
    }
}


class Machine:
    """`machine` and `esp32` of a board whose radio is `wire`. `log`: (GPIO, value, hold) of every pin, in order."""

    DEEPSLEEP_RESET = 4

    def __init__(self, wire, lines):
        machine = self
        self.log = []
        self.lightsleeps = []
        self.wire = wire

        class Pin:
            IN = 1
            OUT = 3
            IRQ_RISING = 1

            def __init__(self, number, mode=-1, value=None, hold=None):
                self.number = number
                self.line = lines.get(number)
                self.init(mode, value, hold)

            def init(self, mode=-1, value=None, hold=None):
                machine.log.append((self.number, value, hold))
                if value is not None and self.line:
                    self.line.value(value)

            def value(self, *level):
                return self.line.value(*level) if self.line else 0

            def irq(self, handler, trigger):
                machine.log.append((self.number, "irq", None))

        self.Pin = Pin
        self.SPI = self.spi

    def reset_cause(self):
        return 1

    def gpio_deep_sleep_hold(self, on):
        self.log.append(("deep sleep hold", on, None))

    def spi(self, number, **settings):
        equal((number, settings["baudrate"], settings["sck"].number), (1, 8000000, 5))
        return self.wire

    def lightsleep(self, ms):
        self.lightsleeps.append(list(self.log))

    def deepsleep(self, ms):
        self.log.append(("deep sleep", ms, None))


def hardware(wire, config):
    pins = {7: wire.cs, 8: wire.reset}
    machine = Machine(wire, pins)
    return machine, Hardware(config, machine, machine, wire.time)


def changed(**changes):
    radio = dict(EITHER["radio"])
    radio.update(changes)
    return {"radio": radio}


def irq_pins(machine):
    return [number for number, value, _ in machine.log if value == "irq"]


def check_each_chip_gets_its_driver_and_its_pins():
    for chip, wire, driver, pin in (("sx1262", Wire(), SX126x, 33), ("sx1276", Registers(), SX127x, 9)):
        for named in (chip, "probe"):
            machine, board = hardware(wire, changed(chip=named))
            radio = board.radio()
            assert isinstance(radio, driver), named
            assert board.radio() is radio, "made once"
            equal(irq_pins(machine), [pin])


def check_unknown_chip_and_no_chip():
    machine, board = hardware(Wire(), changed(chip="sx1301"))
    error = raises(ValueError, board.radio)
    assert "sx1301" in str(error)
    wire = Wire()
    wire.answers = {}
    machine, board = hardware(wire, EITHER)
    raises(RadioError, board.radio)
    board.deepsleep(1000)  # and the node sleeps all the same
    equal(machine.log[-1], ("deep sleep", 1000, None))


def check_the_receive_path_is_the_drivers_and_off_in_deep_sleep():
    machine, board = hardware(Wire(), changed(chip="sx1262", rx_enable=38))
    equal(board.radio().receive_path.number, 38)
    equal([entry for entry in machine.log if entry[0] == 38], [(38, 0, False)])
    board.lightsleep(100)
    assert (38, None, True) in machine.lightsleeps[0]
    board.deepsleep(1000)
    equal([entry for entry in machine.log if entry[0] == 38][-1], (38, 0, True))


def check_the_supply_of_outside_sensors_is_held_off_in_deep_sleep():
    """A pin that is let go of floats, and with it what it switches; the first thing is to let go of the hold."""
    for on in (0, 1):
        config = {"radio": dict(EITHER["radio"]), "vext": {"pin": 36, "on": on, "settle_ms": 1}}
        machine, board = hardware(Wire(), config)
        equal([entry for entry in machine.log if entry[0] == 36], [(36, 1 - on, False)])
        board.deepsleep(1000)
        held = machine.log.index((36, None, True))
        assert held < machine.log.index(("deep sleep hold", True, None)), machine.log


def check_the_supply_of_outside_sensors_is_held_in_light_sleep_too():
    """On as off, and once: an S3 lets every pin float meanwhile that is not held."""
    config = {"radio": dict(EITHER["radio"]), "vext": {"pin": 36, "on": 0, "settle_ms": 1}}
    machine, board = hardware(Wire(), config)
    for switched in ((), (True,), (True,), (False,), (False,)):
        for on in switched:
            board.sensor_power(on)
        del machine.log[:], machine.lightsleeps[:]
        board.lightsleep(100)
        equal([entry for entry in machine.lightsleeps[0] if entry[0] == 36], [(36, None, True)])
        equal([entry for entry in machine.log if entry[0] == 36][1:], [(36, None, False)])


def check_supplies_come_up_in_order_before_the_radio_is_spoken_to():
    wire = Registers()
    machine, board = hardware(wire, changed(enable=[[2, 1], [46, 0]]))
    equal([entry for entry in machine.log if entry[0] in (2, 46)], [], "not before the radio is used")
    began_us = wire.time.us
    board.radio()
    equal([entry for entry in machine.log if entry[0] in (2, 46)], [(2, 1, False), (46, 0, False)])
    assert wire.time.us - began_us >= 4000
    board.radio()
    del machine.log[:]
    board.lightsleep(100)
    held = machine.lightsleeps[0]
    equal(held, [(7, None, True), (2, None, True), (46, None, True)], "NSS and the supplies keep their levels")
    equal(machine.log[3:], [(7, None, False), (2, None, False), (46, None, False)])
    del machine.log[:]
    board.deepsleep(5000)
    end = [("deep sleep hold", True, None), ("deep sleep", 5000, None)]
    equal(machine.log, [(7, 1, True), (2, 0, True), (46, 0, True)] + end, "NSS high, supplies off")
    equal(wire.take()[-1], "8100", "and the radio asleep before")
