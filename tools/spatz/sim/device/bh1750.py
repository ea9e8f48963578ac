"""A strict BH1750FVI on I2C. Source: ROHM technical note BH1750FVI, 2009.04 rev. B.

One command a write. A measurement takes the longest time of the data sheet, in proportion to the measurement time
register; until then the data register holds what it held before. Not modelled: L-resolution, continuous modes.
"""

from chip_sensirion import Powered
from fault import SimFault

USUAL = 69
USUAL_US = 180000
ONCE = {0x20: 1, 0x21: 2}


class Bh1750(Powered):
    name = "BH1750"

    def power_on(self, since):
        self.on = False
        self.time = USUAL
        self._data = 0
        self._pending = None  # (when it is done, counts)

    def _settle(self):
        if self._pending is not None and self.clock.now >= self._pending[0]:
            self._data = self._pending[1]
            self._pending = None
            self.on = False  # a one-time measurement powers down

    def write(self, data):
        if len(data) != 1:
            raise SimFault(f"BH1750: one command a write, not {len(data)} bytes")
        self._settle()
        code = data[0]
        if code <= 1:
            self.on = code == 1
            self._pending = None
        elif code == 7:
            if self.on:
                self._data = 0
        elif code in ONCE:
            self._measure(ONCE[code])
        elif code & 0xF8 == 0x40:
            self.time = self.time & 0x1F | (code & 7) << 5
        elif code & 0xE0 == 0x60:
            self.time = self.time & 0xE0 | code & 0x1F
            if not 31 <= self.time <= 254:
                raise SimFault(f"BH1750: measurement time {self.time}")
        else:
            raise SimFault(f"BH1750: unknown command 0x{code:02x}")

    def _measure(self, fineness):
        counts = self.board.weather_value("illuminance") * 1.2 * self.time / USUAL * fineness
        self.on = True
        self._pending = self.clock.now + USUAL_US * self.time // USUAL, min(0xFFFF, int(counts))

    def read(self, count):
        self._settle()
        return (bytes((self._data >> 8, self._data & 0xFF)) + b"\xff" * count)[:count]
