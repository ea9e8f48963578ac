"""A strict DS18B20 on a one-wire line, byte by byte. Source: Maxim DS18B20 data sheet 19-7487 (rev. 6).

For the line: reset() -> whether it answers; write(byte); read() -> byte, 0xFF where it leaves the line alone (the line
gives the AND of all its chips). Unknown commands, a scratchpad written by halves, and writing where it should be read
raise SimFault. A measurement takes 610 ms at 12 bits (cpetrich/counterfeit_DS18B20), during which it reads as 0; until
its end the scratchpad holds the value before, after power-on 85 °C. Byte 6 says of a genuine one whether it measured.

spec: "code" (hex of 8 bytes); "quantity" ("soil_temperature"): what it hangs in; "parasite": true, its third wire is
not connected: without a strong pull-up its measurement fails (07FFh); "copy": true, byte 6 is what was written last.
Not modelled: Search ROM, Alarm Search (they need single bits), EEPROM.
"""

from fault import SimFault

CONVERT_US = 610000
POWER_ON = b"\x50\x05\x4b\x46\x7f\xff\x0c\x10"
CODE = "28139bbb0b00001f"


def crc8(data):
    crc = 0
    for byte in data:
        for bit in range(8):
            odd = (crc ^ byte >> bit) & 1
            crc >>= 1
            if odd:
                crc ^= 0x8C
    return crc


class Ds18b20:
    name = "DS18B20"

    def __init__(self, board, spec):
        self.board = board
        self.clock = board.clock
        self.spec = spec
        self.broken = False  # tests: no answer at all
        self.code = bytes.fromhex(spec.get("code", CODE))
        if len(self.code) != 8 or crc8(self.code[:7]) != self.code[7]:
            raise SimFault(f"{self.name}: no such code: {self.code.hex()}")
        self._since = None
        self._power_on()

    def _power_on(self):
        self.scratchpad = bytearray(POWER_ON)
        self._ready_at = None
        self._listen("nothing")

    def _listen(self, state):
        self._state = state  # nothing, code, match, work, write
        self._got = b""
        self._out = None

    def supplied(self):
        since = None if self.broken else self.board.vext_since(self)
        if since != self._since:
            self._since = since
            self._power_on()
        return since is not None

    def _settle(self):
        """Take over a measurement that has ended by now."""
        if self._ready_at is None or self.clock.now < self._ready_at:
            return
        self._ready_at = None
        bits = self.scratchpad[4] >> 5  # beyond nine
        true = self.board.weather_value(self.spec.get("quantity", "soil_temperature"))
        number = int(true * 16 + (0.5 if true >= 0 else -0.5))
        number = min(125 * 16, max(-55 * 16, number)) >> (3 - bits) << (3 - bits)
        if self.spec.get("parasite"):
            number = 0x07FF
        self.scratchpad[0] = number & 0xFF
        self.scratchpad[1] = number >> 8 & 0xFF
        if not self.spec.get("copy"):
            self.scratchpad[6] = 16 - (number & 15)

    def reset(self):
        if not self.supplied():
            return False
        self._settle()
        if self._state == "write":
            raise SimFault(f"{self.name}: reset after {len(self._got)} of 3 bytes of its scratchpad")
        self._listen("code")
        return True

    def write(self, byte):
        if not self.supplied():
            return
        self._settle()
        if self._out is not None:
            raise SimFault(f"{self.name}: 0x{byte:02x} is written where it would speak")
        getattr(self, "_in_" + self._state)(byte)

    def read(self):
        if not self.supplied():
            return 0xFF
        self._settle()
        if self._state == "busy":
            return 0xFF if self._ready_at is None or self.spec.get("parasite") else 0x00
        if not self._out:
            return 0xFF
        byte = self._out[0]
        self._out = self._out[1:]
        return byte

    def _in_nothing(self, byte):
        pass

    _in_busy = _in_nothing

    def _in_code(self, byte):
        if byte == 0x33:
            self._listen("nothing")
            self._out = self.code
        elif byte == 0x55:
            self._listen("match")
        elif byte == 0xCC:
            self._listen("work")
        else:
            raise SimFault(f"{self.name}: unknown ROM command 0x{byte:02x}")

    def _in_match(self, byte):
        self._got += bytes((byte,))
        if len(self._got) == 8:
            self._listen("work" if self._got == self.code else "nothing")

    def _in_work(self, byte):
        if byte == 0x44:
            self._listen("busy")
            bits = self.scratchpad[4] >> 5
            self._ready_at = self.clock.now + (CONVERT_US >> (3 - bits))
            self.board.energy.add("sensor", "measuring", CONVERT_US >> (3 - bits))
        elif byte == 0x4E:
            self._listen("write")
        elif byte == 0xBE:
            self._listen("nothing")
            self._out = bytes(self.scratchpad) + bytes((crc8(self.scratchpad),))
        elif byte == 0xB4:
            self._listen("nothing")
            self._out = b"\x00" if self.spec.get("parasite") else b"\xff"
        else:
            raise SimFault(f"{self.name}: unknown command 0x{byte:02x}")

    def _in_write(self, byte):
        self._got += bytes((byte,))
        if len(self._got) == 3:
            self.scratchpad[2:4] = self._got[:2]
            self.scratchpad[4] = self._got[2] & 0x60 | 0x1F
            if self.spec.get("copy"):
                self.scratchpad[6] = self._got[2]
            self._listen("nothing")
