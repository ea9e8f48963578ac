"""A strict SCD40, SCD41 or SCD43 on I2C: "part" of its entry. Source: Datasheet SCD4x: 2.4, 3.5 to 3.11.

Settings are in RAM: a power cut and power_down bring back what the EEPROM has, self-calibration on. The first single
shot after power-on or wake_up is wrong (3.11; by how much is this emulator's choice), an SCD40 has none: SimFault.
While it measures periodically it takes five commands and refuses the others. wake_up is never acknowledged.
Not modelled: its own warmth, the EEPROM, recalibration, low power mode. A scan of the bus finds it asleep, too.
"""

from chip_sensirion import Sensirion, nack, scaled
from fault import SimFault

VARIANTS = {"scd40": 0x0440, "scd41": 0x1440, "scd43": 0x5441}  # examples of 3.10.6
ANSWER_US = 1000
PERIOD_US = 5000000
WAKE_US = 30000
UNSETTLED_PPM = 100
WAKE_UP = b"\x36\xf6"


class Scd4x(Sensirion):
    name = "SCD4x"
    START_UP_US = WAKE_US
    COMMANDS = {
        0x21B1: ("periodic", 0, 0, False),
        0x3F86: ("stop", 0, 500000, True),
        0x219D: ("single_shot", 0, PERIOD_US, False),
        0xEC05: ("values", 0, 0, True),
        0xE4B8: ("ready", 0, 0, True),
        0x2427: ("set_altitude", 1, ANSWER_US, False),
        0x2416: ("set_self_calibration", 1, ANSWER_US, False),
        0x3682: ("serial", 0, 0, False),
        0x202F: ("get_variant", 0, 0, False),
        0x36E0: ("power_down", 0, ANSWER_US, False),
    }

    def __init__(self, board, config):
        super().__init__(board, config)
        self.part = config.get("part", "scd41")
        if self.part not in VARIANTS:
            raise SimFault(f"SCD4x: there is no part {self.part!r}")

    def power_on(self, since):
        super().power_on(since)
        self.asleep = False
        self.self_calibration = 1
        self.altitude = 0
        self.shots = 0
        self._since = 0
        self._taken = 0
        self._shot = None  # (when it is done, ppm)

    def write(self, data):
        if data == WAKE_UP:
            if self.asleep:
                self.power_on(0)
                self._busy_until = self.clock.now + WAKE_US
            nack()
        if self.asleep:
            nack()
        super().write(data)

    def periodic(self):
        self.measuring = True
        self._since = self.clock.now
        self._taken = 0

    def stop(self):
        self.measuring = False
        self._shot = None

    def single_shot(self):
        if self.part == "scd40":
            raise SimFault("SCD40: it has no single shot")
        self.shots += 1
        self._shot = self.clock.now + PERIOD_US, UNSETTLED_PPM if self.shots == 1 else 0

    def power_down(self):
        if self.part == "scd40":
            nack()
        self.asleep = True

    def ready(self):
        self.answer((0x8006 if self._fresh() else 0x8000,), ANSWER_US)

    def values(self):
        if not self._fresh():
            nack()
        extra = 0
        if self.measuring:
            self._taken = self._measured()
        else:
            extra = self._shot[1]
            self._shot = None
        temperature, humidity, _ = self.board.weather_now()
        co2 = int(self.board.weather_value("co2") + 0.5) + extra
        self.answer((co2, scaled(temperature, -45, 175), scaled(humidity, 0, 100)), ANSWER_US)

    def _fresh(self):
        if self.measuring:
            return self._measured() > self._taken
        return self._shot is not None and self.clock.now >= self._shot[0]

    def _measured(self):
        return (self.clock.now - self._since) // PERIOD_US

    def set_altitude(self, metres=None):
        if metres is None or metres > 3000:
            raise SimFault(f"SCD4x: altitude {metres} m")
        self.altitude = metres

    def set_self_calibration(self, on=None):
        if on not in (0, 1):
            raise SimFault(f"SCD4x: self-calibration {on}")
        self.self_calibration = on

    def serial(self):
        self.answer((0xF896, 0x9F07, 0x3BBE), ANSWER_US)  # example of 3.10.2

    def get_variant(self):
        self.answer((VARIANTS[self.part],), ANSWER_US)
