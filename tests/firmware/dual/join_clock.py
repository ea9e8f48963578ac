"""The clock of join tries: 36 s in the first hour, 36 s in the next ten, then 8.7 s in any 24 hours."""

from airtime_world import BEFORE, DAY_US, HOUR_US, ON_AIR, POWER_CUT, RAM_LOST, RESET, JoinWorld
from expect import equal, some
from lorawan.ledger import NEVER, JoinClock

SF7 = 61696  # a JoinRequest, 23 bytes
SF9 = 205824
SF12 = 1482752
HOUR_MS = 3600000


class Dice:
    """The same numbers on both interpreters."""

    def __init__(self, seed):
        self.state = seed

    def below(self, count):
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.state >> 8) % count


def greedy(world, until_us, airtime_us, gap_us=7000000):
    """Join whenever it is allowed; how many in each burst."""
    bursts = []
    while world.now_us < until_us:
        if not world.send(0, airtime_us):
            wait_ms = world.wait_ms(0, airtime_us)
            assert wait_ms < NEVER
            world.sleep_us(wait_ms * 1000 * 1000000 // (1000000 + world.ppm) + 2)
            bursts.append(len(world.sent))
        else:
            world.sleep_us(gap_us)
    return [count - (bursts[index - 1] if index else 0) for index, count in enumerate(bursts)]


def check_joins_at_sf12():
    """24 in the first hour, 24 in the next ten, then 5 a day."""
    world = JoinWorld()
    world.sleep_us(123456789)
    equal(greedy(world, 5 * DAY_US, SF12)[:5], [24, 24, 5, 5, 5])
    world.lawful_in_phases()
    world.lawful_in_sum()


def check_below_means_below():
    """36 s and 8.7 s themselves are too much."""
    for passed_ms, limit_us in ((0, 36000000), (2 * HOUR_MS, 36000000), (12 * HOUR_MS, 8700000)):
        clock = JoinClock()
        clock.add(1000, 0)
        clock.add(1000, passed_ms)
        used_us = 1000 if passed_ms else 2000
        equal(clock.wait_ms(limit_us - used_us - 1000, passed_ms), 0)
        assert clock.wait_ms(limit_us - used_us, passed_ms) > 0
        assert clock.wait_ms(limit_us - used_us - 999, passed_ms) > 0


def check_never():
    clock = JoinClock()
    equal(clock.wait_ms(36000000, 0), NEVER)
    equal(clock.wait_ms(35999000, 0), 0)
    clock.add(35999000, 0)
    equal(clock.wait_ms(35999000, 1000), 3720000 - 1000)
    equal(clock.wait_ms(35999000, 38400000), NEVER)  # 8.7 s from the eleventh hour on
    equal(clock.wait_ms(8700000, 50000000), NEVER)
    equal(clock.wait_ms(8699000, 50000000), 0)


def check_phases_by_the_worst_clocks():
    """Every phase for itself, and any 24 hours after them, whatever the clock's error; frames that begin late."""
    for ppm in (-30000, 0, 30000):
        for airtime_us, gap_us in ((SF12, 0), (SF12, 100000000), (SF12, 2000000000), (SF9, 30000000)):
            world = JoinWorld(ppm)
            dice = Dice(9)
            while world.now_us < 6 * DAY_US and len(world.sent) < 500:
                wait_ms = world.wait_ms(0, airtime_us)
                if wait_ms:
                    world.sleep_us(wait_ms * 1000 * 1000000 // (1000000 + ppm) + 2)
                world.send(0, airtime_us, dice.below(8000) * 1000 if world.sent else 0)
                world.sleep_us(gap_us)
            world.lawful_in_phases()
            world.lawful_in_sum()


def check_last_moment_of_a_phase():
    """A frame at the last moment of one phase and one at the first of the next do not meet."""
    for ppm in (-30000, 30000):
        world = JoinWorld(ppm)
        world.send(0, SF12)
        for end_s in (3480, 38400):
            left_us = (end_s * 1000000 - world.node_us) * 1000000 // (1000000 + ppm)
            world.sleep_us(left_us - 30000000)
            for _ in range(40):
                world.send(0, SF12, 7000000 if world.node_us > end_s * 1000000 - 3000000 else 0)
            wait_ms = world.wait_ms(0, SF12)
            assert wait_ms > 0
            world.sleep_us(wait_ms * 1000 * 1000000 // (1000000 + ppm) + 2)
            for _ in range(40):
                world.send(0, SF12)
        world.lawful_in_phases()
        world.lawful_in_sum()


def check_wait_is_exact():
    clock = JoinClock()
    now = 77777
    for _ in range(60):
        wait_ms = clock.wait_ms(SF12, now)
        if wait_ms:
            copy = JoinClock.unpack(clock.pack())
            equal(copy.wait_ms(SF12, now + wait_ms - 1), 1)
            equal(copy.wait_ms(SF12, now + wait_ms), 0)
            now += wait_ms
        clock.add(SF12, now)
        now += 7000


def check_leftovers_do_not_carry_over():
    clock = JoinClock()
    clock.add(SF12, 0)
    now = 2 * HOUR_MS
    count = 0
    while not clock.wait_ms(SF12, now):
        clock.add(SF12, now)
        count += 1
    equal(count, 24)
    now = 12 * HOUR_MS
    count = 0
    while not clock.wait_ms(SF12, now):
        clock.add(SF12, now)
        count += 1
    equal(count, 5)


def check_joined_ends_it():
    clock = JoinClock()
    for _ in range(24):
        clock.add(SF12, 0)
    assert clock.wait_ms(SF12, 0)
    clock.joined()
    equal(clock.wait_ms(SF12, 0), 0)
    equal(clock.pack(), JoinClock().pack())
    assert not clock.stale(10**10)


def check_crash_between_any_two_steps():
    """Each step of a try, each kind of crash, over and over."""
    for crash in (RESET, RAM_LOST, POWER_CUT):
        for stage in range(8):
            world = JoinWorld(30000)
            for _ in range(120):
                world.send(0, SF12)
                world.send(0, SF12, 0, crash, stage, 10000000)
            world.lawful_in_sum()
            assert stage in (0, 1, 2, 3) or world.sent, (crash, stage)


def check_brown_out_loop():
    """Power for 15 s, again and again: one join each, for four days, and never more than all phases allow."""
    world = JoinWorld(30000)
    while world.now_us < 4 * DAY_US:
        world.send(0, SF12)
        world.sleep_us(8000000)
        world.send(0, SF12, 0, POWER_CUT, ON_AIR, 20000000)
    world.lawful_in_sum()
    assert len(world.sent) >= 15


def check_thirty_power_cuts():
    """A child that switches the node off and on: each time a join goes out, and another."""
    world = JoinWorld()
    for _ in range(30):
        assert world.send(0, SF7)
        world.sleep_us(7000000)
        assert world.send(0, SF7)
        world.send(0, SF7, 0, POWER_CUT, BEFORE, 60000000)
    equal(len(world.sent), 60)
    world.lawful_in_sum()


def check_random_crashes():
    dice = Dice(21)
    for ppm in (30000, 0, -30000):
        world = JoinWorld(ppm)
        for _ in range(300):
            for _ in range(dice.below(8)):
                world.send(0, (SF7, SF12)[dice.below(2)], dice.below(8000) * 1000 if world.sent else 0)
                world.sleep_us(dice.below(60) * 1000000)
            if dice.below(2):
                world.send(0, SF12, 0, 1 + dice.below(3), dice.below(8), dice.below(900) * 1000000)
            if dice.below(2):
                world.sleep_us(dice.below(14000) * 1000000)
            if dice.below(2):
                world.look_for_stale()
        world.lawful_in_sum()


def check_power_only_by_day():
    """Twelve hours of power a day, far from any gateway: lawful, and there are tries every few days, for ever."""
    world = JoinWorld()
    last = 0
    for day in range(60):
        evening = world.now_us + 12 * HOUR_US
        while world.now_us < evening:
            for _ in range(30):
                if world.send(0, SF12):
                    last = day
            world.look_for_stale()
            world.sleep_us(900000000)
        world.start_again(POWER_CUT, 12 * HOUR_US)
        assert day - last < 4, (day, last)
    world.lawful_in_sum()


def check_few_writes():
    """Tries in a row are promised in blocks: 1, 2, then 4 joins for each write."""
    world = JoinWorld()
    writes = []
    for _ in range(16):
        world.send(0, SF12)
        writes.append(world.writes)
    equal(writes, [1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6])


def check_power_cut_costs_what_was_promised():
    world = JoinWorld()
    for _ in range(4):
        world.send(0, SF7)
    booked = JoinClock.after_power_cut(some(world.flash)[1], some(world.flash)[0] // 1000)
    count = 0
    while not booked.wait_ms(SF7, world.now_ms()):
        booked.add(SF7, world.now_ms())
        count += 1
    equal(count, 580 - 4 - 3)  # 62 ms each; three more were promised


def check_promise_ends_with_its_phase_and_hour():
    for wait_ms in (HOUR_MS, 3600000 * 12):
        clock = JoinClock()
        for _ in range(4):
            clock.add(SF7, 0)
            clock.promise()
        clock.add(SF7, 0)
        assert clock.covered()
        clock.add(SF7, wait_ms)
        assert not clock.covered()
    clock = JoinClock()
    clock.add(SF7, 0)
    for _ in range(4):
        clock.add(SF7, 3470000)
        clock.promise()
    clock.add(SF7, 3720000)
    assert not clock.covered()


def check_last_try_that_was_promised():
    """The 24.8 h without a try begin at a power cut when a join could have been sent up to it."""
    world = JoinWorld()
    world.send(0, SF7)
    world.sleep_us(12 * HOUR_US)
    for _ in range(4):
        world.send(0, SF12)
    world.sleep_us(3000000000)
    world.store()  # for another reason
    world.send(0, SF12)
    world.start_again(POWER_CUT, 0)
    equal(world.wait_ms(0, SF12), 89280000)


def check_stale_once_an_hour():
    world = JoinWorld()
    world.send(0, SF7)
    world.sleep_us(HOUR_US - 1000000)
    assert not world.look_for_stale()
    for _ in range(30):
        world.sleep_us(HOUR_US)
        assert world.look_for_stale()
        assert not world.look_for_stale()
        equal(world.now_ms() - some(world.flash)[0] // 1000, 0)


def check_record_is_exact():
    dice = Dice(2)
    clock = JoinClock()
    now = 0
    for _ in range(200):
        now += dice.below(3000) * 1000
        if not clock.wait_ms(SF12, now):
            clock.add(SF12, now)
        record = clock.pack()
        again = JoinClock.unpack(record)
        equal(again.pack(), record)
        equal(len(record), 30)
        equal(again.covered(), clock.covered())
        equal(again.wait_ms(SF12, now), clock.wait_ms(SF12, now))
        if dice.below(2):
            clock.promise()


def check_damaged_record_has_nothing_left():
    """A record of the wrong size: a first hour, from when the time is known, with nothing left in it."""
    for now in (0, 10**6, 10**12):
        for data in (b"", b"x", bytes(29), bytes(31)):
            for clock in (JoinClock.unpack(data), JoinClock.after_power_cut(data, now)):
                equal(clock.wait_ms(SF7, now), 3720000)
                equal(clock.wait_ms(SF7, now + 3719999), 1)
                equal(clock.wait_ms(SF7, now + 3720000), 0)
                equal(JoinClock.unpack(clock.pack()).pack(), clock.pack())


def check_watchdog_loop_before_flash():
    """Resets between counting and writing: what was counted so often keeps the clock from sending, not from law."""
    world = JoinWorld()
    for _ in range(60):
        world.send(0, SF12, 0, RESET, 2, 0)
    equal(world.sent, [])
    assert world.wait_ms(0, SF12) > 0
