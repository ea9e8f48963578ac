"""A strict VEML7700 on I2C. Sources: VEML7700 data sheet 84286 rev. 1.7, application note 84323.

Switched on, it starts for 2.5 ms and then integrates again and again; the light register has the last whole
integration, so a range that is changed while it runs shows in the one after the next. Above 1000 lx it counts too few,
by the inverse of the application note's correction. Not modelled: interrupts, power saving, the white channel.
"""

from chip_sensirion import Powered
from fault import SimFault

START_US = 2500
GAINS = (1, 2, 0.125, 0.25)
TIMES_MS = {12: 25, 8: 50, 0: 100, 1: 200, 2: 400, 3: 800}
FINEST = 0.0042  # lx a count at gain 2 and 800 ms
ID = 0xC481


def corrected(x):
    return x * (1.0023 + x * (8.1488e-5 + x * (-9.3924e-9 + x * 6.0135e-13)))


def uncorrected(lux):
    """What it takes for `lux`: the inverse of the correction, by bisection."""
    if lux <= 1000:
        return lux
    low, high = 1000.0, 30000.0
    for _ in range(60):
        middle = (low + high) / 2
        if corrected(middle) < lux:
            low = middle
        else:
            high = middle
    return high


class Veml7700(Powered):
    name = "VEML7700"
    START_UP_US = 2500

    def power_on(self, since):
        self.config_word = 0x0001  # shut down
        self._since = None  # of the integration that runs
        self._light = 0
        self._register = 0

    def write(self, data):
        """[register] points for a read; [register, low, high] writes."""
        if len(data) not in (1, 3):
            raise SimFault(f"VEML7700: a write of {len(data)} bytes")
        self._register = data[0]
        if len(data) == 3:
            self._write(data[0], data[1] | data[2] << 8)

    def _write(self, register, word):
        self._settle()
        if register == 0:
            if word & 0xE40C or (word >> 6 & 15) not in TIMES_MS:
                raise SimFault(f"VEML7700: configuration 0x{word:04x}")
            if word & 1:
                self._since = None
            elif self._since is None:
                self._since = self.clock.now + START_US
                self._running = word
            self.config_word = word
        elif register == 3:
            if word:
                raise SimFault("VEML7700: power saving is not modelled")
        else:
            raise SimFault(f"VEML7700: register 0x{register:02x} is not written")

    def _settle(self):
        """Take over the integrations that have ended."""
        while self._since is not None:
            us = TIMES_MS[self._running >> 6 & 15] * 1000
            if self.clock.now < self._since + us:
                return
            elapsed = (self.clock.now - self._since) // us if self._running == self.config_word else 1
            self._since += elapsed * us
            self._light = self._counts(self._running)
            self._running = self.config_word

    def _counts(self, config):
        per_count = FINEST * 2 / GAINS[config >> 11 & 3] * 800 / TIMES_MS[config >> 6 & 15]
        return min(0xFFFF, int(uncorrected(self.board.weather_value("illuminance")) / per_count + 0.5))

    def read(self, count):
        self._settle()
        if count != 2:
            raise SimFault(f"VEML7700: a register has 2 bytes, not {count}")
        words = {0: self.config_word, 4: self._light, 7: ID}
        if self._register not in words:
            raise SimFault(f"VEML7700: register 0x{self._register:02x} is not read")
        word = words[self._register]
        return bytes((word & 0xFF, word >> 8))
