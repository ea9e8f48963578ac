"""A strict SHT4x on I2C. Source: Datasheet SHT4x, version 6.x: 4.5 commands, 4.6 conversion, 4.7 serial number.

Commands have one byte. The heater commands are a SimFault: a node never wants them, and "measure" of an SHT3x begins
with one. The status command of an SHT3x, by which a probe asks, is an unknown one and not acknowledged.
"""

from chip_sensirion import Sensirion, nack, scaled
from fault import SimFault

HEATERS = (0x15, 0x1E, 0x24, 0x2F, 0x32, 0x39)
SERIAL = (0x0F1A, 0x8B3C)


class Sht4x(Sensirion):
    name = "SHT4x"
    MEASURE_US = {0xFD: 8300, 0xF6: 4500, 0xE0: 1700}

    def write(self, data):
        code = data[0] if data else None
        if code in HEATERS:
            raise SimFault(f"SHT4x: command 0x{code:02x} heats")
        if self.clock.now < self._busy_until or data[:1] == b"\xf3":
            nack()
        if len(data) != 1:
            raise SimFault(f"SHT4x: a command is one byte, not {len(data)}")
        self._answer = None
        if code == 0x89:
            self.answer(SERIAL, 500)
        elif code == 0x94:
            self.power_on(0)
            self._busy_until = self.clock.now + 1000
        elif code in self.MEASURE_US:
            temperature, humidity, _ = self.board.weather_now()
            us = self.MEASURE_US[code]
            self.answer((scaled(temperature, -45, 175), scaled(humidity, -6, 125)), us)
            self._busy_until = self.clock.now + us
        else:
            raise SimFault(f"SHT4x: unknown command 0x{code:02x}")
