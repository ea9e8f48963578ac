"""What the emulated sensors on serial lines have in common: a supply, and reports that they send by themselves.

Without supply a chip neither hears nor speaks, and forgets what is not in its flash. chips.py says how it is connected.
"""

from fault import SimFault


class SerialChip:
    """A chip's own module has power_on(), command(data), and with `report_us` report(), called in that rhythm."""

    baud = 9600
    start_up_us = 100000  # assumed: until it hears
    report_us = 0
    line = None  # the loader's

    def __init__(self, board, spec):
        self.board = board
        self.clock = board.clock
        self.spec = spec
        self.broken = False  # tests: no answer at all
        self.since = None  # when it got its supply
        self._round = 0
        if board.vext is not None and spec.get("vext", True):
            board.pad(board.vext["pin"]).watchers.append(lambda level: self._switched(level == board.vext["on"]))
            if board.vext_since(self) is None:
                return
        self.clock.at(self.clock.now, lambda: self._switched(True))

    def _switched(self, on):
        if on == (self.since is not None):
            return
        self.since = self.clock.now if on else None
        self._round += 1
        if on:
            self.power_on()
            self.report_again()

    def powered(self):
        return self.since is not None and not self.broken

    def report_again(self):
        """Begin the rhythm of the reports anew."""
        self._round += 1
        number = self._round
        if self.report_us:
            self.clock.at(self.clock.now + self.report_us, lambda: self._report(number))

    def _report(self, number):
        if number != self._round:
            return
        if self.report():
            self.clock.at(self.clock.now + self.report_us, lambda: self._report(number))

    def report(self):
        """Send a report. Returns whether another one follows."""
        return False

    def received(self, data):
        if self.powered() and self.clock.now >= self.since + self.start_up_us:
            self.command(bytes(data))

    def say(self, data, after_us=0):
        """Send data, beginning `after_us` from now if it has supply then."""
        if after_us:
            since = self.since
            self.clock.at(self.clock.now + after_us, lambda: since == self.since and self.say(data))
        elif self.powered():
            self.line.send(data)

    def fault(self, why):
        raise SimFault(f"{self.name}: {why}")


class FanChip(SerialChip):
    """A dust sensor: 30 s after its fan began to turn its values are those of the air around it, before they drift."""

    warm_up_us = 30000000
    working_since = None  # None: it sleeps

    def power_on(self):
        self.working_since = self.clock.now

    def dust(self, quantity):
        """ug/m3 as the sensor sees it now."""
        true = self.board.weather_value(quantity)
        age_us = self.clock.now - self.working_since
        return true if age_us >= self.warm_up_us else true * (0.3 + 0.6 * age_us / self.warm_up_us)
