"""The rain gauge: what is a tip and what is none, the running total, and the pin through every kind of sleep."""

# pyright: reportArgumentType=false, reportCallIssue=false

from expect import equal, raises
from node.notes import Notes
from node.pulses import Pulses
from sensors import rain
from sensors.errors import SensorError

PERIOD = 1 << 30


def diff(end, start):
    return (end - start + PERIOD // 2) % PERIOD - PERIOD // 2


def counted(edges, debounce_ms=200, start_ms=1000, closed=False):
    """Tips of edges [(ms after the start, closed)]."""
    counter = rain.Counter(debounce_ms, diff, start_ms % PERIOD, closed)
    for at_ms, is_closed in edges:
        counter.edge((start_ms + at_ms) % PERIOD, is_closed)
    return counter.take()


def check_one_tip_with_its_bounces_is_one():
    # closes at 500 ms, bounces twice, opens after 0.1 s, bounces three times
    tip = ((500, True), (500, False), (501, True), (600, False), (600, True), (601, False), (604, True), (604, False))
    equal(counted(tip), 1)
    equal(counted(tip + tuple((at + 1500, closed) for at, closed in tip)), 2)


def check_a_bounce_whose_level_was_read_too_late_is_a_tip_all_the_same():
    """An interrupt handler sees what the contact is when it runs, not what it was."""
    equal(counted(((500, False), (500, False), (502, True), (600, False))), 1)
    equal(counted(((500, True), (600, True), (601, True), (602, False))), 1)


def check_a_bucket_that_rocks_counts_once():
    equal(counted(((500, True), (600, False), (700, True), (780, False))), 1, "closed again before it was quiet")
    equal(counted(((500, True), (600, False), (900, True), (980, False))), 2, "and after it was")


def check_a_contact_that_stays_closed_is_one_tip():
    equal(counted(((500, True), (9000000, False), (9000003, True), (9000004, False))), 1)
    equal(counted(((700, False), (703, True), (705, False)), closed=True), 0, "closed at the start: nobody saw it tip")


def check_a_tip_right_after_the_start_counts():
    equal(counted(((1, True), (100, False))), 1)


def check_ticks_come_round():
    near = PERIOD - 300
    equal(counted(((100, True), (200, False), (1200, True), (1300, False)), start_ms=near), 2)
    # so long ago that the difference of ticks is negative
    equal(counted(((PERIOD // 2 + 5000, True),), start_ms=7), 1)


def check_looking_sees_what_interrupts_did_not():
    counter = rain.Counter(200, diff, 0, False)
    for at_ms in range(0, 2000, 5):
        counter.look(at_ms, 500 <= at_ms < 600)
    equal(counter.take(), 1)
    equal(counter.take(), 0)


def total(tips, mm_per_tip=0.2794, chattered=False):
    counter = rain.Counter(200, diff, 0, False)
    counter.total = tips
    counter.chattered = chattered
    return rain.read(counter, {"mm_per_tip": mm_per_tip}, None)["rain"]


def check_total_in_mm_starts_again_when_full():
    equal(total(0), 0)
    assert abs(total(100) - 27.94) < 0.001
    last = int(6553 / 0.2794) - 1
    assert 6552 < total(last) < 6553.3
    equal(total(last + 1), 0)
    assert abs(total(last + 11) - 2.794) < 0.001
    equal(total(7, 1), 7)


def check_a_contact_that_chatters_is_no_rain():
    raises(SensorError, total, 5, 0.2794, True)


class Nvs:
    def __init__(self, values, namespace):
        equal(namespace, "spatz")
        self.values = values

    def get_i32(self, key):
        if key not in self.values:
            raise OSError(-0x1102)
        return self.values[key]

    def set_i32(self, key, value):
        self.values[key] = value

    def commit(self):
        self.values["commits"] = self.values.get("commits", 0) + 1


class Memory:
    def __init__(self):
        self.sensors = b""
        self.saved = 0

    def save(self):
        self.saved += 1


class Chip:
    """`machine`, `esp32` and `time` of a chip with a contact at its pin: `tips_ms`, moments of tips of 0.1 s."""

    DEEPSLEEP_RESET = 4
    WAKEUP_ALL_LOW = False
    WAKEUP_ANY_HIGH = True

    def __init__(self, tips_ms=(), nvs=None):
        chip = self
        self.now_ms = 0
        self.tips_ms = tips_ms
        self.nvs = {} if nvs is None else nvs
        self.armed = None
        self.cause = 1
        self.pull = self.handler = ""

        class Pin:
            IN = 1
            PULL_UP = 2
            IRQ_FALLING = 2
            IRQ_RISING = 1

            def __init__(self, number, mode, pull):
                equal(number, 7)
                chip.pull = pull

            def value(self):
                return 0 if chip.closed() else 1

            def irq(self, handler, trigger=0):
                chip.handler = handler

        self.Pin = Pin

    def closed(self):
        return any(tip <= self.now_ms < tip + 100 for tip in self.tips_ms)

    def NVS(self, namespace):  # noqa: N802 - MicroPython's name
        return Nvs(self.nvs, namespace)

    def reset_cause(self):
        return self.cause

    def wake_on_ext0(self, pin, level=None):
        self.armed = None if pin is None else level

    def lightsleep(self, ms):
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            if self.armed is not None and self.closed() != self.armed:
                return
            self.now_ms += 1

    def ticks_ms(self):
        return self.now_ms

    def ticks_add(self, ticks, ms):
        return ticks + ms

    def ticks_diff(self, end, start):
        return end - start

    def sleep_ms(self, ms):
        self.now_ms += ms

    def time_ns(self):
        return (self.now_ms + 5000000000) * 1000000

    def start(self, memory, mark=1, entry=None):
        """A boot: its Pulses, which know their notes."""
        pulses = Pulses(entry or {"pin": 7}, self, self, self)
        pulses.remember(memory, Notes(memory.sensors, mark))
        return pulses


def check_light_sleep_lasts_as_long_as_asked_and_counts():
    chip = Chip(tips_ms=(1300, 2500, 5200))
    pulses = chip.start(Memory())
    pulses.lightsleep(4000)
    assert 4000 <= chip.now_ms <= 4002
    equal(pulses.collect().total, 2)
    pulses.lightsleep(1250)  # ends within a tip, which is counted as it begins
    pulses.lightsleep(1000)
    equal(pulses.collect().total, 3)


def check_flash_is_written_with_a_reading_that_has_new_rain_only():
    chip = Chip()
    pulses = chip.start(Memory())
    equal(pulses.collect().total, 0)
    equal(chip.nvs, {})
    pulses.counter.count = 3
    equal(pulses.collect().total, 3)
    equal(pulses.collect().total, 3)
    equal(chip.nvs, {"rain_tips": 3, "commits": 1})
    later = Chip(nvs=chip.nvs).start(Memory())  # a power cut: RTC memory is empty
    later.counter.count = 2
    equal(later.collect().total, 5)


def check_flash_that_refuses_is_written_with_the_next_reading():
    chip = Chip()
    pulses = chip.start(Memory())
    pulses.counter.count = 3
    real, Nvs.commit = Nvs.commit, broken_flash
    try:
        raises(OSError, pulses.collect)
    finally:
        Nvs.commit = real
    chip.nvs.clear()
    equal(pulses.collect().total, 3)
    equal(chip.nvs, {"rain_tips": 3, "commits": 1})


def broken_flash(self):
    raise OSError(-0x1105)


def check_deep_sleep_keeps_count_and_time():
    memory = Memory()
    chip = Chip()
    pulses = chip.start(memory)
    pulses.counter.count = 4
    pulses.before_deepsleep(600000)
    equal((chip.armed, chip.handler, memory.saved), (False, None, 1))
    chip = Chip()
    chip.now_ms = 200000  # of the calendar; as a new chip it has other ticks, which nobody compares
    chip.cause = 4
    pulses = Pulses({"pin": 7}, chip, chip, chip)
    left_ms = pulses.woken(memory, 1)
    assert 399000 < left_ms <= 400000 - 200, "the rest, after the contact was quiet"
    equal(pulses.notes.wakes, 1)
    pulses.before_deepsleep(left_ms)
    notes = Notes(memory.sensors, 1)
    equal((notes.tips, notes.length_ms, notes.opening), (5, 600000, False))
    equal(notes.until_ms, 5000600000, "the end stays where it was")
    equal(Notes(memory.sensors, 2).tips, None, "another configuration knows nothing of it")


def check_a_wake_while_the_contact_opens_is_no_tip():
    memory = Memory()
    chip = Chip(tips_ms=(0,))
    pulses = chip.start(memory)
    pulses.before_deepsleep(600000)
    equal(chip.armed, True, "closed: it waits for it to open")
    chip = Chip()
    chip.now_ms = 1000
    pulses = Pulses({"pin": 7}, chip, chip, chip)
    assert pulses.woken(memory, 1) > 598000
    pulses.before_deepsleep(598000)
    equal((Notes(memory.sensors, 1).tips, chip.armed), (0, False))


def check_a_tip_as_the_interval_ends_is_counted_and_the_reading_comes_at_once():
    memory = Memory()
    Chip().start(memory).before_deepsleep(600000)
    chip = Chip()
    chip.now_ms = 599000
    pulses = Pulses({"pin": 7}, chip, chip, chip)
    equal(pulses.woken(memory, 1), 0)
    equal(chip.now_ms, 600000, "the sleep counts as slept in full, so it is waited out")
    equal(Notes(memory.sensors, 1).tips, 1)
    # the timer was first, and the contact is closed
    chip = Chip(tips_ms=(0,))
    chip.cause = 4
    equal(chip.start(memory).collect().total, 2)


def check_a_wake_that_nobody_asked_for():
    chip = Chip()
    equal(Pulses({"pin": 7, "pull": False}, chip, chip, chip).woken(Memory(), 1), 0)
    equal(chip.pull, None, "this pin has no resistor")


def check_too_many_wakes_end_the_waiting_and_their_tips_are_forgotten():
    memory = Memory()
    pulses = Chip(nvs={"rain_tips": 9}).start(memory)
    pulses.collect()
    pulses.before_deepsleep(100000)
    wakes = 0
    while True:
        chip = Chip()
        pulses = Pulses({"pin": 7}, chip, chip, chip)
        left_ms = pulses.woken(memory, 1)
        pulses.before_deepsleep(left_ms)
        wakes += 1
        if chip.armed is None:
            break
    equal(wakes, 46)
    pulses = chip.start(memory)
    counter = pulses.collect()
    equal((counter.total, counter.chattered), (9, True))
    memory.sensors = pulses.notes.pack()
    counter = chip.start(memory).collect()
    equal((counter.total, counter.chattered), (9, False), "and the next interval is a new try")
