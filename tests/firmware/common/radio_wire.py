"""A bus without a chip: notes every SPI transfer of a radio driver and answers reads from a table. Knows no rules;
the strict chip is the emulator (tools/spatz/sim/device)."""


class Pin:
    IRQ_RISING = 1

    def __init__(self, value=0):
        self.level = value
        self.handler = print  # until irq() puts the driver's in its place

    def value(self, level=None):
        if level is not None:
            self.level = level
        return self.level

    def irq(self, handler, trigger):
        self.handler = handler

    def interrupt(self):
        """What the machine does when the line rises."""
        self.handler(self)


class Time:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self):
        self.us = 0
        self.events = []  # (when, function)

    def ticks_us(self):
        return self.us

    def ticks_ms(self):
        return self.us // 1000

    def ticks_add(self, ticks, delta):
        return ticks + delta

    def ticks_diff(self, a, b):
        return a - b

    def sleep_us(self, us):
        self.us += us
        for event in [event for event in self.events if event[0] <= self.us]:
            self.events.remove(event)
            event[1]()

    def sleep_ms(self, ms):
        self.sleep_us(ms * 1000)

    def sleep_until_us(self, ticks, exact=True):
        if ticks > self.us:
            self.sleep_us(ticks - self.us)


class Wire:
    """`sent`: the transfers, as hexadecimal text with a point before what was read. `answers`: the start of a
    transfer (bytes) -> what is read after it; else zeroes, and standby for GetStatus."""

    def __init__(self):
        self.cs = Pin(0)
        self.reset = Pin(1)
        self.busy = Pin(0)
        self.dio1 = Pin(0)
        self.time = Time()
        self.sent = []
        self.answers = {b"\xc0": b"\x2a", b"\x1d\x07\x40\x00": b"\x34\x44"}
        self.now = b""
        chip_select = self.cs.value

        def value(level=None):
            if level == 1 and self.now:
                self.sent.append(self.now)
                self.now = b""
            return chip_select(level)

        self.cs.value = value

    def write(self, data):
        assert not self.cs.level, "written without a chip selected"
        self.now += bytes(data)

    def readinto(self, into, fill):
        assert not self.cs.level, "read without a chip selected"
        answer = self.answers.get(bytes(self.now), bytes(len(into)))
        for i in range(len(into)):
            into[i] = answer[i]

    def take(self):
        """The transfers since the last call, as hexadecimal text."""
        sent = ["".join("%02x" % byte for byte in transfer) for transfer in self.sent]  # noqa: UP031 - MicroPython too
        self.sent = []
        return sent

    def driver(self, config=None):
        from radio.sx126x import SX126x

        settings = {"tcxo_mv": 1800, "dcdc": True, "dio2_rf_switch": True, "antenna_gain_dbi": 2.0, "max_eirp_dbm": 16}
        settings.update(config or {})
        return SX126x(self, self.cs, self.reset, self.busy, self.dio1, settings, self.time)
