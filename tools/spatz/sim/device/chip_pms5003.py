"""A strict PMS5003 on a UART. Source: Plantower, PMS5003 series data manual V2.3, appendix I and II.

It knows the commands for mode, reading and sleep; others, and damaged ones, raise SimFault. Active after power-on and
after sleep: a frame every 2.3 s (stable mode). Asleep it hears nothing but the command to work, which it does not
answer. The first two frames after sleep count no particles (avaldebe/PyPMS issue 3), here those first sent in passive
mode, so that no warm-up hides them.
Not modelled: the pins SET and RESET, fast mode, humidity, what it keeps over a reboot of the node.
"""

from chip_serial import FanChip

ANSWER_US = 10000
EMPTY = 2


class Pms5003(FanChip):
    name = "PMS5003"
    report_us = 2300000

    def power_on(self):
        FanChip.power_on(self)
        self.active = True
        self.empty = 0

    def report(self):
        reports = self.working_since is not None and self.active
        if reports:
            self.say(self._values(0))
        return reports

    def _frame(self, body):
        data = b"\x42\x4d" + bytes((0, len(body) + 2)) + body
        return data + bytes((sum(data) >> 8, sum(data) & 0xFF))

    def _values(self, empty):
        fine = int(self.dust("pm2_5") + 0.5)
        coarse = int(self.dust("pm10") + 0.5)
        finest = fine * 2 // 3
        counts = (
            (0,) * 6 if empty else (90 + 180 * finest, 30 + 50 * finest, 9 * fine, 2 + fine, coarse // 4, coarse // 9)
        )
        factory = (finest * 3 // 2, fine * 3 // 2, coarse * 3 // 2)  # another number than the atmospheric one
        numbers = factory + (finest, fine, coarse) + counts + (0x9700,)
        return self._frame(b"".join(bytes((number >> 8 & 0xFF, number & 0xFF)) for number in numbers))

    def command(self, data):
        if len(data) != 7 or data[:2] != b"\x42\x4d":
            self.fault(f"no command: {data.hex()}")
        if sum(data[:5]) != data[5] << 8 | data[6]:
            self.fault(f"wrong sum: {data.hex()}")
        what, value = data[2], data[3] << 8 | data[4]
        if what not in (0xE1, 0xE2, 0xE4) or value > (0 if what == 0xE2 else 1):
            self.fault(f"unknown command {data.hex()}")
        if self.working_since is None:
            if what == 0xE4 and value:
                self.working_since = self.clock.now
                self.active = True
                self.empty = EMPTY
                self.report_again()
            return
        if what == 0xE2:
            if self.active:
                self.fault("asked in active mode")
            self.say(self._values(self.empty), ANSWER_US)
            self.empty = max(0, self.empty - 1)
            return
        if what == 0xE1:
            self.active = value == 1
            self.report_again()
        elif value:
            return  # awake already
        self.say(self._frame(bytes((what, value))), ANSWER_US)
        if what == 0xE4:
            self.working_since = None
