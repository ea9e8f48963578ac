"""A strict SCD30 on I2C. Source: Interface Description SCD30, version 1.0 (May 2020).

Settings, and whether it measures, survive a power cut. An answer is there 3 ms after its command; asking before is a
SimFault. The first value after a start is 0 ppm (adafruit/Adafruit_CircuitPython_SCD30 issue 6).
Not modelled: clock stretching, the module's own warmth, drift, forced recalibration.
"""

import struct

from chip_sensirion import Sensirion
from fault import SimFault

ANSWER_US = 3000
WRITE_US = 10000  # the description gives no time; it may not take longer than drivers wait
FIRMWARE = 0x0342


class Scd30(Sensirion):
    name = "SCD30"
    START_UP_US = 2000000
    COMMANDS = {
        0x0010: ("start", 1, WRITE_US, True),
        0x0104: ("stop", 0, WRITE_US, True),
        0x4600: ("interval", 1, 0, True),
        0x0202: ("ready", 0, 0, True),
        0x0300: ("values", 0, 0, True),
        0x5306: ("self_calibration", 1, 0, True),
        0x5102: ("altitude", 1, 0, True),
        0xD100: ("version", 0, 0, True),
    }

    def __init__(self, board, config):
        super().__init__(board, config)
        self.kept = {"measuring": False, "interval": 2, "self_calibration": 1, "altitude": 0}
        self.settings_written = 0

    def power_on(self, since):
        super().power_on(since)
        self._begin(since + self.START_UP_US)

    def _begin(self, at):
        self._since = at
        self._taken = 0
        self._last = (0.0, 0.0, 0.0)

    def start(self, pressure=None):
        if pressure is None or (pressure and not 700 <= pressure <= 1400):
            raise SimFault(f"SCD30: ambient pressure {pressure} hPa")
        if not self.kept["measuring"]:
            self.kept["measuring"] = True
            self._begin(self.clock.now)

    def stop(self):
        self.kept["measuring"] = False

    def interval(self, seconds=None):
        if seconds is not None and not 2 <= seconds <= 1800:
            raise SimFault(f"SCD30: interval {seconds} s")
        self._setting("interval", seconds)

    def self_calibration(self, on=None):
        self._setting("self_calibration", on)

    def altitude(self, metres=None):
        self._setting("altitude", metres)

    def _setting(self, name, value):
        if value is None:
            self._answer_words((self.kept[name],))
        else:
            self.kept[name] = value
            self.settings_written += 1
            self._busy_until = self.clock.now + WRITE_US

    def version(self):
        self._answer_words((FIRMWARE,))

    def ready(self):
        self._answer_words((1 if self._measured() > self._taken else 0,))

    def values(self):
        count = self._measured()
        if count > self._taken:
            self._taken = count
            temperature, humidity, _ = self.board.weather_now()
            self._last = (0.0 if count == 1 else self.board.weather_value("co2"), temperature, humidity)
        words = struct.unpack(">6H", struct.pack(">fff", *self._last))
        self._answer_words(words)

    def _measured(self):
        """How many measurements there were since the start."""
        if not self.kept["measuring"]:
            return self._taken
        return max(0, self.clock.now - self._since) // (self.kept["interval"] * 1000000)

    def _answer_words(self, words):
        self.answer(words, ANSWER_US)

    def early(self):
        raise SimFault("SCD30: asked before its 3 ms were over")
