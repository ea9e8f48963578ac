"""A node and everything that it stands in, for checks of its life."""

# pyright: reportAttributeAccessIssue=false

import sys

from node.app import Life
from node.identity import Identity
from node.log import Log
from node.memory import Memory
from node_fakes import DeepSleep, Fault, Files, Hardware, Network, Nvs, Rtc, Time, config

if not hasattr(sys, "print_exception"):  # CPython
    sys.print_exception = lambda error: print("Traceback:", error)  # type: ignore[attr-defined]


class World:
    """Everything that a node stands in; `boot` is a start of its program."""

    def __init__(self, **changes):
        self.log = []
        self.time = Time()
        self.nvs = Nvs(self.log)
        self.rtc = Rtc(log=self.log)
        self.network = Network(self.time, self.log)
        self.hardware = None
        self.files = Files()
        self.config = config(**changes)

    def boot(self, woke_from_sleep=False):
        self.nvs = self.nvs.after_reset()
        self.nvs.log = self.log
        self.hardware = Hardware(self.time, woke_from_sleep)
        log = Log(Memory(self.rtc).log, "log", self.files.open, self.files.mkdir)
        identity = Identity(self.nvs, self.config)
        return Life(self.config, identity, self.hardware, self.rtc, self.time, self.network.run, lambda n: n // 2, log)

    def sleep_after(self, life):
        """Run it until it sleeps: for how many ms."""
        try:
            life.run()
        except DeepSleep as slept:
            self.time.now_us += slept.ms * 1000
            return slept.ms
        except Fault as fault:
            raise AssertionError(str(fault)) from None
        raise AssertionError("it returned")

    def power_cut(self):
        self.rtc.data = b""
