"""How many downlinks a node catches: the real MAC, the runner and the driver on the emulated SX1262 in virtual time, a
clock that is wrong, and downlinks that come early and late. MicroPython only, with tools/spatz/sim/device on the path.

Jitter is normal with 99 % within 20 ms to either side, so 1 % of the downlinks lie beyond, without a bound. It is that
of the network (`late_node` false) or of the node, whose processor then is held up before it opens a window: there only
lateness exists, the absolute value.

The least window is LoRaMac's for the error that this node really has: its clock's, and 20 ms.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# ruff: noqa: S311
import math
import random

from lorawan import eu868
from lorawan.airtime import rx_window, symbol_us
from lorawan.mac import Mac
from lorawan.timing import Timing
from radio_world import APP_KEY, DEV_EUI, JOIN_EUI, Network, World

PERCENTILE_99_US = 20000
PPM = 10000
_HOUR_MS = 3600000


class Late(Network):
    """A network whose answers come `off_us()` late."""

    def __init__(self, world, rx1_delay_s, off_us):
        super().__init__(world, 1, rx1_delay_s)
        self.off_us = off_us

    def answer(self, frame):
        before = len(self.air.downlinks)
        super().answer(frame)
        for downlink in self.air.downlinks[before:]:
            downlink["at"] += self.off_us()


class Trial:
    """One node: `ppm` is its clock's error, every data rate is used in turn."""

    def __init__(self, ppm, rx1_delay_s, seed, late_node=False):
        random.seed(seed)
        self.world = world = World(ppm, {"clock_error_ppm": PPM})
        self.ppm = ppm
        self.timing = Timing(PPM, PERCENTILE_99_US)
        self.mac = Mac(eu868, rng=random.randrange, timing=self.timing)
        self.network = Late(world, rx1_delay_s, (lambda: 0) if late_node else self.jitter_us)
        self.now_ms = 0
        self.dev_nonce = 0
        self.sent = self.caught = 0
        self.opened_us = self.least_us = 0
        self.ratios = []
        self.missed = []
        self.delay_us = 0
        prepare, wait = world.radio.prepare_listen, world.clock.sleep_until_us

        def noted(freq_hz, sf, bw_hz, symbols):
            really = prepare(freq_hz, sf, bw_hz, symbols)
            least = rx_window(sf, bw_hz, self.delay_us * abs(ppm) // 1000000 + PERCENTILE_99_US)[1]
            self.opened_us += really * symbol_us(sf, bw_hz)
            self.least_us += least * symbol_us(sf, bw_hz)
            self.ratios.append(really / least)
            self.delay_us += 1000000
            self.held_up = late_node
            return really

        def held_up(moment_us, exact=True):
            wait(moment_us, exact)
            if self.held_up:
                self.held_up = False
                world.wait(int(abs(self.jitter_us())))

        self.held_up = False
        world.radio.prepare_listen = noted
        world.clock.sleep_until_us = held_up

    def jitter_us(self):
        radius = math.sqrt(-2 * math.log(1 - random.random()))
        return int(radius * math.cos(2 * math.pi * random.random()) * PERCENTILE_99_US / 2.5758)

    def run(self, exchange, delay_s):
        """Carry out an exchange that is answered in one of its windows; its result."""
        world = self.world
        world.air.downlinks = []
        self.network.window = random.randrange(2) + 1
        self.delay_us = delay_s * 1000000
        self.timing.restore(self.timing.pack())  # as over a deep sleep
        result = world.run(exchange)
        self.sent += 1
        self.now_ms += _HOUR_MS
        world.wait(1000000)
        world.air.log = []
        return result

    def note(self, caught, what):
        if caught:
            self.caught += 1
        else:
            self.missed.append((what, self.network.window, self.world.why()[-2:]))

    def join(self, dr):
        self.mac.last_join_nonce = -1  # this network always gives the same
        self.dev_nonce += 1
        got = self.run(self.mac.join(DEV_EUI, JOIN_EUI, APP_KEY, self.dev_nonce, dr, self.now_ms), 5)
        self.note(got is not None, ("join", dr))
        if self.mac.session:
            self.network.session = self.mac.session
            self.network.fcnt_down = 0

    def uplink(self, dr):
        session = self.mac.session
        session.dr = session.rx2_dr = dr
        outcome = self.run(self.mac.uplink(1, b"12345", now_ms=self.now_ms), session.rx1_delay_s)
        self.note(outcome.window, ("uplink", dr))

    def life(self, uplinks):
        """Joins, and `uplinks` at every data rate in turn, with a join in between now and then."""
        while not self.mac.session:
            self.join(random.randrange(6))
        for n in range(uplinks):
            self.uplink(n % 6)
            if n % 25 == 24:
                self.join(random.randrange(6))
        return self
