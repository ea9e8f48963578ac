"""A strict A02YYUW on a UART. Source: DFRobot wiki SEN0311, UART output.

It sends a distance every 200 ms (the wiki: 100 to 300) and hears nothing: bytes on its RX raise SimFault. Its distance
is that of the weather's water level from where it hangs, with waves of 6 mm and, one in seven, what flies by.
Nearer than 3 cm and beyond 4.5 m it says 0 (assumed; makers do not say). The first values after power-on drift.

spec: "zero_cm" (300): how high above the zero of the gauge it hangs.
"""

from chip_serial import SerialChip

SETTLED_US = 800000
WAVES_MM = (0, 6, -6, 0, None, 6, 0)
FLY_MM = 350


class A02yyuw(SerialChip):
    name = "A02YYUW"
    report_us = 200000

    def power_on(self):
        self._number = 0

    def report(self):
        self.say(self._frame(self._distance()))
        return True

    def _distance(self):
        level = self.board.weather_value("water_level")
        true = int((self.spec.get("zero_cm", 300) - level) * 10 + 0.5)
        if not 30 <= true <= 4500:
            return 0
        wave = WAVES_MM[self._number % len(WAVES_MM)]
        self._number += 1
        if self.clock.now - self.since < SETTLED_US:
            return true // 2
        return FLY_MM if wave is None else true + wave

    def _frame(self, mm):
        body = bytes((0xFF, mm >> 8, mm & 0xFF))
        return body + bytes((sum(body) & 0xFF,))

    def command(self, data):
        self.fault(f"its RX only chooses what it sends; {len(data)} bytes came")
