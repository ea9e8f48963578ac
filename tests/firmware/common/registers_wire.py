"""A bus with a bank of registers behind it, as an SX127x has one, and no rules: notes every SPI transfer of a driver.
The strict chip is the emulator (tools/spatz/sim/device)."""

from radio_wire import Pin, Time

RESET = {0x01: 0x09, 0x33: 0x27, 0x42: 0x12, 0x44: 0x2D, 0x4B: 0x09, 0x4D: 0x84}


class ResetPin(Pin):
    """The reset pin: its low times are noted in `pulses`, and the bank is as after power-on again."""

    def __init__(self, wire):
        Pin.__init__(self, 1)
        self.wire = wire
        self.pulses = []
        self.since = 0

    def value(self, level=None):
        now = self.wire.time.us
        if level == 0:
            self.since = now
        elif level == 1 and self.level == 0:
            self.pulses.append(now - self.since)
            self.wire.power_on()
            self.wire.ready_at = now + 5000
        return Pin.value(self, level)


class Registers:
    """`sent`: the transfers, as hexadecimal text: a write whole, of a read its first byte. `bank`: the registers;
    `fifo`: what was written to the FIFO and what is read from it."""

    def __init__(self):
        self.cs = Pin(0)
        self.dio0 = Pin(0)
        self.time = Time()
        self.ready_at = 0
        self.sent = []
        self.now = b""
        self.power_on()
        self.reset = ResetPin(self)
        chip_select = self.cs.value

        def value(level=None):
            if level == 1 and self.now:
                self.sent.append(self.now)
                self.written(self.now)
                self.now = b""
            return chip_select(level)

        self.cs.value = value

    def power_on(self):
        self.bank = bytearray(128)
        self.fifo = bytearray(256)
        for address in RESET:
            self.bank[address] = RESET[address]

    def written(self, transfer):
        address = transfer[0]
        if not address & 0x80:
            return
        address &= 0x7F
        if address == 0:
            start = self.bank[0x0D]
            self.fifo[start : start + len(transfer) - 1] = transfer[1:]
        elif address == 0x12:
            self.bank[0x12] &= ~transfer[1] & 0xFF  # flags are cleared by writing ones
        else:
            self.bank[address : address + len(transfer) - 1] = transfer[1:]

    def write(self, data):
        assert not self.cs.level, "written without a chip selected"
        assert self.time.us >= self.ready_at, "spoken to within 5 ms of its reset (DS 7.2.2)"
        self.now += bytes(data)

    def readinto(self, into, fill):
        assert not self.cs.level, "read without a chip selected"
        address = self.now[0]
        if address & 0x80:  # a write: meanwhile the chip says what was there before
            into[:] = self.bank[address & 0x7F : (address & 0x7F) + len(into)]
            self.now += bytes([fill] * len(into))
            return
        source = self.fifo if address == 0 else self.bank
        start = self.bank[0x0D] if address == 0 else address
        into[:] = source[start : start + len(into)]

    def flags(self, value):
        """RegIrqFlags, as the modem sets it."""
        self.bank[0x12] = value

    def take(self):
        """The transfers since the last call, as hexadecimal text."""
        sent = ["".join("%02x" % byte for byte in transfer) for transfer in self.sent]  # noqa: UP031 - MicroPython too
        self.sent = []
        return sent

    def driver(self, config=None):
        from radio.sx127x import SX127x

        settings = {"antenna_gain_dbi": 2.0, "max_eirp_dbm": 16}
        settings.update(config or {})
        return SX127x(self, self.cs, self.reset, self.dio0, settings, self.time)
