"""`machine.Pin` and the pads of the ESP32 behind it (espchip.py says which there are).

A pad's level comes from, in order: the pad's hold, its own output, what a chip on the board drives onto it, its
pull resistor, its idle level on this board. Interrupt handlers run in node time, IRQ_LATENCY_US after the edge
(MicroPython defers them through its scheduler). Edges during light sleep are lost, as on the chip; where light sleep
isolates the pads, an input that is high afterwards seems to rise then. That is stricter than is sure: ESP-IDF disables
the inputs meanwhile (espressif/esp-idf issue 13444), so that they read 0.
"""

import sys

import board
from fault import PowerDown, SimFault

IRQ_LATENCY_US = 40
ACCESS_US = 2  # one Pin.value() call


class Pad:
    def __init__(self, owner, number):
        self.board = owner
        self.number = number
        self.mode = None
        self.pull = None
        self.output = 0
        self.held = None  # the level frozen by hold, or None
        self.idle = 0  # level when nobody drives it
        self.driver = None  # fn() -> level, set by a chip that drives this line
        self.driver_name = ""
        self.watchers = []  # fn(level), called when the level of an output changes
        self.handler = None
        self.trigger = 0
        self._last = None

    def is_output(self):
        return self.mode in (Pin.OUT, Pin.OPEN_DRAIN)

    def level(self):
        if self.held is not None:
            return self.held
        if self.mode == Pin.OUT or (self.mode == Pin.OPEN_DRAIN and self.output == 0):
            return self.output
        if self.driver is not None:
            return self.driver()
        if self.pull is not None:
            return 1 if self.pull == Pin.PULL_UP else 0
        return self.idle

    def changed(self):
        """Something that decides the level was touched: tell the watchers, and the handler about an edge."""
        level = self.level()
        last = self._last
        self._last = level
        if level == last:
            return
        for watcher in self.watchers:
            watcher(level)
        if last is None or self.handler is None or self.board.asleep:
            return
        if self.trigger & (Pin.IRQ_RISING if level else Pin.IRQ_FALLING):
            self.board.clock.at(self.board.clock.now + IRQ_LATENCY_US, self._interrupt)

    def connected(self):
        """The input reads its line again, after a light sleep in which it read 0."""
        if self.handler is not None and not self.is_output() and self.trigger & Pin.IRQ_RISING and self.level():
            self.board.clock.at(self.board.clock.now + IRQ_LATENCY_US, self._interrupt)

    def _interrupt(self):
        if self.handler is None:
            return
        try:
            self.handler(Pin(self.number))
        except (SimFault, PowerDown):
            raise
        except Exception as error:  # as MicroPython does: printed, and the program goes on
            sys.print_exception(error)


class Pin:
    IN = 1
    OUT = 3
    OPEN_DRAIN = 7
    PULL_DOWN = 1
    PULL_UP = 2
    IRQ_RISING = 1
    IRQ_FALLING = 2
    WAKE_LOW = 4
    WAKE_HIGH = 5
    DRIVE_0 = 0
    DRIVE_1 = 1
    DRIVE_2 = 2
    DRIVE_3 = 3

    def __init__(self, id, mode=-1, pull=-1, *, value=None, drive=None, hold=None):
        self._pad = board.need().pad(id)
        self.init(mode, pull, value=value, drive=drive, hold=hold)

    def init(self, mode=-1, pull=-1, *, value=None, drive=None, hold=None):
        pad = self._pad
        if mode not in (-1, None, Pin.IN, Pin.OUT, Pin.OPEN_DRAIN):
            raise ValueError("invalid pin mode")
        if pull not in (-1, None, Pin.PULL_UP, Pin.PULL_DOWN):
            raise ValueError("invalid pull")
        if pad.number in pad.board.esp["input_only"]:
            if mode in (Pin.OUT, Pin.OPEN_DRAIN):
                raise ValueError("pin can only be input")
            if pull in (Pin.PULL_UP, Pin.PULL_DOWN):
                raise SimFault(f"pin {pad.number} of the ESP32 has no pull resistors")
        if hold is not None and not hold:
            pad.held = None
        if mode in (Pin.OUT, Pin.OPEN_DRAIN) and pad.driver is not None:
            raise SimFault(f"pin {pad.number} is driven by {pad.driver_name}: it must not be an output")
        if value is not None:
            pad.output = 1 if value else 0
        if mode not in (-1, None):
            pad.mode = mode
        if pull != -1:
            pad.pull = pull
        self._check_hold()
        pad.changed()
        if hold:
            pad.held = pad.level()
        pad.board.clock.spend(ACCESS_US)

    def _check_hold(self):
        pad = self._pad
        if pad.held is not None and pad.is_output() and pad.output != pad.held:
            raise SimFault(f"pin {pad.number} is held at {pad.held}: a new level has no effect until hold=False")

    def value(self, x=None):
        pad = self._pad
        pad.board.clock.spend(ACCESS_US)
        if x is None:
            if pad.mode is None:
                raise SimFault(f"pin {pad.number} is read before it has a mode")
            return pad.level()
        if not pad.is_output():
            raise SimFault(f"pin {pad.number} is written but it is no output")
        pad.output = 1 if x else 0
        self._check_hold()
        pad.changed()
        return None

    def __call__(self, x=None):
        return self.value(x)

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    def toggle(self):
        self.value(1 - self._pad.output)

    def mode(self):
        return self._pad.mode

    def irq(self, handler=None, trigger=3, wake=None):
        pad = self._pad
        if wake is not None:
            if trigger not in (Pin.WAKE_LOW, Pin.WAKE_HIGH):
                raise ValueError("no resources: wake needs WAKE_LOW or WAKE_HIGH")
            pad.board.wake_ext0 = (pad.number, 1 if trigger == Pin.WAKE_HIGH else 0)
            return self
        pad.handler = handler
        pad.trigger = trigger
        pad._last = pad.level()
        return self

    def __repr__(self):
        return f"Pin({self._pad.number})"


class Signal:
    """machine.Signal: a pin with a sense."""

    def __init__(self, pin, invert=False):
        self._pin = pin
        self._invert = 1 if invert else 0

    def value(self, x=None):
        if x is None:
            return self._pin.value() ^ self._invert
        self._pin.value((1 if x else 0) ^ self._invert)
        return None

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)
