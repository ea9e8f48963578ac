"""`onewire` of MicroPython on the virtual board: time slots as the data sheets have them, byte by byte.

One chip on a line; the search of several is not modelled. The pin is the bus's: an open drain with a pull-up. Without a
chip, or while it has no power, nobody answers a reset, and every bit reads 1.
"""

import board
from fault import SimFault

RESET_US = 960
SLOT_US = 70


class OneWireError(Exception):
    pass


class OneWire:
    SEARCH_ROM = 0xF0
    MATCH_ROM = 0x55
    SKIP_ROM = 0xCC

    def __init__(self, pin):
        self._board = board.need()
        self.pin = pin
        pin.init(pin.OPEN_DRAIN, pin.PULL_UP)
        self._pad = pin._pad

    def _chip(self):
        for spec, chip in self._board.sensors:
            if spec.get("onewire") == self._pad.number:
                return chip if self._board.vext_since(chip) is not None else None
        return None

    def _spend(self, us):
        if not self._pad.is_output():
            raise SimFault(f"one-wire on pin {self._pad.number}, which was made something else")
        self._board.clock.spend(us)

    def reset(self, required=False):
        self._spend(RESET_US)
        chip = self._chip()
        present = chip is not None and bool(chip.reset())
        if required and not present:
            raise OneWireError
        return present

    def readbyte(self):
        self._spend(8 * SLOT_US)
        chip = self._chip()
        return 0xFF if chip is None else chip.read()

    def writebyte(self, value):
        self._spend(8 * SLOT_US)
        chip = self._chip()
        if chip is not None:
            chip.write(value)

    def readinto(self, buf):
        for at in range(len(buf)):
            buf[at] = self.readbyte()

    def write(self, buf):
        for byte in buf:
            self.writebyte(byte)

    def select_rom(self, rom):
        self.reset()
        self.writebyte(self.MATCH_ROM)
        self.write(rom)

    def crc8(self, data):
        """CRC-8 of Maxim: x8 + x5 + x4 + 1, reflected."""
        crc = 0
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ 0x8C if crc & 1 else crc >> 1
        return crc
