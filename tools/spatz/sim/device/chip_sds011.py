"""A strict SDS011 on a UART. Source: Nova Fitness, Laser Dust Sensor Control Protocol V1.3.

It knows the commands for reporting mode, query, sleep and working period, to any device or to its own ID; others raise
SimFault, and so do damaged frames and queries less than 3 s apart. Asleep it hears nothing but the command to work
(mkfrey/sds011-esp-raw, docs/behaviour.md), which it answers with five bytes of noise
(lewapek/sds-dust-sensors-arduino-library issue 6). Mode and working period are in its flash: they outlive the supply,
`flash_writes` counts. Sleep does not: power-on wakes it. Within 3 s after that it says zeros.

spec: "zeros": so many more answers of zeros after sleep (ricki-z/SDS011 issue 40); "query_mode": true, used before.
Not modelled: the working period's rhythm (it must be 0), humidity, what it keeps over a reboot of the node.
"""

from chip_serial import FanChip

ID = b"\xa1\x60"
GARBLED = b"\xad\x50\x10\x5e\xdd"
QUERY_US = 3000000
ANSWER_US = 20000


class Sds011(FanChip):
    name = "SDS011"
    report_us = 1000000

    def __init__(self, board, spec):
        FanChip.__init__(self, board, spec)
        self.settings = {2: 1 if spec.get("query_mode") else 0, 8: 0}
        self.flash_writes = 0
        self.zeros = 0

    def power_on(self):
        FanChip.power_on(self)
        self._asked_at = None

    def report(self):
        reports = self.working_since is not None and self.settings[2] == 0
        if reports:
            self.say(self._values())
        return reports

    def _frame(self, kind, body):
        return bytes((0xAA, kind)) + body + bytes((sum(body) & 0xFF, 0xAB))

    def _values(self):
        young = self.clock.now - self.working_since < 3000000
        if young or self.zeros:
            self.zeros -= 0 if young else 1
            return self._frame(0xC0, bytes(4) + ID)
        body = b""
        for quantity in ("pm2_5", "pm10"):
            tenths = min(9999, int(self.dust(quantity) * 10 + 0.5))
            body += bytes((tenths & 0xFF, tenths >> 8))
        return self._frame(0xC0, body + ID)

    def command(self, data):
        if len(data) != 19 or data[:2] != b"\xaa\xb4" or data[18] != 0xAB:
            self.fault(f"no command: {data.hex()}")
        if sum(data[2:17]) & 0xFF != data[17]:
            self.fault(f"wrong sum: {data.hex()}")
        if data[15:17] not in (b"\xff\xff", ID):
            return  # for another sensor
        what, write, value = data[2], data[3], data[4]
        if what not in (2, 4, 6, 8) or write > 1 or any(data[5:15]):
            self.fault(f"unknown command {data.hex()}")
        if self.working_since is None:
            if (what, write, value) == (6, 1, 1):
                self.working_since = self.clock.now
                self._asked_at = None
                self.zeros = self.spec.get("zeros", 0)
                self.report_again()
                self.say(GARBLED, ANSWER_US)
            return
        if what == 4:
            self._query(write, value)
        elif what == 6:
            self._work(write, value)
        else:
            self._set(what, write, value)

    def _query(self, write, value):
        if write or value:
            self.fault("a query has no parameters")
        if self._asked_at is not None and self.clock.now - self._asked_at < QUERY_US:
            self.fault("asked again within 3 s")
        self._asked_at = self.clock.now
        self.say(self._values(), ANSWER_US)

    def _work(self, write, value):
        if value > 1:
            self.fault(f"neither sleep nor work: {value}")
        self.say(self._frame(0xC5, bytes((6, write, value if write else 1, 0)) + ID), ANSWER_US)
        if write and not value:
            self.working_since = None

    def _set(self, what, write, value):
        if value > (1 if what == 2 else 30):
            self.fault(f"setting {what} cannot be {value}")
        if write:
            if what == 8 and value:
                self.fault("the emulator models a working period of 0 only")
            self.flash_writes += 1
            self.settings[what] = value
            self.report_again()
        self.say(self._frame(0xC5, bytes((what, write, self.settings[what], 0)) + ID), ANSWER_US)
