"""A node with its real driver in little memory: an SX1262 that agrees to everything, for the proofs of size and work.

Not a test of the driver (the strict emulator of tools/spatz/sim is that); here it only has to run. Runs on MicroPython.
"""

from lorawan import eu868
from lorawan.device import Device
from radio.runner import run
from radio.sx126x import SX126x

_PERIOD = 1 << 30
CONFIG = {"tcxo_mv": 1800, "max_eirp_dbm": 16, "antenna_gain_dbi": 2, "clock_error_ppm": 20}


class Time:
    """Time that passes when waited for, as `time` and as the runner's clock."""

    def __init__(self):
        self.now_us = 0

    def ticks_us(self):
        return self.now_us % _PERIOD

    def ticks_ms(self):
        return self.now_us // 1000 % _PERIOD

    def ticks_add(self, ticks, delta):
        return (ticks + delta) % _PERIOD

    def ticks_diff(self, end, start):
        return (end - start + _PERIOD // 2) % _PERIOD - _PERIOD // 2

    def sleep_us(self, us):
        self.now_us += us

    def sleep_ms(self, ms):
        self.now_us += ms * 1000

    def sleep_until_us(self, moment_us, exact=True):
        self.now_us += max(0, self.ticks_diff(moment_us, self.ticks_us()))

    def uptime_ms(self):
        return self.now_us // 1000


class Chip:
    """SPI, and the pins. hear(frame) -> (window, frame) or None says what a transmission is answered with."""

    def __init__(self, hear):
        self.hear = hear
        self.flags = 0
        self.opcode = 0
        self.windows = 0
        self.buffer = b""
        self.reply = None

    def write(self, data):
        if self.opcode == 0x0E:  # WriteBuffer: the frame follows its command
            self.buffer = bytes(data)
            self.opcode = -1
            return
        self.opcode = opcode = data[0]
        self.address = data[1] << 8 | data[2] if opcode == 0x1D else 0
        if opcode == 0x83:  # SetTx
            self.reply = self.hear(self.buffer)
            self.windows = 0
            self.flags = 1
        elif opcode == 0x82:  # SetRx
            self.windows += 1
            reply = self.reply
            heard = reply is not None and reply[0] == self.windows
            self.buffer = reply[1] if reply is not None and heard else b""
            self.flags = 0x0002 if heard else 0x0200
        elif opcode == 0x02:  # ClearIrqStatus
            self.flags = 0

    def readinto(self, into, value):
        opcode = self.opcode
        for at in range(len(into)):
            into[at] = 0
        if opcode == 0xC0:  # GetStatus: STDBY_RC
            into[0] = 0x22
        elif opcode == 0x12:
            into[0] = self.flags >> 8
            into[1] = self.flags & 0xFF
        elif opcode == 0x13:
            into[0] = len(self.buffer)
        elif opcode == 0x14:
            into[0], into[1] = 180, 28
        elif opcode == 0x1E:
            into[:] = self.buffer
        elif self.address == 0x0740:
            into[0], into[1] = 0x34, 0x44

    def __call__(self):
        return 1 if self.flags else 0


class Pin:
    IRQ_RISING = 1

    def __init__(self, level=None):
        self.level = level

    def value(self, value=None):
        return self.level() if self.level and value is None else 0

    def irq(self, handler, trigger):
        pass


class Store:
    """Flash and RTC memory in one."""

    def __init__(self):
        self.slots = [None, None]
        self.data = b""
        self.writes = 0

    def read(self, slot=None):
        return self.data if slot is None else self.slots[slot]

    def write(self, *what):
        if len(what) == 1:
            self.data = what[0]
        else:
            self.writes += 1
            self.slots[what[0]] = what[1]


class Node:
    """A Device on the real driver and the real runner. server: as proof_network.Server; rng: as for Mac."""

    def __init__(self, server, rng, app_key):
        self.time = Time()
        chip = Chip(server.hear)
        self.radio = SX126x(chip, Pin(), Pin(), Pin(), Pin(chip), CONFIG, self.time)
        self.flash = Store()
        self.device = Device(
            eu868, bytes(range(8)), bytes(range(8)), app_key, self.flash, Store(), self.run, self.time.uptime_ms, rng
        )

    def run(self, exchange, before_transmit):
        return run(exchange, self.radio, self.time, before_transmit)

    def wait(self, ms):
        self.time.sleep_ms(ms)
