"""The power chip of a board that has one: an AXP192 or an AXP2101, which feeds radio and GNSS by rails of their own.

Boards of one name carry either; both answer at 0x34, and their register 0x03 says which it is. Nothing here can switch
off what feeds the processor or pulls the I2C bus up: those rails (DCDC of both) are not in the table. Rails stay as
they are while the processor sleeps or starts anew; all of those below are set to 3.3 V.

Registers: X-Powers' data sheets, as XPowersLib has them (lewisxhe/XPowersLib, src/REG/AXP192Constants.h and
AXP2101Constants.h, and the .tpp of either chip).
"""

from micropython import const

_ADDRESS = const(0x34)
_CHIP = const(0x03)
_STATUS = const(0x00)
_VBUS = const(0x20)  # bit 5 of the status, of both chips
_RISE_MS = const(10)  # a rail is up in a few, and an SX1276 wants 10 after it (data sheet 7.2.1)
_SETTLE_MS = const(50)  # after a change of the set-up: the first voltage is measured in 40 (25 Hz)

# what register 0x03 says: name; rails: bit of the switch, register of the voltage, its mask, 3.3 V; register of the
# switches; set-up: register, mask, value; where it says that there is a cell: register, bit; its voltage: register,
# mask of the high byte, bits of the low one, uV per step
_CHIPS = {
    0x03: (
        "axp192",
        {"ldo2": (0x04, 0x28, 0xF0, 0xF0), "ldo3": (0x08, 0x28, 0x0F, 0x0F)},
        0x12,
        ((0x82, 0x80, 0x80),),
        (0x01, 0x20),
        (0x78, 0xFF, 4, 1100),
    ),
    0x4A: (
        "axp2101",
        {
            name: (1 << at, 0x92 + at, 0x1F, 0x1C)
            for at, name in enumerate(("aldo1", "aldo2", "aldo3", "aldo4", "bldo1", "bldo2"))
        },
        0x90,
        # no thermistor at the cell: else the charger takes it for frozen or burning
        ((0x50, 0x1F, 0x10), (0x30, 0x03, 0x01)),
        (0x00, 0x08),
        (0x34, 0x1F, 8, 1000),
    ),
}


class Pmu:
    """i2c: the bus that it is on; config: "pmu" of config.json, by chip {"radio": rail, "on": [rail], "off": [rail]}.
    Sets it up: what is "on" stays on, what is "off" nobody needs. Raises OSError when no such chip answers."""

    def __init__(self, i2c, config, sleep_ms):
        self._i2c = i2c
        self._sleep_ms = sleep_ms
        try:
            number = self._read(_CHIP)
        except OSError:
            raise OSError("the power chip does not answer, so the radio has no power") from None
        if number not in _CHIPS or _CHIPS[number][0] not in config:
            raise OSError(f"this board has no power chip of the kind {number}")
        name, self._rails, self._switch, set_up, self._present, self._volts = _CHIPS[number]
        mine = config[name]
        self._radio = mine["radio"]
        changed = [self._set(*one) for one in set_up]
        changed += [self._rail(rail, True) for rail in mine.get("on", ())]
        for rail in mine.get("off", ()):
            self._rail(rail, False)
        if True in changed:
            sleep_ms(_SETTLE_MS)

    def radio(self, on):
        """The radio's supply; returns when it is up."""
        if self._rail(self._radio, on) and on:
            self._sleep_ms(_RISE_MS)

    def usb(self):
        """Whether the USB socket is fed."""
        return bool(self._read(_STATUS) & _VBUS)

    def battery(self):
        """Volts of the cell; None when there is none."""
        register, bit = self._present
        if not self._read(register) & bit:
            return None
        register, mask, bits, step_uv = self._volts
        return ((self._read(register) & mask) << bits | self._read(register + 1)) * step_uv / 1000000

    def _rail(self, name, on):
        """Whether that changed it."""
        bit, register, mask, value = self._rails[name]
        changed = on and self._set(register, mask, value)
        return self._set(self._switch, bit, bit if on else 0) or changed

    def _read(self, register):
        return self._i2c.readfrom_mem(_ADDRESS, register, 1)[0]

    def _set(self, register, mask, value):
        """Set the bits of `mask`; whether that changed one."""
        old = self._read(register)
        if old & mask == value:
            return False
        self._i2c.writeto_mem(_ADDRESS, register, bytes((old & ~mask & 0xFF | value,)))
        return True
