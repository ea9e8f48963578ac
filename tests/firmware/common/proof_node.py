"""The node's life in the proofs: what an application does with `lorawan.device.Device`, without any caution of its own.

The law and the counters have to hold by the Device alone, so this application joins whenever it may and sends whenever
it may. Runs on MicroPython and CPython.
"""

import proof_world as w
from lorawan import eu868
from lorawan.results import NoAirtime, NoChannel, PayloadTooLong
from proof_world import Cut
from radio import RadioError

JOIN_EUI = bytes(range(8))
_LONGEST_WAIT_MS = 900000  # node time goes on only from one look at it to the next


def app_key(number):
    return bytes([number & 0xFF, number >> 8 & 0xFF]) + bytes(range(14))


def dev_eui(number):
    return b"\x70\xb3\xd5\x7e\xd0" + number.to_bytes(3, "big")


class Habits:
    """What an application is like. interval_ms: from one uplink to the next; join_every_ms: after a join in vain;
    deep: percent of waits spent in deep sleep; confirmed, asks: percent of uplinks; longest: bytes of a payload;
    slow_ms: interval at DR0 to DR2, where few uplinks exhaust the airtime; joins: percent of turns in which the node
    joins although it has a session."""

    def __init__(
        self, interval_ms=900000, join_every_ms=60000, deep=100, confirmed=0, asks=0, longest=20, slow_ms=None, joins=0
    ):
        self.interval_ms = interval_ms
        self.join_every_ms = join_every_ms
        self.deep = deep
        self.confirmed = confirmed
        self.asks = asks
        self.longest = longest
        self.joins = joins
        self.slow_ms = interval_ms if slow_ms is None else slow_ms


class Node:
    """One node in its world. make_device: Device, or what is to be proved wrong."""

    def __init__(self, world, make_device, habits, region=eu868):
        self.world = world
        self.make_device = make_device
        self.habits = habits
        self.region = region
        self.how = w.POWER
        self.slept_ms = 0
        self.sent = 0  # uplinks
        self.wakes = 0

    def live_once(self):
        """From one start to the next: returns True when it was cut off."""
        world = self.world
        try:
            world.switch_on(self.how)
            self.slept_ms = self._awake()
            self.how = w.WAKE
            return False
        except Cut:
            self.how = world.fail()
            self.slept_ms = 0
            return True

    def live(self, until_us):
        """Live until true time `until_us`, or until the first cut."""
        while self.world.us < until_us:
            if self.live_once():
                return

    def _awake(self):
        """Until the node goes to deep sleep; returns how long it slept."""
        world = self.world
        number = world.number
        device = self.make_device(
            self.region, dev_eui(number), JOIN_EUI, app_key(number), w.Flash(world), w.Ram(world), world.run,
            world.uptime_ms, world.node_dice, slept_ms=self.slept_ms,
        )  # fmt: skip
        session = device.session
        if session:
            world.log(w.START, 1, session.fcnt_up & 0xFFFFFFFF, session.dev_addr)
        else:
            world.log(w.START)
        while True:
            self.wakes += 1
            world.step()
            wait_ms = max(1, min(self._turn(device), _LONGEST_WAIT_MS))
            if world.dice(100) < self.habits.deep:
                device.save()
                return world.deep_sleep(wait_ms)
            world.wait_ms(wait_ms)

    def _turn(self, device):
        """Join or send. Returns how long to wait."""
        world = self.world
        habits = self.habits
        try:
            dr = world.dice(6)
            again = device.joined and (device.lost or world.dice(100) < habits.joins) and not device.join_wait_ms(dr)
            if again:
                world.log(w.LOST)
            if not device.joined or again:
                joined = device.join(dr)
                return 1000 if joined or again else habits.join_every_ms
            if habits.asks and world.dice(100) < habits.asks:
                device.request((2, 13)[world.dice(2)])
            size = min(world.dice(habits.longest + 1), max(0, device.room()))
            payload = bytes([size, self.sent & 0xFF, self.sent >> 8 & 0xFF, 7])[:size] + bytes(max(0, size - 4))
            outcome = device.uplink(1 + world.dice(200), payload, world.dice(100) < habits.confirmed)
            self.sent += 1
            world.log(w.SENT, 0, outcome.fcnt)
        except NoAirtime as error:
            wait_ms = error.wait_ms
            world.log(w.WAITS, 0, min(wait_ms, 0xFFFFFFFF))
            if wait_ms <= 0:
                world.note("NoAirtime, but no time to wait")
            return wait_ms
        except RadioError:
            return 10000
        except (NoChannel, PayloadTooLong) as error:
            world.note(f"{type(error).__name__}: {error}")
            return 600000
        dr = device.session.dr if device.joined else 5
        return habits.slow_ms if dr < 3 else habits.interval_ms
