"""The two ways out of the emulator that firmware cannot catch with `except Exception`.

Both derive from BaseException: a node that survives every exception must still not survive a broken rule
of its hardware, nor go on computing after the power is gone.
"""


class SimFault(BaseException):
    """The firmware broke a rule of the hardware; the message names the rule and, where it has one, its source."""


class PowerDown(BaseException):
    """The processor stops here: deep sleep, reset, watchdog. `event` is what stands in power.json."""

    def __init__(self, event):
        super().__init__(event["event"])
        self.event = event
