"""A node's world for the proofs: true time, a clock that is wrong, flash and RTC memory, power that fails, and an air
that is written down. Runs on MicroPython and CPython.

The node under proof is `lorawan.device.Device`; what it does on the air and what befalls it goes to a log of binary
records in *true* time, and is judged elsewhere (proof_judge.py), by somebody who knows nothing of the node.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
import struct
import sys

from lorawan.actions import Heard, Listen, Transmit
from radio import RadioError

# Kinds of records. Each is HEAD and `size` bytes.
HEAD = "<BBHIQIbBH"  # kind, flag, node, number, us, airtime_us, eirp_dbm, sf, size
TX = 1  # number: Hz / 100; airtime_us: what really went out, when power failed meanwhile; flag: 1 then
OFF = 2  # flag: POWER, RESET, BROWNOUT; number: steps since the start
ON = 3  # flag: POWER, RESET, BROWNOUT, WAKE
FLASH = 4  # number: slot; flag: DONE, BEFORE, TORN, AFTER; airtime_us: bytes
ACCEPT = 5  # the node was handed a JoinAccept (the frame)
START = 6  # a Device was made: flag: joined, number: the next FCntUp, airtime_us: DevAddr
SENT = 7  # Device.uplink came to its end: number: FCntUp
ROT = 8  # bits of the slot `number` have changed by themselves
NOTE = 9  # text; flag 1: something that may not happen
WAITS = 10  # NoAirtime: number: ms
LOST = 11  # the node is about to join although it has a session

POWER, RESET, BROWNOUT, WAKE = 0, 1, 2, 3
DONE, BEFORE, TORN, AFTER = 0, 1, 2, 3

_BOOT_US = 240000


class Cut(BaseException):
    """Power fails, or the processor is reset, at this moment; no Exception, so that nothing catches it."""


class Dice:
    """MINSTD: the same numbers on every interpreter. dice(n): a random int in 0..n-1."""

    def __init__(self, seed):
        self.state = seed * 7919 % 2147483646 + 1
        for _ in range(8):
            self(1)

    def __call__(self, n):
        self.state = self.state * 48271 % 2147483647
        return (self.state >> 3) % n


class World:
    """One node's surroundings. output: a binary stream; seed: of everything random; head: bytes of a frame logged.

    dies_at_us: true time when power fails; steps_left: steps (looks of the world at the node: memory written, an action
    carried out) until then; dies_at_write: (how many flash writes from now, BEFORE | TORN | AFTER). None: does not.
    """

    def __init__(self, number, seed, server, output, head=255, ppm=20000, whole_time=True):
        self.number = number
        self.dice = Dice(seed)
        self.node_dice = Dice(seed + 1)
        self.server = server
        self.output = output
        self.head = head
        self.us = 0
        self.on_us = 0
        self.boot = 0
        self.ppm = self.dice(2 * ppm + 1) - ppm
        self.sleep_ppm = self.dice(2 * ppm + 1) - ppm
        self.slots = [None, None]
        self.newest = None
        self.sound = 0  # bit n: slot n was written since something in flash was damaged
        self.harsh = False  # damage upon damage: see rot() and Flash.write
        self.ram = b""
        self.writes = 0
        self.steps = 0
        self.dies_at_us = self.steps_left = self.dies_at_write = None
        self.cut_kind = POWER
        self.radio_fails = 0  # per 1000 actions
        self.old = []  # downlinks to be sent again
        self.replays = 2  # percent of windows in which something else is heard

    # The log

    def log(self, kind, flag=0, number=0, airtime_us=0, eirp=0, sf=0, data=b""):
        head = struct.pack(HEAD, kind, flag, self.number, number, self.us, airtime_us, eirp, sf, len(data))
        self.output.write(head + data if data else head)

    def note(self, text, bad=True):
        self.log(NOTE, 1 if bad else 0, data=text.encode()[:500])

    # Time and power

    def uptime_ms(self):
        return (self.us - self.on_us) * (1000000 + self.ppm) // 1000000000

    def step(self):
        self.steps += 1
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left <= 0:
                self.die()

    def die(self):
        """Power fails now: whatever the node still does on its way down (`finally`) has no effect any more."""
        self.boot += 1
        raise Cut()

    def spend(self, us):
        """Let true time pass. Raises Cut when power fails before its end."""
        if self.dies_at_us is not None and self.us + us >= self.dies_at_us:
            self.us = max(self.us, self.dies_at_us)
            self.die()
        self.us += us

    def wait_ms(self, ms):
        """Let time pass by the node's clock, awake."""
        self.spend(ms * 1000000000 // (1000000 + self.ppm))

    def switch_on(self, how):
        self.boot += 1
        self.steps = 0
        self.on_us = self.us
        self.log(ON, how)
        self.spend(_BOOT_US // 2 + self.dice(_BOOT_US))

    def deep_sleep(self, ms):
        """Sleep to the end by the node's clock; returns how many ms the node may be sure of."""
        self.step()
        self.spend(ms * 1000000000 // (1000000 + self.sleep_ppm))
        return ms

    def fail(self):
        """What a Cut leaves behind. Returns how the node comes back."""
        kind = self.cut_kind
        self.log(OFF, kind, self.steps)
        self.dies_at_us = self.steps_left = self.dies_at_write = None
        dice = self.dice
        if kind == POWER or (kind == BROWNOUT and dice(2)):
            self.ram = b"" if dice(4) else bytes([dice(256) for _ in range(dice(200))])
        return kind

    def rot(self):
        """Some bits of the newest flash record change by themselves. Unless the world is harsh, only while the other
        slot is sound: one slot of two is what may be lost."""
        if self.newest is None or not self.slots[self.newest] or (self.sound < 3 and not self.harsh):
            return
        self.sound = 0
        data = bytearray(self.slots[self.newest])
        for _ in range(1 + self.dice(3)):
            data[self.dice(len(data))] ^= 1 << self.dice(8)
        if bytes(data) != self.slots[self.newest]:
            self.slots[self.newest] = bytes(data)
            self.log(ROT, 0, self.newest)

    # The air

    def run(self, exchange, before_transmit):
        """Carry out an exchange, as radio.runner.run does."""
        answer = reply = None
        ended_us = self.us
        while True:
            self.step()
            try:
                action = exchange.send(answer)
            except StopIteration as end:
                return end.value
            answer = None
            self.step()
            if self.radio_fails and self.dice(1000) < self.radio_fails:
                exchange.close()
                raise RadioError("the radio does not answer")
            if isinstance(action, Transmit):
                before_transmit(action)
                self.step()
                self._transmit(action)
                ended_us = self.us
                answer = self.uptime_ms() * 1000 % (1 << 30)
                reply = self.server.hear(action.frame)
            elif isinstance(action, Listen):
                opens_us = ended_us + action.delay_us * 1000000 // (1000000 + self.ppm)
                self.spend(max(0, opens_us - self.us))
                if reply is None or reply[0] != action.window:
                    self.spend((action.symbols << action.sf) * 1000 // (action.bw_hz // 1000))
                    if self.dice(100) < self.replays:
                        answer = Heard(self._something(), -120, -12.5)
                else:
                    self.spend(100000)
                    if reply[1][0] == 0x20:  # heard again after a cut it may rightly be taken: not kept
                        self.log(ACCEPT, data=reply[1])
                    elif self.dice(100) < 20:
                        self.old = self.old[-3:] + [reply[1]]
                    answer = Heard(reply[1], -100, 5.5)
                    reply = None
            else:  # Wait
                self.spend(action.us)

    def _transmit(self, action):
        start_us = self.us
        broken = 0
        try:
            if self.steps_left == 1:  # the battery gives way at what asks most of it
                self.spend(self.dice(action.airtime_us))
            else:
                self.spend(action.airtime_us)
            self.step()
        except Cut:
            broken = 1
            raise
        finally:
            ended_us = self.us
            self.us = start_us
            number = action.freq_hz // 100
            frame = action.frame[: self.head]
            self.log(TX, broken, number, ended_us - start_us, action.eirp_dbm, action.sf, frame)
            self.us = ended_us

    def _something(self):
        dice = self.dice
        frame = bytearray(self.old[dice(len(self.old))]) if self.old and dice(3) else bytearray(dice(60) + 1)
        for _ in range(dice(3)):
            frame[dice(len(frame))] = dice(256)
        return bytes(frame)


class _OfOneBoot:
    """What a node holds of its world; it is dead when the node is."""

    def __init__(self, world):
        self.world = world
        self.boot = world.boot

    def alive(self):
        if self.boot != self.world.boot:
            raise Cut()


class Flash(_OfOneBoot):
    def read(self, slot):
        self.alive()
        return self.world.slots[slot]

    def write(self, slot, data):
        self.alive()
        world = self.world
        old = world.slots[slot]
        data = bytes(data)
        if slot not in (0, 1) or not 0 < len(data) <= 1984:
            world.note(f"flash.write({slot}, {len(data)} bytes)")
        how = DONE
        if world.dies_at_write:
            left, mode = world.dies_at_write
            world.dies_at_write = (left - 1, mode)
            how = mode if left <= 1 else DONE
            if how == TORN and world.sound < 3 and not world.harsh:
                how = AFTER
        world.step()
        world.sound = 0 if how == TORN else world.sound | (how != BEFORE) << slot
        if how == TORN:
            world.slots[slot] = _torn(old, data, world.dice, world.cut_kind == RESET)
        elif how != BEFORE:
            world.slots[slot] = data
        if how != BEFORE:
            world.newest = slot
        world.writes += 1
        world.log(FLASH, how, slot, len(data))
        if how != DONE:
            world.die()
        world.spend(10000 + world.dice(20000))
        world.step()


class Ram(_OfOneBoot):
    def read(self):
        self.alive()
        return self.world.ram

    def write(self, data):
        self.alive()
        world = self.world
        old = world.ram
        data = bytes(data)
        if len(data) > 2048:
            world.note(f"ram.write({len(data)} bytes)")
        world.ram = data
        try:
            world.step()
        except Cut:
            world.ram = _torn(old, data, world.dice, True) or b""
            raise


def _torn(old, new, dice, gently):
    """What a write leaves behind that was cut off. gently: no noise."""
    how = dice(4 if gently else 6)
    old = old or b""
    if how == 0:
        return old or None
    if how == 1:
        return new
    if how < 4:
        cut = dice(len(new) + 1)
        return new[:cut] + old[cut:]
    return bytes([dice(256) for _ in range(len(new))]) if how == 4 else None


def output():
    return sys.stdout.buffer
