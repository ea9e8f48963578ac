"""What time a node thinks it is, after the network has told it."""

# pyright: reportOptionalOperand=false, reportAttributeAccessIssue=false

from expect import equal
from node.memory import Memory
from node.sync import KNOWN, Sync
from node_world import World
from radio import RadioError

GPS_2026 = 1767225600 - 315964800 + 18  # Unix times of 2026-01-01 and 1980-01-06; leap seconds
S_2026 = 189388800  # s from 2020 to 2026
HOUR_MS = 3600000


class Node:
    """A node whose time is wrong by `ppm` and stands still for `boot_ms` at each of its wakes, 15 minutes apart."""

    def __init__(self, ppm, boot_ms=0):
        self.ppm = ppm
        self.boot_ms = boot_ms
        self.sync = Sync()
        self.sync.started(1, 1000000)
        self.true_ms = 0
        self.now_ms = 1000000

    def wake(self, answers=True):
        """One wake; returns whether the network was asked."""
        self.true_ms += 900000
        passed_ms = 900000 - self.boot_ms
        self.now_ms += passed_ms + passed_ms * self.ppm // 1000000
        self.sync = Sync(self.sync.pack())
        if not self.sync.due(self.now_ms):
            return False
        self.sync.asked(self.now_ms)
        if answers:
            self.sync.answered(self.now_ms, GPS_2026 + self.true_ms // 1000, self.true_ms % 1000 * 256 // 1000)
        return True

    def error_ms(self):
        return self.sync.utc_ms(self.now_ms) - 1000 * S_2026 - self.true_ms


def check_error_is_below_a_second_after_two_answers():
    for ppm, boot_ms in ((1000, 0), (-1000, 0), (0, 0), (20000, 0), (-1000, 800), (50, 300)):
        node = Node(ppm, boot_ms)
        asked = []
        for wake in range(4 * 24 * 4):
            if node.wake():
                asked.append(wake)
            if len(asked) >= 2:
                assert abs(node.error_ms()) < 1000, (ppm, boot_ms, wake, node.error_ms())
        assert asked[:2] == [0, 4] or asked[:2] == [0, 5], asked
        assert len(asked) <= 6, "once a day"
        assert abs(node.error_ms()) < 200, node.error_ms()


def check_without_an_answer_it_asks_again_but_not_always():
    node = Node(100)
    asked = [node.wake(False) for _ in range(20)]
    assert asked[0]
    assert 9 <= asked.count(True) <= 20, asked
    equal((node.sync.known, node.sync.tries), (False, asked.count(True)))
    when, flags = node.sync.stamp(node.now_ms)
    equal((when, flags), ((node.now_ms + 125) // 250, 1))


def check_stamps_are_quarters_of_a_second_since_2020():
    node = Node(0)
    for _ in range(5):  # two answers
        equal(node.sync.stamp(node.now_ms), ((node.now_ms + 125) // 250, 1))
        node.wake()
    when, flags = node.sync.stamp(node.now_ms)
    equal((when, flags), (4 * S_2026 + 4 * node.true_ms // 1000, KNOWN | 1))


def check_age_of_a_stamp():
    node = Node(1000)
    before = node.sync.stamp(node.now_ms)
    stamps = []
    for _ in range(400):
        node.wake()
        stamps.append((node.true_ms, node.sync.stamp(node.now_ms)))
    for true_ms, stamp in stamps:
        age = node.sync.age(stamp[0], stamp[1], node.now_ms)
        assert abs(age * 250 - (node.true_ms - true_ms)) < 1500, age
    age = node.sync.age(before[0], before[1], node.now_ms)
    assert abs(age * 250 - node.true_ms) < 2000, "of node time, and the rate is known by now"
    equal(node.sync.age(stamps[-1][1][0] + 40, stamps[-1][1][1], node.now_ms), 0, "never below zero")


def check_a_reset_makes_time_unknown_until_it_is_asked():
    node = Node(1000)
    unknown = node.sync.stamp(node.now_ms)
    for _ in range(10):
        node.wake()
    known = node.sync.stamp(node.now_ms)
    sync = Sync(node.sync.pack())
    sync.started(sync.boot + 1, node.now_ms - 400000)
    node.sync = sync
    equal((sync.known, sync.boot), (False, 2))
    equal(sync.age(known[0], known[1], node.now_ms), None)
    equal(sync.age(unknown[0], unknown[1], node.now_ms), None)
    node.now_ms -= 400000  # what nobody knows
    assert node.wake()
    assert sync.age(known[0], known[1], node.now_ms) is None, "the old one"
    age = node.sync.age(known[0], known[1], node.now_ms)
    assert abs(age * 250 - 900000) < 2000, age
    for _ in range(90):
        node.wake()
        assert abs(node.error_ms()) < 1000, "the rate of the clock is still known"


def check_numbers_of_starts_come_round():
    """A node that is cut off again and again has a reading of 128 starts ago, whose number is this one's."""
    node = Node(0)
    old = node.sync.stamp(node.now_ms)
    for _ in range(128):
        node.now_ms += 5000
        node.sync.started(node.sync.boot + 1, node.now_ms)
    new = node.sync.stamp(node.now_ms)
    equal(new[1], old[1])
    equal(node.sync.age(old[0], old[1], node.now_ms + 1000), None)
    equal(node.sync.age(new[0], new[1], node.now_ms + 1000), 4)


def check_another_rhythm_is_another_rate():
    """A node that wakes more often loses more time: it asks again, and learns nothing from across the change."""
    node = Node(0, 0)
    for _ in range(10):
        node.wake()
    node.sync.unsteady()
    node.boot_ms = 900
    asked = [node.wake() for _ in range(110)]
    equal(asked[0], True)
    equal(asked.count(True), 3)
    assert abs(node.error_ms()) < 1000, node.error_ms()


def check_nonsense_is_not_believed():
    for gps_s, fraction in ((0, 0), (0xFFFFFFFF, 255), (1261872017, 0)):
        sync = Sync()
        sync.answered(1000, gps_s, fraction)
        equal(sync.known, False, gps_s)
    node = Node(0)
    node.wake()
    node.sync.answered(node.now_ms + 2 * HOUR_MS, GPS_2026, 0)  # time ran backwards: no clock is as bad
    node.sync.known = True
    at_ms = node.now_ms + 2 * HOUR_MS
    equal(node.sync.utc_ms(at_ms + HOUR_MS) - node.sync.utc_ms(at_ms), HOUR_MS)


def check_rubbish_is_no_state():
    for data in (b"", b"x", bytes(27), bytes(30), bytes(32)):
        equal(Sync(data).known, False)
    equal(len(Sync().pack()), 31)


def _wake(world, woke_from_sleep=True):
    """One start of a node to which the network tells the true time, if it hears it."""
    passed_us = world.time.now_us
    world.network.gps = GPS_2026 + passed_us // 1000000, passed_us % 1000000 * 256 // 1000000
    world.sleep_after(world.boot(woke_from_sleep))


def _remembers(world):
    """What the next wake finds, its node time, and its ms since the start."""
    cycle = world.boot(woke_from_sleep=True).cycle
    return Sync(Memory(world.rtc).sync), cycle.device.now_ms(), cycle.since_start_ms


def _knowing():
    """A node that knows the time: the network has answered twice."""
    world = World(safe_window_s=0)
    _wake(world, False)
    for _ in range(9):
        _wake(world)
    sync, now_ms, _ = _remembers(world)
    equal(sync.stamp(now_ms)[1], KNOWN | 1)
    return world


def _starts(world, number):
    """Power-on or a reset, and a first cycle that ends before the network answers. number: that of this start."""
    sync, now_ms, _ = _remembers(world)
    when, flags = sync.stamp(now_ms)
    began_us = world.time.now_us
    sent = len(world.network.readings)
    _wake(world, False)
    equal(len(world.network.readings), sent)
    sync, now_ms, since_start_ms = _remembers(world)
    equal((sync.boot, sync.known), (number, False))
    equal(sync.age(when, flags, now_ms), None, "nobody knows how long it was off")
    passed_ms = (world.time.now_us - began_us) // 1000
    assert abs(since_start_ms - passed_ms) < 1000, (since_start_ms, passed_ms)


def _answered(world, number):
    """The network hears the node again."""
    for _ in range(2):  # after a join it asks with its next reading
        _wake(world)
    sync, now_ms, _ = _remembers(world)
    equal((sync.boot, sync.known), (number, True))
    wrong_ms = sync.utc_ms(now_ms) - 1000 * S_2026 - world.time.now_us // 1000
    assert abs(wrong_ms) < 1000, wrong_ms


def check_a_start_is_remembered_when_the_radio_breaks_in_its_first_cycle():
    world = _knowing()
    world.time.now_us += 3600000000  # of a sleep that the reset ended: nobody counted it
    world.network.broken = RadioError("no radio")
    _starts(world, 2)
    _starts(world, 3)
    world.network.broken = None
    _answered(world, 3)


def check_a_start_is_remembered_when_its_first_cycle_has_no_airtime():
    world = _knowing()
    world.network.commands = b"\x04\x0f"  # DutyCycleReq: 1/32768
    _wake(world)
    _wake(world)
    world.time.now_us += 3600000000
    _starts(world, 2)
    _answered(world, 2)


def check_a_start_is_remembered_when_nobody_answers_its_first_join():
    """After power cuts, too, of which only the log can tell."""
    world = World(safe_window_s=0)
    world.network.deaf = 5
    for number in (1, 2, 3, 4):
        _starts(world, number)
        if number < 4:
            world.time.now_us += 36000000000
        if number < 3:
            world.power_cut()
    world.network.deaf = 0
    _answered(world, 4)
