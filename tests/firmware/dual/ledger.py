"""The airtime ledger: no sliding hour above a sub-band's limit, whatever happens to the node."""

from airtime_world import BEFORE, HOUR_US, NOTHING, ON_AIR, POWER_CUT, RAM_LOST, READY, RESET, LedgerWorld, most
from expect import equal, some
from lorawan import eu868, in865
from lorawan.ledger import NEVER, JoinClock, Ledger

BAND = 2  # 868.0 to 868.6 MHz, 1 %: 36 s in an hour
TENTH = 0  # 0.1 %
HIGH = 4  # 10 %
SF7 = 61696
SF12 = 2793472  # the longest: 64 bytes
SLOT_MS = 310000


class Dice:
    """The same numbers on both interpreters."""

    def __init__(self, seed):
        self.state = seed

    def below(self, count):
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.state >> 8) % count


def greedy(ledger, band, airtime_us, now_ms, gap_ms=10):
    """Send until the ledger says wait: (frames sent, time, ms to wait)."""
    count = 0
    while True:
        wait_ms = ledger.wait_ms(band, airtime_us, now_ms)
        if wait_ms:
            return count, now_ms, wait_ms
        ledger.add(band, airtime_us, now_ms)
        count += 1
        now_ms += airtime_us // 1000 + gap_ms


def check_limit_of_each_band():
    """Each band has its own account; counts are rounded up to 10 ms."""
    for band, frames in ((0, 51), (1, 514), (2, 514), (3, 51), (4, 5142), (5, 514)):
        ledger = Ledger(eu868)
        equal(greedy(ledger, band, SF7, 10 * SLOT_MS, 0)[0], frames, band)
        equal(ledger.wait_ms((band + 1) % 6, SF7, 12 * SLOT_MS), 0)
    equal(greedy(Ledger(eu868), BAND, SF12, 0)[0], 12)
    equal(greedy(Ledger(eu868), TENTH, SF12, 0)[0], 1)


def check_wait_is_exact():
    """A frame may begin at the very ms the ledger names, and not one earlier."""
    start = 7 * SLOT_MS + 1234
    ledger = Ledger(eu868)
    ledger.add(BAND, 20000000, start)
    ledger.add(BAND, 10000000, start + SLOT_MS)
    now = start + 2 * SLOT_MS
    for airtime_us, slots in ((6000000, 0), (6000001, 13), (26000000, 13), (26010000, 14), (36000000, 14)):
        wait_ms = ledger.wait_ms(BAND, airtime_us, now)
        equal(wait_ms, (7 + slots) * SLOT_MS - now if slots else 0, airtime_us)
        if wait_ms:
            copy = Ledger.unpack(eu868, ledger.pack())
            equal(copy.wait_ms(BAND, airtime_us, now + wait_ms - 1), 1)
            equal(copy.wait_ms(BAND, airtime_us, now + wait_ms), 0)
    equal(ledger.wait_ms(BAND, 36000001, now), NEVER)
    equal(ledger.wait_ms(TENTH, 3600001, now), NEVER)
    assert 0 < ledger.wait_ms(BAND, 36000000, now) < NEVER


def check_an_hour_without_sending_gives_the_whole_budget():
    for band in range(6):
        ledger = Ledger(eu868)
        _, now, wait_ms = greedy(ledger, band, SF7, 99 * SLOT_MS - 5)
        assert wait_ms <= 13 * SLOT_MS
        equal(greedy(ledger, band, SF7, now + 13 * SLOT_MS, 0)[0], greedy(Ledger(eu868), band, SF7, 0, 0)[0])


def check_band_without_limit():
    ledger = Ledger(in865)
    equal(in865.SUB_BANDS[0][2], 1000)
    for now in range(0, 3000000, 3000):
        equal(ledger.wait_ms(0, SF12, now), 0)
        ledger.add(0, SF12, now)
        assert ledger.covered(now)
    equal(len(ledger.pack()), 17)


def check_straddling_frame_and_fast_clock():
    """The first frame of an hour ends as late as it may, in the last ms of its slot, by the fastest clock."""
    for ppm in (-30000, -1, 0, 1, 29999, 30000):
        for offset_ms in (0, SLOT_MS - 1, SLOT_MS - 1000, SLOT_MS - 2793):
            world = LedgerWorld(eu868, ppm)
            world.sleep_us(offset_ms * 1000 * 1000000 // (1000000 + ppm))
            for _ in range(40):
                wait_ms = world.wait_ms(BAND, SF12)
                if wait_ms:
                    world.sleep_us(wait_ms * 1000 * 1000000 // (1000000 + ppm) + 2)
                world.send(BAND, SF12, late_us=8000000 if len(world.sent) % 12 == 0 else 0)
            world.lawful()
            assert len(world.sent) > 30


def check_any_hour_with_crashes():
    """Resets, lost memory and power cuts at every step of a transmission, the clock 3 % fast or slow."""
    dice = Dice(7)
    for ppm in (30000, 0, -30000):
        world = LedgerWorld(eu868, ppm)
        for _ in range(400):
            band = (1, 2, 2, 4, 0)[dice.below(5)]
            airtime_us = (SF7, 1482752, SF12, SF12)[dice.below(4)]
            crash = dice.below(12)
            for _ in range(dice.below(14)):
                world.send(band, airtime_us, dice.below(8000) * 1000)
                world.sleep_us(1000000)
            if crash <= POWER_CUT:
                world.send(band, airtime_us, 0, crash, dice.below(8), dice.below(900) * 1000000)
            if dice.below(3) == 0:
                world.look_for_stale()
            if dice.below(2):
                world.sleep_us(dice.below(1500) * 1000000)
        world.lawful()
        assert world.worst(BAND) > 20000000, "the world must be busy enough to show something"


def check_crash_between_any_two_steps():
    """Each step of a transmission, each kind of crash, over and over: the loop of a brown-out stays lawful."""
    for crash in (RESET, RAM_LOST, POWER_CUT):
        for stage in range(8):
            world = LedgerWorld(eu868)
            for _ in range(150):
                world.send(BAND, SF12, 0, crash, stage, 1000000)
            world.lawful()


def check_brown_out_loop_for_ever():
    """Power for 20 s, then none for 10 s: a join and what else can be sent, at SF12, for two days."""
    world = LedgerWorld(eu868, 30000)
    while world.now_us < 48 * HOUR_US:
        world.send(BAND, 1482752)
        world.sleep_us(10000000)
        world.send(BAND, SF12, 0, POWER_CUT, ON_AIR, 10000000)
    world.lawful()
    assert len(world.sent) > 5
    # and powered for an hour it has its budget again
    world.sleep_us(13 * SLOT_MS * 1000)
    equal(world.wait_ms(BAND, 36000000), 0)


def check_thirty_power_cuts_in_an_hour():
    """A child that switches the node off and on: each time a join and an uplink still go out."""
    world = LedgerWorld(eu868)
    for _ in range(30):
        assert world.send(BAND, SF7)
        world.sleep_us(6000000)
        assert world.send(BAND, SF7)
        world.sleep_us(20000000)
        world.send(BAND, SF7, 0, POWER_CUT, BEFORE, 90000000)
    equal(len(world.sent), 60)
    equal(world.wait_ms(BAND, SF12), 0)
    assert world.writes <= 60


def check_promise_is_written_before_it_is_used():
    """What flash holds is never below what was sent, at any time."""
    world = LedgerWorld(eu868)
    dice = Dice(3)
    for _ in range(500):
        world.send((1, 2)[dice.below(2)], (SF7, SF12)[dice.below(2)])
        world.sleep_us(dice.below(600) * 1000000)
        if dice.below(4) == 0:
            world.look_for_stale()
        after = Ledger.after_power_cut(eu868, some(world.flash)[1], 0)
        ram = Ledger.unpack(eu868, some(world.ram)[1])
        for band in (1, 2):
            limit_us = 36000000
            booked_us = limit_us - room_us(after, band, 0)
            used_us = limit_us - room_us(ram, band, world.now_ms())
            assert booked_us >= used_us, (band, booked_us, used_us)
            in_hour = most([frame[1:] for frame in world.sent if frame[0] == band][-30:], HOUR_US)
            assert used_us + SF12 * 40 >= in_hour


def room_us(ledger, band, now_ms):
    """The longest frame that may begin at once, to 10 ms."""
    low, high = 0, 3601
    while high - low > 1:
        middle = (low + high) // 2
        if ledger.wait_ms(band, middle * 10000, now_ms):
            high = middle
        else:
            low = middle
    return low * 10000


def check_power_cut_costs_what_was_promised():
    """At first 1/64 of the limit, then doubled; never above the limit."""
    ledger = Ledger(eu868)
    now = 5 * SLOT_MS
    seen = []
    while not ledger.wait_ms(BAND, SF7, now):
        ledger.add(BAND, SF7, now)
        if not ledger.covered(now):
            ledger.promise(now)
            assert ledger.covered(now)
            booked = Ledger.after_power_cut(eu868, ledger.pack_promise(now), now)
            seen.append(36000000 - room_us(booked, BAND, now))
            equal(room_us(booked, 1, now), 36000000, "another band")
    equal(seen, [560000, 1680000, 3930000, 8430000, 17430000, 35430000, 36000000])


def check_promise_never_above_the_limit():
    """Not even in the band whose limit is more than half of what a record can hold."""
    ledger = Ledger(eu868)
    record = b""
    while not ledger.wait_ms(HIGH, SF12, 0):
        ledger.add(HIGH, SF12, 0)
        ledger.promise(0)
        record = ledger.pack_promise(0)
        equal(Ledger.unpack(eu868, record).pack(), record)
        assert Ledger.after_power_cut(eu868, record, 0).wait_ms(HIGH, 360000000, 0) < NEVER
    equal(Ledger.after_power_cut(eu868, record, 0).wait_ms(HIGH, SF7, 13 * SLOT_MS - 1), 1)
    equal(Ledger.after_power_cut(eu868, record, 0).wait_ms(HIGH, 360000000, 0), 13 * SLOT_MS)
    assert max(ledger._rows[HIGH][:15]) <= 36000, "the promise"


def check_band_at_rest_keeps_its_promise():
    """Flash is written for one band while another has sent nothing for hours: what is promised there stays known."""
    for memory in range(2):
        world = LedgerWorld(eu868)
        for _ in range(12):
            world.send(1, SF12)
        world.sleep_us(2 * HOUR_US)
        world.send(BAND, SF7)
        if memory:
            world.start_again(RESET, 0)
        for _ in range(12):
            world.send(1, SF12)
        world.start_again(POWER_CUT, 0)
        for _ in range(12):
            world.send(1, SF12)
        equal(len(world.sent), 25)
        world.lawful()


def check_irregular_use_writes_little():
    """A busy quarter of an hour four times a day: the promise is not lowered and raised again by each of them."""
    world = LedgerWorld(eu868)
    for _ in range(40):
        for _ in range(11):
            assert world.send(BAND, SF12)
            world.look_for_stale()
            world.sleep_us(60000000)
        for _ in range(7):
            world.sleep_us(3000000000)
            world.look_for_stale()
    assert world.writes <= 80, world.writes  # in ten days


def check_promise_leaves_alone_what_is_covered():
    """Flash is written for other reasons too: the promise does not grow by that."""
    ledger = Ledger(eu868)
    ledger.add(BAND, SF7, 0)
    ledger.promise(0)
    record = ledger.pack_promise(0)
    for _ in range(20):
        ledger.promise(0)
    equal(ledger.pack_promise(0), record)


def check_steady_use_writes_no_flash():
    """96 uplinks a day at any spreading factor, with a random phase: no writing once the promise has grown."""
    for airtime_us in (SF7, 370688, SF12):
        world = LedgerWorld(eu868)
        dice = Dice(11)
        for day in range(5):
            if day == 1:
                world.writes = 0
            for _ in range(96):
                assert world.send(BAND, airtime_us)
                world.look_for_stale()
                world.sleep_us(870000000 + dice.below(60) * 1000000)
        equal(world.writes, 0, airtime_us)
        world.lawful()


def check_stale_promise_is_lowered():
    """An hour after many power cuts, and a day after a busy time: one write, and a power cut costs little again."""
    world = LedgerWorld(eu868)
    for _ in range(40):
        world.send(BAND, SF7)
        world.send(BAND, SF7, 0, POWER_CUT, READY, 60000000)
    costly = room_us(Ledger.after_power_cut(eu868, some(world.flash)[1], 0), BAND, 0)
    for _ in range(12):
        assert not world.look_for_stale()
        world.sleep_us(SLOT_MS * 1000)
        world.send(BAND, SF7)
    world.sleep_us(SLOT_MS * 1000)
    assert world.look_for_stale()
    assert not world.look_for_stale()
    cheap = room_us(Ledger.after_power_cut(eu868, some(world.flash)[1], 0), BAND, 0)
    assert costly < 16000000 and cheap > 32000000, (costly, cheap)  # noqa: PT018
    for _ in range(20):
        world.send(BAND, SF7)
    again = room_us(Ledger.after_power_cut(eu868, some(world.flash)[1], 0), BAND, 0)
    assert again > 32000000, "after lowering it grows slowly again"
    writes = world.writes
    for _ in range(400):
        world.send(BAND, SF7)
        world.look_for_stale()
        world.sleep_us(900000000)
    assert world.writes <= writes + 1
    world.lawful()


def check_lowered_promise_and_crash():
    """The lower promise holds before flash knows it; a crash around that write gives nothing back."""
    for crash in (RESET, POWER_CUT):
        for stage in range(8):
            world = LedgerWorld(eu868)
            for _ in range(12):
                world.send(BAND, SF12)
            world.start_again(POWER_CUT, 0)
            world.sleep_us(13 * SLOT_MS * 1000)
            world.crash_at = crash, stage
            try:
                assert world.look_for_stale()
            except Exception:
                world.start_again(crash, 1000000)
            world.crash_at = NOTHING, BEFORE
            for _ in range(12):
                world.send(BAND, SF12)
            world.start_again(POWER_CUT, 0)
            for _ in range(12):
                world.send(BAND, SF12)
            world.lawful()


def check_quiet():
    """Toff = airtime * (2**n - 1), over all bands, 3 % longer by the node's clock, and kept over a reset."""
    for max_duty in range(16):
        ledger = Ledger(eu868)
        ledger.quiet(SF12, max_duty, 1000000)
        least_ms = 2794 * (2**max_duty - 1)
        for band in (0, 4):
            for again in (ledger, Ledger.unpack(eu868, ledger.pack())):
                wait_ms = again.wait_ms(band, SF7, 1000000)
                assert least_ms * 103 // 100 <= wait_ms <= least_ms * 104 // 100, (max_duty, wait_ms)
                equal(again.wait_ms(band, SF7, 1000000 + wait_ms), 0)
    ledger = Ledger(eu868)
    ledger.quiet(SF12, 15, 1000000)
    ledger.quiet(SF12, 0, 1000000)
    equal(ledger.wait_ms(0, SF7, 1000000), 0)


def check_record_is_exact_and_small():
    dice = Dice(5)
    ledger = Ledger(eu868)
    now = 0
    for step in range(300):
        now += dice.below(400000)
        band = dice.below(6) if step > 150 else 1 + dice.below(2)
        if not ledger.wait_ms(band, SF7, now):
            ledger.add(band, SF7, now)
            ledger.promise(now)
        record = ledger.pack()
        again = Ledger.unpack(eu868, record)
        equal(again.pack(), record)
        assert len(record) <= (17 + 6 * 33 if step > 150 else 17 + 2 * 33)
        for other in range(6):
            for airtime_us in (SF7, SF12, 3600000):
                equal(again.wait_ms(other, airtime_us, now), ledger.wait_ms(other, airtime_us, now))
    equal(len(Ledger(eu868).pack()), 17)


def check_damaged_record_has_no_airtime():
    """A record of the wrong size: nothing in any band for an hour, seen from when the time is known."""
    good = Ledger(eu868)
    good.add(BAND, SF7, 0)
    good.promise(0)
    for now in (0, 5, 3 * SLOT_MS + 9, 10**12):
        for data in (b"", b"x", good.pack()[:-1], good.pack() + b"x", bytes(200)):
            for ledger in (Ledger.unpack(eu868, data), Ledger.after_power_cut(eu868, data, now)):
                for band in range(6):
                    wait_ms = ledger.wait_ms(band, SF7, now)
                    assert 12 * SLOT_MS < wait_ms <= 13 * SLOT_MS, (now, data, band, wait_ms)
                    equal(ledger.wait_ms(band, 3600000, now + wait_ms), 0)
                ledger.pack()


def check_no_clock_runs_backwards():
    """Should node time ever step back, nothing is forgotten by it."""
    ledger = Ledger(eu868)
    _, now, wait_ms = greedy(ledger, BAND, SF12, 100 * SLOT_MS)
    assert ledger.wait_ms(BAND, SF12, now - 5 * SLOT_MS) > wait_ms
    equal(ledger.wait_ms(BAND, SF12, now), wait_ms)


def check_one_word_for_never():
    equal(JoinClock().wait_ms(36000000, 0), NEVER)
