"""A strict SPS30 on I2C. Source: Datasheet SPS30, version 2.0: 1.1, 4.1 to 4.4, 6.3.

Until 30 s after the start its values are too low (by how much is this emulator's choice), and while the fan is cleaned
there are no new ones. Asleep, its interface is off: the first wake-up is lost. "firmware" of its entry: 1.0 knows no
sleep and no status register. Not modelled: integer output, the cleaning by itself after a week of operation.
"""

import struct

from chip_sensirion import Sensirion, nack

SECOND_US = 1000000
STEADY_S = 30
CLEANING_US = 10000000
ACTIVE_US = 100000
FLOATS = 0x0300
PRODUCT = (0x3030, 0x3038, 0x3030, 0x3030)


class Sps30(Sensirion):
    name = "SPS30"
    COMMANDS = {
        0x0010: ("start", 1, 20000, False),
        0x0104: ("stop", 0, 20000, True),
        0x0202: ("ready", 0, 0, True),
        0x0300: ("values", 0, 0, True),
        0x1001: ("sleep", 0, 5000, False),
        0x1103: ("wake_up", 0, 5000, False),
        0x5607: ("clean", 0, 5000, True),
        0xD002: ("product", 0, 0, True),
        0xD206: ("status", 0, 0, True),
    }

    def __init__(self, board, config):
        super().__init__(board, config)
        self.firmware = config.get("firmware", 2.2)
        self.cleanings = 0
        self.flags = 0  # tests: status register

    def power_on(self, since):
        super().power_on(since)
        self.asleep = False
        self._active_at = None
        self._since = 0
        self._taken = 0
        self._clean_until = 0
        self._last = [0.0] * 10

    def write(self, data):
        if self.asleep:
            active = self._active_at is not None and self.clock.now - self._active_at <= ACTIVE_US
            if not active or data != b"\x11\x03":
                self._active_at = self.clock.now
                nack()
            self.asleep = False
        super().write(data)

    def read(self, count):
        """May be repeated without the command (6.1)."""
        again = self._answer
        data = super().read(count)
        self._answer = again
        return data

    def start(self, form=None):
        if form != FLOATS:
            nack()
        self.measuring = True
        self._since = self.clock.now
        self._taken = 0
        self._last = [0.0] * 10

    def stop(self):
        self.measuring = False

    def sleep(self):
        self._from(2.0)
        self.asleep = True
        self._active_at = None

    def wake_up(self):
        self._from(2.0)

    def clean(self):
        if not self.measuring:
            nack()
        self.cleanings += 1
        self._clean_until = self.clock.now + CLEANING_US

    def status(self):
        self._from(2.2)
        self.answer((self.flags >> 16, self.flags & 0xFFFF))

    def product(self):
        self.answer(PRODUCT)

    def ready(self):
        self.answer((1 if self._fresh() else 0,))

    def values(self):
        if self._fresh():
            self._taken = self._seconds()
            share = min(1, self._taken / STEADY_S)
            fine, coarse = self.board.weather_value("pm2_5") * share, self.board.weather_value("pm10") * share
            numbers = [fine * 7 * part for part in (0.9, 1, 1, 1, 1)]
            self._last = [fine * 0.9, fine, (fine + coarse) / 2, coarse] + numbers + [0.5]  # noqa: RUF005
        self.answer(struct.unpack(">20H", struct.pack(">10f", *self._last)))

    def _fresh(self):
        return self.measuring and self.clock.now >= self._clean_until and self._seconds() > self._taken

    def _seconds(self):
        return (self.clock.now - self._since) // SECOND_US

    def _from(self, firmware):
        if self.firmware < firmware:
            nack()
