"""A strict SHT3x on I2C. Source: Datasheet SHT3x-DIS, version 5: 4.3 to 4.13, table 4.

Without clock stretching a read before the end of a measurement is not acknowledged. A heater that is on makes what is
measured too warm. Not modelled: alerts, ART, clock stretching.
"""

from chip_sensirion import Sensirion, scaled

GAP_US = 1000  # between a command and the next (4.3)
HEATED_C = 3
RESET_DETECTED = 0x0010


class Sht3x(Sensirion):
    name = "SHT3x"
    COMMANDS = {
        0x2400: ("single_high", 0, 15500, False),
        0x240B: ("single_medium", 0, 6500, False),
        0x2416: ("single_low", 0, 4500, False),
        0x2130: ("periodic", 0, GAP_US, False),
        0x3093: ("stop", 0, GAP_US, True),
        0x306D: ("heater_on", 0, GAP_US, False),
        0x3066: ("heater_off", 0, GAP_US, False),
        0xF32D: ("status", 0, 0, True),
        0x3041: ("clear_status", 0, GAP_US, False),
    }

    def power_on(self, since):
        super().power_on(since)
        self.heater = False
        self._flags = 0x8000 | RESET_DETECTED

    def incomplete(self, data):
        """One byte is half a command: forgotten with the stop condition."""

    def single_high(self):
        self._measure(15500)

    def single_medium(self):
        self._measure(6500)

    def single_low(self):
        self._measure(4500)

    def _measure(self, us):
        temperature, humidity, _ = self.board.weather_now()
        temperature += HEATED_C if self.heater else 0
        self.answer((scaled(temperature, -45, 175), scaled(humidity, 0, 100)), us)

    def periodic(self):
        self.measuring = True

    def stop(self):
        self.measuring = False

    def heater_on(self):
        self.heater = True

    def heater_off(self):
        self.heater = False

    def status(self):
        self.answer((self._flags | (0x2000 if self.heater else 0),))

    def clear_status(self):
        self._flags = 0
