"""A strict AXP2101, as far as a node needs it: chip id, status, the rails ALDO1 to BLDO2, TS pin, the cell's voltage.

Source: X-Powers' AXP2101 data sheet, register descriptions; the same in XPowersLib, src/REG/AXP2101Constants.h and
XPowersAXP2101.tpp. The values after power-on of the rails are the board's, and worst cases here (axp.py).
"""

from axp import Axp

STATUS, CHARGER, CHIP, ADC, VOLTS = 0x00, 0x01, 0x03, 0x30, 0x34
TS, DCDC, SWITCHES, FIRST_VOLTAGE = 0x50, 0x80, 0x90, 0x92
RAILS = ("aldo1", "aldo2", "aldo3", "aldo4", "bldo1", "bldo2")
DC1 = 0x01


class Axp2101(Axp):
    name = "AXP2101"
    writable = {ADC: 0xBF, TS: 0x1F, DCDC: 0x7F, SWITCHES: 0xFF}
    writable.update((FIRST_VOLTAGE + at, 0x1F) for at in range(len(RAILS)))
    never_off = {DCDC: DC1}  # the processor

    def __init__(self, board, config, kept=None):
        on = 0x3F & ~(1 << RAILS.index(config["radio"]))
        self.reset = {CHIP: 0x4A, ADC: 0x03, TS: 0x02, DCDC: DC1, SWITCHES: on}
        self.reset.update((FIRST_VOLTAGE + at, 0) for at in range(len(RAILS)))
        super().__init__(board, config, kept)

    def rail(self, name):
        at = RAILS.index(name)
        return bool(self.registers[SWITCHES] >> at & 1), 500 + 100 * self.registers[FIRST_VOLTAGE + at]

    def converting(self):
        return bool(self.registers[ADC] & 0x01)

    def charges(self):
        """Whether the charger works: without a thermistor only when it does not look for one."""
        return self.registers[TS] & 0x10 != 0 and not self.registers[ADC] & 0x02

    def measured(self):
        millivolts = self.cell_mv()
        return {
            STATUS: (0x20 if self.board.world["usb"] else 0) | (0x08 if self.has_cell() else 0),
            CHARGER: 0x20 if self.board.world["usb"] and self.has_cell() and self.charges() else 0,
            VOLTS: millivolts >> 8,
            VOLTS + 1: millivolts & 0xFF,
        }
