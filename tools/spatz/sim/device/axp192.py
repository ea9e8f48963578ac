"""A strict AXP192, as far as a node needs it: chip id, status, the switched rails, the battery's voltage.

Source: X-Powers' AXP192 data sheet 1.1, register descriptions; the same in XPowersLib, src/REG/AXP192Constants.h. The
values after power-on of the rails are the board's, and worst cases here (axp.py).
"""

from axp import Axp

STATUS, CELL, CHIP, SWITCHES, LDO23, ADC, VOLTS = 0x00, 0x01, 0x03, 0x12, 0x28, 0x82, 0x78
DCDC1, DCDC3, LDO2, LDO3, DCDC2, EXTEN = 0x01, 0x02, 0x04, 0x08, 0x10, 0x40


class Axp192(Axp):
    name = "AXP192"
    reset = {CHIP: 0x03, SWITCHES: DCDC1 | DCDC3 | LDO3 | EXTEN, LDO23: 0x00, ADC: 0x83}
    writable = {SWITCHES: 0x5F, LDO23: 0xFF, ADC: 0xFF}
    never_off = {SWITCHES: DCDC1 | DCDC3}  # I2C pull-ups (and display); the processor

    def rail(self, name):
        bit, shift = {"ldo2": (LDO2, 4), "ldo3": (LDO3, 0)}[name]
        return bool(self.registers[SWITCHES] & bit), 1800 + 100 * (self.registers[LDO23] >> shift & 15)

    def converting(self):
        return bool(self.registers[ADC] & 0x80)

    def measured(self):
        steps = self.cell_mv() * 10 // 11  # of 1.1 mV
        usb = self.board.world["usb"]
        cell = 0x20 if self.has_cell() else 0
        return {
            STATUS: (0x30 if usb else 0x00) | 0x01,
            CELL: cell | (0x40 if usb and cell else 0),
            VOLTS: steps >> 4,
            VOLTS + 1: steps & 15,
        }
